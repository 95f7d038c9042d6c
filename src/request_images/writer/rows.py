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
from request_images.db.deadline import write_deadline
from request_images.db.destination import database_of, destination_of
from request_images.db.insert import insert
from request_images.db.limits import seconds_left
from request_images.db.retry import retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectClaimed
from request_images.models import ImageContent, RequestLog
from request_images.models.statistics import mark_stale
from request_images.outcome import UNUSABLE, CaptureStatus
from request_images.storage.stores import key_of

from .connection import has_lost, open_connection
from .record import Picture, Record

# Other transactions cannot delete the rows until ours ends, but may refer to them too.
_SHARED_LOCKS = {"postgresql": "FOR KEY SHARE", "mysql": "LOCK IN SHARE MODE"}

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
    pictures = _pictures(records)
    size = sum(len(picture.data or b"") for picture in pictures)
    with write_deadline(using, size), bounded_transaction(using):
        kept = _locked_contents(pictures, using)
        _set_statuses(pictures, kept)
        logs = [record.log for record in records]
        insert(logs, using)
        mark_stale({floor(log.created_at) for log in logs}, using)
        # Everybody inserts in the same order, so that no two wait for each other.
        for picture in sorted(pictures, key=_identity):
            _insert_content(picture, kept, using)
        _insert_images(records, kept, using)
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
    connection = connections[using]
    if connection.vendor == "sqlite" and pictures:
        # Makes us the one writer. SQLite would also refuse to turn a reader into a
        # writer when another has written in between.
        ImageContent.objects.using(using).filter(pk=0).update(name="")
    kept = _kept_contents(pictures, using)
    lock = _SHARED_LOCKS.get(connection.vendor)
    if not kept or lock is None:
        return kept
    table = connection.ops.quote_name(ImageContent._meta.db_table)
    marks = ", ".join(["%s"] * len(kept))
    with connection.cursor() as cursor:
        # In the order of cleanup, so that no two wait for each other.
        cursor.execute(
            f"SELECT id FROM {table} WHERE id IN ({marks}) ORDER BY id {lock}",  # noqa: S608  # names of ours
            list(kept.values()),
        )
        locked = {pk for (pk,) in cursor.fetchall()}
    return {image_hash: pk for image_hash, pk in kept.items() if pk in locked}


def _kept_contents(pictures: Sequence[Picture], using: str) -> Kept:
    hashes = {picture.image.image_hash for picture in pictures}
    if not hashes:
        return {}
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


def _insert_content(picture: Picture, kept: Kept, using: str) -> None:
    image_hash = picture.image.image_hash
    if kept[image_hash] is None:
        content = _new_content(picture, using)
        with _blamed(picture):
            insert([content], using)
        kept[image_hash] = content.pk


def _insert_images(records: Sequence[Record], kept: Kept, using: str) -> None:
    for picture in (picture for record in records for picture in record.pictures):
        image, is_kept = picture.image, picture.data is not None
        # Also to None: an earlier try may have left a key that was rolled back.
        image.content_id = kept[image.image_hash] if is_kept else None
        image.is_repeated = picture.is_duplicate if is_kept else None
    images = [record.image for record in records if record.image is not None]
    for record in records:
        if record.image is not None:
            _refer(record.image, "log", record.log)
            record.image.created_at = record.log.created_at
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
