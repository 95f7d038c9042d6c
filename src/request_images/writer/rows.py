"""Write what was recorded: many requests or one, in one transaction of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from django.db import DatabaseError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from request_images.aggregation.periods import floor
from request_images.conf import conf
from request_images.contents.place import Placed, place, release, take_over
from request_images.db.insert import insert
from request_images.db.retry import retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectClaimed
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.models.statistics import mark
from request_images.outcome import CaptureStatus
from request_images.storage.stores import key_of

from .record import Picture, Record

# Nobody deletes the rows until our transaction ends; others may refer to them too.
_SHARED_LOCKS = {"postgresql": "FOR KEY SHARE", "mysql": "LOCK IN SHARE MODE"}


def save_many(records: Sequence[Record]) -> None:
    """Write recorded requests, all of them in one transaction of our own, or none.

    An image that is kept already costs one look-up of its hash and no bytes; its log
    then says ``duplicate``.

    Raises:
        django.db.Error: Nothing was written.
        StorageError: The storage took no bytes, and nothing was written.
    """
    using = router.db_for_write(RequestLog)
    # A claimed object: the next try has one of its own.
    retry(lambda: _place_and_save(records, using), also=(ObjectClaimed,))


def save_once(
    records: Sequence[Record], *, is_in_doubt: bool = False
) -> Sequence[Record]:
    """Write recorded requests as `save_many` does, and none of them twice.

    If the connection is lost meanwhile, a new one is tried.

    Args:
        records: The requests.
        is_in_doubt: Whether an earlier try may have written some of them.

    Returns:
        The records that were written by this call.

    Raises:
        django.db.Error: Nothing was written.
        StorageError: The storage took no bytes, and nothing was written.
    """
    before = open_connection()
    try:
        return _save_all(unwritten(records) if is_in_doubt else records)
    except Exception:
        if not has_lost(before):
            raise
    # A connection that is lost while it commits does not say whether it did.
    return _save_all(unwritten(records))


def _save_all(records: Sequence[Record]) -> Sequence[Record]:
    if records:
        save_many(records)
    return records


def unwritten(records: Sequence[Record]) -> list[Record]:
    """Return the records whose log is not in the database."""
    logs = RequestLog.objects.primary().filter(
        request_id__in={record.log.request_id for record in records},
        created_at__in={record.log.created_at for record in records},
    )
    known = set(logs.values_list("request_id", "created_at"))
    return [r for r in records if (r.log.request_id, r.log.created_at) not in known]


def _place_and_save(records: Sequence[Record], using: str) -> None:
    for picture in _pictures(records):
        picture.is_refused = False
    _place(records, using)
    _save_once(records, using)


def _place(records: Sequence[Record], using: str) -> None:
    """Put into the storage what is not kept yet: no lock is held while it answers."""
    alias = conf.STORAGE
    if alias is None:
        return
    kept = _kept_contents(records, using)
    for picture in _pictures(records):
        image_hash, mime_type = _identity(picture)
        if image_hash in kept:
            continue
        kept[image_hash] = None  # by the first of those that bring it
        if picture.placed is None:
            content = ImageContent(
                image_hash=image_hash,
                mime_type=mime_type,
                name=key_of(image_hash, mime_type),
            )
            with _told_if_refused(picture):
                placed = place(content, picture.data or b"", alias, using)
            picture.placed = content, placed


def _save_once(records: Sequence[Record], using: str) -> None:
    pictures = _pictures(records)
    with bounded_transaction(using):
        kept = _held_contents(records, using)
        _tell_duplicates(pictures, kept)
        logs = [record.log for record in records]
        insert(logs, using)
        mark({floor(log.created_at) for log in logs}, using)
        # In the same order by everybody, so that nobody waits for each other.
        for picture in sorted(pictures, key=_identity):
            _insert_content(picture, kept, using)
        _insert_images(records, kept, using)
        release(_unused(pictures, kept), using)


def _pictures(records: Sequence[Record]) -> list[Picture]:
    return [picture for record in records for picture in record.with_bytes]


def _identity(picture: Picture) -> tuple[str, str]:
    image = picture.image
    return ("", "") if image is None else (image.image_hash, image.mime_type)


def _held_contents(records: Sequence[Record], using: str) -> dict[str, int | None]:
    """Look up contents that stay until the transaction ends, whoever cleans up."""
    connection = connections[using]
    if connection.vendor == "sqlite" and _pictures(records):
        # Takes the place of the one writer, so that nobody else is. SQLite would also
        # refuse to turn a reader into a writer when another has written in between.
        ImageContent.objects.using(using).filter(pk=0).update(name="")
    kept = _kept_contents(records, using)
    lock = _SHARED_LOCKS.get(connection.vendor)
    if not kept or lock is None:
        return kept
    table = connection.ops.quote_name(ImageContent._meta.db_table)
    marks = ", ".join(["%s"] * len(kept))
    with connection.cursor() as cursor:
        # In the order of cleanup, so that nobody waits for each other.
        cursor.execute(
            f"SELECT id FROM {table} WHERE id IN ({marks}) ORDER BY id {lock}",  # noqa: S608  # names of ours
            list(kept.values()),
        )
        held = {pk for (pk,) in cursor.fetchall()}
    return {image_hash: pk for image_hash, pk in kept.items() if pk in held}


def _kept_contents(records: Sequence[Record], using: str) -> dict[str, int | None]:
    hashes = {_identity(picture)[0] for picture in _pictures(records)}
    if not hashes:
        return {}
    contents = ImageContent.objects.using(using).filter(image_hash__in=hashes)
    return dict(contents.values_list("image_hash", "pk"))


def _tell_duplicates(pictures: Sequence[Picture], kept: dict[str, int | None]) -> None:
    for picture in pictures:
        image_hash, _ = _identity(picture)
        if image_hash in kept:
            picture.teller.capture_status = CaptureStatus.DUPLICATE
        else:
            picture.teller.capture_status = CaptureStatus.STORED
            kept[image_hash] = None  # by this very transaction, further down


def _insert_content(picture: Picture, kept: dict[str, int | None], using: str) -> None:
    image_hash, _ = _identity(picture)
    if kept[image_hash] is None:
        content = _content_of(picture, using)
        with _told_if_refused(picture):
            insert([content], using)
        kept[image_hash] = content.pk


def _insert_images(
    records: Sequence[Record], kept: dict[str, int | None], using: str
) -> None:
    images, further = [], []
    for record in records:
        for each in record.pictures:
            if each.image is not None:
                # Also to None: an earlier try may have left what was rolled back.
                is_kept = each.data is not None
                each.image.content_id = kept[each.image.image_hash] if is_kept else None
                each.image.is_repeated = _is_repeated(each)
        if record.image is not None:
            record.image.log = record.log
            record.image.created_at = record.log.created_at
            images.append(record.image)
    insert(images, using)
    for record in records:
        for one_more in record.further:
            # It has its primary key only now.
            one_more.image.request_image = cast("RequestImage", record.image)
            further.append(one_more.image)
    insert(further, using)


def _is_repeated(picture: Picture) -> bool | None:
    if picture.data is None:
        return None
    return picture.teller.capture_status == CaptureStatus.DUPLICATE


def _unused(pictures: Sequence[Picture], kept: dict[str, int | None]) -> list[Placed]:
    # Of images that somebody else has kept meanwhile.
    return [
        placed
        for picture in pictures
        if picture.placed is not None
        for content, placed in [picture.placed]
        if kept[content.image_hash] != content.pk
    ]


def _content_of(picture: Picture, using: str) -> ImageContent:
    """Return the row that is to be inserted for an image that is not kept yet.

    Raises:
        ObjectClaimed: Its bytes are not in the storage, or not any more.
    """
    if picture.placed is not None:
        content, placed = picture.placed
        try:
            take_over(placed, using)
        except ObjectClaimed:
            picture.placed = None  # the next try has another
            raise
        return content
    if conf.STORAGE is not None:
        raise ObjectClaimed("it was kept a moment ago, and is gone")
    image_hash, mime_type = _identity(picture)
    return ImageContent.holding(image_hash, picture.data or b"", mime_type)


@contextmanager
def _told_if_refused(picture: Picture) -> Iterator[None]:
    picture.is_refused = True
    yield
    picture.is_refused = False


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
