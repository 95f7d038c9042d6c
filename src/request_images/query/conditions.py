"""Which rows are meant: values in, conditions out, over either table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from functools import cached_property
from typing import Any

from django.db.models import BigIntegerField, F, Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast
from django.db.models.lookups import (
    GreaterThan,
    GreaterThanOrEqual,
    LessThan,
    LessThanOrEqual,
)
from django.utils import timezone

from request_images.aggregation.bins import SizeClass
from request_images.aggregation.facets import AS_DECLARED, UNTOLD
from request_images.aggregation.periods import floor
from request_images.db.expressions import HammingDistance, Unindexed, same_text
from request_images.images.hashes import MAX_DISTANCE
from request_images.models import FurtherImage, ImageContent, RequestLog
from request_images.models.querysets import failed, succeeded

MOST_ROWS = 5000
"""More are not named one by one in a query."""


class Columns:
    """The columns of some rows' logs and images, as look-ups from those rows.

    Args:
        model: Whose rows: `RequestLog` or `RequestImage`.
        walked: The column in whose order the rows are walked through, since many of
            them match; then no index of another one is of use. None when few match.
    """

    def __init__(self, model: type[Model], walked: str | None = None) -> None:
        self.are_of_logs = model is RequestLog
        self._walked = walked
        self.aliases: dict[str, Combinable] = {}

    def log(self, name: str) -> str:
        """Return the look-up of a column of the log."""
        return self._column(name if self.are_of_logs else f"log__{name}")

    def image(self, name: str) -> str:
        """Return the look-up of a column of the image."""
        return self._column(f"image__{name}" if self.are_of_logs else name)

    def time(self) -> str:
        """Return the look-up of the time, which logs and images both have."""
        return self._column("created_at")

    def _column(self, path: str) -> str:
        if self._walked in (None, path):
            return path
        alias = f"unindexed_{path.replace('__', '_')}"
        self.aliases[alias] = Unindexed(F(path))
        return alias


Condition = Callable[[Any, Columns], Q]


def on_log(name: str, lookup: str = "exact") -> Condition:
    """Compare a column of the log with the value."""
    return lambda value, columns: Q(**{f"{columns.log(name)}__{lookup}": value})


def on_text(name: str) -> Condition:
    """Compare a column of the log with a text that may be any."""
    return lambda value, columns: same_text(columns.log(name), value)


def on_text_or_none(name: str) -> Condition:
    """The same, or those where it is empty."""
    is_text = on_text(name)
    return lambda value, columns: is_text("" if value == UNTOLD else value, columns)


def on_image(name: str, lookup: str = "exact") -> Condition:
    """Compare a column of the image with the value."""
    return lambda value, columns: Q(**{f"{columns.image(name)}__{lookup}": value})


def on_time(lookup: str) -> Condition:
    """Compare the time with the value."""
    return lambda value, columns: Q(**{f"{columns.time()}__{lookup}": value})


def of_last_days(days: int, columns: Columns) -> Q:
    """Those of the last days, from a whole hour on, as in statistics."""
    since = floor(timezone.now() - timedelta(days=days))
    return Q(**{f"{columns.time()}__gte": since})


def has_status(status: str, columns: Columns) -> Q:
    """Those with a status, with one of a hundred (``5xx``), or with none known."""
    column = columns.log("status_code")
    if status == UNTOLD:
        return Q(**{f"{column}__isnull": True})
    if status.endswith("xx"):
        first = int(status[0]) * 100
        return Q(**{f"{column}__gte": first, f"{column}__lt": first + 100})
    return Q(**{column: int(status)})


def has_outcome(outcome: str, columns: Columns) -> Q:
    """Those that failed, or those that succeeded."""
    prefix = columns.log("error_type").removesuffix("error_type")
    columns.log("status_code")  # of the same prefix
    return failed(prefix) if outcome == "failed" else succeeded(prefix)


class SameImage:
    """The images that have a hash, those among a request's further ones looked up once.

    Args:
        beginning: The hash in hexadecimal, or its beginning.
    """

    def __init__(self, beginning: str) -> None:
        self.beginning = beginning
        self._lookup = "exact" if len(beginning) == 64 else "startswith"

    def on(self, column: str) -> Q:
        """Compare a column with it."""
        return Q(**{f"{column}__{self._lookup}": self.beginning})

    @cached_property
    def firsts(self) -> QuerySet[Any] | list[int]:
        """The first images of requests that have it among their further ones."""
        # Named one by one, databases find them and the first ones by an index each.
        found = FurtherImage.objects.order_by().filter(self.on("image_hash"))
        return _named(found, "request_image_id")


def _named(found: QuerySet[Any], column: str) -> QuerySet[Any] | list[int]:
    """Return a column of some rows as values, or the query for them if it is long."""
    values = list(found.values_list(column, flat=True)[: MOST_ROWS + 1])
    return values if len(values) <= MOST_ROWS else found.values(column)


def has_hash(same: SameImage, columns: Columns) -> Q:
    """Those whose image has this hash; of requests, any of their images."""
    condition = same.on(columns.image("image_hash"))
    if columns.are_of_logs and same.firsts != []:  # a query for many is not run here
        condition |= Q(**{f"{columns.image('id')}__in": same.firsts})
    return condition


Bounds = tuple[float, float | None]


def has_duration(bounds: Bounds, columns: Columns) -> Q:
    """Those whose view took so long."""
    return _between(columns.log("duration_ms"), bounds)


def has_measure(name: str) -> Condition:
    """Compare what was measured of the image's content with bounds."""
    return lambda bounds, columns: _between(columns.image(f"content__{name}"), bounds)


