"""The tables of the statistics: what was added up, and what is to be added up anew.

Whoever writes, changes or deletes a log or an image of a closed hour marks that hour,
in the same transaction. Marks are only ever added here, so that nobody waits for
anybody. What cleanup takes away is added up before, and counts for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import models, router, transaction
from django.db.models.functions import TruncHour
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.periods import HOUR, UTC, Span, floor
from request_images.aggregation.tallies import Cells, pack

_LATE = timedelta(minutes=1)
"""How long after its end an hour's rows are marked; two minutes before it is closed."""


class StatisticsRollup(models.Model):
    """Requests of an hour, a day or a month, added up by one facet.

    One row holds all values of the facet: a table with a row for each would be seven
    times as long, by the million requests of ``benchmarks/``.
    """

    span = models.CharField(
        _("length"), max_length=5, choices=[(span.value, span.value) for span in Span]
    )
    start = models.DateTimeField(_("beginning"))
    is_total = models.BooleanField(_("all endpoints"))
    endpoint = models.CharField(_("endpoint"), max_length=200, blank=True)
    facet = models.CharField(_("facet"), max_length=16)
    tallies = models.BinaryField(_("tallies"))

    class Meta:
        verbose_name = _("statistics")
        verbose_name_plural = _("statistics")
        indexes = (
            models.Index(
                fields=["span", "is_total", "facet", "start"], name="statistics_rollup"
            ),
            models.Index(fields=["span", "start"], name="statistics_rollup_time"),
        )

    def __str__(self) -> str:
        return f"{self.span} {self.start:%Y-%m-%d %H:%M}, {self.facet}"


class StatisticsState(models.Model):
    """From when until when there are statistics. There is one row at the most.

    Its version goes up with every change of the statistics: who has read an older one
    changes nothing.
    """

    version = models.PositiveBigIntegerField(_("version"), default=0)
    since = models.DateTimeField(_("from"))
    until = models.DateTimeField(_("until"))

    class Meta:
        verbose_name = _("state of the statistics")
        verbose_name_plural = _("states of the statistics")

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"


class StaleHour(models.Model):
    """A mark: the statistics of this hour are to be made anew."""

    hour = models.DateTimeField(_("hour"), db_index=True)

    class Meta:
        verbose_name = _("stale hour")
        verbose_name_plural = _("stale hours")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M}"


class GoneRequests(models.Model):
    """What cleanup has taken away of an hour, added up."""

    hour = models.DateTimeField(_("hour"), db_index=True)
    tallies = models.BinaryField(_("tallies"))

    class Meta:
        verbose_name = _("gone requests")
        verbose_name_plural = _("gone requests")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M}"


class Counted(models.Model):
    """Rows that statistics are made of, which hear of each that is late.

    Those who write, change or delete many at once tell of it themselves.
    """

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write it, and have its hour counted anew if that is over."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with self._marked(using):
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete it, and have its hour counted anew if that is over."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with self._marked(using):
            return super().delete(*args, **kwargs)

    @contextmanager
    def _marked(self, using: str) -> Iterator[None]:
        hour = floor(self.created_at)  # type: ignore[attr-defined]  # each has one
        if not is_late(hour, timezone.now()):
            yield
            return
        with transaction.atomic(using=using):
            mark([hour], using)
            yield


def mark(hours: Iterable[datetime], using: str) -> None:
    """Have the statistics of some hours made anew; to be called in a transaction.

    Args:
        hours: Their beginnings; those that are not over yet need none and get none.
        using: The database.
    """
    now = timezone.now()
    marks = [StaleHour(hour=hour) for hour in set(hours) if is_late(hour, now)]
    if marks:
        StaleHour._default_manager.using(using).bulk_create(marks, batch_size=500)


def is_late(hour: datetime, now: datetime) -> bool:
    """Tell whether what is written now of an hour may be too late to be seen."""
    return now >= hour + HOUR + _LATE


def hours_of(rows: models.QuerySet[Any]) -> set[datetime]:
    """Return the hours in which some rows were created."""
    known = rows.order_by().annotate(_hour=TruncHour("created_at", tzinfo=UTC))
    hours = known.values_list("_hour", flat=True).distinct()
    return {floor(hour) for hour in hours if hour is not None}


def note_gone(by_hour: Mapping[datetime, Cells], using: str) -> None:
    """Keep what is about to be deleted of some hours, and mark them.

    Args:
        by_hour: What goes, added up; see `facets.by_hour`.
        using: The database.
    """
    rows = [GoneRequests(hour=h, tallies=pack(cells)) for h, cells in by_hour.items()]
    if rows:
        GoneRequests._default_manager.using(using).bulk_create(rows, batch_size=200)
    mark(by_hour, using)
