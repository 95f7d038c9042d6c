"""Hours, days and months, and the pieces that a period is composed of.

They are hours, days and months of UTC. Without time zones (``USE_TZ = False``) they
follow local time, as the times of the rows do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import timezone as tz
from enum import Enum
from typing import TypeAlias

from django.conf import settings
from django.utils import timezone

UTC = tz.utc
HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
GRACE = timedelta(minutes=20)
"""The time after its end in which an hour gets late rows without a mark.

It is more than the clocks of two hosts may differ: one that is 15 minutes ahead closes
an hour early, and one that is behind writes rows of an hour long over, not knowing it.
"""


class Span(str, Enum):
    """A length of time that has statistics of its own."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


Piece: TypeAlias = "tuple[Span, datetime]"
"""An hour, a day or a month, and its beginning."""
Uses: TypeAlias = "dict[Piece, list[tuple[int, bool]]]"
"""For each piece: the slots it is added to, or (True) subtracted from."""


def floor(moment: datetime, span: Span = Span.HOUR) -> datetime:
    """Return the beginning of the hour, day or month that contains a moment."""
    # Fast path: a page calls this thousands of times, mostly with whole hours.
    if moment.tzinfo not in (None, UTC):
        moment = moment.astimezone(UTC)
    if moment.minute or moment.second or moment.microsecond:
        moment = moment.replace(minute=0, second=0, microsecond=0)
    if span is Span.HOUR or is_start(moment, span):
        return moment
    return moment.replace(hour=0, day=1 if span is Span.MONTH else moment.day)


def is_start(hour: datetime, span: Span) -> bool:
    """Return whether a day or a month begins with an hour; always True for an hour."""
    if span is Span.HOUR:
        return True
    return not hour.hour and (span is Span.DAY or hour.day == 1)


def quarter(moment: datetime) -> datetime:
    """Return the beginning of the quarter hour, the smallest step of time zones."""
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def end_of(start: datetime, span: Span) -> datetime:
    """Return the end of the hour, day or month that begins at a moment."""
    if span is Span.HOUR:
        return start + HOUR
    if span is Span.DAY:
        return start + _DAY  # a day of UTC always has 24 hours
    return (start + 32 * _DAY).replace(day=1)  # no month has more than 31 days


def frontier() -> datetime:
    """Return the moment before which all hours are closed."""
    return floor(timezone.now() - GRACE)


@dataclass(frozen=True)
class Period:
    """The time between two whole hours.

    Attributes:
        since: The first moment.
        until: The first moment after the period.
    """

    since: datetime
    until: datetime

    @classmethod
    def of(cls, since: datetime, until: datetime) -> Period:
        """Return the whole hours that contain the time between two moments."""
        return cls(floor(since), floor(until - timedelta(microseconds=1)) + HOUR)

    @classmethod
    def last_days(cls, days: int) -> Period:
        """Return the last days in whole hours, the current hour included."""
        now = timezone.now()
        return cls(floor(now - timedelta(days=days)), floor(now) + HOUR)

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this one begins."""
        return Period(self.since - (self.until - self.since), self.since)

    def days(self) -> Iterator[tuple[date, datetime, datetime]]:
        """Yield the days of the current time zone: the date, the start, and the end.

        The first and the last day may be incomplete. A day may have 23 or 25 hours.
        """
        first = _local(self.since)
        last = _local(self.until - timedelta.resolution)
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            since, until = midnight(day), midnight(day + timedelta(days=1))
            yield day, max(since, self.since), min(until, self.until)


def _local(moment: datetime) -> date:
    return timezone.localdate(moment) if timezone.is_aware(moment) else moment.date()


def midnight(day: date) -> datetime:
    """Return the moment when a day begins in the current time zone."""
    naive = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # made aware next
    return timezone.make_aware(naive) if settings.USE_TZ else naive


@dataclass(frozen=True)
class Built:
    """The time that has statistics.

    Attributes:
        since: The start.
        until: The end.
        stale: The hours in between that must be rebuilt, in order.
    """

    since: datetime
    until: datetime
    stale: Sequence[datetime] = ()

    def has(self, start: datetime, span: Span) -> bool:
        """Return whether an hour, a day or a month has current statistics."""
        end = end_of(start, span)
        at = bisect_left(self.stale, start)
        is_fresh = at == len(self.stale) or self.stale[at] >= end
        return self.since <= start and end <= self.until and is_fresh

    def missing(self, since: datetime, until: datetime) -> int:
        """Return how many hours between two moments are still to be built."""
        until = min(until, self.until)
        older = max(min(until, self.since) - since, timedelta(0)) // HOUR
        return older + sum(since <= hour < until for hour in self.stale)


def cover(
    since: datetime, until: datetime, built: Built
) -> tuple[list[Piece], list[datetime]]:
    """Cover a period with as few hours, days and months as possible.

    Args:
        since: The start, a whole hour.
        until: The end, a whole hour.
        built: The time that has statistics.

    Returns:
        The pieces in order, and the hours without current statistics.
    """
    pieces, missing = [], []
    at = since
    while at < until:
        for span in reversed(Span):
            if not is_start(at, span):
                continue
            end = end_of(at, span)
            if end <= until and built.has(at, span):
                pieces.append((span, at))
                break
        else:
            missing.append(at)
            end = at + HOUR
        at = end
    return pieces, missing


def cover_each(
    slots: Sequence[tuple[datetime, datetime]], built: Built, *, subtracts: bool
) -> Uses:
    """Cover each of several slots, as `cover` does.

    Args:
        slots: The start and end of each slot, in whole hours.
        built: The time that has statistics.
        subtracts: Whether to subtract pieces if that takes fewer. A day of a local time
            zone contains no whole day of UTC, so it would take 24 hours. Instead it is
            a day of UTC plus the missing hours and minus the surplus hours.

    Returns:
        The slots of each piece, and whether it is added (True) or subtracted (False).
    """
    uses: Uses = {}
    for number, (since, end) in enumerate(slots):
        # A period may begin centuries before the first request.
        at, until = max(since, built.since), min(end, built.until)
        pieces = [(piece, True) for piece in cover(at, until, built)[0]]
        rounded = (
            _by_whole_days(since, until, built) if subtracts and at == since else None
        )
        if rounded is not None and len(rounded) < len(pieces):
            pieces = rounded
        for piece, is_added in pieces:
            uses.setdefault(piece, []).append((number, is_added))
    return uses


def _by_whole_days(
    since: datetime, until: datetime, built: Built
) -> list[tuple[Piece, bool]] | None:
    """Return the nearest days, and the hours in between; None if any is missing."""
    first, last = (floor(at + _DAY / 2, Span.DAY) for at in (since, until))
    # The start, the end, and whether the part is added.
    parts = [(first, last, True)] * (first < last)
    parts += [(min(since, first), max(since, first), since < first)]
    parts += [(min(until, last), max(until, last), last < until)]
    found = []
    for begin, end, is_added in parts:
        pieces, missing = cover(begin, end, built)
        if missing:
            return None
        found += [(piece, is_added) for piece in pieces]
    return found
