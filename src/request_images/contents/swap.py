"""Put the bytes of a content into another store or another form, and let go of the old.

The copy is read back before the row says where it is, and the row is changed only if
it still says what it said. Whoever is killed leaves each content in one place; an
object that has no row then is on the list of what is to be deleted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.db import router

from request_images.aggregation.periods import floor
from request_images.db.retry import retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectDamaged, ObjectMissing, StorageError
from request_images.models.content import FORM_FIELDS, ImageContent
from request_images.models.pending_deletions import note_for_deletion
from request_images.models.querysets import ImageContentQuerySet
from request_images.models.statistics import mark
from request_images.storage.encodings import suffix_of
from request_images.storage.stores import DATABASE, key_of, store_of

from .place import Placed, place, release, take_over

_STILL_READ = timedelta(minutes=10)
"""Who has loaded a row may still read from where it says."""


@dataclass(frozen=True)
class Form:
    """Bytes as they are to be stored.

    Attributes:
        stored: The bytes.
        storage: The storage alias; the empty string for the database.
        encoding: The name of their encoding; empty for bytes as received.
        received_size: How many bytes were received; None when they are stored so.
    """

    stored: bytes
    storage: str
    encoding: str = ""
    received_size: int | None = None


@dataclass(frozen=True)
class Whole:
    """The bytes of a content, which are what was received.

    Attributes:
        stored: The bytes as they are stored.
        received: The bytes as they were received.
    """

    stored: bytes
    received: bytes


def swap(content: ImageContent, form: Form) -> bool:
    """Give a content another form; False when somebody changed it meanwhile.

    Args:
        content: The content, as it was when its bytes were read.
        form: The new form, which is known to give the bytes received.

    Raises:
        ObjectDamaged: The store does not hold what was put there.
        StorageError: The storage did not take it, or does not give it back.
        django.db.Error: The database did not take it.
    """
    digest = hashlib.sha256(form.stored).hexdigest()
    copy = ImageContent(
        name=key_of(content.image_hash, content.mime_type, suffix_of(form.encoding)),
        encoding=form.encoding,
        received_size=form.received_size,
    )
    if form.storage == DATABASE:
        store_of(form.storage).put(copy, form.stored)
        return retry(lambda: _switch(content, copy, None, digest))
    placed = place(copy, form.stored, form.storage, _database())
    try:
        _compare(_read_back(form.storage, copy), digest, copy)
    except StorageError:
        release([placed], _database())
        raise
    return retry(lambda: _switch(content, copy, placed, digest))


def read_whole(content: ImageContent) -> Whole | None:
    """Return the bytes of a content; None when it went, or was changed, meanwhile.

    Raises:
        ObjectDamaged: They are not what was received.
        StorageError: They cannot be read, or not be turned back.
    """
    try:
        stored = store_of(content.storage).read(content)
    except ObjectMissing:
        if _contents().as_it_was(content).exists():
            raise
        return None  # its row went first
    received = content.decoded(stored)
    if hashlib.sha256(received).hexdigest() != content.image_hash:
        raise ObjectDamaged(f"the bytes of {content} are others", is_passing=False)
    return Whole(stored, received)


def _read_back(alias: str, copy: ImageContent) -> bytes:
    try:
        return store_of(alias).read(copy)
    except ObjectMissing as error:  # not the content's own fault
        raise ObjectDamaged(f"{alias} has lost {copy.name} at once") from error


def _switch(
    content: ImageContent,
    copy: ImageContent,
    placed: Placed | None,
    digest: str,
) -> bool:
    using = _database()
    # A server that crashes and takes it back has the old form again, whose object is
    # deleted only behind a transaction that waits; the new one is on the list again.
    with bounded_transaction(using, waits_for_disk=False):
        values = {field: getattr(copy, field) for field in FORM_FIELDS}
        is_switched = _contents().as_it_was(content).update(**values)
        if is_switched:
            mark([floor(content.created_at)], using)
        if placed is not None and is_switched:
            take_over(placed, using)
        elif placed is not None:
            release([placed], using)
        elif is_switched:
            written = _contents().values_list("data", flat=True).get(pk=content.pk)
            _compare(bytes(written or b""), digest, copy)
        if is_switched and content.storage != DATABASE:
            old = (content.storage, content.name)
            note_for_deletion([old], using, after=_STILL_READ)
    return bool(is_switched)


def _compare(data: bytes, digest: str, copy: ImageContent) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        where = copy.name or "the database"
        raise ObjectDamaged(f"{where} does not hold what was put there")


def _contents() -> ImageContentQuerySet:
    return ImageContent.objects.using(_database())


def _database() -> str:
    return router.db_for_write(ImageContent)
