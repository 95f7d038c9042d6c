"""Querysets in, frozen dataclasses out: counts, averages and percentiles.

Percentiles come from log-spaced duration buckets, stored with each log, in plain SQL
that every database answers alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from django.db.models import (
    Case,
    Count,
    Exists,
    IntegerField,
    OuterRef,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.utils import timezone

from request_images.aggregation.histograms import percentiles
from request_images.aggregation.periods import midnight
from request_images.aggregation.tallies import Tally
from request_images.models import FurtherImage, ImageContent, RequestImage
from request_images.models.querysets import failed


@dataclass(frozen=True)
class Durations:
    """How long requests took, in milliseconds; all None when there were none."""

    average: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Group:
    """Requests that have something in common.

    Attributes:
        key: What they have in common, such as ``{"width": 640, "height": 480}``.
        request_count: How many there are.
        failed_count: How many of them failed.
        duration_ms: How long they took.
    """

    key: Mapping[str, Any]
    request_count: int
    failed_count: int
    duration_ms: Durations


@dataclass(frozen=True)
class Storage:
    """What the images of some requests weigh, in bytes.

    Attributes:
        received: As the requests brought them, each time anew.
        stored: As they are kept, each distinct image once.
    """

    received: int
    stored: int


def group_of(key: Mapping[str, Any], tally: Tally) -> Group:
    """Return counted requests with their average and percentiles.

    Args:
        key: What they have in common.
        tally: How they were counted.
    """
    average = tally.total_us / tally.count / 1000 if tally.count else None
    shares = percentiles(tally.histogram, (0.5, 0.95, 0.99))
    return Group(key, tally.count, tally.failed, Durations(average, *shares))


def overall(logs: QuerySet[Any]) -> Group:
    """Gather all of some request logs into one group."""
    return group_of({}, _tally(logs, ()).get((), Tally()))


def by(logs: QuerySet[Any], names: Mapping[str, str], top: int = 20) -> list[Group]:
    """Gather request logs by what they have in common, the most frequent first.

    Args:
        logs: Request logs.
        names: For each name in a group's key, the field or look-up to group by.
        top: How many groups at the most.
    """
    tallies = _tally(logs, tuple(names.values()))
    ranked = sorted(tallies.items(), key=lambda item: (-item[1].count, str(item[0])))
    return [
        group_of(dict(zip(names, values, strict=True)), tally)
        for values, tally in ranked[:top]
    ]


def by_day(logs: QuerySet[Any], days: int) -> list[Group]:
    """Gather request logs by day, today last, days without requests included.

    A day is one of the current time zone, and may have 23 or 25 hours. The bounds are
    counted here: some databases know no time zones.

    Args:
        logs: Request logs, of any time.
        days: How many days, today included.
    """
    now = timezone.now()
    today = timezone.localdate(now) if timezone.is_aware(now) else now.date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    bounds = [midnight(day) for day in [*dates, today + timedelta(days=1)]]
    number = Case(
        *(
            When(created_at__gte=begin, created_at__lt=end, then=Value(index))
            for index, (begin, end) in enumerate(pairwise(bounds))
        ),
        output_field=IntegerField(),
    )
    logs = logs.filter(created_at__gte=bounds[0], created_at__lt=bounds[-1])
    tallies = _tally(logs.annotate(day_number=number), ("day_number",))
    return [
        group_of({"date": day}, tallies.get((index,), Tally()))
        for index, day in enumerate(dates)
    ]


def by_status(logs: QuerySet[Any]) -> dict[str, int]:
    """Count request logs by their capture status, the most frequent first."""
    rows = logs.order_by().values_list("capture_status").annotate(n=Count("pk"))
    return dict(rows.order_by("-n", "capture_status"))


def storage(logs: QuerySet[Any]) -> Storage:
    """Weigh the images of some request logs, further ones included; none is loaded."""
    logs = logs.order_by()
    kept = logs.filter(image__content__isnull=False)
    received = _sum(kept, "image__file_size")
    contents = kept.values("image__content", "image__content__stored_size").distinct()
    stored = _sum(contents, "image__content__stored_size")
    further = FurtherImage.objects.using(logs.db).filter(
        request_image__log__in=logs.values("pk"), content__isnull=False
    )
    received += _sum(further, "file_size")
    first = RequestImage.objects.filter(
        content=OuterRef("pk"), log__in=logs.values("pk")
    )
    only_further = ImageContent.objects.using(logs.db).filter(
        ~Exists(first), pk__in=further.values("content")
    )
    return Storage(received, stored + _sum(only_further, "stored_size"))


def _sum(rows: QuerySet[Any], field: str) -> int:
    return int(rows.aggregate(total=Sum(field))["total"] or 0)


def _tally(logs: QuerySet[Any], fields: Sequence[str]) -> dict[tuple[Any, ...], Tally]:
    rows: Iterable[tuple[Any, ...]] = (
        logs.order_by()
        .values_list(*fields, "duration_bucket")
        .annotate(
            n=Count("pk"), n_failed=Count("pk", filter=failed()), ms=Sum("duration_ms")
        )
        .values_list(*fields, "duration_bucket", "n", "n_failed", "ms")
    )
    tallies: dict[tuple[Any, ...], Tally] = {}
    for *values, bucket, count, n_failed, total_ms in rows:
        tally = tallies.setdefault(tuple(values), Tally())
        tally.count += count
        tally.failed += n_failed
        tally.total_us += round(total_ms * 1000)
        tally.histogram[bucket] += count
    return tallies
