"""A thumbnail of each content: made once for all processes, kept; so is the failure."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import islice

from django.db import DatabaseError, router
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from .columns import clean_text
from .conf import conf
from .exceptions import StorageError, ThumbnailError, ThumbnailNotYet
from .faults import Fault, fault_of
from .health import report
from .models import ImageContent
from .thumbnails import make_thumbnail

WAIT_SECONDS = 2.0
"""How long somebody waits for what else this process draws."""

CLAIM_SECONDS = 60
"""Whoever began longer ago and left no answer was killed."""

MAX_TRIES = 3
"""After so many that left no answer, nobody tries again."""

GAVE_UP = f"tried {MAX_TRIES} times, and each time the process ended meanwhile"


def _forget() -> None:
    """Let nobody draw: who held the lock is not there in the child of a fork."""
    global _one_thumbnail  # noqa: PLW0603  # one for each process
    _one_thumbnail = threading.Lock()


_one_thumbnail: threading.Lock
_forget()
os.register_at_fork(after_in_child=_forget)


class Fate(Enum):
    """What became of an attempt to draw."""

    MADE = "made"
    IMPOSSIBLE = "impossible"
    SKIPPED = "skipped"


@dataclass
class Drawn:
    """How many contents came to which end.

    Attributes:
        made: Those that have a thumbnail now.
        impossible: Those of which none can be made, as is known now.
        skipped: Those that another one draws or has drawn, that cleanup took away, or
            whose row was locked or bytes not to be read at present.
    """

    made: int = 0
    impossible: int = 0
    skipped: int = 0


def thumbnail_of(pk: int, *, wait: float = WAIT_SECONDS) -> bytes | None:
    """Return the thumbnail of a content, made now if it never was.

    It is made once: the result is kept, and so is the failure. One at a time in this
    process (decoding takes memory), by one process only (which says so on the row),
    and outside any transaction of ours (it takes time, and nobody may wait for a lock
    meanwhile).

    Args:
        pk: The content's primary key.
        wait: How many seconds to wait for what else this process draws.

    Returns:
        The bytes of a WebP, or None when no thumbnail can be made.

    Raises:
        ImageContent.DoesNotExist: The content is gone.
        ThumbnailNotYet: Somebody draws it, too many others are before it, or the
            database has no time for it.
        StorageError: The storage does not answer, or has lost the bytes.
    """
    content: ImageContent = ImageContent.objects.defer("data").get(pk=pk)
    if not content.has_thumbnail_answer:
        content, _is_ours = _draw(pk, wait)
    return None if content.thumbnail is None else bytes(content.thumbnail)


def draw(pk: int, *, wait: float = WAIT_SECONDS) -> Fate:
    """Make the thumbnail of a content ahead of time; say what became of it.

    Args:
        pk: The content's primary key.
        wait: How many seconds to wait for what else this process draws.
    """
    try:
        content, is_ours = _draw(pk, wait)
    except (ImageContent.DoesNotExist, ThumbnailNotYet):
        return Fate.SKIPPED
    except StorageError as error:
        report("thumbnail", error)
        return Fate.SKIPPED
    if not is_ours:
        return Fate.SKIPPED
    return Fate.IMPOSSIBLE if content.thumbnail is None else Fate.MADE


def draw_missing(*, oldest_first: bool, limit: int | None, batch_size: int) -> Drawn:
    """Make the thumbnails of all contents that have neither one nor a refusal.

    Args:
        oldest_first: The order; otherwise the newest come first.
        limit: How many contents to look at, at the most; None for all.
        batch_size: How many primary keys to fetch with one query.
    """
    drawn = Drawn()
    for pk in islice(_missing(oldest_first, batch_size), limit):
        fate = draw(pk).value
        setattr(drawn, fate, getattr(drawn, fate) + 1)
    return drawn


def _missing(oldest_first: bool, batch_size: int) -> Iterator[int]:
    order, beyond = ("pk", "pk__gt") if oldest_first else ("-pk", "pk__lt")
    rows = _unanswered().order_by(order)
    batch = rows
    while True:
        # The keys alone: neither bytes nor thumbnails are loaded.
        pks = list(batch.values_list("pk", flat=True)[:batch_size])
        yield from pks
        if len(pks) < max(1, batch_size):
            return
        batch = rows.filter(**{beyond: pks[-1]})


def _rows() -> QuerySet[ImageContent]:
    return ImageContent.objects.using(router.db_for_write(ImageContent))


def _unanswered() -> QuerySet[ImageContent]:
    return _rows().filter(thumbnail__isnull=True, thumbnail_error="")


def _draw(pk: int, wait: float) -> tuple[ImageContent, bool]:
    """Return a content with its answer, and whether it was found here and now."""
    turn = _one_thumbnail
    if not turn.acquire(timeout=wait):
        raise ThumbnailNotYet("this process draws others")
    try:
        return _draw_alone(pk)
    except DatabaseError as error:
        if fault_of(error) not in (Fault.BUSY, Fault.CONFLICT):
            raise
        raise ThumbnailNotYet("the database is busy") from error
    finally:
        turn.release()


def _draw_alone(pk: int) -> tuple[ImageContent, bool]:
    # Another thread may have made it while this one waited.
    content = _rows().defer("data").get(pk=pk)
    if content.has_thumbnail_answer:
        return content, False
    if _is_claimed(content):
        _answer(content)
    return content, True


def _is_claimed(content: ImageContent) -> bool:
    """Put our name on a content, so to speak; False when nobody is to draw it again.

    Raises:
        ThumbnailNotYet: Another process has begun.
    """
    now = timezone.now()
    began_long_ago = Q(thumbnail_tried_at__lt=now - timedelta(seconds=CLAIM_SECONDS))
    idle = (
        _unanswered()
        .filter(Q(thumbnail_tried_at__isnull=True) | began_long_ago)
        .filter(pk=content.pk)
    )
    # One statement, which the database lets only one of several change the row.
    if idle.filter(thumbnail_tries__lt=MAX_TRIES).update(
        thumbnail_tries=F("thumbnail_tries") + 1, thumbnail_tried_at=now
    ):
        return True
    if idle.filter(thumbnail_tries__gte=MAX_TRIES).update(thumbnail_error=GAVE_UP):
        content.thumbnail_error = GAVE_UP
        return False
    raise ThumbnailNotYet("another process has begun to draw it")


def _answer(content: ImageContent) -> None:
    """Draw, and keep the thumbnail or why there is none."""
    try:
        content.thumbnail = make_thumbnail(
            _read(content),
            size=conf.THUMBNAIL_SIZE,
            max_pixels=conf.THUMBNAIL_MAX_PIXELS,
            max_bytes=conf.THUMBNAIL_MAX_MEMORY_MB * 1024 * 1024,
        )
    except ThumbnailError as error:
        content.thumbnail_error = clean_text(error, 200)
    except KeyboardInterrupt:
        # It was no try either: who stops a command says nothing about the image.
        _unclaim(content, thumbnail_tried_at=None)
        raise
    # Not `save()`: cleanup may have taken the row meanwhile, which is no error.
    _rows().filter(pk=content.pk).update(
        thumbnail=content.thumbnail, thumbnail_error=content.thumbnail_error
    )


def _read(content: ImageContent) -> bytes:
    try:
        # Anew, where they are and all: they may have been moved meanwhile.
        return _rows().defer("thumbnail").get(pk=content.pk).read()
    except ImageContent.DoesNotExist:  # cleanup was quicker
        raise
    except StorageError as error:
        # It was no try: that a storage does not answer says nothing about the image.
        if not _unclaim(content, thumbnail_tried_at=None):
            raise ImageContent.DoesNotExist from error
        raise
    except Exception as error:
        report("thumbnail", error)
        _unclaim(content)
        raise ThumbnailNotYet("its bytes cannot be read at present") from error


def _unclaim(content: ImageContent, **values: None) -> int:
    tried = _rows().filter(pk=content.pk, thumbnail_tries__gt=0)
    return tried.update(thumbnail_tries=F("thumbnail_tries") - 1, **values)
