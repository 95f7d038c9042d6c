"""What is made of each content, once for all processes; kept, and so is the failure."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import Any

from django.db import DatabaseError, router
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from request_images.db.columns import clean_text
from request_images.db.errors import Fault, fault_of
from request_images.exceptions import NotYet, PictureRefused, StorageError
from request_images.health import report
from request_images.models import ImageContent

WAIT_SECONDS = 2.0
"""How long somebody waits for what else this process makes."""

CLAIM_SECONDS = 60
"""Whoever began longer ago and left no answer was killed."""

MAX_TRIES = 3
"""After so many that left no answer, nobody tries again."""

GAVE_UP = f"tried {MAX_TRIES} times, and each time the process ended meanwhile"


def _forget() -> None:
    """Let nobody be at it: who held the lock is not there in the child of a fork."""
    global _one_picture  # noqa: PLW0603  # one for each process
    _one_picture = threading.Lock()


_one_picture: threading.Lock
_forget()
os.register_at_fork(after_in_child=_forget)


@dataclass(frozen=True)
class Derivation:
    """Something that is made of the bytes of each content.

    Attributes:
        name: What its columns begin with: ``<name>_tries``, ``<name>_tried_at`` and
            ``<name>_error``, which says why there is none. Faults are counted by it.
        due: Which contents have neither it nor a refusal.
        blank: Columns that every answer writes, as they are without it.
        make: Returns those columns that have a value. Raises `PictureRefused`.
    """

    name: str
    due: Q
    blank: Mapping[str, Any]
    make: Callable[[bytes], Mapping[str, Any]]


class Fate(Enum):
    """What became of an attempt to make something of a content.

    Attributes:
        MADE: It is there now.
        IMPOSSIBLE: None can be made, as is known now.
        SKIPPED: Another one makes or has made it, cleanup took the content away, or
            its row was locked or its bytes not to be read at present.
    """

    MADE = "made"
    IMPOSSIBLE = "impossible"
    SKIPPED = "skipped"


def derive(
    what: Derivation, pk: int, *, wait: float = WAIT_SECONDS
) -> Mapping[str, Any] | None:
    """Make something of a content and keep it, or keep why there is none.

    One at a time in this process (decoding takes memory), by one process only (which
    says so on the row), and outside any transaction of ours (it takes time, and nobody
    may wait for a lock meanwhile).

    Args:
        what: What is to be made.
        pk: The content's primary key.
        wait: How many seconds to wait for what else this process makes.

    Returns:
        The columns that were written; None when there was an answer already.

    Raises:
        ImageContent.DoesNotExist: The content is gone.
        NotYet: Somebody is at it, too many others are before it, or the database has
            no time for it.
        StorageError: The storage does not answer, or has lost the bytes.
    """
    turn = _one_picture
    if not turn.acquire(timeout=wait):
        raise NotYet("this process is at others")
    try:
        return _derive_alone(what, pk)
    except DatabaseError as error:
        if fault_of(error) not in (Fault.BUSY, Fault.CONFLICT):
            raise
        raise NotYet("the database is busy") from error
    finally:
        turn.release()


def try_to_derive(what: Derivation, pk: int, *, wait: float = WAIT_SECONDS) -> Fate:
    """Make something of a content ahead of time; say what became of it.

    Args:
        what: What is to be made.
        pk: The content's primary key.
        wait: How many seconds to wait for what else this process makes.
    """
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
    """Make something of all contents that have neither it nor a refusal.

    Args:
        what: What is to be made.
        oldest_first: The order; otherwise the newest come first.
        limit: How many contents to look at, at the most; None for all.
        batch_size: How many primary keys to fetch with one query.

    Yields:
        What became of each.
    """
    for pk in islice(_missing(what, oldest_first, batch_size), limit):
        yield try_to_derive(what, pk)


def count_missing(what: Derivation) -> int:
    """Return how many contents have neither it nor a refusal."""
    return _rows().filter(what.due).count()


def _missing(what: Derivation, oldest_first: bool, batch_size: int) -> Iterator[int]:
    order, beyond = ("pk", "pk__gt") if oldest_first else ("-pk", "pk__lt")
    rows = _rows().filter(what.due).order_by(order)
    batch = rows
    while True:
        # The keys alone: neither bytes nor what was made of them is loaded.
        pks = list(batch.values_list("pk", flat=True)[:batch_size])
        yield from pks
        if len(pks) < max(1, batch_size):
            return
        batch = rows.filter(**{beyond: pks[-1]})


def _rows() -> QuerySet[ImageContent]:
    return ImageContent.objects.using(router.db_for_write(ImageContent))


def _derive_alone(what: Derivation, pk: int) -> Mapping[str, Any] | None:
    # Another thread may have made it while this one waited.
    rows = _rows().filter(pk=pk)
    if not rows.filter(what.due).exists():
        if not rows.exists():
            raise ImageContent.DoesNotExist
        return None
    if _is_claimed(what, pk):
        return _answer(what, pk)
    return _refusal(what, GAVE_UP)


def _is_claimed(what: Derivation, pk: int) -> bool:
    """Put our name on a content, so to speak; False when nobody is to try it again.

    Raises:
        NotYet: Another process has begun.
    """
    now, name = timezone.now(), what.name
    never = Q(**{f"{name}_tried_at__isnull": True})
    killed = Q(**{f"{name}_tried_at__lt": now - timedelta(seconds=CLAIM_SECONDS)})
    idle = _rows().filter(what.due, never | killed, pk=pk)
    # One statement, which the database lets only one of several change the row.
    tried = {f"{name}_tries": F(f"{name}_tries") + 1, f"{name}_tried_at": now}
    if idle.filter(**{f"{name}_tries__lt": MAX_TRIES}).update(**tried):
        return True
    spent = idle.filter(**{f"{name}_tries__gte": MAX_TRIES})
    if spent.update(**_refusal(what, GAVE_UP)):
        return False
    raise NotYet("another process has begun")


def _refusal(what: Derivation, text: object) -> Mapping[str, Any]:
    return {**what.blank, f"{what.name}_error": clean_text(text, 200)}


def _answer(what: Derivation, pk: int) -> Mapping[str, Any]:
    """Make it, and keep it or why there is none."""
    answer: Mapping[str, Any]
    try:
        made = what.make(_read(what, pk))
        answer = {**what.blank, f"{what.name}_error": "", **made}
    except PictureRefused as error:
        answer = _refusal(what, error)
    except KeyboardInterrupt:
        # It was no try either: who stops a command says nothing about the image.
        _unclaim(what, pk, is_free=True)
        raise
    # Not `save()`: cleanup may have taken the row meanwhile, which is no error.
    _rows().filter(pk=pk).update(**answer)
    return answer


def _read(what: Derivation, pk: int) -> bytes:
    try:
        # Anew, where they are and all: they may have been moved meanwhile.
        return _rows().defer("thumbnail").get(pk=pk).read()
    except ImageContent.DoesNotExist:  # cleanup was quicker
        raise
    except StorageError as error:
        # It was no try: that a storage does not answer says nothing about the image.
        if not _unclaim(what, pk, is_free=True):
            raise ImageContent.DoesNotExist from error
        raise
    except Exception as error:
        report(what.name, error)
        _unclaim(what, pk, is_free=False)
        raise NotYet("its bytes cannot be read at present") from error


def _unclaim(what: Derivation, pk: int, *, is_free: bool) -> int:
    name = what.name
    values: dict[str, Any] = {f"{name}_tries": F(f"{name}_tries") - 1}
    if is_free:
        values[f"{name}_tried_at"] = None
    return _rows().filter(**{"pk": pk, f"{name}_tries__gt": 0}).update(**values)
