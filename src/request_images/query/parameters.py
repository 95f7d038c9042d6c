"""Parsers of query parameters: a text in, a value or a `ValueError` out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import dateparse, timezone
from django.utils.translation import gettext

from request_images.aggregation.facets import UNTOLD
from request_images.aggregation.periods import UTC
from request_images.statistics.summarize import is_known

_WHOLE = re.compile(r"[0-9]{1,10}")
_AMOUNTS = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,6})?)-([0-9]{1,10}(?:\.[0-9]{1,6})?)?")
_STATUS = re.compile(rf"[1-5](?:[0-9]{{2}}|xx)|{UNTOLD}")
_LAYOUT = re.compile(r"[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-fA-F]{4,64}")


class WrongParameter(ValueError):
    """An invalid query parameter; the text is the reason."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def any_text(value: str) -> str:
    """Return any text that a column can hold."""
    if "\0" in value:  # PostgreSQL refuses to look for one
        raise ValueError(gettext("there is a NUL character in it"))
    return value


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """Return a parser that accepts some names."""
    names = list(known)

    def parse(value: str) -> str:
        if value not in names:
            text = gettext("not one of %(known)s")
            raise ValueError(text % {"known": ", ".join(names)})
        return value

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers within bounds, both inclusive."""

    def parse(value: str) -> int:
        if not (_WHOLE.fullmatch(value) and low <= int(value) <= high):
            bounds = {"low": low, "high": high}
            raise ValueError(
                gettext("not a whole number from %(low)d to %(high)d") % bounds
            )
        return int(value)

    return parse


def amounts(value: str) -> tuple[float, float | None]:
    """Return the bounds of a range; the upper one may be missing."""
    if found := _AMOUNTS.fullmatch(value):
        low, high = float(found[1]), float(found[2]) if found[2] else None
        if high is None or low < high:
            return low, high
    raise ValueError(gettext("not a range such as 250-500 or 1000-"))


def logged_endpoint(value: str) -> str:
    """Return the name of an endpoint that has requests."""
    if not is_known(any_text(value)):
        raise ValueError(gettext("no request of this endpoint is logged"))
    return value


def status(value: str) -> str:
    """Return a status, a class of statuses such as ``5xx``, or ``-`` for none."""
    if not _STATUS.fullmatch(value):
        raise ValueError(gettext("not a status such as 422 or 5xx"))
    return value


def hash_or_part(value: str) -> str:
    """Return the first digits of a SHA-256; fewer than four would match too many."""
    if not _HASH.fullmatch(value):
        raise ValueError(gettext("not 4 to 64 hexadecimal digits"))
    return value.lower()


def moment(value: str) -> datetime:
    """Return a date or time in ISO 8601, by default in the current time zone."""
    # The first moment of 1970 is one of 1969 elsewhere.
    return _time(value, 1969)


def end(value: str) -> datetime:
    """Return the end of a period; a date includes that whole day."""
    is_date = len(value) <= len("2026-01-31")
    # The days before it are to be times, too.
    return _time(value, 1971, timedelta(days=is_date))


def _time(value: str, first_year: int, more: timedelta = timedelta(0)) -> datetime:
    found = None
    # No date, or a year at either end, which no other time zone has.
    with suppress(ValueError, OverflowError):
        parsed = dateparse.parse_datetime(value)
        found = parsed and _as_in_rows(parsed + more)
    if found is None or not first_year <= found.year <= 9000:
        raise ValueError(gettext("not a time such as 2026-01-31 or 2026-01-31T12:00"))
    return found


def _as_in_rows(time: datetime) -> datetime:
    if settings.USE_TZ:
        aware = timezone.make_aware(time) if timezone.is_naive(time) else time
        # PostgreSQL knows no offset of 16 hours or more from UTC.
        return aware.astimezone(UTC)
    return timezone.make_naive(time) if timezone.is_aware(time) else time


def layout_hash(value: str) -> str:
    """A difference hash of 256 bits."""
    if not _LAYOUT.fullmatch(value):
        raise ValueError(gettext("not 64 hexadecimal digits"))
    return value
