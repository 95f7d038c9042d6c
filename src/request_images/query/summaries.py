"""The statistics that a query string asks for."""

from __future__ import annotations

from collections.abc import Sequence

from request_images.aggregation.periods import Period
from request_images.models import RequestLog
from request_images.statistics.summarize import summarize_all, summarize_rows
from request_images.statistics.summary import Summary

from .criteria import Criteria
from .fields import PERIOD


def summaries(criteria: Criteria, periods: Sequence[Period]) -> list[Summary]:
    """Sum up the requests that are asked for, in each of some periods.

    Args:
        criteria: Which requests; its own period does not matter.
        periods: The periods.

    Raises:
        TooManyRequests: They have to be looked at one by one, and are too many.
    """
    rest = criteria.without(*PERIOD)
    if set(rest.values) <= {"endpoint"}:
        return summarize_all(periods, rest.values.get("endpoint"))
    rows = rest.apply(RequestLog.objects.all())
    return [summarize_rows(rows, period) for period in periods]
