"""What pictures of failed requests look like, and those of the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F

from request_images.aggregation.bins import bin_of
from request_images.aggregation.properties import MEASURES
from request_images.aggregation.standouts import Share, Standout, telling
from request_images.models import RequestLog
from request_images.query.criteria import Criteria
from request_images.query.paging import SORTS, Walk
from request_images.statistics.live import limited

MOST = 2000
"""So many failed requests are looked at, at the most, and as many others."""


@dataclass(frozen=True)
class Looks:
    """What was looked at, and what was found.

    Attributes:
        standouts: For measures and their classes, the share of such pictures among
            those of failed requests, and among the others; the most unlike first. It
            is not the share of failed ones in a class, since as many of either are
            looked at, however rare failures are.
        failed: How many failed requests were looked at, and how many there are, counted
            up to one more than `paging.MANY`.
        succeeded: The same of the others.
    """

    standouts: Sequence[Standout]
    failed: tuple[int, int]
    succeeded: tuple[int, int]


def looks_of(criteria: Criteria) -> Looks:
    """Compare the newest failed requests whose images are analysed with others.

    Args:
        criteria: Which requests.

    Raises:
        TooManyRequests: To find them takes too long.
    """
    if "brightness" not in criteria.values:
        criteria = criteria.having(brightness="0-")  # analysed at all
    bad, failed = _newest(criteria.having(outcome="failed"))
    good, succeeded = _newest(criteria.having(outcome="succeeded"))
    standouts = [
        Standout(name, key, bad[name, key], good[name, key])
        for name, measure in MEASURES.items()
        for key in [each.name for each in measure.bins]
    ]
    return Looks(
        telling(standouts),
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
