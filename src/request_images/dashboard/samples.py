"""Samples of single requests for a dashboard, read within a time limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Sum

from request_images.charts import Dot
from request_images.gallery.gallery import LATEST, images
from request_images.models import RequestImage, RequestLog
from request_images.models.querysets import RequestLogQuerySet, failed
from request_images.outcome import is_failure
from request_images.query.criteria import Criteria
from request_images.query.paging import SORTS, Walk
from request_images.statistics.live import limited

MOST_FAILED, MOST_SLOW, MOST = 1000, 600, 2000
"""The largest number of dots: failed ones, slow ones, and all."""
REPEATED = 10
_MOST_KEYS = 20_000
_FIELDS = (
    "pk",
    "image__pk",
    "image__width",
    "image__height",
    "duration_ms",
    "status_code",
    "error_type",
)


@dataclass(frozen=True)
class Marks:
    """A sample of requests for the scatter plot.

    Attributes:
        dots: The dots by megapixels, in no order.
        total: The number of requests that the sample is from.
        is_whole: Whether it has all failed requests and the slowest percent.
    """

    dots: Sequence[Dot]
    total: int
    is_whole: bool


def marks_of(
    criteria: Criteria, total: int, slow_ms: float, href: Callable[[int], str]
) -> Marks:
    """Return a sample with the failed and the slow requests, filled up with others.

    Only requests whose images have known dimensions are in it.

    Args:
        criteria: The criteria of the requests.
        total: The approximate number of matching requests.
        slow_ms: The shortest duration of the slowest percent, in milliseconds.
        href: Returns the URL of an image by its primary key.

    Raises:
        TooManyRequests: The query exceeds the time limit.
    """
    logs: RequestLogQuerySet = RequestLog.objects.filter(
        image__width__isnull=False, image__height__isnull=False
    )
    rows = criteria.apply(logs).order_by()
    with limited(rows.db):
        if total <= MOST:
            found = _values(rows.order_by("-created_at"), MOST + 1)
            if len(found) <= MOST:
                dots = [_dot(row, href) for row in found]
                return Marks(dots, len(found), is_whole=True)
            total = len(found)  # the statistics of some hours are missing
        bad = _values(rows.failed().order_by("-created_at"), MOST_FAILED + 1)
        slow_rows = rows.filter(duration_ms__gte=slow_ms).order_by("-duration_ms")
        slow = _values(slow_rows, MOST_SLOW + 1)
        chosen = {row[0]: row for row in [*bad[:MOST_FAILED], *slow[:MOST_SLOW]]}
        for row in _some(rows, total, MOST - len(chosen)):
            chosen.setdefault(row[0], row)
    is_whole = len(bad) <= MOST_FAILED and len(slow) <= MOST_SLOW
    dots = [_dot(row, href) for row in list(chosen.values())[:MOST]]
    return Marks(dots, total, is_whole)


def _values(rows: QuerySet[Any], count: int) -> list[tuple[Any, ...]]:
    return list(rows.values_list(*_FIELDS)[:count])


def _some(rows: QuerySet[Any], total: int, count: int) -> list[tuple[Any, ...]]:
    """Return about ``count`` rows, evenly spread over the primary keys."""
    first = rows.order_by("created_at").values_list("pk", flat=True).first()
    last = rows.order_by("-created_at").values_list("pk", flat=True).first()
    if first is None or last is None:
        return []
    # An even step finds about ``count`` rows if the keys are evenly spread.
    low, high = min(first, last), max(first, last)
    step = max(1, total // count, (high - low) // _MOST_KEYS)
    return _values(rows.filter(pk__in=list(range(low, high + 1, step))), count)


def _dot(row: tuple[Any, ...], href: Callable[[int], str]) -> Dot:
    _, image, width, height, duration, status, error_type = row
    is_failed = is_failure(status, error_type)
    text = (error_type or str(status)) if is_failed else ""
    return Dot(width * height / 1e6, duration, is_failed, href(image), text)


@dataclass(frozen=True)
class Repeated:
    """An image that several requests sent.

    Attributes:
        image: The image of the latest of these requests, if possible one with bytes.
        seen: The number of requests.
        failed: The number of failed requests.
        saved_ms: The time that a cache would have saved: all durations except an
            average one, in milliseconds.
    """

    image: RequestImage
    seen: int
    failed: int
    saved_ms: float


def repeated_images(criteria: Criteria) -> tuple[list[Repeated], datetime | None]:
    """Return the most repeated images, and the start of the time that was searched.

    Args:
        criteria: The criteria of the requests. Only the newest ones are searched; the
            start is None if that is all of them.

    Raises:
        TooManyRequests: The query exceeds the time limit.
    """
    with limited(RequestImage.objects.db):
        since = Walk(images(), criteria, SORTS["newest"]).since()
        rows = criteria.apply(images().order_by()).exclude(image_hash="")
        if since is not None:
            rows = rows.filter(created_at__gte=since)
        counted = rows.values("image_hash").annotate(
            seen=Count("pk"),
            failed=Count("pk", filter=failed("log__")),
            latest=LATEST,
            ms=Sum("log__duration_ms"),
        )
        top = counted.filter(seen__gt=1).order_by("-seen", "image_hash")[:REPEATED]
        found = {row["latest"]: row for row in top}
        pictures = images().in_bulk(found)
    return [
        Repeated(
            pictures[pk],
            row["seen"],
            row["failed"],
            row["ms"] * (row["seen"] - 1) / row["seen"],
        )
        for pk, row in found.items()
        if pk in pictures
    ], since
