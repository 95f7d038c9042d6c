"""Put bytes into a storage before their row is written, safely for a crash.

First the object's name is entered into `PendingDeletion`, then the object is written,
then one transaction inserts its row and removes the entry. Whenever the process is
killed, the object has an entry or a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from request_images.db.deadline import write_deadline
from request_images.db.limits import is_limited, not_counted
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectClaimed
from request_images.models.pending_deletions import PendingDeletion, schedule_deletions
from request_images.storage.stores import Content, store_of

HOURS = 1
"""Hours that an object may wait for its row before it is deleted."""


@dataclass(frozen=True)
class Placed:
    """An object whose row is not inserted yet, and the key of its `PendingDeletion`."""

    name: str
    pending: int


def place(content: Content, data: bytes, alias: str, using: str) -> Placed:
    """Put bytes into a storage, after their `PendingDeletion` was committed.

    The unsaved row has the name that its object should have.

    Raises:
        StorageError: The storage did not take them.
        django.db.Error: The database did not take the entry.
    """
    store = store_of(alias)
    is_awaited = is_limited()
    # A storage that is not tried at present costs no entry.
    store.check(is_awaited=is_awaited)
    name = content.name
    with write_deadline(using), bounded_transaction(using):
        entry = PendingDeletion.objects.using(using).create(
            storage=alias, name=name, due_at=timezone.now() + timedelta(hours=HOURS)
        )
    with not_counted():
        store.put(content, data, is_awaited=is_awaited)
    if content.name != name:  # a storage may choose another
        renamed = _entries(using).filter(pk=entry.pk, tries=0).update(name=content.name)
        if not renamed:  # it took too long, and the first name is being deleted
            schedule_deletions([(alias, content.name)], using)
    return Placed(content.name, entry.pk)


def take_over(placed: Placed, using: str) -> None:
    """Remove an object's entry, in the transaction that writes its row.

    Raises:
        ObjectClaimed: Another process deletes the object, or has deleted it.
    """
    # A process that deletes an object has first raised the tries and committed that.
    taken, _ = _entries(using).filter(pk=placed.pending, tries=0).delete()
    if not taken:
        raise ObjectClaimed(f"{placed.name} is being deleted")


def release(placed: Iterable[Placed], using: str) -> None:
    """Have objects without a row deleted by the next cleanup."""
    pks = [one.pending for one in placed]
    if pks:
        _entries(using).filter(pk__in=pks).update(due_at=timezone.now())


def _entries(using: str) -> Any:
    return PendingDeletion.objects.using(using)
