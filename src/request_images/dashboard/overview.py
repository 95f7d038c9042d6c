"""The numbers of a dashboard: a period, the period before, and their time series."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

from request_images.aggregation.facets import Facet
from request_images.aggregation.histograms import BUCKET_RATIO, bucket_value, percentile
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
from request_images.aggregation.standouts import Share, Standout, separate
from request_images.aggregation.tallies import Tally
from request_images.statistics.live import Slot
from request_images.statistics.summary import Summary

SLOW_SHARE = 0.9
"""Slower than so many are the slow ones."""
_COURSES = (ALL, RELEASE, ERROR)
_STORED = (CONTENT, CONTENT_GONE)
_MOST_HOURS, _MOST_DAYS, _MOST_WEEKS = 72, 100, 100
_LONGEST_DAY = timedelta(hours=25)
_MOST_CROWDED = 7
"""In so many slots at once, the newest, it is looked which of several came first."""


def slots_of(period: Period) -> list[Slot]:
    """Return what a course is made of: hours, days, weeks or months.

    Days are those of the current time zone; a week has seven of them, a month thirty.
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
    """When a release came: its first requests are of a time.

    Attributes:
        name: The release.
        since: From when on.
        until: Until when.
    """

    name: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Newcomer:
    """A release that came within the period.

    Attributes:
        name: Its name.
        since: When its first requests came, as the beginning of a slot.
        tally: Its requests.
        others: Those of the other releases.
    """

    name: str
    since: datetime
    tally: Tally
    others: Tally


class Overview:
    """What a dashboard shows, read when it is asked for.

    Args:
        now: The period.
        before: The period before it, of the same length.
    """

    def __init__(self, now: Summary, before: Summary) -> None:
        self.now, self.before = now, before
        self.period = now.period

    def read(self) -> None:
        """Read what a dashboard shows in a few queries, and not each by itself."""
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
        """Whether all requests of both periods are."""
        return self.is_complete and not self.before.missing_hours

    @cached_property
    def slots(self) -> list[Slot]:
        """What the course is made of."""
        return slots_of(self.period)

    @cached_property
    def _courses(self) -> dict[Facet, list[dict[str, Tally]]]:
        return self.now.facets_by_slot(self.slots, _COURSES)

    @cached_property
    def course(self) -> list[Tally]:
        """All requests of each slot."""
        return [cells.get("", Tally()) for cells in self._courses[ALL]]

    @property
    def releases(self) -> list[dict[str, Tally]]:
        """The requests of each slot by their release."""
        return self._courses[RELEASE]

    @property
    def errors(self) -> list[dict[str, Tally]]:
        """The failed requests of each slot by what failed."""
        return self._courses[ERROR]

    @cached_property
    def arrivals(self) -> list[Arrival]:
        """The releases in their order, but those that were there from the start.

        Where several came in one slot, the first hour of each tells their order. Those
        of one hour are told by that hour, all of them.
        """
        known: set[str] = set()
        found = []
        for slot, cells in zip(self.slots, self.releases, strict=True):
            fresh = sorted(set(cells) - known - {""})
            found += [Arrival(name, *slot) for name in fresh if known]
            known |= set(cells)
        for _ in range(2):  # from months or weeks to days, from days to hours
            found = self._told_apart(found)
        return found

    def _told_apart(self, arrivals: list[Arrival]) -> list[Arrival]:
        """Return the same, with shorter times of those that came in the same one."""
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
        course = self.now.by_slot(parts, RELEASE)
        for part, cells in zip(parts, course, strict=True):
            for name in cells:
                firsts.setdefault(name, part)
        found = []
        for each in arrivals:
            # None where values are not told apart, or it has gone in between.
            since, until = firsts.get(each.name) or (each.since, each.until)
            is_within = each.since <= since and until <= each.until
            found.append(Arrival(each.name, since, until) if is_within else each)
        return sorted(found, key=lambda each: each.since)

    def newest_release(self) -> Newcomer | None:
        """Return the release that came last; None if none did, or nobody can tell."""
        if not self.arrivals:
            return None
        *earlier, newest = self.arrivals
        if any(each.until > newest.since for each in earlier):
            return None
        tally, others = Tally(), Tally()
        for value, each in self.now.values(RELEASE).items():
            (tally if value == newest.name else others).add(each)
        return Newcomer(newest.name, newest.since, tally, others)

    def failing(self) -> list[Standout]:
        """Return the groups that fail more or less often than the others."""
        return separate(
            {
                facet.name: [
                    (value, Share(tally.failed, tally.count))
                    for value, tally in self.now.values(facet).items()
                ]
                for facet in COMPARED
            }
        )

    @property
    def slow_ms(self) -> float:
        """How long each of the slowest tenth took at the least.

        That is where the bucket begins that comes after the percentile's: what is
        counted are whole buckets, and a tenth at the most.
        """
        return self._slow_limit * math.sqrt(BUCKET_RATIO)

    @property
    def _slow_limit(self) -> float:
        return percentile(self.whole.histogram, SLOW_SHARE) or 0.0

    def slow(self) -> list[Standout]:
        """Return the groups that are slow more or less often than the others."""
        limit = self._slow_limit
        return separate(
            {
                facet.name: [
                    (value, Share(_slower(tally, limit), tally.count))
                    for value, tally in self.now.values(facet).items()
                ]
                for facet in COMPARED
            }
        )


def _parts_of(slot: Slot, period: Period) -> list[Slot]:
    """Return the days of a slot, or the hours of a day; nothing of an hour."""
    since, until = slot
    if until - since > _LONGEST_DAY:
        return [(a, b) for _, a, b in period.days() if since <= a and b <= until]
    hours = [since]
    while (hour := floor(hours[-1]) + HOUR) < until:
        hours.append(hour)
    return list(pairwise([*hours, until])) if len(hours) > 1 else []


def newly_stored(summary: Summary) -> int:
    """Return how many bytes of new contents came, those that are gone by now included.

    Args:
        summary: Of all endpoints.
    """
    tallies = [tally for each in _STORED for tally in summary.values(each).values()]
    return sum(tally.total_bytes for tally in tallies)


def _slower(tally: Tally, milliseconds: float) -> int:
    return sum(
        count
        for bucket, count in tally.histogram.items()
        if bucket_value(bucket) > milliseconds
    )
