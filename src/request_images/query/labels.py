"""What values that statistics tell apart are called, and the parameters for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.utils import formats
from django.utils.translation import gettext

from request_images.aggregation.bins import (
    ASPECTS,
    BITS_PER_PIXEL,
    FILE_SIZES,
    MEGAPIXELS,
    SizeClass,
    aspect_in_words,
    bits_per_pixel_in_words,
    file_size_in_words,
    megapixels_in_words,
)
from request_images.aggregation.facets import AS_DECLARED, FLAGS, UNTOLD, YES, Facet
from request_images.models import RequestLog
from request_images.outcome import CaptureStatus


def name_of(facet: Facet, value: str) -> str:
    """Return what a value is called.

    Args:
        facet: What it is a value of.
        value: As `Summary.values` has it.
    """
    if facet is Facet.ERROR:
        status, _, error_type = value.partition(" ")
        return f"{error_type} ({status})" if status and error_type else value.strip()
    if not value:
        return gettext("unknown")
    if facet in _SIZES:
        classes, in_words = _SIZES[facet]
        return in_words(_size(value, classes))
    if facet is Facet.CAPTURE_STATUS:
        return str(CaptureStatus(value).label)
    return _in_words(facet, value)


def _in_words(facet: Facet, value: str) -> str:
    if facet is Facet.DECLARED:
        same, other = gettext("as declared"), gettext("not as declared")
        return same if value == AS_DECLARED else other
    if facet in FLAGS:
        return gettext("yes") if value == YES else gettext("no")
    return value


def described(facet: Facet, value: str) -> str:
    """Return the same with what it is a value of, to be read without a heading.

    Args:
        facet: What it is a value of: one that requests are separated by.
        value: As `Summary.values` has it.
    """
    speaks = "%(value)s"  # for itself, but for what is unknown
    kinds = {
        Facet.MIME_TYPE: speaks if value else gettext("type %(value)s"),
        Facet.MEGAPIXELS: speaks if value else gettext("dimensions %(value)s"),
        Facet.ENDPOINT: gettext("endpoint %(value)s"),
        Facet.RELEASE: gettext("release %(value)s"),
        Facet.FILE_SIZE: gettext("files %(value)s"),
        Facet.ASPECT: speaks if value else gettext("aspect %(value)s"),
        Facet.BITS_PER_PIXEL: speaks if value else gettext("bits per pixel %(value)s"),
        Facet.COLOR_MODE: gettext("colour mode %(value)s"),
        Facet.ANIMATED: gettext("animated: %(value)s"),
        Facet.ORIENTATION: gettext("to be turned: %(value)s"),
        Facet.DECLARED: speaks if value else gettext("declared type %(value)s"),
        Facet.SEEN_BEFORE: gettext("seen before: %(value)s"),
    }
    return kinds[facet] % {"value": name_of(facet, value)}


def texts_of(facet: Facet, value: str) -> dict[str, str]:
    """Return the query parameters that mean a value; none when no parameter can.

    Args:
        facet: What it is a value of.
        value: As `Summary.values` has it.
    """
    if facet is Facet.ERROR:
        status, _, error_type = value.partition(" ")
        told = {"status": status or UNTOLD, "error_type": error_type or UNTOLD}
        return {"outcome": "failed", **told}
    if facet is Facet.RELEASE:
        # One that is called so cannot be meant.
        return {} if value == UNTOLD else {"release": value or UNTOLD}
    if not value:
        return {}
    if facet in _SIZES:
        return {facet.value: _size(value, _SIZES[facet][0]).name}
    return {facet.value: value}


def slower_texts(milliseconds: float, asked: str) -> dict[str, str]:
    """Return the query parameters for requests that took so long, the slowest first.

    Args:
        milliseconds: So long at the least.
        asked: The range of durations that is asked for already, whose end stays; empty
            for none.
    """
    _, _, end = asked.partition("-")
    return {"duration": f"{milliseconds:.6f}-{end}", "sort": "slowest"}


def _size(value: str, classes: tuple[SizeClass, ...]) -> SizeClass:
    low = float(value) * (1_000_000 if classes is MEGAPIXELS else 1)
    return next(size for size in reversed(classes) if size.low <= low)


_Sizes = tuple[tuple[SizeClass, ...], Callable[[SizeClass], str]]
_SIZES: Mapping[Facet, _Sizes] = {
    Facet.MEGAPIXELS: (MEGAPIXELS, megapixels_in_words),
    Facet.FILE_SIZE: (FILE_SIZES, file_size_in_words),
    Facet.ASPECT: (ASPECTS, aspect_in_words),
    Facet.BITS_PER_PIXEL: (BITS_PER_PIXEL, bits_per_pixel_in_words),
}


def status(log: RequestLog) -> str:
    """Return what became of a request: its status, and the error if there was one."""
    code = "?" if log.status_code is None else str(log.status_code)
    return f"{code} {log.error_type}".strip()


def milliseconds(value: float) -> str:
    """Return a time with three digits that count, in the reader's own notation."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    # Django cuts off what is beyond the digits.
    return f"{formats.number_format(round(value, digits), digits)} ms"
