"""The numbers of a dashboard: a period, the period before, and their time series."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

from request_images.aggregation.comparison import Comparison, Share, compare
from request_images.aggregation.facets import Facet
from request_images.aggregation.percentiles import (
    BUCKET_RATIO,
    bucket_value,
    percentile,
)
from request_images.aggregation.periods import HOUR, Period, floor
from request_images.aggregation.properties import (
    ALL,
    CAPTURE_STATUS,
    COMPARED,
    CONTENT,
    CONTENT_GONE,
    ERROR,
    FILE_SIZE,
    RELEASE,
)
from request_images.aggregation.tallies import Tally
from request_images.statistics.live import Slot
from request_images.statistics.summary import Summary

SLOW_SHARE = 0.9
"""The share of requests that are faster than the slow ones."""
_SERIES = (ALL, RELEASE, ERROR)
_STORED = (CONTENT, CONTENT_GONE)
_MOST_HOURS, _MOST_DAYS, _MOST_WEEKS = 72, 100, 100
_LONGEST_DAY = timedelta(hours=25)
_MOST_CROWDED = 7
"""The largest number of slots, the newest, in which releases are put in order."""


def slots_of(period: Period) -> list[Slot]:
    """Return the slots of a time series: hours, days, weeks or months.

    Days are days of the current time zone; a week is 7 days, and a month 30.
    """
    hours = (period.until - period.since) // HOUR
    if hours <= _MOST_HOURS:
        starts = [period.since + number * HOUR for number in range(hours)]
        return [(start, start + HOUR) for start in starts]
    days = [(since, until) for _, since, until in period.days()]
    step = 1 if len(days) <= _MOST_DAYS else 7
    if len(days) > _MOST_WEEKS * 7:
        step = 30
    chunks = [days[at : at + step] for at in range(0, len(days), step)]
    return [(chunk[0][0], chunk[-1][1]) for chunk in chunks]


@dataclass(frozen=True)
class Arrival:
    """The time in which a release had its first requests.

    Attributes:
        name: The release.
        since: The start of this time.
        until: The end of this time.
    """

    name: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Newcomer:
    """A release whose first requests are within the period.

    Attributes:
        name: The release.
        since: The start of the slot with its first requests.
        tally: The requests of the release.
        others: The requests of all other releases.
    """

    name: str
    since: datetime
    tally: Tally
    others: Tally


class Overview:
    """The numbers of a dashboard, each read when it is first used.

    Args:
        now: The summary of the period.
        before: The summary of the period before it, which is as long.
    """

    def __init__(self, now: Summary, before: Summary) -> None:
        self.now, self.before = now, before
        self.period = now.period

    def read(self) -> None:
        """Read all numbers of a dashboard in a few queries."""
        self.now.read(ALL, CAPTURE_STATUS, *COMPARED, *_STORED)
        self.before.read(ALL, FILE_SIZE, *_STORED)

    @cached_property
    def whole(self) -> Tally:
        """All requests of the period."""
        return self.now.values(ALL).get("", Tally())

    @cached_property
    def earlier(self) -> Tally:
        """All requests of the period before."""
        return self.before.values(ALL).get("", Tally())

    @property
    def is_complete(self) -> bool:
        """Whether all requests of the period are counted."""
        return not self.now.missing_hours

    @property
    def is_comparable(self) -> bool:
        """Whether all requests of both periods are counted."""
        return self.is_complete and not self.before.missing_hours

    @cached_property
    def slots(self) -> list[Slot]:
        """The slots of the time series."""
        return slots_of(self.period)

    @cached_property
    def _series(self) -> dict[Facet, list[dict[str, Tally]]]:
        return self.now.facets_by_slot(self.slots, _SERIES)

    @cached_property
    def series(self) -> list[Tally]:
        """All requests of each slot."""
        return [cells.get("", Tally()) for cells in self._series[ALL]]

    @property
    def releases(self) -> list[dict[str, Tally]]:
        """The requests of each slot by their release."""
        return self._series[RELEASE]

    @property
    def errors(self) -> list[dict[str, Tally]]:
        """The failed requests of each slot by error."""
        return self._series[ERROR]

    @cached_property
    def arrivals(self) -> list[Arrival]:
        """The releases that arrived within the period, in order.

        If several arrived in one slot, the first hour of each decides their order.
        Releases of the same hour share that hour.
        """
        known: set[str] = set()
        found = []
        for slot, cells in zip(self.slots, self.releases, strict=True):
            fresh = sorted(set(cells) - known - {""})
            found += [Arrival(name, *slot) for name in fresh if known]
            known |= set(cells)
        for _ in range(2):  # from months or weeks to days, from days to hours
            found = self._put_in_order(found)
        return found

    def _put_in_order(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Return the arrivals, with shorter times for those that share a slot."""
        counts = Counter((each.since, each.until) for each in arrivals)
        crowded = sorted(slot for slot, count in counts.items() if count > 1)
        parts = [
            part
            for slot in crowded[-_MOST_CROWDED:]
            for part in _parts_of(slot, self.period)
        ]
        if not parts:
            return arrivals
        firsts: dict[str, Slot] = {}
        series = self.now.by_slot(parts, RELEASE)
        for part, cells in zip(parts, series, strict=True):
            for name in cells:
                firsts.setdefault(name, part)
        found = []
        for each in arrivals:
            # None if values have no tallies of their own, or the rows are gone by now.
            since, until = firsts.get(each.name) or (each.since, each.until)
            is_within = each.since <= since and until <= each.until
            found.append(Arrival(each.name, since, until) if is_within else each)
        return sorted(found, key=lambda each: each.since)

    def newest_release(self) -> Newcomer | None:
        """Return the latest release; None if there is none, or the order is unknown."""
        if not self.arrivals:
            return None
        *earlier, newest = self.arrivals
        if any(each.until > newest.since for each in earlier):
            return None
        tally, others = Tally(), Tally()
        for value, each in self.now.values(RELEASE).items():
            (tally if value == newest.name else others).add(each)
        return Newcomer(newest.name, newest.since, tally, others)

    def failing(self) -> list[Comparison]:
        """Return the groups whose failure rate differs from that of the others."""
        return self._compared(lambda tally: tally.failed)

    @property
    def slow_ms(self) -> float:
        """The shortest duration of the slowest tenth, in milliseconds.

        It is the start of the bucket after the percentile's bucket: only whole buckets
        are counted, so the slow requests are a tenth or fewer.
        """
        return self._slow_limit * math.sqrt(BUCKET_RATIO)

    @property
    def _slow_limit(self) -> float:
        return percentile(self.whole.histogram, SLOW_SHARE) or 0.0

    def slow(self) -> list[Comparison]:
        """Return the groups whose share of slow requests differs from the others'."""
        limit = self._slow_limit
        return self._compared(lambda tally: _slower(tally, limit))

    def _compared(self, hits_of: Callable[[Tally], int]) -> list[Comparison]:
        return compare(
            {
                facet.name: [
                    (value, Share(hits_of(tally), tally.count))
                    for value, tally in self.now.values(facet).items()
                ]
                for facet in COMPARED
            }
        )


def _parts_of(slot: Slot, period: Period) -> list[Slot]:
    """Return the days of a slot, or the hours of a day; empty for an hour."""
    since, until = slot
    if until - since > _LONGEST_DAY:
        return [(a, b) for _, a, b in period.days() if since <= a and b <= until]
    hours = [since]
    while (hour := floor(hours[-1]) + HOUR) < until:
        hours.append(hour)
    return list(pairwise([*hours, until])) if len(hours) > 1 else []


def newly_stored(summary: Summary) -> int:
    """Return the bytes of all contents stored in a period, deleted ones included.

    Args:
        summary: The summary of all endpoints.
    """
    tallies = [tally for each in _STORED for tally in summary.values(each).values()]
    return sum(tally.total_bytes for tally in tallies)


def _slower(tally: Tally, milliseconds: float) -> int:
    return sum(
        count
        for bucket, count in tally.histogram.items()
        if bucket_value(bucket) > milliseconds
    )
