"""Conditions on request logs and request images, made from parameters' values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from functools import cached_property, reduce
from operator import mul
from typing import Any

from django.db.models import BigIntegerField, F, Model, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast
from django.db.models.lookups import GreaterThanOrEqual, LessThan, LessThanOrEqual
from django.utils import timezone

from request_images.aggregation.bins import Bin
from request_images.aggregation.facets import (
    AS_DECLARED,
    UNTOLD,
    YES,
    Agreement,
    Flag,
    Number,
    Property,
)
from request_images.aggregation.periods import floor
from request_images.db.expressions import HammingDistance, Unindexed, same_text
from request_images.images.hashes import MAX_DISTANCE
from request_images.models import FurtherImage, ImageContent, RequestLog
from request_images.models.querysets import failed, succeeded

MOST_ROWS = 5000
"""The most keys that a query names one by one."""


class Columns:
    """Look-ups of the columns of logs and images, from the rows of one table.

    Args:
        model: The table: `RequestLog` or `RequestImage`.
        walked: The column in whose order many matching rows are read. The indexes of
            other columns are then switched off. None if few rows match.
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
    """Compare a column of the log with a text, letter by letter."""
    return lambda value, columns: same_text(columns.log(name), value)


def on_text_or_none(name: str) -> Condition:
    """Compare a column of the log with a text, or with the empty text."""
    is_text = on_text(name)
    return lambda value, columns: is_text("" if value == UNTOLD else value, columns)


def on_image(name: str, lookup: str = "exact") -> Condition:
    """Compare a column of the image with the value."""
    return lambda value, columns: Q(**{f"{columns.image(name)}__{lookup}": value})


def on_time(lookup: str) -> Condition:
    """Compare the time with the value."""
    return lambda value, columns: Q(**{f"{columns.time()}__{lookup}": value})


def of_last_days(days: int, columns: Columns) -> Q:
    """Find rows of the last days, from a whole hour on, as the statistics do."""
    since = floor(timezone.now() - timedelta(days=days))
    return Q(**{f"{columns.time()}__gte": since})


def has_status(status: str, columns: Columns) -> Q:
    """Find rows with a status, with a class of statuses (``5xx``), or without one."""
    column = columns.log("status_code")
    if status == UNTOLD:
        return Q(**{f"{column}__isnull": True})
    if status.endswith("xx"):
        first = int(status[0]) * 100
        return Q(**{f"{column}__gte": first, f"{column}__lt": first + 100})
    return Q(**{column: int(status)})


def has_outcome(outcome: str, columns: Columns) -> Q:
    """Find requests that failed, or requests that succeeded."""
    prefix = columns.log("error_type").removesuffix("error_type")
    columns.log("status_code")  # of the same prefix
    return failed(prefix) if outcome == "failed" else succeeded(prefix)


class SameImage:
    """The images with a hash; further images of requests are looked up once.

    Args:
        beginning: The first digits of the hash, or all.
    """

    def __init__(self, beginning: str) -> None:
        self.beginning = beginning
        self._lookup = "exact" if len(beginning) == 64 else "startswith"

    def on(self, column: str) -> Q:
        """Compare a column with the hash."""
        return Q(**{f"{column}__{self._lookup}": self.beginning})

    @cached_property
    def firsts(self) -> QuerySet[Any] | list[int]:
        """The request images whose further images have the hash."""
        # Named one by one, databases find them and the first ones by an index each.
        found = FurtherImage.objects.order_by().filter(self.on("image_hash"))
        return _named(found, "request_image_id")


def _named(found: QuerySet[Any], column: str) -> QuerySet[Any] | list[int]:
    """Return a column of some rows as values, or the query for them if it is long."""
    values = list(found.values_list(column, flat=True)[: MOST_ROWS + 1])
    return values if len(values) <= MOST_ROWS else found.values(column)


def has_hash(same: SameImage, columns: Columns) -> Q:
    """Find images with a hash, or requests that have one such image."""
    condition = same.on(columns.image("image_hash"))
    if columns.are_of_logs and same.firsts != []:  # a query for many is not run here
        condition |= Q(**{f"{columns.image('id')}__in": same.firsts})
    return condition


Bounds = tuple[float, float | None]


def has_duration(bounds: Bounds, columns: Columns) -> Q:
    """Find requests by the duration of their view."""
    return _between(columns.log("duration_ms"), bounds)


def has_measure(name: str) -> Condition:
    """Compare a measure of the image's content with bounds."""
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
    """Find images with such a content."""
    return Q(**{f"{columns.image('content_id')}__in": same.contents})


def _between(column: str, bounds: Bounds) -> Q:
    low, high = bounds
    condition = Q(**{f"{column}__gte": low})
    return condition if high is None else condition & Q(**{f"{column}__lt": high})


def has_property(of: Property) -> Condition:
    """Return the condition of an image property; it takes one of the options."""
    if isinstance(of, Number):
        bins = {each.name: each for each in of.bins}
        return lambda name, columns: in_bin(of, bins[name], columns)
    if isinstance(of, Agreement):
        return lambda name, columns: _agrees(of, name, columns)
    is_value = on_image(*of.columns)
    if isinstance(of, Flag):
        return lambda name, columns: is_value(name == YES, columns)
    return is_value


def in_bin(of: Number, within: Bin, columns: Columns) -> Q:
    """Find images by the bin of a number: `Number.number` in SQL.

    All is compared in whole numbers, so that every database and the statistics agree
    at the bounds.
    """
    low, high = (
        Fraction(str(end or 0)) / of.factor for end in (within.low, within.high)
    )
    if len(of.columns) == 1:
        bounds = (int(low), None if within.high is None else int(high))
        return _between(columns.image(*of.columns), bounds)
    names = {name: columns.image(name) for name in of.columns}
    # PostgreSQL would take a product for a number of 32 bits.
    values = {name: Cast(path, BigIntegerField()) for name, path in names.items()}
    over = reduce(mul, [values[name] for name in of.columns if name not in of.per])
    under = reduce(mul, [values[name] for name in of.per]) if of.per else 1
    condition = Q(**{f"{names[name]}__gt": 0 for name in of.positive})
    condition &= Q(GreaterThanOrEqual(over * low.denominator, under * low.numerator))
    if within.high is not None:
        condition &= Q(LessThan(over * high.denominator, under * high.numerator))
    return condition


def _agrees(of: Agreement, name: str, columns: Columns) -> Q:
    first, second = map(columns.image, of.columns)
    is_same = Q(**{first: F(second)})
    # The texts must not be empty, or requests without an image would differ, too.
    is_known = Q(**{f"{first}__gt": "", f"{second}__gt": ""})
    return is_known & (is_same if name == AS_DECLARED else ~is_same)
