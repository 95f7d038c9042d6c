"""The table of what is to be deleted: objects in storages that nothing refers to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.db.primary import PrimaryQuerySet

from .fields import Number, Text, Time


class PendingDeletion(models.Model):
    """An object in a storage that no content refers to, or does not refer to yet.

    It is inserted before the object is written, and in the transaction that deletes a
    content. It is deleted after the object is, or when a content refers to it. So each
    object has a content or a row here, whenever the process is killed.
    """

    storage: Text = models.CharField(_("storage alias"), max_length=63)
    name: Text = models.CharField(_("name in the storage"), max_length=255)
    created_at: Time = models.DateTimeField(
        _("time"), default=timezone.now, editable=False
    )
    due_at: Time = models.DateTimeField(_("due"), db_index=True)
    tries: Number = models.PositiveIntegerField(_("attempts"), default=0, db_default=0)
    error: Text = models.CharField(
        _("last error"), max_length=200, blank=True, default="", db_default=""
    )

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        verbose_name = _("pending deletion")
        verbose_name_plural = _("pending deletions")
        indexes = (models.Index(fields=["storage", "name"], name="pending_object"),)

    def __str__(self) -> str:
        return f"{self.storage}:{self.name}"


def schedule_deletions(
    objects: Iterable[tuple[str, str]], using: str, *, after: timedelta = timedelta(0)
) -> None:
    """Have objects deleted by the next cleanup.

    Args:
        objects: The storage alias and the name of each object.
        using: The database.
        after: How long the objects must stay readable.
    """
    due_at = timezone.now() + after
    PendingDeletion.objects.using(using).bulk_create(
        [PendingDeletion(storage=s, name=n, due_at=due_at) for s, n in objects],
        batch_size=500,
    )


@dataclass(frozen=True)
class Pending:
    """The number of objects to delete, the oldest's time, and the most attempts."""

    number: int = 0
    since: datetime | None = None
    tries: int = 0


def pending_deletions(using: str) -> Pending:
    """Return the totals of the objects that are to be deleted."""
    totals = PendingDeletion.objects.using(using).aggregate(
        number=models.Count("pk"),
        since=models.Min("created_at"),
        tries=models.Max("tries", default=0),
    )
    return Pending(**totals)
