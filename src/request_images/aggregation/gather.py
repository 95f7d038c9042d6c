"""Rows in, tallies out: requests counted by hour, endpoint and each facet."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from request_images.outcome import is_failure

from .facets import Dimensions, Facet, Number, Property
from .periods import floor
from .properties import (
    ALL,
    CAPTURE_STATUS,
    COLUMNS,
    CONTENT_GONE,
    ERROR,
    FACETS,
    IMAGE_PROPERTIES,
    RELEASE,
)
from .tallies import MOST_VALUES, Cells, Tally

LOG_FIELDS = (
    "created_at",
    "duration_ms",
    "duration_bucket",
    "endpoint",
    "status_code",
    "error_type",
    "release",
    "capture_status",
)
FIELDS = (*LOG_FIELDS, "image__pk", *(f"image__{name}" for name in COLUMNS))
"""The values that `gather` needs of a request log, in this order."""
_CHUNK = 10_000
"""The number of requests in memory at once."""
MOST_COUNTED = 1000
"""The maximum number of values of a facet with a tally each; the others share one.

Clients choose dimensions and error types. Each tally takes memory until an hour is
added up, and statistics keep fewer of them.
"""
MOST_OF_ALL = 5000
"""The number of values of a facet, of all endpoints, from which on each has fewer."""
_IMAGE = FIELDS.index("image__pk")
_SIZE = FIELDS.index("image__file_size")


class Place(NamedTuple):
    """The place of a tally; contents have no endpoint."""

    hour: datetime
    endpoint: str
    facet: Facet
    value: str | None


Parts = dict[Place, Tally]


class PartsSum:
    """A sum of tallies, with a bounded number of values of each facet.

    An endpoint has at most `MOST_COUNTED` values of a facet, and at most `MOST_VALUES`
    when all endpoints together have `MOST_OF_ALL`. All further values share one tally.
    A value that shares it never gets a tally of its own, so the tally of each other
    value is complete.

    Args:
        parts: What to add to; tallies are added to it in place.
    """

    def __init__(self, parts: Parts | None = None) -> None:
        self.parts: Parts = {} if parts is None else parts
        self._values = Counter(place[:3] for place in self.parts)
        self._of_all = Counter((place.hour, place.facet) for place in self.parts)

    def add_all(self, parts: Parts) -> None:
        """Add several tallies."""
        for place, tally in parts.items():
            self.add(place, tally)

    def add(self, place: Place, tally: Tally) -> None:
        """Add a tally to that of its place, or to that of all other values."""
        own = self.parts.get(place)
        if own is None:
            group, of_all = place[:3], (place.hour, place.facet)
            is_full = self._of_all[of_all] >= MOST_OF_ALL
            if self._values[group] >= (MOST_VALUES if is_full else MOST_COUNTED):
                place = place._replace(value=None)
            if place not in self.parts:
                self._values[group] += 1
                self._of_all[of_all] += 1
            own = self.parts.setdefault(place, Tally())
        own.add(tally)


_Values = Callable[..., dict[Facet, str]]
_Counted = tuple[int, int, int, bool]
"""A request's microseconds, duration bucket, bytes, and whether it failed."""


def gather(
    rows: Iterable[tuple[Any, ...]],
    *,
    of_log: bool = True,
    start_of: Callable[[datetime], datetime] = floor,
) -> Parts:
    """Count requests by hour, endpoint and each facet.

    Args:
        rows: The values of `FIELDS` of each request.
        of_log: Whether to count by the facets of the log, too, or of the image only.
        start_of: Returns the hour of a moment, or a shorter time that it is part of.
    """
    sums = PartsSum()
    remaining = iter(rows)
    while chunk := list(islice(remaining, _CHUNK)):
        for (hour, endpoint), divisions in _divided(chunk, start_of).items():
            for (_, values_of), division in zip(_DIVISIONS, divisions, strict=True):
                if values_of is _log_values and not of_log:
                    continue
                # The most frequent first, so that they get tallies of their own.
                ranked = sorted(division.items(), key=lambda item: -len(item[1]))
                for known, counted in ranked:
                    tally = _tally_of(counted)
                    for facet, value in values_of(*known).items():
                        sums.add(Place(hour, endpoint, facet, value), tally)
    return sums.parts


