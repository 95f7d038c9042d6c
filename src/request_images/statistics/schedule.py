"""The choice of the hours that are rolled up next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from django.db import models

from request_images.aggregation.periods import (
    HOUR,
    Built,
    Span,
    end_of,
    floor,
    frontier,
)
from request_images.models import ImageContent, RequestLog
from request_images.models.statistics import GoneRequests, StatisticsRollup

from .reader import kept_since, rows_between, rows_of

ROWS_AT_ONCE = 10_000
"""The approximate number of logs that are rolled up in one transaction."""
_SOURCES: tuple[tuple[type[models.Model], str], ...] = (
    (RequestLog, "created_at"),
    (ImageContent, "created_at"),
    (GoneRequests, "hour"),
)
"""The tables that rollups are made from, and their columns of time."""


@dataclass(frozen=True)
class Work:
    """Hours of one day, or an empty period, that are rolled up in one transaction.

    Attributes:
        since: The first hour.
        until: The end of the last hour.
        then: The state after it.
    """

    since: datetime
    until: datetime
    then: Built


def first_hour() -> datetime:
    """Return the first hour with any data."""
    found = [
        rows_of(model).order_by(name).values_list(name).first()
        for model, name in _SOURCES
    ]
    first = min((floor(row[0]) for row in found if row), default=frontier())
    return max(first, kept_since())


def first_rolled_up() -> datetime:
    """Return the first hour with a rollup."""
    rows = rows_of(StatisticsRollup).filter(span=Span.HOUR.value).order_by("start")
    return floor(rows.values_list("start", flat=True).first() or frontier())


def next_work(built: Built, since: datetime) -> Work | None:
    """Return the newest hours to roll up, or None when all are up to date."""
    if built.until < (until := frontier()):
        until = min(until, _next_stop(built.until, until))
        until = _shortened(built.until, until, from_start=True)
        return Work(built.until, until, replace(built, until=until))
    stale = [hour for hour in built.stale if hour >= since]
    if stale:
        day = floor(stale[-1], Span.DAY)
        first = next(hour for hour in stale if hour >= day)
        until = _shortened(first, stale[-1] + HOUR, from_start=True)
        return Work(first, until, built)
    if since < built.since:
        first = max(since, _last_stop(since, built.since))
        first = _shortened(first, built.since, from_start=False)
        return Work(first, built.since, replace(built, since=first))
    return None


def _next_stop(since: datetime, until: datetime) -> datetime:
    """Return the end of the day, or of the month if the rest of that is empty."""
    day, month = (end_of(floor(since, span), span) for span in (Span.DAY, Span.MONTH))
    is_whole = floor(since, Span.DAY) == since
    return day if not is_whole or _is_busy(since, min(month, until)) else month


def _last_stop(since: datetime, until: datetime) -> datetime:
    """Return the begin of the day, or an earlier one if the time before is empty."""
    day, month = (floor(until - HOUR, span) for span in (Span.DAY, Span.MONTH))
    if floor(until, Span.DAY) != until or _is_busy(month, until):
        return day
    is_whole = floor(until, Span.MONTH) == until
    return since if is_whole and not _is_busy(since, until) else month


def _is_busy(since: datetime, until: datetime) -> bool:
    return any(
        rows_of(model).filter(**{f"{name}__gte": since, f"{name}__lt": until}).exists()
        for model, name in _SOURCES
    )


def _shortened(since: datetime, until: datetime, *, from_start: bool) -> datetime:
    """Return the other end of a part of the hours with about `ROWS_AT_ONCE` logs."""
    count = rows_between(since, until).count()
    hours = (until - since) // HOUR
    if count > ROWS_AT_ONCE:
        hours = max(1, hours * ROWS_AT_ONCE // count)
    return since + hours * HOUR if from_start else until - hours * HOUR
