"""Move the bytes of contents from one store to another, one content after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import models, router
from django.db.models import Count, Sum

from request_images.models import ImageContent
from request_images.storage.stores import store_of

from .iterate import work_through
from .swap import Form, read_whole, swap


@dataclass
class Moved:
    """What a move did, or would do.

    Attributes:
        contents: Contents that were moved.
        size: Their bytes, as stored.
        changed: Contents that went meanwhile, or were changed by another run.
        failed: Contents that stay where they are, because something went wrong.
    """

    contents: int = 0
    size: int = 0
    changed: int = 0
    failed: int = 0


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
    tell: Callable[[Moved], None] = lambda moved: None,
    complain: Callable[[ImageContent, Exception], None] = lambda content, error: None,
) -> Moved:
    """Move every content that is not in a store yet, in the form in which it is kept.

    Args:
        alias: The storage alias; the empty string for the database.
        batch_size: How many contents are looked up at once.
        tell: Called behind each content with what was done so far.
        complain: Called with each content that could not be moved, and why not.

    Raises:
        StorageError: A storage failed several times in a row.
        django.db.Error: The database did.
    """
    moved = Moved()
    rows = _elsewhere(alias).defer("thumbnail")
    for content, is_moved in work_through(
        rows, lambda each: _move(each, alias), complain, batch_size=batch_size
    ):
        if is_moved is None:
            moved.failed += 1
        elif is_moved:
            moved.contents += 1
            moved.size += content.stored_size
        else:
            moved.changed += 1
        tell(moved)
    return moved


def _move(content: ImageContent, alias: str) -> bool:
    """Move a content; False when it went, or was changed, meanwhile."""
    whole = read_whole(content)
    if whole is None:
        return False
    form = Form(whole.stored, alias, content.encoding, content.received_size)
    return swap(content, form)


def _elsewhere(alias: str) -> models.QuerySet[ImageContent]:
    contents = ImageContent.objects.using(router.db_for_write(ImageContent))
    return contents.exclude(storage=alias)
