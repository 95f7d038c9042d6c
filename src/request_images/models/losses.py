"""The table of losses: what could be written nowhere, added up by its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from datetime import timezone as tz

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.db.primary import PrimaryQuerySet

from .fields import Number, Text, Time, TimeOrNone

REASON_LENGTH = 300
BURST = timedelta(minutes=1)
"""A loss this long after the last one of its kind is another one."""


class Loss(models.Model):
    """Requests, or images of written requests, that a process lost for one reason."""

    key: Text = models.CharField(_("key"), max_length=32, unique=True)
    since: Time = models.DateTimeField(_("since"))
    until: Time = models.DateTimeField(_("until"))
    requests: Number = models.PositiveBigIntegerField(_("requests"))
    images: Number = models.PositiveBigIntegerField(_("images"))
    reason: Text = models.CharField(_("reason"), max_length=REASON_LENGTH)
    acknowledged_at: TimeOrNone = models.DateTimeField(
        _("acknowledged"), null=True, blank=True
    )

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        verbose_name = _("loss")
        verbose_name_plural = _("losses")

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.images} images: {self.reason}"


@dataclass(frozen=True)
class LossTotal:
    """The total of one loss so far; it only grows. Times are seconds since 1970."""

    key: str
    since: float
    until: float
    requests: int
    images: int
    reason: str

    def row(self) -> Loss:
        """Return the unsaved row."""
        return Loss(
            key=self.key,
            since=moment(self.since),
            until=moment(self.until),
            requests=self.requests,
            images=self.images,
            reason=self.reason,
        )


def save_losses(totals: Iterable[LossTotal], using: str) -> None:
    """Write totals; one that is written already, or a larger one, changes nothing."""
    rows = Loss.objects.using(using)
    for total in totals:
        row = total.row()
        is_smaller = models.Q(requests__lt=row.requests) | models.Q(
            images__lt=row.images
        )
        changed = rows.filter(is_smaller, key=row.key).update(
            since=row.since,
            until=row.until,
            requests=row.requests,
            images=row.images,
            acknowledged_at=None,  # nobody has seen the rest
        )
        if not changed:
            rows.bulk_create([row], ignore_conflicts=True)


@dataclass(frozen=True)
class LossReport:
    """A loss of one or several processes, as it is shown.

    Attributes:
        since: Time of the first one.
        until: Time of the last one.
        requests: Number of lost requests.
        images: Number of lost images: of these requests, or of requests with a row.
        reason: The reason of the first one.
        acknowledged: Whether somebody has acknowledged it.
    """

    since: datetime
    until: datetime
    requests: int
    images: int
    reason: str
    acknowledged: bool


def reports_of(losses: Iterable[Loss]) -> list[LossReport]:
    """Return losses in the order of time; those of several processes are added up."""
    found: dict[tuple[str, bool, bool], LossReport] = {}
    done = []
    for loss in sorted(losses, key=lambda loss: loss.since):
        is_known = loss.acknowledged_at is not None
        key = loss.reason, bool(loss.requests), is_known
        new = LossReport(
            loss.since, loss.until, loss.requests, loss.images, loss.reason, is_known
        )
        old = found.pop(key, None)
        if old is not None and new.since <= old.until + BURST:
            new = replace(
                new,
                since=old.since,
                until=max(old.until, new.until),
                requests=old.requests + new.requests,
                images=old.images + new.images,
            )
        elif old is not None:
            done.append(old)
        found[key] = new
    return sorted([*done, *found.values()], key=lambda report: report.since)


def moment(seconds: float) -> datetime:
    """Return a time in seconds since 1970 as the project's settings have it."""
    aware = datetime.fromtimestamp(seconds, tz=tz.utc)
    return aware if settings.USE_TZ else timezone.make_naive(aware)
