"""Queries for the stored statistics, and for the rows that they are computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Count, Q, Subquery, Sum
from django.db.models.functions import TruncHour

from request_images.aggregation.facets import Facet
from request_images.aggregation.gather import Parts, PartsSum, Place, of_hour
from request_images.aggregation.periods import (
    HOUR,
    UTC,
    Built,
    Piece,
    Span,
    end_of,
    floor,
    frontier,
    midnight,
)
from request_images.aggregation.properties import CONTENT, FACETS
from request_images.aggregation.tallies import Tally, unpack
from request_images.conf import conf
from request_images.db.destination import database_of
from request_images.models import ImageContent, RequestLog
from request_images.models.cutoffs import days_ago
from request_images.models.querysets import RequestLogQuerySet
from request_images.models.statistics import (
    GoneRequests,
    StaleHour,
    StatisticsRollup,
    StatisticsState,
)

STATE = 1
"""The primary key of the single row of `StatisticsState`."""
_ROWS_AT_ONCE = 20
"""The number of rows of `GoneRequests` in memory at once."""
_RUN = 4
"""The largest number of consecutive pieces that are queried one by one."""


@dataclass(frozen=True)
class State:
    """The state of the statistics at one moment.

    Attributes:
        version: The number of changes so far.
        last_mark: The primary key of the newest `StaleHour`; None if there is none.
        built: The time that has statistics, and its stale hours.
    """

    version: int
    last_mark: int | None
    built: Built


def state() -> State | None:
    """Return the state of the statistics; None if there are none yet."""
    last = rows_of(StaleHour).order_by("-pk").values("pk")[:1]
    rows = rows_of(StatisticsState).filter(pk=STATE)
    found = rows.values_list("version", "since", "until", Subquery(last)).first()
    if found is None:
        return None
    version, since, until, last_mark = found
    stale = []
    if last_mark is not None:
        marks = rows_of(StaleHour).filter(hour__gte=since, hour__lt=until)
        stale = sorted({floor(h) for h in marks.values_list("hour", flat=True)})
    return State(version, last_mark, Built(floor(since), floor(until), stale))


def left(built: Built, since: datetime) -> int:
    """Return the number of closed hours since a moment without current statistics."""
    newer = max(frontier() - built.until, timedelta(0)) // HOUR
    older = max(built.since - since, timedelta(0)) // HOUR
    return newer + older + sum(hour >= since for hour in built.stale)


def kept_since() -> datetime:
    """Return the moment before which statistics are deleted."""
    end = days_ago(conf.STATISTICS_RETENTION_DAYS)
    return floor(end or midnight(date(1970, 1, 2)), Span.DAY)


def outlived(before: datetime) -> list[models.QuerySet[Any]]:
    """Return the rows whose whole time is before a day."""
    rollups = rows_of(StatisticsRollup).filter(start__lt=before)
    month = models.Q(span=Span.MONTH.value, start__gte=floor(before, Span.MONTH))
    return [rollups.exclude(month), rows_of(GoneRequests).filter(hour__lt=before)]


def database() -> str:
    """Return the alias of the database of the logs, which has the statistics too."""
    return database_of(RequestLog)


def logs() -> RequestLogQuerySet:
    """Return the logs of the database that has the statistics."""
    return RequestLog.objects.using(database())


def rows_between(since: datetime, until: datetime) -> models.QuerySet[Any]:
    """Return the logs between two moments."""
    return logs().filter(created_at__gte=since, created_at__lt=until)


def gone_between(since: datetime, until: datetime) -> Iterator[tuple[int, Parts]]:
    """Yield the tallies of requests that cleanup deleted, with their primary keys.

    The rows are read one by one: an hour can have one for each batch of a cleanup.
    """
    rows = rows_of(GoneRequests).filter(hour__gte=since, hour__lt=until).order_by("pk")
    found = rows.values_list("pk", "hour", "tallies")
    for pk, hour, data in found.iterator(chunk_size=_ROWS_AT_ONCE):
        yield pk, of_hour(floor(hour), unpack(data))


def gone_summed(
    since: datetime, until: datetime
) -> tuple[Parts, dict[datetime, list[int]]]:
    """Return the sum of `gone_between`, and the primary keys of each hour."""
    sums = PartsSum()
    pks: defaultdict[datetime, list[int]] = defaultdict(list)
    for pk, parts in gone_between(since, until):
        sums.add_all(parts)
        for hour in {place.hour for place in parts}:
            pks[hour].append(pk)
    return sums.parts, pks


def contents_between(since: datetime, until: datetime) -> Parts:
    """Return the tallies of the contents stored between two moments."""
    rows = (
        rows_of(ImageContent)
        .filter(created_at__gte=since, created_at__lt=until)
        .annotate(hour=TruncHour("created_at", tzinfo=UTC))
        .order_by()
        .values_list("hour", "storage")
        .annotate(n=Count("pk"), size=Sum("stored_size"))
        .values_list("hour", "storage", "n", "size")
    )
    return {
        Place(floor(hour), "", CONTENT, storage): Tally(n, total_bytes=int(size))
        for hour, storage, n, size in rows
    }


def kept_of(
    pieces: Iterable[Piece], facets: Iterable[Facet], endpoint: str | None
) -> list[tuple[Piece, Facet, bytes]]:
    """Return the stored statistics of some hours, days and months.

    Args:
        pieces: The hours, days and months.
        facets: The facets.
        endpoint: The endpoint; None for the total of all endpoints.

    Returns:
        The piece, the facet and the packed tallies of each row.
    """
    times = Q(pk__in=[])
    single: defaultdict[Span, list[datetime]] = defaultdict(list)
    for run in _runs(pieces):
        (span, first), (_, last) = run[0], run[-1]
        if len(run) > _RUN:
            times |= Q(span=span.value, start__gte=first, start__lte=last)
        else:
            single[span] += [start for _, start in run]
    for span, starts in single.items():
        times |= Q(span=span.value, start__in=starts)
    rows = rows_of(StatisticsRollup).filter(
        times,
        is_total=endpoint is None,
        endpoint=endpoint or "",
        facet__in=[facet.name for facet in facets],
    )
    names = ("span", "start", "facet", "endpoint", "tallies")
    return [
        ((Span(span), floor(start)), FACETS[facet], data)
        for span, start, facet, of_endpoint, data in rows.values_list(*names)
        # MariaDB compares endpoints without regard to case.
        if of_endpoint == (endpoint or "")
    ]


def _runs(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Return the pieces grouped into runs of consecutive pieces of one span."""
    runs: list[list[Piece]] = []
    for span, start in sorted(pieces):
        if runs and runs[-1][-1][0] is span and end_of(runs[-1][-1][1], span) == start:
            runs[-1].append((span, start))
        else:
            runs.append([(span, start)])
    return runs


def rows_of(model: type[models.Model]) -> models.QuerySet[Any]:
    """Return all rows of a table in the database that has the statistics."""
    return model._default_manager.using(database())


def delete(rows: models.QuerySet[Any]) -> int:
    """Delete rows without loading them; return their number."""
    return rows._raw_delete(database()) or 0
