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

from django.conf import settings
from django.utils import timezone

UTC = tz.utc
HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=3)
"""How long after its end an hour still gets rows without any mark."""


class Span(str, Enum):
    """A length of time that statistics are kept of."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


def floor(moment: datetime, span: Span = Span.HOUR) -> datetime:
    """Return the beginning of the hour, day or month of a moment."""
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    moment = moment.replace(minute=0, second=0, microsecond=0)
    if span is Span.HOUR:
        return moment
    return moment.replace(hour=0, day=1 if span is Span.MONTH else moment.day)


def quarter(moment: datetime) -> datetime:
    """Return the beginning of a quarter of an hour: time zones know no shorter ones."""
    if timezone.is_aware(moment):
        moment = moment.astimezone(UTC)
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def end_of(start: datetime, span: Span) -> datetime:
    """Return the end of the hour, day or month that begins at a moment."""
    if span is Span.HOUR:
        return start + HOUR
    # The longest month has 31 days, and a day of UTC always 24 hours.
    return floor(start + timedelta(days=1 if span is Span.DAY else 32), span)


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
) -> tuple[list[tuple[Span, datetime]], list[datetime]]:
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
            end = end_of(at, span)
            if floor(at, span) == at and end <= until and built.has(at, span):
                pieces.append((span, at))
                break
        else:
            missing.append(at)
            end = at + HOUR
        at = end
    return pieces, missing
