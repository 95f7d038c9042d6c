"""Derive something from each content, by one process only; keep it, or why it failed.

What is derived: thumbnails (`thumbnails.py`) and measures (`analysis.py`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import chain, islice
from typing import Any

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from request_images.db.errors import Fault, fault_of
from request_images.db.walk import chunks
from request_images.exceptions import (
    DecoderKilled,
    DecoderUnavailable,
    NotYet,
    PictureRefused,
    StorageError,
)
from request_images.health import report
from request_images.models import ImageContent
from request_images.models.content import contents

from .attempts import Attempts

WAIT_SECONDS = 2.0
"""How long a caller waits while this process decodes other images."""

CLAIM_SECONDS = 60
"""A claim that is older and left no answer belongs to a process that was killed."""


def _reset_lock() -> None:
    """Make a new lock: after a fork nobody would release the parent's."""
    global _one_picture  # noqa: PLW0603  # one for each process
    _one_picture = threading.Lock()


_one_picture: threading.Lock
_reset_lock()
os.register_at_fork(after_in_child=_reset_lock)


@dataclass(frozen=True)
class Derivation:
    """Something that is derived from the bytes of each content.

    Attributes:
        name: The prefix of its columns: ``<name>_tries``, ``<name>_tried_at`` and
            ``<name>_error``, which says why there is no result. Faults are counted
            under this name.
        due: The condition that a content has neither a result nor an error.
        blank: The values of its other columns while there is no result.
        make: Returns the columns that have a value. Raises `PictureRefused`.
    """

    name: str
    due: Q
    blank: Mapping[str, Any]
    make: Callable[[bytes], Mapping[str, Any]]

    @property
    def attempts(self) -> Attempts:
        """The attempts at it, counted on each content."""
        return Attempts(self.name)

    def refusal(self, *text: object) -> Mapping[str, Any]:
        """Return its columns when there is no result, with the reason."""
        return {**self.blank, **self.attempts.refusal(*text)}


class Fate(Enum):
    """The result of one attempt."""

    MADE = "made"
    IMPOSSIBLE = "impossible"
    SKIPPED = "skipped"
    """Another process derives it or has done so, the content is gone, its row was
    locked, or its bytes could not be read."""


def derive(
    what: Derivation, pk: int, *, wait: float = WAIT_SECONDS
) -> Mapping[str, Any] | None:
    """Derive something from a content and keep it, or keep why that is impossible.

    One at a time in this process (decoding takes memory), by one process only (which
    claims the row), and outside of any transaction (decoding takes time, and nobody
    should wait for a lock meanwhile).

    Args:
        what: What to derive.
        pk: The content's primary key.
        wait: Seconds to wait while this process decodes other images.

    Returns:
        The columns that were written; None if there was an answer already.

    Raises:
        ImageContent.DoesNotExist: The content is gone.
        NotYet: Another process is at it, others are before it, or the database is busy.
        StorageError: The storage does not answer, or has lost the bytes.
    """
    lock = _one_picture
    if not lock.acquire(timeout=wait):
        raise NotYet("this process is busy with other images")
    try:
        return _derive_alone(what, pk)
    except DatabaseError as error:
        if fault_of(error) not in (Fault.BUSY, Fault.CONFLICT):
            raise
        raise NotYet("the database is busy") from error
    finally:
        lock.release()


def try_to_derive(what: Derivation, pk: int, *, wait: float = WAIT_SECONDS) -> Fate:
    """Derive something from a content ahead of time, and return how that went."""
    try:
        answer = derive(what, pk, wait=wait)
    except (ImageContent.DoesNotExist, NotYet):
        return Fate.SKIPPED
    except StorageError as error:
        report(what.name, error)
        return Fate.SKIPPED
    if answer is None:
        return Fate.SKIPPED
    return Fate.IMPOSSIBLE if answer[f"{what.name}_error"] else Fate.MADE


def derive_missing(
    what: Derivation, *, oldest_first: bool, limit: int | None, batch_size: int
) -> Iterator[Fate]:
    """Derive something from all contents that have neither a result nor an error."""
    order = "pk" if oldest_first else "-pk"
    # The keys alone: neither bytes nor results are loaded.
    walk = chunks(contents().filter(what.due), order=(order,), size=batch_size)
    for (pk,) in islice(chain.from_iterable(walk), limit):
        yield try_to_derive(what, pk)


def count_missing(what: Derivation) -> int:
    """Return how many contents have neither a result nor an error."""
    return contents().filter(what.due).count()


def _derive_alone(what: Derivation, pk: int) -> Mapping[str, Any] | None:
    # Another thread may have derived it while this one waited.
    rows = contents().filter(pk=pk)
    if not rows.filter(what.due).exists():
        if not rows.exists():
            raise ImageContent.DoesNotExist
        return None
    return _answer(what, pk) if _claim(what, pk) else what.refusal()


def _claim(what: Derivation, pk: int) -> bool:
    """Claim the content for this process; False if its attempts are used up.

    Raises:
        NotYet: Another process has claimed it.
    """
    tried_at, now = f"{what.name}_tried_at", timezone.now()
    unclaimed = Q(**{f"{tried_at}__isnull": True})
    killed = Q(**{f"{tried_at}__lt": now - timedelta(seconds=CLAIM_SECONDS)})
    idle = contents().filter(what.due, unclaimed | killed, pk=pk)
    if what.attempts.begin(idle, **{tried_at: now}):
        return True
    if idle.exclude(what.attempts.are_left).update(**what.refusal()):
        return False
    raise NotYet("another process has begun")


def _answer(what: Derivation, pk: int) -> Mapping[str, Any]:
    """Derive it, and keep the result or the reason why there is none."""
    answer: Mapping[str, Any]
    try:
        made = what.make(_read(what, pk))
        answer = {**what.blank, f"{what.name}_error": "", **made}
    except PictureRefused as error:
        answer = what.refusal(error)
    except DecoderUnavailable as error:
        report(what.name, error)
        # For lack of memory, say: the picture may be the reason, so it was an attempt.
        if not isinstance(error, DecoderKilled):
            _unclaim(what, pk)
        raise NotYet(str(error)) from error
    except KeyboardInterrupt:
        # Not an attempt: stopping a command says nothing about the image.
        _unclaim(what, pk)
        raise
    # Not `save()`: the row may be gone by now, which is no error.
    contents().filter(pk=pk).update(**answer)
    return answer


def _read(what: Derivation, pk: int) -> bytes:
    try:
        # Load the whole row again: the bytes may have been moved meanwhile.
        content: ImageContent = contents().defer("thumbnail").get(pk=pk)
        return content.read()
    except ImageContent.DoesNotExist:
        raise
    except StorageError as error:
        # Not an attempt: a silent storage says nothing about the image.
        if not _unclaim(what, pk):
            raise ImageContent.DoesNotExist from error
        raise
    except Exception as error:
        report(what.name, error)
        # The claim stays, so that the next attempt waits for its end.
        what.attempts.withdraw(contents().filter(pk=pk))
        raise NotYet("its bytes cannot be read at present") from error


def _unclaim(what: Derivation, pk: int) -> bool:
    free = {f"{what.name}_tried_at": None}
    return what.attempts.withdraw(contents().filter(pk=pk), **free)
