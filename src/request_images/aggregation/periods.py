"""Hours, days and months, and how a period is made up of them.

They are those of UTC; without time zones (``USE_TZ = False``) those of the clock on
the wall, as the rows' own times are.
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
GRACE = timedelta(minutes=3)
"""How long after its end an hour still gets rows without any mark."""


class Span(str, Enum):
    """A length of time that statistics are kept of."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


Piece: TypeAlias = "tuple[Span, datetime]"
"""An hour, a day or a month: which of these, and its beginning."""
Use: TypeAlias = "tuple[int, bool]"
"""Of a piece: the number of a slot; and whether it is added to that, or taken from."""
Uses: TypeAlias = "dict[Piece, list[Use]]"


def floor(moment: datetime, span: Span = Span.HOUR) -> datetime:
    """Return the beginning of the hour, day or month of a moment."""
    # Most are such a beginning already, and thousands of them are asked for in a page.
    if moment.tzinfo not in (None, UTC):
        moment = moment.astimezone(UTC)
    if moment.minute or moment.second or moment.microsecond:
        moment = moment.replace(minute=0, second=0, microsecond=0)
    if span is Span.HOUR or is_start(moment, span):
        return moment
    return moment.replace(hour=0, day=1 if span is Span.MONTH else moment.day)


def is_start(hour: datetime, span: Span) -> bool:
    """Tell whether a day or a month begins with an hour; an hour always does."""
    if span is Span.HOUR:
        return True
    return not hour.hour and (span is Span.DAY or hour.day == 1)


def quarter(moment: datetime) -> datetime:
    """Return the beginning of a quarter of an hour: time zones know no shorter ones."""
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def end_of(start: datetime, span: Span) -> datetime:
    """Return the end of the hour, day or month that begins at a moment."""
    if span is Span.HOUR:
        return start + HOUR
    if span is Span.DAY:
        return start + _DAY  # of UTC, which has 24 hours always
    return (start + 32 * _DAY).replace(day=1)  # the longest has 31


def frontier() -> datetime:
    """Return the moment before which all hours are closed."""
    return floor(timezone.now() - GRACE)


@dataclass(frozen=True)
class Period:
    """The time from one whole hour to another.

    Attributes:
        since: Its first moment.
        until: The first moment after it.
    """

    since: datetime
    until: datetime

    @classmethod
    def of(cls, since: datetime, until: datetime) -> Period:
        """Return the whole hours that a time is in, from one moment until another."""
        return cls(floor(since), floor(until - timedelta(microseconds=1)) + HOUR)

    @classmethod
    def last_days(cls, days: int) -> Period:
        """Return the hours of the last so many days, this hour included."""
        now = timezone.now()
        return cls(floor(now - timedelta(days=days)), floor(now) + HOUR)

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this one begins."""
        return Period(self.since - (self.until - self.since), self.since)

    def days(self) -> Iterator[tuple[date, datetime, datetime]]:
        """Yield the days of the current time zone: which, from when, until when.

        The first and the last may be parts of days. A day may have 23 or 25 hours.
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
    """Which time there are statistics of.

    Attributes:
        since: From when on.
        until: Until when.
        stale: The hours in between that are to be made anew, in order.
    """

    since: datetime
    until: datetime
    stale: Sequence[datetime] = ()

    def has(self, start: datetime, span: Span) -> bool:
        """Tell whether there are right statistics of an hour, a day or a month."""
        end = end_of(start, span)
        at = bisect_left(self.stale, start)
        is_fresh = at == len(self.stale) or self.stale[at] >= end
        return self.since <= start and end <= self.until and is_fresh


def cover(
    since: datetime, until: datetime, built: Built, largest: Span = Span.MONTH
) -> tuple[list[Piece], list[datetime]]:
    """Return what a time is made up of, in as few pieces as there can be.

    Args:
        since: A whole hour.
        until: A whole hour.
        built: What there is.
        largest: The longest piece that may be taken.

    Returns:
        The pieces, in order; and the hours of which there is nothing, or nothing right.
    """
    spans = list(Span)[: list(Span).index(largest) + 1]
    pieces, missing = [], []
    at = since
    while at < until:
        for span in reversed(spans):
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


def cover_each(slots: Sequence[tuple[datetime, datetime]], built: Built) -> Uses:
    """Return what each of several times is made up of, as `cover` does.

    Args:
        slots: From which whole hour until which.
        built: What there is.

    Returns:
        The pieces; of each, which slots it is added to (True) or taken from (False).
    """
    uses: Uses = {}
    for number, (since, until) in enumerate(slots):
        for piece in cover(since, min(until, built.until), built)[0]:
            uses.setdefault(piece, []).append((number, True))
    return uses


def cover_days(slots: Sequence[tuple[datetime, datetime]], built: Built) -> Uses:
    """Return the same where times begin and end at any hour of a day, in fewer pieces.

    The days of a local time zone have none of UTC in them, and would be 24 hours each.
    They are days of UTC with the few hours added that are missing, and those taken away
    that are too many.
    """
    uses: Uses = {}
    for number, (since, end) in enumerate(slots):
        until = min(end, built.until)
        pieces = [(piece, True) for piece in cover(since, until, built)[0]]
        rounded = _by_whole_days(since, until, built)
        if rounded is not None and len(rounded) < len(pieces):
            pieces = rounded
        for piece, is_added in pieces:
            uses.setdefault(piece, []).append((number, is_added))
    return uses


def _by_whole_days(
    since: datetime, until: datetime, built: Built
) -> list[tuple[Piece, bool]] | None:
    """Return the nearest days, and the hours between; None if one is not there."""
    first, last = (floor(at + _DAY / 2, Span.DAY) for at in (since, until))
    # From when until when, and whether that is missing.
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
