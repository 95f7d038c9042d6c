"""Groups of requests: counts, durations, capture statuses and stored bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, QuerySet, Sum

from request_images.aggregation.percentiles import percentiles
from request_images.aggregation.tallies import Tally
from request_images.models import FurtherImage, ImageContent, RequestImage


@dataclass(frozen=True)
class Durations:
    """Durations of requests in milliseconds; all None without requests."""

    average: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Group:
    """Requests with one value of a facet in common.

    Attributes:
        key: The value, such as ``{"width": 640, "height": 480}``.
        request_count: Number of requests.
        failed_count: Number of failed requests.
        duration_ms: Their durations.
    """

    key: Mapping[str, Any]
    request_count: int
    failed_count: int
    duration_ms: Durations


def group_of(key: Mapping[str, Any], tally: Tally) -> Group:
    """Return the group of a tally, with its average and percentiles.

    Args:
        key: The value that the requests have in common.
        tally: The counted requests.
    """
    average = tally.total_us / tally.count / 1000 if tally.count else None
    shares = percentiles(tally.histogram, (0.5, 0.95, 0.99))
    return Group(key, tally.count, tally.failed, Durations(average, *shares))


def by_status(logs: QuerySet[Any]) -> dict[str, int]:
    """Return the number of request logs by capture status, the most frequent first."""
    rows = logs.order_by().values_list("capture_status").annotate(n=Count("pk"))
    return dict(rows.order_by("-n", "capture_status"))


def stored_size(logs: QuerySet[Any]) -> int:
    """Return the stored bytes of the images of some request logs, each content once."""
    logs = logs.order_by()
    kept = logs.filter(image__content__isnull=False)
    contents = kept.values("image__content", "image__content__stored_size").distinct()
    further = FurtherImage.objects.using(logs.db).filter(
        request_image__log__in=logs.values("pk"), content__isnull=False
    )
    first = RequestImage.objects.filter(
        content=OuterRef("pk"), log__in=logs.values("pk")
    )
    only_further = ImageContent.objects.using(logs.db).filter(
        ~Exists(first), pk__in=further.values("content")
    )
    stored = _sum(contents, "image__content__stored_size")
    return stored + _sum(only_further, "stored_size")


def _sum(rows: QuerySet[Any], field: str) -> int:
    return int(rows.aggregate(total=Sum(field))["total"] or 0)
