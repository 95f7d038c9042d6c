"""Statistics from single rows: those of the open hour, or of any query."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from django.db import DatabaseError
from django.db.models import Q

from request_images.aggregation.facets import Facet
from request_images.aggregation.gather import FIELDS, Parts, PartsSum, gather
from request_images.aggregation.periods import HOUR, Period, floor, quarter
from request_images.aggregation.properties import ALL, ENDPOINT
from request_images.aggregation.tallies import Cells, add_to
from request_images.db.errors import Fault, fault_of
from request_images.db.expressions import same_text
from request_images.db.transactions import bounded_reading
from request_images.exceptions import TooManyRequests
from request_images.models.querysets import RequestLogQuerySet

from . import groups
from .reader import contents_between, gone_between, logs

MOST_ROWS = 50_000
"""The largest number of rows that are read one by one."""
SECONDS = 2.0
"""The longest time of such a query, in seconds."""
STORAGE_SECONDS = 0.25
"""The longest time of a query for the stored bytes of requests, in seconds."""

Slot = tuple[datetime, datetime]
"""The begin and the end of a slot of time."""


def parts_of(rows: RequestLogQuerySet, period: Period) -> Parts:
    """Count request logs of a period, by quarters of an hour.

    Raises:
        TooManyRequests: There are more than `MOST_ROWS`, or it takes too long.
    """
    rows = rows.filter(created_at__gte=period.since, created_at__lt=period.until)
    values = rows.order_by().values_list(*FIELDS)[: MOST_ROWS + 1]
    with limited(rows.db, SECONDS):
        found = list(values)
    if len(found) > MOST_ROWS:
        raise TooManyRequests(f"More than {MOST_ROWS} requests match.")
    return gather(found, start_of=quarter)


def stored_by(rows: RequestLogQuerySet) -> int:
    """Return the stored size in bytes of the images of requests, each content once.

    Raises:
        TooManyRequests: It takes too long.
    """
    with limited(rows.db, STORAGE_SECONDS):
        return groups.stored_size(rows)


@contextmanager
def limited(using: str, seconds: float = SECONDS) -> Iterator[None]:
    """Limit the time of each query within the context.

    Raises:
        TooManyRequests: A query took longer.
    """
    try:
        with bounded_reading(using, seconds):
            yield
    except DatabaseError as error:
        if fault_of(error) is Fault.BUSY:
            raise TooManyRequests("Reading them takes too long.") from error
        raise


def live_parts(slots: Sequence[Slot], endpoint: str | None) -> tuple[Parts, int]:
    """Count the requests of some slots by quarters of an hour.

    Args:
        slots: The begin and the end of each, at whole hours.
        endpoint: The endpoint; None for all endpoints.

    Returns:
        The counts, and the number of the oldest hours that are left out because there
        are more than `MOST_ROWS` rows.
    """
    within = Q(pk__in=[])
    for since, until in slots:
        within |= Q(created_at__gte=since, created_at__lt=until)
    rows = logs().filter(within)
    if endpoint is not None:
        rows = rows.filter(same_text("endpoint", endpoint))
    newest = rows.order_by("-created_at").values_list(*FIELDS)
    found = list(newest[: MOST_ROWS + 1])
    hours_left = 0
    if len(found) > MOST_ROWS:
        first = floor(found[-1][0]) + HOUR  # the hour before is incomplete
        found = [row for row in found if row[0] >= first]
        hours_left = sum(
            max(0, (min(first, until) - since) // HOUR) for since, until in slots
        )
    sums = PartsSum(gather(found, start_of=quarter))
    for since, until in slots:
        for _, gone in gone_between(since, until):
            for place, tally in gone.items():
                if endpoint in (None, place.endpoint):
                    sums.add(place, tally)
        if endpoint is None:
            sums.add_all(contents_between(since, until))
    return sums.parts, hours_left


def edges_of(slots: Sequence[Slot], until: datetime) -> list[Slot]:
    """Return the closed hours that contain a bound of a slot."""
    bounds = {bound for slot in slots for bound in slot}
    hours = {floor(bound) for bound in bounds if floor(bound) != bound}
    return [(hour, hour + HOUR) for hour in sorted(hours) if hour < until]


def hour_from(moment: datetime) -> datetime:
    """Return the first whole hour at or after a moment."""
    hour = floor(moment)
    return hour if hour == moment else hour + HOUR


def sorted_into(
    slots: Sequence[Slot], parts: Parts, facets: Iterable[Facet]
) -> dict[Facet, list[Cells]]:
    """Return the tallies of each slot by value, for each facet.

    Args:
        slots: The begin and the end of each, in order.
        parts: The tallies to sort; none crosses the bound of a slot.
        facets: The facets to return.
    """
    found: dict[Facet, list[Cells]] = {each: [{} for _ in slots] for each in facets}
    starts = [since for since, _ in slots]
    for place, tally in parts.items():
        number = bisect_right(starts, place.hour) - 1
        if number < 0 or place.hour >= slots[number][1]:
            continue
        if place.facet in found:
            add_to(found[place.facet][number], {place.value: tally})
        if place.facet is ALL and ENDPOINT in found:
            add_to(found[ENDPOINT][number], {place.endpoint: tally})
    return found