def _divided(
    rows: Iterable[tuple[Any, ...]], start_of: Callable[[datetime], datetime]
) -> dict[tuple[datetime, str], list[defaultdict[tuple[Any, ...], list[_Counted]]]]:
    """Divide requests by hour and endpoint, and then in each way of `_DIVISIONS`.

    Appending is fast. The values of facets are computed later, once for all requests
    that have the same columns.
    """
    places: defaultdict[tuple[datetime, str], list[Any]] = defaultdict(
        lambda: [defaultdict(list) for _ in _DIVISIONS]
    )
    of_logs, *of_images = (key for key, _ in _DIVISIONS)
    for row in rows:
        created_at, ms, bucket, endpoint, status_code, error_type = row[:6]
        is_failed = is_failure(status_code, error_type)
        counted = (round(ms * 1000), bucket, row[_SIZE] or 0, is_failed)
        logs, *images = places[start_of(created_at), endpoint]
        logs[of_logs(row)].append(counted)
        if row[_IMAGE] is not None:
            for key, division in zip(of_images, images, strict=True):
                division[key(row)].append(counted)
    return places


def _tally_of(counted: Sequence[_Counted]) -> Tally:
    microseconds, buckets, sizes, failed = zip(*counted, strict=True)
    tally = Tally(len(counted), sum(failed), sum(microseconds), sum(sizes))
    for bucket in buckets:
        tally.histogram[bucket] += 1
    return tally


def _log_values(
    status_code: int | None, error_type: str, release: str, capture_status: str
) -> dict[Facet, str]:
    values = {ALL: "", RELEASE: release, CAPTURE_STATUS: capture_status}
    if is_failure(status_code, error_type):
        code = "" if status_code is None else status_code
        values[ERROR] = f"{code} {error_type}"
    return values


_Key = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def _key_of(names: Sequence[str]) -> _Key:
    """Return a function that takes some columns of the image from a row."""
    indices = [FIELDS.index(f"image__{name}") for name in names]
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda row: (row[indices[0]],)


def _by_columns(properties: Sequence[Property]) -> tuple[_Key, _Values]:
    """Divide by columns in which many images have equal values.

    The facets of such a division are computed once for all these images.
    """
    names = list(dict.fromkeys(name for each in properties for name in each.columns))
    places = [[names.index(name) for name in each.columns] for each in properties]

    def values_of(*columns: Any) -> dict[Facet, str]:
        return {
            each: each.value(*[columns[place] for place in own])
            for each, own in zip(properties, places, strict=True)
        }

    return _key_of(names), values_of


def _by_values(properties: Sequence[Property]) -> tuple[_Key, _Values]:
    """Divide by the facets' values, since nearly every image has its own file size."""
    values = [(each.value, _key_of(each.columns)) for each in properties]

    def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([value(*columns(row)) for value, columns in values])

    return key, lambda *found: dict(zip(properties, found, strict=True))


def _divisions() -> list[tuple[_Key, _Values]]:
    """Return the ways to divide requests: by columns that several facets share."""
    shared: defaultdict[tuple[str, ...], list[Property]] = defaultdict(list)
    of_size = [each for each in IMAGE_PROPERTIES if "file_size" in each.columns]
    for each in IMAGE_PROPERTIES:
        if each not in of_size:
            shared[
                each.columns if isinstance(each, (Dimensions, Number)) else ()
            ].append(each)
    log_key = slice(LOG_FIELDS.index("status_code"), len(LOG_FIELDS))
    return [
        (itemgetter(log_key), _log_values),
        *map(_by_columns, shared.values()),
        _by_values(of_size),
    ]


_DIVISIONS = _divisions()


def by_hour(parts: Parts) -> dict[datetime, Cells]:
    """Return the tallies of each hour, by endpoint, facet and value in one text."""
    found: defaultdict[datetime, Cells] = defaultdict(dict)
    for (hour, endpoint, facet, value), tally in parts.items():
        found[hour][json.dumps([endpoint, facet.name, value])] = tally
    return dict(found)


def of_hour(hour: datetime, cells: Cells) -> Parts:
    """Return the tallies that `by_hour` returned for an hour."""
    parts: Parts = {}
    for text, tally in cells.items():
        endpoint, facet, value = json.loads(text or "")
        parts[Place(hour, endpoint, FACETS[facet], value)] = tally
    return parts


def contents_gone(
    contents: Iterable[tuple[str, datetime, int]],
) -> dict[datetime, Cells]:
    """Count deleted contents by their storage and the hour when they were stored.

    Args:
        contents: Storage alias, time and stored size of each.
    """
    parts: defaultdict[Place, Tally] = defaultdict(Tally)
    for storage, created_at, size in contents:
        place = Place(floor(created_at), "", CONTENT_GONE, storage)
        parts[place].add(Tally(1, total_bytes=size))
    return by_hour(parts)
