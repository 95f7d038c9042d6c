"""The reader's notation of numbers, moments and words, and the units of quantities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum


class Quantity(Enum):
    """The quantity that a number measures; it decides the unit."""

    COUNT = "count"
    SHARE = "share"
    """From 0 to 1, written in percent."""
    DURATION = "duration"
    """In milliseconds."""
    BYTES = "bytes"
    MEGAPIXELS = "megapixels"


class Grain(Enum):
    """The parts of a moment that are written."""

    TIME = "time"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"
    DATE = "date"
    """A day with its year."""
    MOMENT = "moment"
    """The date and the time."""


# The symbol and the size of each unit, ascending.
UNITS = {
    Quantity.COUNT: (("", 1.0),),
    Quantity.SHARE: (("%", 0.01),),
    Quantity.DURATION: (("ms", 1.0), ("s", 1e3), ("min", 6e4), ("h", 3.6e6)),
    Quantity.BYTES: tuple(
        (symbol, 1024.0**power)
        for power, symbol in enumerate(("B", "KB", "MB", "GB", "TB", "PB"))
    ),
    Quantity.MEGAPIXELS: (("MP", 1.0),),
}

_SPACE = "\u00a0"  # a number and its unit stay on one line
_PATTERNS = {
    Grain.TIME: "%H:%M",
    Grain.DAY: "%d %b",
    Grain.MONTH: "%b %Y",
    Grain.YEAR: "%Y",
    Grain.DATE: "%d %b %Y",
    Grain.MOMENT: "%d %b %Y %H:%M",
}


def _number(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}"


def _moment(moment: datetime, grain: Grain) -> str:
    return moment.strftime(_PATTERNS[grain])


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


@dataclass(frozen=True)
class Notation:
    """A reader's notation; by default English, and the moments' own time zone.

    Attributes:
        number: Writes a number with a number of decimals.
        moment: Writes a moment, which is in `zone` already.
        gettext: Translates a message.
        ngettext: Translates a message that counts.
        zone: The time zone days begin and end in; None leaves moments as they are.
    """

    number: Callable[[float, int], str] = _number
    moment: Callable[[datetime, Grain], str] = _moment
    gettext: Callable[[str], str] = str
    ngettext: Callable[[str, str, int], str] = _plural
    zone: tzinfo | None = None

    def local(self, moment: datetime) -> datetime:
        """Return a moment in the reader's time zone; leave a naive one as it is."""
        if self.zone is None or moment.tzinfo is None:
            return moment
        return moment.astimezone(self.zone)

    def when(self, moment: datetime) -> str:
        """Write a moment: midnight as its date only."""
        local = self.local(moment)
        is_day = (local.hour, local.minute) == (0, 0)
        return self.moment(local, Grain.DATE if is_day else Grain.MOMENT)

    def write(self, value: float | None, quantity: Quantity) -> str:
        """Write a number with its unit, as "1.9 s" or "340 ms"; None is a dash."""
        if value is None:
            return "–"
        symbol, factor = _unit(value, quantity)
        amount = value / factor
        decimals = 0 if quantity is Quantity.COUNT else _decimals(amount)
        rounded = round(amount, decimals)
        while decimals and rounded == round(rounded, decimals - 1):
            decimals -= 1
        text = self.number(rounded, decimals)
        return f"{text}{_SPACE}{symbol}".rstrip()

    def count(self, number: int) -> str:
        """Write a count."""
        return self.write(number, Quantity.COUNT)

    def between(self, low: float, high: float | None, quantity: Quantity) -> str:
        """Write a range, as "1-2 s" or "10 s or more"; None has no upper bound."""
        if high is None:
            gettext = self.gettext
            least = self.write(low, quantity)
            return gettext("%(amount)s or more") % {"amount": least}
        lower, upper = self.write(low, quantity), self.write(high, quantity)
        unit = upper.rpartition(_SPACE)[2]
        lower = lower.removesuffix(f"{_SPACE}{unit}")
        return f"{lower}–{upper}"

    def failed_of(self, failed: int, count: int) -> str:
        """Write the number of failed requests among some."""
        gettext = self.gettext
        return gettext("failed %(failed)s of %(count)s") % {
            "failed": self.count(failed),
            "count": self.count(count),
        }


ENGLISH = Notation()


def _unit(value: float, quantity: Quantity) -> tuple[str, float]:
    units = UNITS[quantity]
    # 999.96 ms are written as a second.
    fitting = [unit for unit in units if value >= unit[1] * 0.9995]
    return fitting[-1] if fitting else units[0]


def _decimals(amount: float) -> int:
    if amount >= 100 or amount == 0:
        return 0
    return 1 if amount >= 1 else min(9, 1 - math.floor(math.log10(amount)))
