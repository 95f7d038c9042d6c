"""Querysets in, frozen dataclasses out: counts, averages and percentiles.

Percentiles come from log-spaced duration buckets, stored with each log. A bucket's
bounds differ by 2 %, and its geometric mean stands for it, so that a percentile is
within 1 % of the exact order statistic (sqrt(1.02) = 1.00995), in plain SQL that
every database answers alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.db.models import Case, Count, IntegerField, QuerySet, Sum, Value, When
from django.utils import timezone

from .querysets import failed

BUCKET_RATIO = 1.02
_LOG_RATIO = math.log(BUCKET_RATIO)
_SHORTEST_MS = 0.001


def bucket_of(duration_ms: float) -> int:
    """Return the bucket of a duration: ``floor(log(ms) / log(1.02))``.

    Args:
        duration_ms: Milliseconds; below a microsecond counts as a microsecond.
    """
    return math.floor(math.log(max(duration_ms, _SHORTEST_MS)) / _LOG_RATIO)


def bucket_value(bucket: int) -> float:
    """Return the milliseconds a bucket stands for: its bounds' geometric mean."""
    return math.exp((bucket + 0.5) * _LOG_RATIO)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the duration in ms below or at which ``share`` of the requests are.

    The order statistic of rank ``ceil(share * n)`` (the nearest-rank method), read
    from a histogram of buckets.

    Args:
        histogram: Number of requests by bucket.
        share: From 0 to 1.
    """
    rank = max(1, math.ceil(share * sum(histogram.values())))
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= rank:
            return bucket_value(bucket)
    return None


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


@dataclass
class _Tally:
    count: int = 0
    failed: int = 0
    total_ms: float = 0.0
    histogram: Counter[int] = field(default_factory=Counter)

    def group(self, key: Mapping[str, Any]) -> Group:
        average = self.total_ms / self.count if self.count else None
        shares = (percentile(self.histogram, share) for share in (0.5, 0.95, 0.99))
        durations = Durations(average, *shares)
        return Group(key, self.count, self.failed, durations)


def overall(logs: QuerySet[Any]) -> Group:
    """Gather all of some request logs into one group."""
    return _tally(logs, ()).get((), _Tally()).group({})


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
        tally.group(dict(zip(names, values, strict=True)))
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
    bounds = [_midnight(day) for day in [*dates, today + timedelta(days=1)]]
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
        tallies.get((index,), _Tally()).group({"date": day})
        for index, day in enumerate(dates)
    ]


def by_status(logs: QuerySet[Any]) -> dict[str, int]:
    """Count request logs by their capture status, the most frequent first."""
    rows = logs.order_by().values_list("capture_status").annotate(n=Count("pk"))
    return dict(rows.order_by("-n", "capture_status"))


def storage(logs: QuerySet[Any]) -> Storage:
    """Weigh the images of some request logs. No image is loaded."""
    kept = logs.order_by().filter(image__content__isnull=False)
    received = kept.aggregate(total=Sum("image__file_size"))["total"]
    contents = kept.values("image__content", "image__content__stored_size").distinct()
    stored = contents.aggregate(total=Sum("image__content__stored_size"))["total"]
    return Storage(received=int(received or 0), stored=int(stored or 0))


def _midnight(day: date) -> datetime:
    naive = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # made aware next
    return timezone.make_aware(naive) if settings.USE_TZ else naive


def _tally(logs: QuerySet[Any], fields: Sequence[str]) -> dict[tuple[Any, ...], _Tally]:
    rows: Iterable[tuple[Any, ...]] = (
        logs.order_by()
        .values_list(*fields, "duration_bucket")
        .annotate(
            n=Count("pk"), n_failed=Count("pk", filter=failed()), ms=Sum("duration_ms")
        )
        .values_list(*fields, "duration_bucket", "n", "n_failed", "ms")
    )
    tallies: dict[tuple[Any, ...], _Tally] = {}
    for *values, bucket, count, n_failed, total_ms in rows:
        tally = tallies.setdefault(tuple(values), _Tally())
        tally.count += count
        tally.failed += n_failed
        tally.total_ms += total_ms
        tally.histogram[bucket] += count
    return tallies
