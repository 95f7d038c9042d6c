"""Bytes into a storage before their row is written, so that a crash leaves no orphan.

First the list of what is to be deleted names the object, then the object is written,
and then one transaction inserts its row and takes it off the list. Whatever is killed
in between, the object is on the list or has its row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from request_images.db.transactions import bounded_transaction
from request_images.exceptions import ObjectClaimed
from request_images.models.pending_deletions import PendingDeletion, note_for_deletion
from request_images.storage.stores import Content, store_of

HOURS = 1
"""How long an object may wait for its row."""


@dataclass(frozen=True)
class Placed:
    """An object in a storage whose row is not inserted yet.

    Attributes:
        name: The object's name.
        pending: The primary key of its entry in the list.
    """

    name: str
    pending: int


def place(content: Content, data: bytes, alias: str, using: str) -> Placed:
    """Put bytes into a storage, with an entry in the list that is committed before.

    Args:
        content: The unsaved row, with the name that its object is to have.
        data: The bytes.
        alias: The storage's alias.
        using: The database of the list.

    Raises:
        StorageError: The storage did not take them.
        django.db.Error: The database did not take the entry.
    """
    store = store_of(alias)
    store.check()  # a storage that is left alone just now costs no entry
    name = content.name
    with bounded_transaction(using):
        entry = PendingDeletion.objects.using(using).create(
            storage=alias, name=name, due_at=timezone.now() + timedelta(hours=HOURS)
        )
    store.put(content, data)
    if content.name != name:  # a storage may choose another
        renamed = _entries(using).filter(pk=entry.pk, tries=0).update(name=content.name)
        if not renamed:  # it took so long that the first name is being deleted
            note_for_deletion([(alias, content.name)], using)
    return Placed(content.name, entry.pk)


def take_over(placed: Placed, using: str) -> None:
    """Take an object off the list, in the transaction that writes its row.

    Raises:
        ObjectClaimed: Somebody deletes it, or has deleted it.
    """
    # Whoever deletes an object has raised the tries before, and committed that.
    taken, _ = _entries(using).filter(pk=placed.pending, tries=0).delete()
    if not taken:
        raise ObjectClaimed(f"{placed.name} is being deleted")


def release(placed: Iterable[Placed], using: str) -> None:
    """Have objects deleted soon that get no row."""
    pks = [one.pending for one in placed]
    if pks:
        _entries(using).filter(pk__in=pks).update(due_at=timezone.now())


def _entries(using: str) -> Any:
    return PendingDeletion.objects.using(using)
