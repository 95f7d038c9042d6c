"""Durations in log-spaced buckets, and percentiles read from them.

The bounds of a bucket differ by 2 %, and its geometric mean represents it, so a
percentile is within 1 % of the exact order statistic (sqrt(1.02) = 1.00995). Counts of
buckets add up over hours, days and machines without loss.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

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
    """Return the geometric mean of a bucket's bounds in milliseconds."""
    return math.exp((bucket + 0.5) * _LOG_RATIO)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the duration in ms that ``share`` of the requests do not exceed.

    It is the order statistic of rank ``ceil(share * n)`` (the nearest-rank method),
    read from a histogram of buckets.

    Args:
        histogram: Number of requests by bucket.
        share: From 0 to 1.
    """
    return percentiles(histogram, [share])[0]


def percentiles(
    histogram: Mapping[int, int], shares: Sequence[float]
) -> list[float | None]:
    """Return several percentiles at once, each as `percentile` does."""
    buckets = sorted(histogram)
    seen = list(accumulate(histogram[bucket] for bucket in buckets))
    if not seen:
        return [None for _ in shares]
    ranks = (max(1, math.ceil(share * seen[-1])) for share in shares)
    return [bucket_value(buckets[bisect_left(seen, rank)]) for rank in ranks]
