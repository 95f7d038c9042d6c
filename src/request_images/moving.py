"""Move the bytes of contents from one store to another, one content after the other.

The copy is read back before the row says where it is, and the row is changed only if
it still says what it said. A run that is killed leaves each content in one place; an
object that has no row then is on the list of what is to be deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import DatabaseError, models, router
from django.db.models import Count, Sum

from .bookkeeping import note_for_deletion
from .exceptions import ObjectDamaged, ObjectMissing, StorageError
from .health import report
from .limits import bounded_transaction
from .models import ImageContent
from .placing import Placed, place, release, take_over
from .stores import DATABASE, key_of, store_of

FAILURES = 5
"""After so many failures in a row that are not one content's own, a run gives up."""

_STILL_READ = timedelta(minutes=10)
"""Who has loaded a row may still read from where it says."""


@dataclass
class Moved:
    """What a move did, or would do.

    Attributes:
        contents: Contents that were moved.
        size: Their bytes, as stored.
        changed: Contents that went meanwhile, or were moved by another run.
        failed: Contents that stay where they are, because something went wrong.
    """

    contents: int = 0
    size: int = 0
    changed: int = 0
    failed: int = 0


def preview(alias: str) -> Moved:
    """Return what `move` would move now. Nothing is written, no bytes are read."""
    total = _elsewhere(alias).aggregate(count=Count("pk"), size=Sum("stored_size"))
    return Moved(total["count"], total["size"] or 0)


def move(
    alias: str, *, batch_size: int, tell: Callable[[Moved], None] = lambda moved: None
) -> Moved:
    """Move every content that is not in a store yet.

    Args:
        alias: The storage alias; the empty string for the database.
        batch_size: How many contents are looked up at once.
        tell: Called behind each content with what was done so far.

    Raises:
        StorageError: A storage failed several times in a row.
        django.db.Error: The database did.
    """
    moved, in_a_row = Moved(), 0
    for content in _one_by_one(alias, batch_size):
        try:
            is_moved = _move(content, alias)
        except (StorageError, DatabaseError) as error:
            report("move", error)
            moved.failed += 1
            in_a_row += not _is_its_own(error)
            if in_a_row >= FAILURES:
                raise
        else:
            in_a_row = 0
            moved.contents += is_moved
            moved.size += content.stored_size if is_moved else 0
            moved.changed += not is_moved
        tell(moved)
    return moved


def _is_its_own(error: Exception) -> bool:
    """Tell whether a failure says nothing of the contents that come next."""
    return isinstance(error, ObjectMissing | ObjectDamaged) and not error.is_passing


def _one_by_one(alias: str, batch_size: int) -> Iterator[ImageContent]:
    last = 0
    while True:
        rows = _elsewhere(alias).filter(pk__gt=last).order_by("pk")
        pks = list(rows.values_list("pk", flat=True)[:batch_size])
        for pk in pks:
            # Not all at once: they hold their bytes.
            found = _contents().defer("thumbnail").filter(pk=pk).first()
            if found is not None:
                yield found
        if not pks:
            return
        last = pks[-1]


def _move(content: ImageContent, alias: str) -> bool:
    """Move a content; False when it was changed meanwhile."""
    data = store_of(content.storage).read(content)
    digest = hashlib.sha256(data).hexdigest()
    if not content.encoding and digest != content.image_hash:
        raise ObjectDamaged(f"the bytes of {content} are others", is_passing=False)
    copy = ImageContent(name=key_of(content.image_hash, content.mime_type))
    if alias == DATABASE:
        store_of(alias).put(copy, data)
        return _switch(content, copy, None, digest)
    placed = place(copy, data, alias, _database())
    try:
        _compare(store_of(alias).read(copy), digest, copy)
    except StorageError:
        release([placed], _database())
        raise
    return _switch(content, copy, placed, digest)


def _switch(
    content: ImageContent,
    copy: ImageContent,
    placed: Placed | None,
    digest: str,
) -> bool:
    using = _database()
    with bounded_transaction(using):
        row = _contents().filter(
            pk=content.pk, storage=content.storage, name=content.name
        )
        is_switched = row.update(
            storage=copy.storage,
            name=copy.name,
            stored_size=copy.stored_size,
            data=copy.data,
        )
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


def _elsewhere(alias: str) -> models.QuerySet[ImageContent]:
    return _contents().exclude(storage=alias)


def _contents() -> models.QuerySet[ImageContent]:
    return ImageContent.objects.using(_database())


def _database() -> str:
    return router.db_for_write(ImageContent)
