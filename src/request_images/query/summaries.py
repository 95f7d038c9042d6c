"""The statistics for a query string."""

from __future__ import annotations

from collections.abc import Sequence

from request_images.aggregation.periods import Period
from request_images.models import RequestLog
from request_images.statistics.summarize import summarize_all, summarize_rows
from request_images.statistics.summary import Summary

from .criteria import Criteria
from .fields import PERIOD


def summaries(criteria: Criteria, periods: Sequence[Period]) -> list[Summary]:
    """Return the statistics of the matching requests, for each period.

    Args:
        criteria: The criteria; their own period is not used.
        periods: The periods.

    Raises:
        TooManyRequests: Too many requests match to read them one by one.
    """
    rest = criteria.without(*PERIOD)
    if set(rest.values) <= {"endpoint"}:
        return summarize_all(periods, rest.values.get("endpoint"))
    rows = rest.apply(RequestLog.objects.all())
    return [summarize_rows(rows, period) for period in periods]
