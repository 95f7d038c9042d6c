"""Write what was recorded: many requests or one, in one transaction of our own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django.db import DatabaseError, IntegrityError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from .conf import conf
from .exceptions import ObjectClaimed
from .faults import Fault, fault_of
from .insertion import insert
from .limits import bounded_transaction
from .models import ImageContent, RequestImage, RequestLog
from .outcome import CaptureStatus
from .placing import Placed, place, release, take_over
from .stores import key_of

TRIES = 5
"""How often a write is tried that runs into another one."""

_PAUSE_SECONDS = 0.01


def save(log: RequestLog, image: RequestImage | None, data: bytes | None) -> None:
    """Write one recorded request, in one transaction of our own.

    An image that is kept already costs one look-up of its hash and no bytes; its log
    then says ``duplicate``.

    Args:
        log: The unsaved log.
        image: Its unsaved image; None when the request brought none.
        data: The image's bytes when they are to be kept.

    Raises:
        django.db.Error: Nothing was written.
        StorageError: The storage took no bytes, and nothing was written.
    """
    save_many([Record(log, image, data)])


@dataclass
class Record:
    """One recorded request, ready to be written.

    Attributes:
        log: The unsaved log.
        image: Its unsaved image; None when the request brought none.
        data: The image's bytes when they are to be kept.
        placed: Its unsaved content, and the object that this names, when the bytes are
            in a storage already.
    """

    log: RequestLog
    image: RequestImage | None = None
    data: bytes | None = None
    placed: tuple[ImageContent, Placed] | None = None


def save_many(records: Sequence[Record]) -> None:
    """Write recorded requests, all of them in one transaction of our own, or none.

    Raises:
        django.db.Error: Nothing was written.
        StorageError: The storage took no bytes, and nothing was written.
    """
    using = router.db_for_write(RequestLog)
    for number in range(TRIES - 1):
        try:
            _place_and_save(records, using)
        except ObjectClaimed:
            continue  # nobody is waited for: the next try has an object of its own
        except DatabaseError as error:
            # Meanwhile another request brought the same image, or cleanup took it
            # away. Either way the next look finds things as they are.
            if fault_of(error) is Fault.CONFLICT:
                time.sleep(random.uniform(0, _PAUSE_SECONDS * 2**number))  # noqa: S311
            elif not isinstance(error, IntegrityError):
                raise
        else:
            return
    _place_and_save(records, using)


def unwritten(records: Sequence[Record]) -> list[Record]:
    """Return those whose log is not in the database.

    A connection that is lost while it commits does not say whether it did.
    """
    logs = RequestLog.objects.using(router.db_for_write(RequestLog)).filter(
        request_id__in={record.log.request_id for record in records},
        created_at__in={record.log.created_at for record in records},
    )
    known = set(logs.values_list("request_id", "created_at"))
    return [r for r in records if (r.log.request_id, r.log.created_at) not in known]


def _place_and_save(records: Sequence[Record], using: str) -> None:
    _place(records, using)
    _save_once(records, using)


def _place(records: Sequence[Record], using: str) -> None:
    """Put into the storage what is not kept yet: no lock is held while it answers."""
    alias = conf.STORAGE
    if alias is None:
        return
    kept = _kept_contents(records, using)
    for record in records:
        image = record.image
        if image is None or record.data is None or image.image_hash in kept:
            continue
        kept[image.image_hash] = None  # by the first of those that bring it
        if record.placed is None:
            name = key_of(image.image_hash, image.mime_type)
            content = ImageContent(
                image_hash=image.image_hash, mime_type=image.mime_type, name=name
            )
            record.placed = content, place(content, record.data, alias, using)


def _save_once(records: Sequence[Record], using: str) -> None:
    # Outside the transaction on SQLite, where it must begin with a write: SQLite
    # refuses to turn a reader into a writer when another has written in between.
    is_sqlite = connections[using].vendor == "sqlite"
    kept = _kept_contents(records, using) if is_sqlite else {}
    with bounded_transaction(using):
        if not is_sqlite:
            kept = _kept_contents(records, using)
        for record in records:
            _tell_duplicates(record, kept)
        insert([record.log for record in records], using)
        # In the same order by everybody, so that nobody waits for each other.
        for record in sorted(records, key=_hash):
            _link(record, kept, using)
        insert([r.image for r in records if r.image is not None], using)
        release(_unused(records), using)


def _kept_contents(records: Sequence[Record], using: str) -> dict[str, int | None]:
    hashes = {
        r.image.image_hash
        for r in records
        if r.image is not None and r.data is not None
    }
    if not hashes:
        return {}
    contents = ImageContent.objects.using(using).filter(image_hash__in=hashes)
    return dict(contents.values_list("image_hash", "pk"))


def _tell_duplicates(record: Record, kept: dict[str, int | None]) -> None:
    if record.image is None or record.data is None:
        return
    if record.image.image_hash in kept:
        record.log.capture_status = CaptureStatus.DUPLICATE
    else:
        record.log.capture_status = CaptureStatus.STORED
        kept[record.image.image_hash] = None  # by this very transaction, further down


def _hash(record: Record) -> str:
    return "" if record.image is None else record.image.image_hash


def _link(record: Record, kept: dict[str, int | None], using: str) -> None:
    image = record.image
    if image is None:
        return
    pk: int | None = None
    if record.data is not None:
        pk = kept[image.image_hash]
        if pk is None:
            content = _content_of(record, image, record.data, using)
            insert([content], using)
            pk = kept[image.image_hash] = content.pk
    # Also when it is None: an earlier try may have left one that was rolled back.
    image.content_id = pk
    image.log = record.log
    image.created_at = record.log.created_at


def _unused(records: Sequence[Record]) -> list[Placed]:
    # Of images that somebody else has kept meanwhile.
    unused = []
    for record in records:
        if record.image is not None and record.placed is not None:
            content, placed = record.placed
            if record.image.content_id != content.pk:
                unused.append(placed)
    return unused


def _content_of(
    record: Record, image: RequestImage, data: bytes, using: str
) -> ImageContent:
    """Return the row that is to be inserted for an image that is not kept yet.

    Raises:
        ObjectClaimed: Its bytes are not in the storage, or not any more.
    """
    if record.placed is not None:
        content, placed = record.placed
        try:
            take_over(placed, using)
        except ObjectClaimed:
            record.placed = None  # the next try has another
            raise
        return content
    if conf.STORAGE is not None:
        raise ObjectClaimed("it was kept a moment ago, and is gone")
    return ImageContent.holding(image.image_hash, data, image.mime_type)


@contextmanager
def usable_connection(*, is_handled: bool, is_last_use: bool) -> Iterator[None]:
    """See to it that our database connection is fit for use, and is not left behind.

    Args:
        is_handled: Whether Django's handler has called the view, and is done with the
            connection. Whoever called it directly goes on using it.
        is_last_use: Whether this thread will never use it again. What was opened here
            is closed then, whatever ``CONN_MAX_AGE`` says: nobody else would.
    """
    connection = connections[router.db_for_write(RequestLog)]
    if connection.in_atomic_block:  # a test's transaction is not ours to end
        yield
        return
    was_closed = connection.connection is None
    if is_handled and not was_closed:
        _end_what_was_left_open(connection)
    if is_handled and not connection.settings_dict["AUTOCOMMIT"]:
        with suppress(DatabaseError):  # which the write will meet again
            connection.set_autocommit(True)
    try:
        yield
    finally:
        if was_closed and is_last_use:
            connection.close()


def _end_what_was_left_open(connection: BaseDatabaseWrapper) -> None:
    # What the view left open is rolled back by Django in a moment, and our rows would
    # be with it; or, begun by hand, it would be committed with them.
    if not connection.get_autocommit():
        connection.close()
    else:
        with suppress(Exception):  # a lost connection has nothing open
            connection.connection.rollback()


def open_connection() -> object:
    """Return the driver's connection that is open for us; None when none is."""
    return connections[router.db_for_write(RequestLog)].connection


def has_lost(driver_connection: object) -> bool:
    """Tell whether a connection is gone; if so, the next use has a new one.

    Args:
        driver_connection: What `open_connection` returned before something failed.
    """
    connection = connections[router.db_for_write(RequestLog)]
    if driver_connection is None or connection.in_atomic_block:
        return False
    if connection.connection is driver_connection:
        if connection.is_usable():
            return False
        with suppress(Exception):  # to close what is closed is an error to some
            connection.close()  # to a pool it must be given back
        connection.connection = None
    return True  # Django may have opened another one by itself
