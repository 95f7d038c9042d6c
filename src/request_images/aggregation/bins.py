"""The classes that sizes fall into: pixels, bytes, and what they make of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from django.utils import formats
from django.utils.translation import gettext

_MEGAPIXEL = 1_000_000
_KB = 1024


@dataclass(frozen=True)
class SizeClass:
    """A range of sizes.

    Attributes:
        name: What stands in a URL, such as ``2-5``.
        low: Where it begins, inclusive; 0 for no bound.
        high: Where it ends, exclusive; None for no bound.
    """

    name: str
    low: float
    high: float | None


def _classes(unit: int, bounds: Sequence[float]) -> tuple[SizeClass, ...]:
    lows = (0, *bounds)
    highs = (*bounds, None)
    return tuple(
        SizeClass(
            f"{low:g}-" if high is None else f"{low:g}-{high:g}",
            low * unit,
            None if high is None else high * unit,
        )
        for low, high in zip(lows, highs, strict=True)
    )


MEGAPIXEL_BOUNDS = (0.5, 1, 2, 5, 10, 20)
MEGAPIXELS = _classes(_MEGAPIXEL, MEGAPIXEL_BOUNDS)
"""By width times height, in pixels; named in millions of them."""
KILOBYTE_BOUNDS = (100, 500, 1024, 5 * 1024, 10 * 1024)
FILE_SIZES = _classes(_KB, KILOBYTE_BOUNDS)
"""By the bytes of the file; named in kilobytes of 1,024 bytes."""
ASPECT_BOUNDS = (0.5, 0.8, 1.25, 2)
ASPECTS = _classes(1, ASPECT_BOUNDS)
"""By width divided by height. No usual format is at a bound but those of its own:
9:16, 2:3 and 3:4 are tall, 4:3, 3:2 and 16:9 are wide."""
BITS_PER_PIXEL_BOUNDS = (0.25, 0.5, 1, 2, 4, 8)
BITS_PER_PIXEL = _classes(1, BITS_PER_PIXEL_BOUNDS)
"""By the bits of the file divided by its pixels: how much it was compressed."""


LOOKS: Mapping[str, Sequence[SizeClass]] = {
    "brightness": _classes(1, (40, 80, 120, 160, 200)),
    "contrast": _classes(1, (20, 40, 60, 80)),
    "entropy": _classes(1, (2, 4, 5, 6, 7)),
    "sharpness": _classes(1, (10, 30, 100, 300, 1000, 3000)),
}
"""By what is measured of a picture: see `measuring.Measures` for the units."""


def class_of(size: float, classes: Sequence[SizeClass]) -> SizeClass:
    """Return the class that a size falls into."""
    return next(c for c in classes if c.high is None or size < c.high)


def megapixels_in_words(size: SizeClass) -> str:
    """Return a class of `MEGAPIXELS` in the reader's words, bounds first."""
    return gettext("%(range)s megapixels") % {"range": _range(size, _megapixels)}


def file_size_in_words(size: SizeClass) -> str:
    """Return a class of `FILE_SIZES` in words, such as "< 100 KB"."""
    return _range(size, _kilobytes)


def aspect_in_words(size: SizeClass) -> str:
    """Return a class of `ASPECTS` in words, with its bounds as of width to height."""
    names = (
        gettext("very tall"),
        gettext("tall"),
        gettext("nearly square"),
        gettext("wide"),
        gettext("very wide"),
    )
    return f"{names[ASPECTS.index(size)]} ({_range(size, _ratio)})"


def bits_per_pixel_in_words(size: SizeClass) -> str:
    """Return a class of `BITS_PER_PIXEL` in words, bounds first."""
    return gettext("%(range)s bits per pixel") % {"range": _range(size, _number)}


def plain_in_words(size: SizeClass) -> str:
    """Return a class of `LOOKS` in words, such as "< 40"."""
    return _range(size, str)


def _range(size: SizeClass, written: Callable[[float], str]) -> str:
    if size.high is None:
        return f"≥ {written(size.low)}"
    if not size.low:
        return f"< {written(size.high)}"
    return f"{written(size.low)}–{written(size.high)}"  # noqa: RUF001  # it is meant


def _megapixels(pixels: float) -> str:
    return _number(pixels / _MEGAPIXEL)


def _number(value: float) -> str:
    return formats.number_format(f"{value:g}")


def _ratio(value: float) -> str:
    sides = Fraction(value).limit_denominator(10)
    return f"{sides.numerator}:{sides.denominator}"


def _kilobytes(size: float) -> str:
    unit, name = (_KB**2, "MB") if size >= _KB**2 else (_KB, "KB")
    return f"{size // unit:.0f} {name}"
