"""The tables of the statistics: the rollups, and the hours to roll up again.

A transaction that writes, changes or deletes a log or an image of a closed hour also
marks that hour as stale. Marks are only added here, so that transactions do not wait
for each other. What cleanup deletes is added up before, and stays in the statistics.
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

from .fields import Bytes, Flag, Number, Text, Time

_LATE = timedelta(minutes=1)
"""Rows that come later than this after their hour mark it as stale."""


class StatisticsRollup(models.Model):
    """Requests of an hour, a day or a month, added up by one facet.

    One row holds all values of the facet: a row for each value would make the table
    seven times as large (measured with a million requests in ``benchmarks/``).
    """

    span: Text = models.CharField(
        _("period"), max_length=5, choices=[(span.value, span.value) for span in Span]
    )
    start: Time = models.DateTimeField(_("start"))
    is_total: Flag = models.BooleanField(_("all endpoints"))
    endpoint: Text = models.CharField(
        _("endpoint"), max_length=200, blank=True, default="", db_default=""
    )
    facet: Text = models.CharField(_("facet"), max_length=16)
    tallies: Bytes = models.BinaryField(_("tallies"))

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
    """The period that the statistics cover. The table has one row, or none.

    Each change of the statistics raises the version; a process that has read an older
    one changes nothing.
    """

    version: Number = models.PositiveBigIntegerField(
        _("version"), default=0, db_default=0
    )
    since: Time = models.DateTimeField(_("from"))
    until: Time = models.DateTimeField(_("until"))

    class Meta:
        verbose_name = _("state of the statistics")
        verbose_name_plural = _("states of the statistics")

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"


class StaleHour(models.Model):
    """An hour that must be rolled up again."""

    hour: Time = models.DateTimeField(_("hour"), db_index=True)

    class Meta:
        verbose_name = _("stale hour")
        verbose_name_plural = _("stale hours")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M}"


class GoneRequests(models.Model):
    """The requests of an hour that cleanup has deleted, added up."""

    hour: Time = models.DateTimeField(_("hour"), db_index=True)
    tallies: Bytes = models.BinaryField(_("tallies"))

    class Meta:
        verbose_name = _("deleted requests")
        verbose_name_plural = _("deleted requests")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M}"


class Counted(models.Model):
    """A row that statistics count; saving or deleting it late marks its hour as stale.

    Code that writes, changes or deletes many rows at once marks the hours itself.
    """

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row, and mark its hour as stale if that is over."""
        with self._marked(kwargs.get("using")):
            super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row, and mark its hour as stale if that is over."""
        with self._marked(kwargs.get("using")):
            return super().delete(*args, **kwargs)

    @contextmanager
    def _marked(self, using: str | None) -> Iterator[None]:
        using = using or router.db_for_write(type(self), instance=self)
        hour = floor(self.created_at)  # type: ignore[attr-defined]  # each has one
        if not is_late(hour, timezone.now()):
            yield
            return
        with transaction.atomic(using=using):
            mark_stale([hour], using)
            yield


def mark_stale(hours: Iterable[datetime], using: str) -> None:
    """Mark hours that are over as stale, by their starts; call it in a transaction."""
    now = timezone.now()
    if marks := [StaleHour(hour=hour) for hour in set(hours) if is_late(hour, now)]:
        StaleHour._default_manager.using(using).bulk_create(marks, batch_size=500)


def is_late(hour: datetime, now: datetime) -> bool:
    """Return whether a row written now may be too late for the rollup of its hour."""
    return now >= hour + HOUR + _LATE


def hours_of(rows: models.QuerySet[Any]) -> set[datetime]:
    """Return the hours in which rows were created."""
    known = rows.order_by().annotate(_hour=TruncHour("created_at", tzinfo=UTC))
    hours = known.values_list("_hour", flat=True).distinct()
    return {floor(hour) for hour in hours if hour is not None}


def note_gone(by_hour: Mapping[datetime, Cells], using: str) -> None:
    """Keep the tallies of requests that will be deleted now, and mark their hours."""
    rows = [GoneRequests(hour=h, tallies=pack(cells)) for h, cells in by_hour.items()]
    if rows:
        GoneRequests._default_manager.using(using).bulk_create(rows, batch_size=200)
    mark_stale(by_hour, using)
