"""What a query parameter may say: texts in, values out, or the reason why not."""

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
    """A query parameter that cannot be meant; the text says which and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def any_text(value: str) -> str:
    """Any text that a column can hold."""
    if "\0" in value:  # PostgreSQL refuses to look for one
        raise ValueError(gettext("there is a NUL character in it"))
    return value


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """One of some names."""
    names = list(known)

    def parse(value: str) -> str:
        if value not in names:
            text = gettext("not one of %(known)s")
            raise ValueError(text % {"known": ", ".join(names)})
        return value

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds, both inclusive."""

    def parse(value: str) -> int:
        if not (_WHOLE.fullmatch(value) and low <= int(value) <= high):
            bounds = {"low": low, "high": high}
            raise ValueError(
                gettext("not a whole number from %(low)d to %(high)d") % bounds
            )
        return int(value)

    return parse


def amounts(value: str) -> tuple[float, float | None]:
    """A number and a larger one, or none: the bounds of a range."""
    if found := _AMOUNTS.fullmatch(value):
        low, high = float(found[1]), float(found[2]) if found[2] else None
        if high is None or low < high:
            return low, high
    raise ValueError(gettext("not a range such as 250-500 or 1000-"))


def logged_endpoint(value: str) -> str:
    """An endpoint of which there are requests."""
    if not is_known(any_text(value)):
        raise ValueError(gettext("no request of this endpoint is logged"))
    return value


def status(value: str) -> str:
    """A status, a hundred of them as in ``5xx``, or that it is not known."""
    if not _STATUS.fullmatch(value):
        raise ValueError(gettext("not a status such as 422 or 5xx"))
    return value


def hash_or_part(value: str) -> str:
    """A SHA-256 or its beginning; a few digits would be too many rows."""
    if not _HASH.fullmatch(value):
        raise ValueError(gettext("not 4 to 64 hexadecimal digits"))
    return value.lower()


def moment(value: str) -> datetime:
    """A date or a time in ISO 8601; in the current time zone if it names none."""
    # The first moment of 1970 is one of 1969 elsewhere.
    return _time(value, 1969)


def end(value: str) -> datetime:
    """The same, where a date is meant with all its hours."""
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
