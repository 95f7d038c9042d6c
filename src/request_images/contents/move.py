"""Move the bytes of contents to another storage, one content after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Count, Sum

from request_images.models import ImageContent
from request_images.models.content import contents
from request_images.models.querysets import ImageContentQuerySet
from request_images.storage.stores import store_of

from .iterate import work_through
from .swap import Form, read_whole, swap


@dataclass
class Moved:
    """The contents that were moved, with their size as stored, and the others.

    Those that changed were deleted or changed by another process meanwhile.
    """

    contents: int = 0
    size: int = 0
    changed: int = 0
    failed: int = 0

    @property
    def seen(self) -> int:
        """All contents that were looked at."""
        return self.contents + self.changed + self.failed


def preview(alias: str) -> Moved:
    """Return what `move` would move now. Nothing is written, no bytes are read.

    Raises:
        StorageError: There is no such storage, or it cannot be made.
    """
    store_of(alias).check()
    total = _elsewhere(alias).aggregate(count=Count("pk"), size=Sum("stored_size"))
    return Moved(total["count"], total["size"] or 0)


def move(
    alias: str,
    *,
    batch_size: int,
    on_progress: Callable[[Moved], None] = lambda moved: None,
    on_error: Callable[[ImageContent, Exception], None] = lambda content, error: None,
) -> Moved:
    """Move every content that is stored elsewhere, in the form in which it is stored.

    Args:
        alias: The storage alias; the empty string for the database.
        batch_size: Contents to look up with one query.
        on_progress: Called after each content with the totals so far.
        on_error: Called with each content that could not be moved, and the error.

    Raises:
        StorageError: A storage failed several times in a row.
        django.db.Error: The database failed several times in a row.
    """
    moved = Moved()
    rows = _elsewhere(alias).defer("thumbnail")
    for content, is_moved in work_through(
        rows, lambda each: _move(each, alias), on_error, batch_size=batch_size
    ):
        if is_moved is None:
            moved.failed += 1
        elif is_moved:
            moved.contents += 1
            moved.size += content.stored_size
        else:
            moved.changed += 1
        on_progress(moved)
    return moved


def _move(content: ImageContent, alias: str) -> bool:
    """Move a content; return False if it was deleted or changed meanwhile."""
    whole = read_whole(content)
    if whole is None:
        return False
    form = Form(whole.stored, alias, content.encoding, content.received_size)
    return swap(content, form)


def _elsewhere(alias: str) -> ImageContentQuerySet:
    return contents().exclude(storage=alias)
