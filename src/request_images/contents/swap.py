"""Replace the stored bytes of a content, by another storage or another form.

The copy is read back before the row refers to it, and the row is changed only if nobody
else has changed it. A process that is killed leaves each content in one place; an
object without a row has a `PendingDeletion`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from request_images.aggregation.periods import floor
from request_images.db.destination import destination_of
from request_images.db.retry import retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectDamaged, ObjectMissing, StorageError
from request_images.models.content import FORM_FIELDS, ImageContent, contents
from request_images.models.pending_deletions import schedule_deletions
from request_images.models.statistics import mark_stale
from request_images.storage.encodings import suffix_of
from request_images.storage.stores import DATABASE, key_of, store_of

from .place import Placed, place, release, take_over

_STILL_READ = timedelta(minutes=10)
"""How long the old object stays for processes that have loaded the row before."""


@dataclass(frozen=True)
class Form:
    """Bytes in the form in which they will be stored; the names are the columns'."""

    stored: bytes
    storage: str
    encoding: str = ""
    received_size: int | None = None


@dataclass(frozen=True)
class Whole:
    """The bytes of a content, as stored and as received, verified by their hash."""

    stored: bytes
    received: bytes


def swap(content: ImageContent, form: Form) -> bool:
    """Give a content another form; return False if its row was changed meanwhile.

    Args:
        content: The content, as it was when its bytes were read.
        form: The new form, which is known to decode to the bytes received.

    Raises:
        ObjectDamaged: The storage does not hold what was put there.
        StorageError: The storage refused the bytes, or does not return them.
        django.db.Error: The database refused the change.
    """
    digest = hashlib.sha256(form.stored).hexdigest()
    copy = ImageContent(
        name=key_of(
            content.image_hash,
            content.mime_type,
            suffix_of(form.encoding),
            folder=destination_of(ImageContent).folder,
        ),
        encoding=form.encoding,
        received_size=form.received_size,
    )
    if form.storage == DATABASE:
        store_of(form.storage).put(copy, form.stored)
        return retry(lambda: _switch(content, copy, None, digest))
    using = contents().db
    placed = place(copy, form.stored, form.storage, using)
    try:
        try:
            written = store_of(form.storage).read(copy)
        except ObjectMissing as error:  # the storage is at fault, not this content
            text = f"{form.storage} has no {copy.name} right after writing it"
            raise ObjectDamaged(text) from error
        _compare(written, digest, copy)
    except StorageError:
        release([placed], using)
        raise
    return retry(lambda: _switch(content, copy, placed, digest))


def read_whole(content: ImageContent) -> Whole | None:
    """Return the bytes of a content; None if it was deleted or changed meanwhile.

    Raises:
        ObjectDamaged: The bytes are not those that were received.
        StorageError: The bytes cannot be read or decoded.
    """
    try:
        stored = store_of(content.storage).read(content)
    except ObjectMissing:
        if contents().as_it_was(content).exists():
            raise
        return None  # its row was deleted first
    received = content.decoded(stored)
    if hashlib.sha256(received).hexdigest() != content.image_hash:
        raise ObjectDamaged(f"the bytes of {content} have changed", is_passing=False)
    return Whole(stored, received)


def _switch(
    content: ImageContent, copy: ImageContent, placed: Placed | None, digest: str
) -> bool:
    using = contents().db
    # A database server that crashes and loses this has the old form again. Its object
    # is deleted only after a transaction that waits for the disk, and the new object
    # has its `PendingDeletion` again.
    with bounded_transaction(using, waits_for_disk=False):
        values = {field: getattr(copy, field) for field in FORM_FIELDS}
        is_switched = contents().as_it_was(content).update(**values)
        if is_switched:
            mark_stale([floor(content.created_at)], using)
        if placed is not None and is_switched:
            take_over(placed, using)
        elif placed is not None:
            release([placed], using)
        elif is_switched:
            written = contents().values_list("data", flat=True).get(pk=content.pk)
            _compare(bytes(written or b""), digest, copy)
        if is_switched and content.storage != DATABASE:
            old = (content.storage, content.name)
            schedule_deletions([old], using, after=_STILL_READ)
    return bool(is_switched)


def _compare(data: bytes, digest: str, copy: ImageContent) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        where = copy.name or "the database"
        raise ObjectDamaged(f"{where} does not hold what was put there")
