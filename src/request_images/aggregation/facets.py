"""What requests are told apart by: values of a request, and classes of values."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from itertools import islice
from typing import Any, NamedTuple

from .bins import (
    ASPECT_BOUNDS,
    BITS_PER_PIXEL_BOUNDS,
    KILOBYTE_BOUNDS,
    MEGAPIXEL_BOUNDS,
)
from .periods import floor
from .tallies import Cells, Tally

MEGAPIXELS = MEGAPIXEL_BOUNDS
"""Where one class of images by their pixels ends, and the next begins; in 10^6."""
FILE_SIZES = tuple(1024 * kb for kb in KILOBYTE_BOUNDS)
"""The same by their bytes."""


class Facet(str, Enum):
    """What requests are told apart by."""

    ALL = "all"
    """Nothing: all of them together."""
    ENDPOINT = "endpoint"
    MIME_TYPE = "mime_type"
    DIMENSIONS = "dimensions"
    MEGAPIXELS = "megapixels"
    FILE_SIZE = "file_size"
    ASPECT = "aspect"
    BITS_PER_PIXEL = "bits_per_pixel"
    COLOR_MODE = "color_mode"
    ANIMATED = "animated"
    ORIENTATION = "orientation"
    DECLARED = "declared"
    """Whether the image is what the client said it is."""
    SEEN_BEFORE = "seen_before"
    ERROR = "error"
    """The error type and the status, of failed requests only."""
    RELEASE = "release"
    CAPTURE_STATUS = "capture_status"
    CONTENT = "content"
    """Not of requests: contents by the storage they are in, by when they came."""
    CONTENT_GONE = "content_gone"
    """The same, of those that were deleted since."""

    @property
    def is_of_contents(self) -> bool:
        """Whether contents are counted, and not requests: these have no endpoint."""
        return self in (Facet.CONTENT, Facet.CONTENT_GONE)

    def key(self, value: str) -> dict[str, Any]:
        """Return what a value means, by names."""
        if self is Facet.DIMENSIONS:
            width, _, height = value.partition("x")
            return {"width": _number(width), "height": _number(height)}
        if self is Facet.ERROR:
            status, _, error_type = value.partition(" ")
            return {"error_type": error_type, "status_code": _number(status)}
        if self in BOUNDS:
            names = (f"{self.value}_from", f"{self.value}_below")
            return dict(zip(names, _bounds(value, BOUNDS[self]), strict=True))
        if self in FLAGS:
            return {self.value: {YES: True, NO: False}.get(value)}
        return {} if self is Facet.ALL else {_NAMES.get(self, self.value): value}


BOUNDS: Mapping[Facet, tuple[float, ...]] = {
    Facet.MEGAPIXELS: MEGAPIXELS,
    Facet.FILE_SIZE: FILE_SIZES,
    Facet.ASPECT: ASPECT_BOUNDS,
    Facet.BITS_PER_PIXEL: BITS_PER_PIXEL_BOUNDS,
}
"""Where the classes of numbers begin, but for the lowest."""
FLAGS = (Facet.ANIMATED, Facet.ORIENTATION, Facet.SEEN_BEFORE)
"""What an image has or has not."""
YES, NO = "yes", "no"
_SAID = {True: YES, False: NO, None: ""}
AS_DECLARED, OTHER = "same", "other"
UNTOLD = "-"
"""What stands in a URL for an error type or a status that a failed request has not."""
_NAMES = {Facet.CONTENT: "storage", Facet.CONTENT_GONE: "storage"}

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
IMAGE_FIELDS = (
    "image__file_size",
    "image__pk",
    "image__mime_type",
    "image__width",
    "image__height",
    "image__color_mode",
    "image__is_animated",
    "image__has_orientation",
    "image__declared_type",
    "image__is_repeated",
)
FIELDS = (*LOG_FIELDS, *IMAGE_FIELDS)
"""What `gather` asks of a request log, in this order."""


class Place(NamedTuple):
    """Where a tally belongs; of no endpoint are the contents."""

    hour: datetime
    endpoint: str
    facet: Facet
    value: str | None


Parts = dict[Place, Tally]


def gather(
    rows: Iterable[tuple[Any, ...]],
    *,
    of_log: bool = True,
    start_of: Callable[[datetime], datetime] = floor,
) -> Parts:
    """Count requests by hour, endpoint and each facet.

    Args:
        rows: The values of `FIELDS` of each.
        start_of: Returns the hour of a moment, or what shall count as such.
        of_log: Whether what the log says counts, or its image only.
    """
    parts: defaultdict[Place, Tally] = defaultdict(Tally)
    remaining = iter(rows)
    while some := list(islice(remaining, _AT_ONCE)):
        for (hour, endpoint), divisions in _divided(some, start_of).items():
            for values_of, division in zip(_DIVISIONS, divisions, strict=True):
                if values_of is _values_of_log and not of_log:
                    continue
                for known, counted in division.items():
                    tally = _tally_of(counted)
                    for facet, value in values_of(*known).items():
                        parts[Place(hour, endpoint, facet, value)].add(tally)
    return dict(parts)


_AT_ONCE = 10_000
"""So many requests are in memory at once."""
_Counted = tuple[int, int, int, bool]
"""Of a request: microseconds, duration bucket, bytes, and whether it failed."""
_Division = defaultdict[tuple[Any, ...], list[_Counted]]
"""Requests by what some facets have in common."""


def _divided(
    rows: Iterable[tuple[Any, ...]], start_of: Callable[[datetime], datetime]
) -> dict[tuple[datetime, str], list[_Division]]:
    """Divide requests by hour and endpoint, and then in each way of `_DIVISIONS`.

    To append is quick. The facets that are made of the same columns are told apart
    later: for all requests at once that have these in common.
    """
    places: defaultdict[tuple[datetime, str], list[_Division]] = defaultdict(
        lambda: [defaultdict(list) for _ in _DIVISIONS]
    )
    for row in rows:
        created_at, ms, bucket, endpoint, status_code, error_type = row[:6]
        size, image, mime_type, width, height = row[8:13]
        is_failed = bool(error_type) or (status_code or 0) >= 400
        counted = (round(ms * 1000), bucket, size or 0, is_failed)
        logs, kinds, pixels, weights = places[start_of(created_at), endpoint]
        logs[row[4:8]].append(counted)
        if image is not None:
            bits = _bits_per_pixel(size, width, height)
            weight = _class_of(size, FILE_SIZES), _class_of(bits, BITS_PER_PIXEL_BOUNDS)
            kinds[(mime_type, *row[13:])].append(counted)
            pixels[width, height].append(counted)
            weights[weight].append(counted)
    return places


def _tally_of(counted: Sequence[_Counted]) -> Tally:
    microseconds, buckets, sizes, failed = zip(*counted, strict=True)
    tally = Tally(len(counted), sum(failed), sum(microseconds), sum(sizes))
    for bucket in buckets:
        tally.histogram[bucket] += 1
    return tally


def by_hour(parts: Parts) -> dict[datetime, Cells]:
    """Return the tallies of each hour, by endpoint, facet and value in one text."""
    found: defaultdict[datetime, Cells] = defaultdict(dict)
    for place, tally in parts.items():
        found[place.hour][json.dumps(place[1:])] = tally
    return dict(found)


def contents_gone(
    contents: Iterable[tuple[str, datetime, int]],
) -> dict[datetime, Cells]:
    """Count contents by the hour when they came, and by the storage they are in.

    Args:
        contents: Storage alias, time and stored size of each.
    """
    parts: defaultdict[Place, Tally] = defaultdict(Tally)
    for storage, created_at, size in contents:
        place = Place(floor(created_at), "", Facet.CONTENT_GONE, storage)
        parts[place].add(Tally(1, total_bytes=size))
    return by_hour(parts)


def of_hour(hour: datetime, cells: Cells) -> Parts:
    """Return what `by_hour` made texts of."""
    parts: Parts = {}
    for text, tally in cells.items():
        endpoint, facet, value = json.loads(text or "")
        parts[Place(hour, endpoint, Facet(facet), value)] = tally
    return parts


def _values_of_log(
    status_code: int | None, error_type: str, release: str, capture_status: str
) -> dict[Facet, str]:
    values = {
        Facet.ALL: "",
        Facet.RELEASE: release,
        Facet.CAPTURE_STATUS: capture_status,
    }
    if error_type or (status_code or 0) >= 400:
        code = "" if status_code is None else status_code
        values[Facet.ERROR] = f"{code} {error_type}"
    return values


def _values_of_kind(*kind: Any) -> dict[Facet, str]:
    mime_type, color_mode, is_animated, is_turned, declared_type, is_repeated = kind
    declared = ""
    if declared_type and mime_type:
        declared = AS_DECLARED if declared_type == mime_type else OTHER
    return {
        Facet.MIME_TYPE: mime_type,
        Facet.COLOR_MODE: color_mode,
        Facet.ANIMATED: _SAID[is_animated],
        Facet.ORIENTATION: _SAID[is_turned],
        Facet.DECLARED: declared,
        Facet.SEEN_BEFORE: _SAID[is_repeated],
    }


def _values_of_pixels(width: int | None, height: int | None) -> dict[Facet, str]:
    if width is None or height is None:
        sized = (Facet.DIMENSIONS, Facet.MEGAPIXELS, Facet.ASPECT)
        return dict.fromkeys(sized, "")
    aspect = width / height if width and height else None
    return {
        Facet.DIMENSIONS: f"{width}x{height}",
        Facet.MEGAPIXELS: _class_of(width * height / 1e6, MEGAPIXELS),
        Facet.ASPECT: _class_of(aspect, ASPECT_BOUNDS),
    }


def _values_of_weight(sizes: str, bits_per_pixel: str) -> dict[Facet, str]:
    return {Facet.FILE_SIZE: sizes, Facet.BITS_PER_PIXEL: bits_per_pixel}


_DIVISIONS: tuple[Callable[..., dict[Facet, str]], ...] = (
    _values_of_log,
    _values_of_kind,
    _values_of_pixels,
    _values_of_weight,
)
"""The values of facets that are made of the same columns."""


def _bits_per_pixel(
    size: int | None, width: int | None, height: int | None
) -> float | None:
    if size is None or not width or not height:
        return None
    return 8 * size / (width * height)


def _class_of(number: float | None, bounds: tuple[float, ...]) -> str:
    # By its lower bound, not by its place: a later version may have more of them.
    if number is None:
        return ""
    at = bisect_right(bounds, number)
    return str(bounds[at - 1]) if at else "0"


def _bounds(value: str, bounds: tuple[float, ...]) -> tuple[float | None, float | None]:
    if not value:
        return None, None
    lower = float(value) if "." in value else int(value)
    return lower, next((bound for bound in bounds if bound > lower), None)


def _number(text: str) -> int | None:
    return int(text) if text else None
