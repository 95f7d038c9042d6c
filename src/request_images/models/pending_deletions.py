"""The tables of our own housekeeping: what is to be deleted, and who is at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class PendingDeletion(models.Model):
    """An object in a storage that no content refers to, or not yet.

    Written before an object is, and in the transaction that takes a content away; gone
    when the object is, or when a content refers to it. So whatever is killed when, each
    object is either referred to or in this list.
    """

    storage = models.CharField(_("storage alias"), max_length=63)
    name = models.CharField(_("name in the storage"), max_length=255)
    created_at = models.DateTimeField(_("time"), default=timezone.now, editable=False)
    due_at = models.DateTimeField(_("due"), db_index=True)
    tries = models.PositiveIntegerField(_("tries"), default=0)
    error = models.CharField(_("last error"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("pending deletion")
        verbose_name_plural = _("pending deletions")
        indexes = (models.Index(fields=["storage", "name"], name="pending_object"),)

    def __str__(self) -> str:
        return f"{self.storage}:{self.name}"


def note_for_deletion(
    objects: Iterable[tuple[str, str]], using: str, *, after: timedelta = timedelta(0)
) -> None:
    """Put objects onto the list of what is to be deleted.

    Args:
        objects: The storage alias and the name of each.
        using: The database of the list.
        after: How long they may still be read.
    """
    due_at = timezone.now() + after
    PendingDeletion.objects.using(using).bulk_create(
        [PendingDeletion(storage=s, name=n, due_at=due_at) for s, n in objects],
        batch_size=500,
    )


@dataclass(frozen=True)
class Pending:
    """How long the list is of what is to be deleted.

    Attributes:
        number: How many objects are on it.
        since: When the first of them came onto it; None for none.
        tries: How often one of them was tried, at the most.
    """

    number: int = 0
    since: datetime | None = None
    tries: int = 0


def pending_deletions(using: str) -> Pending:
    """Return how long the list is, and how old.

    Args:
        using: The database of the list.
    """
    found = PendingDeletion.objects.using(using).aggregate(
        number=models.Count("pk"),
        since=models.Min("created_at"),
        most=models.Max("tries"),
    )
    return Pending(found["number"], found["since"], found["most"] or 0)
