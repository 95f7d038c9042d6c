"""The stored bytes by the day they came, and a forecast of their growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile

from request_images.aggregation.periods import Period
from request_images.aggregation.properties import CONTENT, CONTENT_GONE
from request_images.conf import conf
from request_images.statistics.rollups import first_hour
from request_images.statistics.summary import Summary

PROJECTED_DAYS = 60
_MB = 1024 * 1024
_RECENT_DAYS = 14
"""Number of days that the daily average is made of."""


@dataclass(frozen=True)
class Stock:
    """The bytes that are stored now.

    Attributes:
        older: Bytes that came before the first day.
        days: End of each day, and the bytes that came on it and are still stored.
        daily: Average number of bytes that come on a day.
        limit: Largest number of bytes that may be stored; None for no limit.
        keeps_days: Days until bytes are deleted; None for never.
    """

    older: int
    days: Sequence[tuple[datetime, int]]
    daily: float
    limit: float | None
    keeps_days: int | None

    @property
    def total(self) -> int:
        """Number of stored bytes."""
        return self.older + sum(size for _, size in self.days)

    def levels(self) -> list[tuple[datetime, int]]:
        """Return the stored bytes that had come by the end of each day."""
        found, level = [], self.older
        for end, size in self.days:
            level += size
            found.append((end, level))
        return found

    def expected(self, days: int) -> float:
        """Return the bytes that will be stored after some days at the current rate.

        Each day adds the daily average, and deletes the bytes that reach `keeps_days`.
        Bytes that are older already are deleted at once. Longer retention of pinned and
        failed requests is not considered: statistics do not record it by content.
        """
        if self.keeps_days is None:
            return self.total + self.daily * days
        staying = max(0, self.keeps_days - days)
        kept = sum(size for _, size in self.days[-staying:]) if staying else 0
        if staying > len(self.days):
            kept += self.older
        return kept + self.daily * min(days, self.keeps_days)

    def days_left(self, at_most: int = 3650) -> int | None:
        """Return the days until the limit is reached; None if it is not reached."""
        limit = self.limit
        if limit is None:
            return None
        days = at_most if self.keeps_days is None else min(at_most, self.keeps_days)
        return next((n for n in range(days + 1) if self.expected(n) >= limit), None)


def stock_of(ever: Summary, period: Period) -> Stock:
    """Return the stored bytes by the days of a period.

    Args:
        ever: Summary of `since_ever`.
        period: A period that ends now.
    """
    days = [(since, until) for _, since, until in period.days()]
    slots = [(ever.period.since, period.since)] * (ever.period.since < period.since)
    there, gone = (
        [sum(tally.total_bytes for tally in cells.values()) for cells in course]
        for course in (
            ever.by_slot([*slots, *days], facet) for facet in (CONTENT, CONTENT_GONE)
        )
    )
    first = len(slots)
    came = [a + b for a, b in zip(there[first:], gone[first:], strict=True)]
    recent = list(dropwhile(lambda size: not size, came[-_RECENT_DAYS:]))
    room = conf.MAX_STORED_MB
    terms = [
        conf.RETENTION_DAYS,
        conf.BYTES_RETENTION_DAYS,
        conf.LOG_RETENTION_DAYS,  # an image goes with its log
    ]
    known = [days for days in terms if days is not None]
    return Stock(
        older=sum(there[:first]),
        days=[(end, size) for (_, end), size in zip(days, there[first:], strict=True)],
        daily=sum(recent) / len(recent) if recent else 0.0,
        limit=None if room is None else room * _MB,
        keeps_days=min(known) if known else None,
    )


def since_ever(now: Period) -> Period:
    """Return the time from the first recorded hour to the end of a period."""
    return Period(min(first_hour(), now.since), now.until)