class SameLayout:
    """The contents that have the layout of a difference hash, looked up once.

    Args:
        layout: The hash, in hexadecimal.
    """

    def __init__(self, layout: str) -> None:
        self.layout = layout

    @cached_property
    def contents(self) -> QuerySet[Any] | list[int]:
        """Their primary keys, or the query for them when they are many."""
        near = LessThanOrEqual(HammingDistance("layout", self.layout), MAX_DISTANCE)
        # No index knows of distances: every layout there is has to be compared.
        return _named(ImageContent.objects.filter(near, layout__gt=""), "pk")


def has_layout(same: SameLayout, columns: Columns) -> Q:
    """Those whose image has such a content."""
    return Q(**{f"{columns.image('content_id')}__in": same.contents})


def _between(column: str, bounds: Bounds) -> Q:
    low, high = bounds
    condition = Q(**{f"{column}__gte": low})
    return condition if high is None else condition & Q(**{f"{column}__lt": high})


def has_megapixels(size: SizeClass, columns: Columns) -> Q:
    """Those whose image has so many pixels, width times height."""
    # PostgreSQL would take the product for a number of 32 bits too.
    _, width, height = _pixels(columns)
    condition = Q(GreaterThanOrEqual(width * height, size.low))
    if size.high is not None:
        condition &= Q(LessThan(width * height, size.high))
    return condition


def has_aspect(size: SizeClass, columns: Columns) -> Q:
    """Those whose image is so wide for its height."""
    condition, width, height = _pixels(columns)
    # Whole numbers, so that all databases and the statistics agree at the bounds.
    ends = (size.low, size.high or 0)
    low, high = (Fraction(end).limit_denominator(10) for end in ends)
    lowest = GreaterThanOrEqual(width * low.denominator, height * low.numerator)
    condition &= Q(lowest)
    if high:
        condition &= Q(LessThan(width * high.denominator, height * high.numerator))
    return condition


def has_bits_per_pixel(size: SizeClass, columns: Columns) -> Q:
    """Those whose image has so many bits of its file for each pixel."""
    condition, width, height = _pixels(columns)
    bytes_ = Cast(columns.image("file_size"), BigIntegerField())
    condition &= Q(**{f"{columns.image('file_size')}__isnull": False})
    # The bounds are powers of two up to eight: whole numbers of pixels for a byte.
    if size.low:
        condition &= Q(LessThanOrEqual(width * height, bytes_ * int(8 / size.low)))
    if size.high is not None:
        condition &= Q(GreaterThan(width * height, bytes_ * int(8 / size.high)))
    return condition


def _pixels(columns: Columns) -> tuple[Q, Cast, Cast]:
    """Return that there are pixels, and both sides as numbers of 64 bits."""
    sides = columns.image("width"), columns.image("height")
    width, height = (Cast(side, BigIntegerField()) for side in sides)
    return Q(**{f"{side}__gt": 0 for side in sides}), width, height


def is_as_declared(value: str, columns: Columns) -> Q:
    """Those whose image is what the client said, or ``other`` than that."""
    declared, real = columns.image("declared_type"), columns.image("mime_type")
    is_same = Q(**{declared: F(real)})
    # Not negated: what is unlike "" would be also what is no image.
    is_known = Q(**{f"{declared}__gt": "", f"{real}__gt": ""})
    return is_known & (is_same if value == AS_DECLARED else ~is_same)


def has_file_size(size: SizeClass, columns: Columns) -> Q:
    """Those whose image has so many bytes."""
    column = columns.image("file_size")
    condition = Q(**{f"{column}__gte": size.low})
    if size.high is not None:
        condition &= Q(**{f"{column}__lt": size.high})
    return condition
