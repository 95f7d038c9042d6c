"""Write recorded requests, one or many, in one transaction of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from django.db import connections
from django.db.models import ForeignKey, Model

from request_images.aggregation.periods import floor
from request_images.conf import conf
from request_images.contents.place import place, release, take_over
from request_images.db import postgres
from request_images.db.deadline import NoAnswer, write_deadline
from request_images.db.destination import database_of, destination_of
from request_images.db.errors import Fault, fault_of
from request_images.db.insert import insert
from request_images.db.limits import seconds_left
from request_images.db.retry import retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectClaimed
from request_images.models import ImageContent, RequestLog
from request_images.models.statistics import mark_stale
from request_images.outcome import UNUSABLE, CaptureStatus
from request_images.storage.stores import key_of

from . import single
from .connection import has_lost, open_connection
from .record import Picture, Record

Kept = dict[str, int | None]
"""The primary key of each content by its hash; None for one that is still to insert."""


def save_once(records: Sequence[Record]) -> Sequence[Record]:
    """Write recorded requests as `save_many` does, and none of them twice.

    If the connection is lost meanwhile, a new one is tried.

    Returns:
        The records that were written by this call: not those that were in doubt, and
        had been written.
    """
    before = open_connection()
    try:
        new = _unwritten(records)
        save_many(new)
    except NoAnswer:
        raise  # a new connection would wait as long
    except Exception:
        if not has_lost(before) or not seconds_left():
            raise
    else:
        return new
    # A connection that is lost during a commit does not tell whether it succeeded.
    for record in records:
        record.is_in_doubt = True
    new = _unwritten(records)
    save_many(new)
    return new


def save_many(records: Sequence[Record]) -> None:
    """Write recorded requests, all of them in one transaction of our own, or none.

    An image that is kept already costs one look-up of its hash and no bytes; its log
    then has the status ``duplicate``.

    Raises:
        django.db.Error: Nothing was written.
        StorageError: The storage took no bytes, and nothing was written.
    """
    if records:
        using = database_of(RequestLog)
        # If an object is claimed, the next try writes one of its own.
        retry(lambda: _place_and_insert(records, using), also=(ObjectClaimed,))


def _unwritten(records: Sequence[Record]) -> Sequence[Record]:
    doubtful = [record.log for record in records if record.is_in_doubt]
    if not doubtful:
        return records
    logs = RequestLog.objects.primary().filter(
        request_id__in={log.request_id for log in doubtful},
        created_at__in={log.created_at for log in doubtful},
    )
    with write_deadline(logs.db):
        known = set(logs.values_list("request_id", "created_at"))
    return [r for r in records if (r.log.request_id, r.log.created_at) not in known]


def _place_and_insert(records: Sequence[Record], using: str) -> None:
    pictures = _pictures(records)
    for picture in pictures:
        picture.is_refused = False
    if conf.STORAGE is not None:
        _place(pictures, conf.STORAGE, using)
    _insert_all(records, using)


def _pictures(records: Sequence[Record]) -> list[Picture]:
    return [picture for record in records for picture in record.with_bytes]


def _insert_all(records: Sequence[Record], using: str) -> None:
    size = sum(len(picture.data or b"") for picture in _pictures(records))
    with write_deadline(using, size):
        if len(records) == 1 and single.is_possible(records[0], using):
            _insert_single(records[0], using)
            return
        try:
            _insert(records, using, together=True)
        except Exception as error:
            is_single = len(records) == 1 and len(_pictures(records)) <= 1
            if is_single or fault_of(error) is not Fault.ROW:
                raise
            # One by one, to know which image is refused.
            _insert(records, using, together=False)


def _insert_single(record: Record, using: str) -> None:
    image = record.image
    image_hash = image.image_hash if image and record.data is not None else None
    try:
        key = single.begin(image_hash, using)
        kept: Kept = {} if key is None or image_hash is None else {image_hash: key}
        _set_statuses(record.with_bytes, kept)
        _refer_to_contents([record], kept)
        is_new = image_hash is not None and key is None
        content = _new_content(record.pictures[0], using) if is_new else None
        single.insert_and_commit(record, content, using)
    except BaseException:
        postgres.rollback(connections[using])
        raise
    if image is not None:
        _refer(image, "log", record.log)
        if content is not None:
            image.content_id = content.pk


def _insert(records: Sequence[Record], using: str, *, together: bool) -> None:
    pictures = _pictures(records)
    with bounded_transaction(using):
        kept = _locked_contents(pictures, using)
        _set_statuses(pictures, kept)
        logs = [record.log for record in records]
        insert(logs, using)
        mark_stale({floor(log.created_at) for log in logs}, using)
        _insert_contents(pictures, kept, using, together=together)
        _refer_to_contents(records, kept)
        _insert_images(records, using)
        placed = [picture.placed for picture in pictures if picture.placed is not None]
        # Objects of images whose content somebody else has inserted meanwhile.
        unused = [obj for new, obj in placed if kept[new.image_hash] != new.pk]
        release(unused, using)


def _place(pictures: Sequence[Picture], alias: str, using: str) -> None:
    """Put new images into the storage: no lock is held while it answers."""
    kept = _kept_contents(pictures, using)
    folder = destination_of(ImageContent).folder
    for picture in pictures:
        image_hash, mime_type = _identity(picture)
        if image_hash in kept:
            continue
        kept[image_hash] = None  # by the first picture that has it
        if picture.placed is None:
            content = ImageContent(
                image_hash=image_hash,
                mime_type=mime_type,
                name=key_of(image_hash, mime_type, folder=folder),
            )
            with _blamed(picture):
                placed = place(content, picture.data or b"", alias, using)
            picture.placed = content, placed


def _identity(picture: Picture) -> tuple[str, str]:
    return picture.image.image_hash, picture.image.mime_type


def _locked_contents(pictures: Sequence[Picture], using: str) -> Kept:
    """Look up contents that no cleanup can delete before the transaction ends."""
    hashes = sorted({picture.image.image_hash for picture in pictures})
    if not hashes:
        return {}
    connection = connections[using]
    table = connection.ops.quote_name(ImageContent._meta.db_table)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"SELECT image_hash, id FROM {table} WHERE image_hash = ANY(%s) "  # noqa: S608  # names of ours
                "ORDER BY id FOR KEY SHARE",
                [hashes],
            )
            return dict(cursor.fetchall())
        if connection.vendor == "sqlite":
            # Makes us the one writer. SQLite would also refuse to turn a reader into a
            # writer when another has written in between.
            cursor.execute(f"UPDATE {table} SET name = '' WHERE id = 0")  # noqa: S608
        marks = ", ".join(["%s"] * len(hashes))
        ask = f"SELECT image_hash, id FROM {table} WHERE image_hash IN ({marks})"  # noqa: S608
        cursor.execute(ask, hashes)
        kept: Kept = dict(cursor.fetchall())
        if not kept or connection.vendor == "sqlite":
            return kept
        # By their keys: a locking read by hashes would also lock the gaps between them,
        # where others insert. In the order of cleanup, so that no two wait for each
        # other. Other transactions may refer to the rows, too.
        marks = ", ".join(["%s"] * len(kept))
        ask = f"SELECT id FROM {table} WHERE id IN ({marks}) ORDER BY id"  # noqa: S608
        cursor.execute(f"{ask} LOCK IN SHARE MODE", list(kept.values()))
        locked = {pk for (pk,) in cursor.fetchall()}
    return {image_hash: pk for image_hash, pk in kept.items() if pk in locked}


def _kept_contents(pictures: Sequence[Picture], using: str) -> Kept:
    hashes = {picture.image.image_hash for picture in pictures}
    contents = ImageContent.objects.using(using).filter(image_hash__in=hashes)
    return dict(contents.values_list("image_hash", "pk"))


def _set_statuses(pictures: Sequence[Picture], kept: Kept) -> None:
    for picture in pictures:
        image_hash, row = picture.image.image_hash, picture.status_row
        picture.is_duplicate = image_hash in kept
        if row.capture_status not in UNUSABLE:
            was_kept, is_new = CaptureStatus.DUPLICATE, CaptureStatus.STORED
            row.capture_status = was_kept if picture.is_duplicate else is_new
        kept.setdefault(image_hash, None)  # inserted below, in this transaction


def _insert_contents(
    pictures: Sequence[Picture], kept: Kept, using: str, *, together: bool
) -> None:
    new: dict[str, Picture] = {}
    # Everybody inserts in the same order, so that no two wait for each other.
    for picture in sorted(pictures, key=_identity):
        if kept[picture.image.image_hash] is None:
            new.setdefault(picture.image.image_hash, picture)
    contents = {key: _new_content(picture, using) for key, picture in new.items()}
    if together:
        insert(list(contents.values()), using)
    for image_hash, content in contents.items():
        if not together:
            with _blamed(new[image_hash]):
                insert([content], using)
        kept[image_hash] = content.pk


def _refer_to_contents(records: Sequence[Record], kept: Kept) -> None:
    for record in records:
        if record.image is not None:
            record.image.created_at = record.log.created_at
        for picture in record.pictures:
            image, is_kept = picture.image, picture.data is not None
            # Also to None: an earlier try may have left a key that was rolled back.
            image.content_id = kept[image.image_hash] if is_kept else None
            image.is_repeated = picture.is_duplicate if is_kept else None


def _insert_images(records: Sequence[Record], using: str) -> None:
    images = [record.image for record in records if record.image is not None]
    for record in records:
        if record.image is not None:
            _refer(record.image, "log", record.log)
    insert(images, using)
    for record in records:
        for row in record.further:
            _refer(row, "request_image", record.image)  # has its key by now
    insert([row for record in records for row in record.further], using)


def _refer(row: Model, name: str, other: Model | None) -> None:
    # Not by the attribute: Django would ask the routers, which do not know the request.
    field = cast("ForeignKey[Any, Any]", row._meta.get_field(name))
    field.set_cached_value(row, other)
    setattr(row, field.attname, other.pk if other else None)


def _new_content(picture: Picture, using: str) -> ImageContent:
    """Return the row to insert for an image that is not kept yet.

    Raises:
        ObjectClaimed: Its bytes are not in the storage, or not any more.
    """
    if picture.placed is not None:
        content, placed = picture.placed
        try:
            take_over(placed, using)
        except ObjectClaimed:
            picture.placed = None  # the next try places another
            raise
        return content
    if conf.STORAGE is not None:
        raise ObjectClaimed("it was kept a moment ago, and is gone")
    image_hash, mime_type = _identity(picture)
    return ImageContent.holding(image_hash, picture.data or b"", mime_type)


@contextmanager
def _blamed(picture: Picture) -> Iterator[None]:
    # An exception leaves the picture marked as refused.
    picture.is_refused = True
    yield
    picture.is_refused = False
