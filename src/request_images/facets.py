"""What requests are told apart by: values of a request, and classes of values."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from .classes import KILOBYTE_BOUNDS, MEGAPIXEL_BOUNDS
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
        if self in _CLASSES:
            names = (f"{self.value}_from", f"{self.value}_below")
            return dict(zip(names, _bounds(value, _CLASSES[self]), strict=True))
        return {} if self is Facet.ALL else {_NAMES.get(self, self.value): value}


_CLASSES: Mapping[Facet, tuple[float, ...]] = {
    Facet.MEGAPIXELS: MEGAPIXELS,
    Facet.FILE_SIZE: FILE_SIZES,
}
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
IMAGE_FIELDS = ("image__file_size", "image__pk", "image__mime_type", "image__width")
FIELDS = (*LOG_FIELDS, *IMAGE_FIELDS, "image__height")
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
    # First by all they have in common, which is much, and then by each of that.
    profiles: defaultdict[tuple[Any, ...], Tally] = defaultdict(Tally)
    for created_at, ms, bucket, *log, size, image, mime_type, width, height in rows:
        hour = start_of(created_at)
        sizes = _class_of(size, FILE_SIZES) if image is not None else ""
        profile = (hour, *log, image is not None, sizes, mime_type, width, height)
        tally = profiles[profile]
        tally.count += 1
        tally.total_ms += ms
        tally.total_bytes += size or 0
        tally.histogram[bucket] += 1
    parts: defaultdict[Place, Tally] = defaultdict(Tally)
    for (hour, endpoint, *profile_rest), tally in profiles.items():
        status_code, error_type, release, capture_status, *image_rest = profile_rest
        is_failed = bool(error_type) or (status_code or 0) >= 400
        tally.failed = tally.count if is_failed else 0
        values = _values_of_image(*image_rest)
        if of_log:
            values[Facet.ALL] = ""
            values[Facet.RELEASE] = release
            values[Facet.CAPTURE_STATUS] = capture_status
            if is_failed:
                code = "" if status_code is None else status_code
                values[Facet.ERROR] = f"{code} {error_type}"
        for facet, value in values.items():
            parts[Place(hour, endpoint, facet, value)].add(tally)
    return dict(parts)


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


def _values_of_image(
    has_image: bool, sizes: str, mime_type: str, width: int | None, height: int | None
) -> dict[Facet, str]:
    if not has_image:
        return {}
    is_known = width is not None and height is not None
    pixels = width * height / 1e6 if width is not None and height is not None else None
    return {
        Facet.MIME_TYPE: mime_type,
        Facet.DIMENSIONS: f"{width}x{height}" if is_known else "",
        Facet.MEGAPIXELS: _class_of(pixels, MEGAPIXELS),
        Facet.FILE_SIZE: sizes,
    }


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
