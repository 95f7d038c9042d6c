"""Bins: the ranges of numbers that requests are grouped by."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from django.utils import formats

_KB = 1024


@dataclass(frozen=True)
class Bin:
    """A range of numbers.

    Attributes:
        name: The range in a URL, such as ``2-5``.
        low: The lower bound, inclusive; 0 for no bound.
        high: The upper bound, exclusive; None for no bound.
    """

    name: str
    low: float
    high: float | None


def bins_between(bounds: Sequence[float], unit: int = 1) -> tuple[Bin, ...]:
    """Return the bins that bounds make, from 0 to infinity.

    Args:
        bounds: The bounds in ascending order, without 0.
        unit: The unit of the numbers in a bin's name.
    """
    texts = [f"{bound / unit:g}" for bound in (0, *bounds)]
    names = [f"{low}-{high}" for low, high in zip(texts, [*texts[1:], ""], strict=True)]
    return tuple(map(Bin, names, (0, *bounds), (*bounds, None)))


def bin_of(number: float, bins: Sequence[Bin]) -> Bin:
    """Return the bin that a number falls into."""
    return bins[bisect_right([each.low for each in bins], number) - 1]


def range_in_words(each: Bin, write: Callable[[float], str] = str) -> str:
    """Return the range of a bin, such as "< 40".

    Args:
        each: The bin.
        write: Returns one bound in the reader's notation.
    """
    if each.high is None:
        return f"≥ {write(each.low)}"
    if not each.low:
        return f"< {write(each.high)}"
    return f"{write(each.low)}–{write(each.high)}"


def write_number(value: float) -> str:
    """Return a number in the reader's notation, without trailing zeros."""
    return formats.number_format(f"{value:g}")


def write_ratio(value: float) -> str:
    """Return a number as a ratio of small integers, such as "4:5"."""
    sides = Fraction(value).limit_denominator(10)
    return f"{sides.numerator}:{sides.denominator}"


def write_bytes(size: float) -> str:
    """Return a whole number of kilobytes or megabytes (1,024 bytes, 1,024 KB)."""
    unit, name = (_KB**2, "MB") if size >= _KB**2 else (_KB, "KB")
    return f"{size // unit:.0f} {name}"
