"""Which hours, days and months are added up next."""

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
from request_images.models.statistics import (
    GoneRequests,
    StatisticsRollup,
)

from .reader import (
    kept_since,
    rows_between,
    rows_of,
)

ROWS_AT_ONCE = 10_000
"""About so many logs are added up before anything is written."""


_SOURCES: tuple[tuple[type[models.Model], str], ...] = (
    (RequestLog, "created_at"),
    (ImageContent, "created_at"),
    (GoneRequests, "hour"),
)
"""What statistics are made of, and when it was."""


@dataclass(frozen=True)
class _Work:
    """Hours that are added up in one go, all of one day.

    Attributes:
        since: The first of them.
        until: The end of the last.
        then: What the state says after that.
    """

    since: datetime
    until: datetime
    then: Built


def first_hour() -> datetime:
    """Return the first hour that there is anything of."""
    found = [
        rows_of(model).order_by(name).values_list(name).first()
        for model, name in _SOURCES
    ]
    first = min((floor(row[0]) for row in found if row), default=frontier())
    return max(first, kept_since())


def _first_added_up() -> datetime:
    rows = rows_of(StatisticsRollup).filter(span=Span.HOUR.value).order_by("start")
    return floor(rows.values_list("start", flat=True).first() or frontier())


def _next(built: Built, since: datetime) -> _Work | None:
    """Return the newest hours that there is something to be done with."""
    if built.until < (until := frontier()):
        until = min(until, _next_stop(built.until, until))
        until = _shortened(built.until, until, from_start=True)
        return _Work(built.until, until, replace(built, until=until))
    stale = [hour for hour in built.stale if hour >= since]
    if stale:
        day = floor(stale[-1], Span.DAY)
        first = next(hour for hour in stale if hour >= day)
        until = _shortened(first, stale[-1] + HOUR, from_start=True)
        return _Work(first, until, built)
    if since < built.since:
        first = max(since, _last_stop(since, built.since))
        first = _shortened(first, built.since, from_start=False)
        return _Work(first, built.since, replace(built, since=first))
    return None


def _next_stop(since: datetime, until: datetime) -> datetime:
    """Return the end of the day, or of the month if nothing is left in that."""
    day, month = (end_of(floor(since, span), span) for span in (Span.DAY, Span.MONTH))
    is_whole = floor(since, Span.DAY) == since
    return day if not is_whole or _is_busy(since, min(month, until)) else month


def _last_stop(since: datetime, until: datetime) -> datetime:
    """Return the beginning of the day, or more if nothing was before."""
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
    """Return the other end of as many hours as hold about `ROWS_AT_ONCE` logs."""
    count = rows_between(since, until).count()
    hours = (until - since) // HOUR
    if count > ROWS_AT_ONCE:
        hours = max(1, hours * ROWS_AT_ONCE // count)
    return since + hours * HOUR if from_start else until - hours * HOUR
