"""Ticks of a time axis: round hours, days and months in the reader's time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from .notation import Grain, Notation

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # for naive moments
_MINUTES = (1, 5, 15, 30, 60, 120, 180, 360, 720)
_DAYS = (1, 2, 7, 14)
_MONTHS = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200)


def seconds(moment: datetime) -> float:
    """Return a moment as seconds since 1970."""
    if moment.tzinfo is None:
        return (moment - _EPOCH).total_seconds()
    return moment.timestamp()


def ticks(
    begin: datetime, end: datetime, limit: int, notation: Notation
) -> list[tuple[datetime, str]]:
    """Return round moments between two, each with its text.

    Args:
        begin: The earliest moment.
        end: The latest moment.
        limit: The largest number of moments.
        notation: The reader's time zone and language.
    """
    first, last = notation.local(begin), notation.local(end)
    for moments, grain in _choices(first, last, limit):
        found = [m for m in moments if seconds(first) <= seconds(m) <= seconds(last)]
        if len(found) <= limit:
            return [(moment, _written(moment, grain, notation)) for moment in found]
    return []


def _choices(
    first: datetime, last: datetime, limit: int
) -> Iterator[tuple[Iterator[datetime], Grain]]:
    span = seconds(last) - seconds(first)
    for minutes in _MINUTES:
        # A step that gives far too many is skipped without counting.
        if span <= minutes * 60 * (limit + 2):
            yield _by_minutes(first, last, minutes), Grain.TIME
    for days in _DAYS:
        if span <= days * 86_400 * (limit + 2):
            yield _by_days(first, last, days), Grain.DAY
    for months in _MONTHS:
        if span <= months * 31 * 86_400 * (limit + 2):
            grain = Grain.MONTH if months < 12 else Grain.YEAR
            yield _by_months(first, last, months), grain


def _written(moment: datetime, grain: Grain, notation: Notation) -> str:
    if grain is Grain.TIME and (moment.hour, moment.minute) == (0, 0):
        grain = Grain.DAY
    return notation.moment(moment, grain)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def _by_minutes(first: datetime, last: datetime, minutes: int) -> Iterator[datetime]:
    # In local time: 6:00 is 6:00 also on a day of 23 hours.
    moment = _midnight(first)
    while seconds(moment) <= seconds(last):
        yield moment
        moment += timedelta(minutes=minutes)


def _by_days(first: datetime, last: datetime, days: int) -> Iterator[datetime]:
    moment = _midnight(first)
    # Weeks begin on Mondays: the first of January in the year 1 was one.
    moment -= timedelta(days=(moment.toordinal() - 1) % days)
    while seconds(moment) <= seconds(last):
        yield moment
        moment += timedelta(days=days)


def _by_months(first: datetime, last: datetime, months: int) -> Iterator[datetime]:
    number = first.year * 12 + first.month - 1
    number -= number % months
    while number // 12 <= last.year:
        if number >= 12:
            year, month = divmod(number, 12)
            yield _midnight(first).replace(year=year, month=month + 1, day=1)
        number += months
