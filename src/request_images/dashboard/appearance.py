"""The measures of failed pictures, compared with those of other pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F

from request_images.aggregation.bins import bin_of
from request_images.aggregation.comparison import Comparison, Share, significant
from request_images.aggregation.properties import MEASURES
from request_images.models import RequestLog
from request_images.query.criteria import Criteria
from request_images.query.paging import SORTS, Walk
from request_images.statistics.live import limited

MOST = 2000
"""The largest number of failed requests that are compared, and of others."""


@dataclass(frozen=True)
class Looks:
    """The result of the comparison, and the numbers of compared requests.

    Attributes:
        comparisons: For each bin of a measure, its share of the failed pictures and its
            share of the others; the largest difference first. It is not the share of
            failed pictures in the bin: the same number of each are compared, however
            rare failures are.
        failed: The number of compared failed requests, and the number of all, counted
            up to `paging.MANY` + 1.
        succeeded: Both numbers for the successful requests.
    """

    comparisons: Sequence[Comparison]
    failed: tuple[int, int]
    succeeded: tuple[int, int]


def looks_of(criteria: Criteria) -> Looks:
    """Compare the newest analysed pictures of failed requests with the others.

    Args:
        criteria: The criteria of the requests.

    Raises:
        TooManyRequests: The query exceeds the time limit.
    """
    if "brightness" not in criteria.values:
        criteria = criteria.having(brightness="0-")  # only analysed pictures
    bad, failed = _newest(criteria.having(outcome="failed"))
    good, succeeded = _newest(criteria.having(outcome="succeeded"))
    comparisons = [
        Comparison(name, key, bad[name, key], good[name, key])
        for name, measure in MEASURES.items()
        for key in [each.name for each in measure.bins]
    ]
    return Looks(
        significant(comparisons),
        (min(failed, MOST), failed),
        (min(succeeded, MOST), succeeded),
    )


def _newest(criteria: Criteria) -> tuple[Mapping[tuple[str, str], Share], int]:
    measures: dict[str, Any] = {name: F(f"image__content__{name}") for name in MEASURES}
    rows = RequestLog.objects.only("created_at").annotate(**measures)
    with limited(rows.db):
        walk = Walk(rows, criteria, SORTS["newest"])
        found = walk.page(MOST)
        count = walk.count
    counts = {(m.name, each.name): 0 for m in MEASURES.values() for each in m.bins}
    for row in found:
        for name, measure in MEASURES.items():
            counts[name, bin_of(getattr(row, name), measure.bins).name] += 1
    return {place: Share(n, len(found)) for place, n in counts.items()}, count
