"""Delete the files in storages (S3 …) that no content refers to any more.

Their names come from the table `PendingDeletion`. No transaction is open and no lock
is held while a storage answers. A run that is killed leaves the rest to the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from django.db.models import F, QuerySet
from django.utils import timezone

from request_images.db.columns import clean_text
from request_images.db.walk import chunks
from request_images.exceptions import StorageError
from request_images.health import report
from request_images.models import PendingDeletion
from request_images.models.content import contents
from request_images.storage.stores import store_of

FAILURES = 3
"""Failures in a row after which a storage is left alone for the rest of a run."""

_LONGEST_PAUSE = timedelta(days=1)


@dataclass
class Deletion:
    """The objects that a run deleted or could not delete, and those still pending."""

    deleted: int = 0
    failed: int = 0
    pending: int = 0


class _Entry(NamedTuple):
    due_at: datetime
    pk: int
    storage: str
    name: str
    tries: int


def delete_pending(
    limit: int | None = None, *, beat: Callable[[], None] = lambda: None
) -> Deletion:
    """Delete the objects that are due, except those that a content refers to.

    A later run tries again what failed: after two minutes, then after twice as long
    each time, up to a day.

    Args:
        limit: Objects to try; None for all that are due.
        beat: Called before each object; what it raises ends the run.
    """
    result, failures = Deletion(), Counter[str]()
    for entry in islice(_due(failures), limit):
        beat()
        if not _claim(entry):
            continue  # another run deletes it, or it has its row by now
        row = _entries().filter(pk=entry.pk)
        if _is_referred_to(entry):
            row.delete()
            continue
        try:
            store_of(entry.storage).delete(entry.name)
        except StorageError as error:
            report("deletion", error)
            row.update(error=clean_text(error, 200))
            failures[entry.storage] += 1
            result.failed += 1
        else:
            row.delete()
            failures[entry.storage] = 0
            result.deleted += 1
    result.pending = _entries().count()
    return result


def _due(failures: Counter[str]) -> Iterator[_Entry]:
    now = timezone.now()

    def reachable() -> QuerySet[PendingDeletion]:
        failing = [alias for alias, count in failures.items() if count >= FAILURES]
        return _entries().filter(due_at__lte=now).exclude(storage__in=failing)

    fields = ("storage", "name", "tries")
    for chunk in chunks(reachable, *fields, order=("due_at", "pk")):
        for entry in map(_Entry._make, chunk):
            if failures[entry.storage] < FAILURES:
                yield entry


def _claim(entry: _Entry) -> bool:
    """Claim an object for this run, so that no row is written for it now."""
    minutes = 2 ** min(entry.tries + 1, 12)
    pause = min(timedelta(minutes=minutes), _LONGEST_PAUSE)
    same = _entries().filter(pk=entry.pk, tries=entry.tries, due_at=entry.due_at)
    return bool(same.update(tries=F("tries") + 1, due_at=timezone.now() + pause))


def _is_referred_to(entry: _Entry) -> bool:
    return contents().filter(storage=entry.storage, name=entry.name).exists()


def _entries() -> QuerySet[PendingDeletion]:
    return PendingDeletion.objects.primary()
