"""Delete the objects that no content refers to any more, with patience.

No transaction is open and no lock is held while a storage answers. A run that is killed
has deleted objects, or not; the list says so, and the next run goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import models, router
from django.db.models import F
from django.utils import timezone

from request_images.db.columns import clean_text
from request_images.exceptions import StorageError
from request_images.health import report
from request_images.models import ImageContent
from request_images.models.pending_deletions import PendingDeletion
from request_images.storage.stores import store_of

FAILURES = 3
"""After so many failures in a row, a storage is left alone for the rest of a run."""

_BATCH = 200
_LONGEST = timedelta(days=1)


@dataclass
class Deletion:
    """What became of the list of objects that are to be deleted.

    Attributes:
        deleted: Objects that were deleted just now.
        failed: Objects that could not be deleted now; they are tried again.
        pending: Objects that are on the list still, those that are not due included.
    """

    deleted: int = 0
    failed: int = 0
    pending: int = 0


def delete_pending(
    limit: int | None = None, *, beat: Callable[[], None] = lambda: None
) -> Deletion:
    """Delete the objects that are due.

    Never one that a content refers to. What fails is tried again by a later run: after
    two minutes, then after twice as long each time, up to a day.

    Args:
        limit: How many objects to try at the most; None for all that are due.
        beat: Called before each; what it raises ends the run.
    """
    result, failures = Deletion(), Counter[str]()
    for entry in _due(limit, failures):
        beat()
        if not _claim(entry):
            continue  # another run, or it has its row by now
        if _is_referred_to(entry):
            _entries().filter(pk=entry.pk).delete()
            continue
        try:
            store_of(entry.storage).delete(entry.name)
        except StorageError as error:
            report("deletion", error)
            text = clean_text(error, 200)
            _entries().filter(pk=entry.pk).update(error=text)
            failures[entry.storage] += 1
            result.failed += 1
        else:
            _entries().filter(pk=entry.pk).delete()
            failures[entry.storage] = 0
            result.deleted += 1
    result.pending = _entries().count()
    return result


def _due(limit: int | None, failures: Counter[str]) -> Iterator[PendingDeletion]:
    now, done = timezone.now(), 0
    entries = _entries().filter(due_at__lte=now).order_by("due_at", "pk")
    last: PendingDeletion | None = None
    while True:
        rest = entries.exclude(
            storage__in=[s for s, count in failures.items() if count >= FAILURES]
        )
        if last is not None:
            after = models.Q(due_at=last.due_at, pk__gt=last.pk)
            rest = rest.filter(models.Q(due_at__gt=last.due_at) | after)
        size = _BATCH if limit is None else min(_BATCH, limit - done)
        batch = list(rest[:size])
        for entry in batch:
            if failures[entry.storage] < FAILURES:
                yield entry
        if not batch:
            return
        last, done = batch[-1], done + len(batch)


def _claim(entry: PendingDeletion) -> bool:
    """Say that the object is being deleted, so that no row is written for it now."""
    pause = min(timedelta(minutes=2 ** min(entry.tries + 1, 12)), _LONGEST)
    return bool(
        _entries()
        .filter(pk=entry.pk, tries=entry.tries, due_at=entry.due_at)
        .update(tries=F("tries") + 1, due_at=timezone.now() + pause)
    )


def _is_referred_to(entry: PendingDeletion) -> bool:
    contents = ImageContent.objects.using(router.db_for_write(ImageContent))
    return contents.filter(storage=entry.storage, name=entry.name).exists()


def _entries() -> models.QuerySet[PendingDeletion]:
    return PendingDeletion.objects.using(router.db_for_write(PendingDeletion))
