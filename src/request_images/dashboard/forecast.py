"""What is stored: how much of it came when, and how much it will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile

from request_images.aggregation.facets import Facet
from request_images.aggregation.periods import Period
from request_images.conf import conf
from request_images.statistics.schedule import first_hour
from request_images.statistics.summary import Summary

PROJECTED_DAYS = 60
_MB = 1024 * 1024
_RECENT_DAYS = 14
"""So many days say how much comes on a day."""


@dataclass(frozen=True)
class Stock:
    """What is stored now.

    Attributes:
        older: Bytes of what came before the first day.
        days: When each day ends, and the bytes of what came on it and is still there.
        daily: How many bytes come on a day, on average.
        limit: How many there may be; None for no limit.
        keeps_days: After how many days they go; None for never.
    """

    older: int
    days: Sequence[tuple[datetime, int]]
    daily: float
    limit: float | None
    keeps_days: int | None

    @property
    def total(self) -> int:
        """How many bytes there are."""
        return self.older + sum(size for _, size in self.days)

    def levels(self) -> list[tuple[datetime, int]]:
        """Return how much of what is stored had come by the end of each day."""
        found, level = [], self.older
        for end, size in self.days:
            level += size
            found.append((end, level))
        return found

    def expected(self, days: int) -> float:
        """Return how many bytes there will be in so many days, if it goes on like this.

        As many come on a day as did on average. What came on a day goes when it is as
        old as it is kept; what is too old already goes at once. What is kept for
        another time, since it is pinned or of a failed request, counts as all others:
        of which contents that is so, statistics do not know.
        """
        if self.keeps_days is None:
            return self.total + self.daily * days
        staying = max(0, self.keeps_days - days)
        kept = sum(size for _, size in self.days[-staying:]) if staying else 0
        if staying > len(self.days):
            kept += self.older
        return kept + self.daily * min(days, self.keeps_days)

    def days_left(self, at_most: int = 3650) -> int | None:
        """Return in how many days the limit is reached; None if it is not."""
        limit = self.limit
        if limit is None:
            return None
        days = at_most if self.keeps_days is None else min(at_most, self.keeps_days)
        return next((n for n in range(days + 1) if self.expected(n) >= limit), None)


def stock_of(ever: Summary, period: Period) -> Stock:
    """Return what is stored, by the days of a period.

    Args:
        ever: The summary of `since_ever`.
        period: Ends now.
    """
    days = [(since, until) for _, since, until in period.days()]
    slots = [(ever.period.since, period.since)] * (ever.period.since < period.since)
    there, gone = (
        [sum(tally.total_bytes for tally in cells.values()) for cells in course]
        for course in (
            ever.course([*slots, *days], facet)
            for facet in (Facet.CONTENT, Facet.CONTENT_GONE)
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
    """Return the time that there is anything of, until a period ends."""
    return Period(min(first_hour(), now.since), now.until)
