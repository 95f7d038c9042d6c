"""Rollups: the statistics of closed hours, days and months, kept up to date.

Rows are read and summed without a lock. Then one short transaction writes the rollups
if the version of the state is still the same as before; otherwise another process was
faster, and the rows are read again. Marks of stale hours are read before the rows and
deleted by their keys: a mark that is set meanwhile stays, and its hour is rolled up
again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import DatabaseError, models
from django.db.models import Q

from request_images.aggregation.facets import Facet
from request_images.aggregation.gather import FIELDS, Parts, Place, by_hour, gather
from request_images.aggregation.periods import (
    HOUR,
    Built,
    Span,
    end_of,
    floor,
    frontier,
)
from request_images.aggregation.properties import ALL, ENDPOINT, FACETS
from request_images.aggregation.tallies import (
    Cells,
    Tally,
    add_packed,
    add_to,
    capped,
    pack,
)
from request_images.db.errors import Fault, fault_of
from request_images.db.transactions import bounded_transaction
from request_images.models import ImageContent, RequestLog
from request_images.models.statistics import (
    GoneRequests,
    StaleHour,
    StatisticsRollup,
    StatisticsState,
)

from .reader import (
    STATE,
    State,
    contents_between,
    database,
    delete,
    gone_summed,
    kept_since,
    left,
    outlived,
    rows_between,
    rows_of,
    state,
)

_AT_ONCE = 2000
_TRIES = 5
ROWS_AT_ONCE = 10_000
"""The approximate number of logs that are rolled up in one transaction."""
_SOURCES: tuple[tuple[type[models.Model], str], ...] = (
    (RequestLog, "created_at"),
    (ImageContent, "created_at"),
    (GoneRequests, "hour"),
)
"""The tables that rollups are made from, and their columns of time."""

Key = tuple[Span, datetime, "str | None", Facet]
"""Identify one rollup row: span, start, endpoint (None: all endpoints), facet."""


@dataclass(frozen=True)
class Progress:
    """The progress of an update.

    Attributes:
        hours: The number of hours that were rolled up.
        left: The number of requested closed hours that are not rolled up yet.
    """

    hours: int = 0
    left: int = 0


@dataclass(frozen=True)
class Work:
    """Hours of one day, or an empty period, that are rolled up in one transaction.

    Attributes:
        since: The first hour.
        until: The end of the last hour.
        then: The state after it.
    """

    since: datetime
    until: datetime
    then: Built


def update(
    since: datetime | None = None,
    *,
    seconds: float | None = None,
    most_rows: int | None = None,
    beat: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Roll up closed hours that are missing or stale, the newest first.

    Args:
        since: The first hour; None for that of the first request.
        seconds: The approximate time limit; None for no limit.
        most_rows: Stop before hours with more logs than this; None for no limit.
        beat: Called with the progress after each transaction.

    Raises:
        django.db.DatabaseError: The database is unavailable, locked or read-only.
    """
    ends = None if seconds is None else time.monotonic() + seconds
    since = first_hour() if since is None else max(floor(since), kept_since())
    hours = lost = 0
    while True:
        found = _begin()
        work, rest = next_work(found.built, since), left(found.built, since)
        if work is None or (ends is not None and time.monotonic() > ends):
            return Progress(hours, rest)
        logs = rows_between(work.since, work.until)
        if most_rows is not None and logs[most_rows:].exists():
            return Progress(hours, rest)
        if _do(work, found.version):
            hours += (work.until - work.since) // HOUR
            lost = 0
        else:
            lost += 1  # another process was faster
        if lost >= _TRIES:
            return Progress(hours, rest)
        beat(Progress(hours, rest))


def mark_all(since: datetime | None, until: datetime | None) -> None:
    """Mark the hours with rollups as stale, so that they are rolled up again.

    Args:
        since: The first hour; None for the first of all.
        until: The end of the last hour; None for the last of all.
    """
    built = _begin().built
    # The state may begin decades before the first request.
    first = max(built.since, min(first_hour(), first_rolled_up()))
    first = first if since is None else max(floor(since), first)
    last = built.until if until is None else min(until, built.until)
    hours = (first + number * HOUR for number in range(-(-(last - first) // HOUR)))
    rows = (StaleHour(hour=hour) for hour in hours)
    StaleHour._default_manager.using(database()).bulk_create(rows, batch_size=500)


def refresh(beat: Callable[[Progress], None]) -> Progress:
    """Roll up stale hours, and hours that have closed since the last update.

    Args:
        beat: Called with the progress after each transaction.
    """
    found = state()
    return Progress() if found is None else update(found.built.since, beat=beat)


def forget(before: datetime, beat: Callable[[], None] = lambda: None) -> int:
    """Delete the statistics of the days before the day of a moment.

    Args:
        before: The moment.
        beat: Called before each batch.

    Returns:
        The number of deleted rows.
    """
    before = floor(before, Span.DAY)
    # The state changes first, so that no process rolls up those days again.
    since = rows_of(StatisticsState).filter(pk=STATE, since__lt=before)
    since.update(version=models.F("version") + 1, since=before)
    gone = 0
    for rows in outlived(before):
        while pks := list(rows.values_list("pk", flat=True)[:_AT_ONCE]):
            beat()
            gone += _delete_all(rows.model, pks)
    return gone


def _begin() -> State:
    found = state()
    if found is None:
        now = frontier()
        row = StatisticsState(pk=STATE, since=now, until=now)
        rows_of(StatisticsState).bulk_create([row], ignore_conflicts=True)
        found = state() or State(0, None, Built(now, now))
    return found


def _do(work: Work, version: int) -> bool:
    """Roll up hours; return False if another process has changed rollups meanwhile."""
    marks = rows_of(StaleHour).filter(hour__gte=work.since, hour__lt=work.until)
    mark_pks = list(marks.values_list("pk", flat=True))
    rows = rows_between(work.since, work.until).order_by().values_list(*FIELDS)
    parts = [
        gather(rows.iterator(chunk_size=_AT_ONCE)),
        contents_between(work.since, work.until),
    ]
    gone, gone_pks = gone_summed(work.since, work.until)
    hourly = _documents([*parts, gone])
    documents = {**hourly, **_longer(work, hourly)}
    try:
        with bounded_transaction(database()):
            # A second process waits here, finds a new version, and changes nothing.
            state = rows_of(StatisticsState).filter(pk=STATE, version=version)
            then = {"since": work.then.since, "until": work.then.until}
            if not state.update(version=version + 1, **then):
                return False
            _replace(work, documents)
            _compact(gone, gone_pks)
            _delete_all(StaleHour, mark_pks)
    except DatabaseError as error:
        if fault_of(error) in (Fault.CONFLICT, Fault.BUSY):
            return False
        raise
    return True


def _documents(many: Iterable[Parts]) -> dict[Key, Cells]:
    """Return the rollups of single hours."""
    documents: defaultdict[Key, Cells] = defaultdict(dict)

    def put(key: Key, value: str | None, tally: Tally) -> None:
        add_to(documents[key], {value: tally})

    for parts in many:
        for (hour, endpoint, facet, value), tally in parts.items():
            put((Span.HOUR, hour, None, facet), value, tally)
            if not facet.is_of_contents:
                put((Span.HOUR, hour, endpoint, facet), value, tally)
            if facet is ALL:
                put((Span.HOUR, hour, None, ENDPOINT), endpoint, tally)
                put((Span.HOUR, hour, endpoint, ENDPOINT), endpoint, tally)
    return {key: capped(cells) for key, cells in documents.items()}


def _longer(work: Work, hourly: dict[Key, Cells]) -> dict[Key, Cells]:
    """Return the rollups of the day and the month of the hours."""
    found: dict[Key, Cells] = {}
    shorter = hourly
    since, until = work.since, work.until
    for span, known in ((Span.DAY, Span.HOUR), (Span.MONTH, Span.DAY)):
        start = floor(work.since, span)
        end = end_of(start, span)
        if start < work.then.since or end > work.then.until:
            break
        rows = rows_of(StatisticsRollup).filter(
            span=known.value, start__gte=start, start__lt=end
        )
        others = rows.exclude(start__gte=since, start__lt=until)
        sums: defaultdict[Key, Cells] = defaultdict(dict)
        names = ("endpoint", "is_total", "facet", "tallies")
        for endpoint, is_total, facet, data in others.values_list(*names):
            key = (span, start, None if is_total else endpoint, FACETS[facet])
            add_packed(sums[key], data)
        for (_, _, endpoint, facet), cells in shorter.items():
            add_to(sums[span, start, endpoint, facet], cells)
        shorter = {key: capped(cells) for key, cells in sums.items()}
        found |= shorter
        since, until = start, end
    return found


def _replace(work: Work, documents: dict[Key, Cells]) -> None:
    old = Q(span=Span.HOUR.value, start__gte=work.since, start__lt=work.until)
    for span in (Span.DAY, Span.MONTH):
        old |= Q(span=span.value, start=floor(work.since, span))
    delete(rows_of(StatisticsRollup).filter(old))
    rows = [
        StatisticsRollup(
            span=span.value,
            start=start,
            is_total=endpoint is None,
            endpoint=endpoint or "",
            facet=facet.name,
            tallies=pack(cells),
        )
        for (span, start, endpoint, facet), cells in documents.items()
    ]
    rows_of(StatisticsRollup).bulk_create(rows, batch_size=200)


def _compact(gone: Parts, pks: Mapping[datetime, Sequence[int]]) -> None:
    """Merge the rows of requests that cleanup has deleted, to one row an hour."""
    several = {hour: each for hour, each in pks.items() if len(each) > 1}
    cells: defaultdict[tuple[datetime, str, Facet], Cells] = defaultdict(dict)
    for (hour, endpoint, facet, value), tally in gone.items():
        if hour in several:
            cells[hour, endpoint, facet][value] = tally
    left_over = {
        Place(*place, value): tally
        for place, each in cells.items()
        for value, tally in capped(each).items()
    }
    _delete_all(GoneRequests, [pk for each in several.values() for pk in each])
    new = [GoneRequests(hour=h, tallies=pack(c)) for h, c in by_hour(left_over).items()]
    rows_of(GoneRequests).bulk_create(new, batch_size=200)


def _delete_all(model: type[models.Model], pks: Sequence[int]) -> int:
    return sum(
        delete(rows_of(model).filter(pk__in=pks[at : at + 500]))
        for at in range(0, len(pks), 500)
    )


def first_hour() -> datetime:
    """Return the first hour with any data."""
    found = [
        rows_of(model).order_by(name).values_list(name).first()
        for model, name in _SOURCES
    ]
    first = min((floor(row[0]) for row in found if row), default=frontier())
    return max(first, kept_since())


def first_rolled_up() -> datetime:
    """Return the first hour with a rollup."""
    rows = rows_of(StatisticsRollup).filter(span=Span.HOUR.value).order_by("start")
    return floor(rows.values_list("start", flat=True).first() or frontier())


def next_work(built: Built, since: datetime) -> Work | None:
    """Return the newest hours to roll up, or None when all are up to date."""
    if built.until < (until := frontier()):
        until = min(until, _next_stop(built.until, until))
        until = _shortened(built.until, until, from_start=True)
        return Work(built.until, until, replace(built, until=until))
    stale = [hour for hour in built.stale if hour >= since]
    if stale:
        day = floor(stale[-1], Span.DAY)
        first = next(hour for hour in stale if hour >= day)
        until = _shortened(first, stale[-1] + HOUR, from_start=True)
        return Work(first, until, built)
    if since < built.since:
        first = max(since, _last_stop(since, built.since))
        first = _shortened(first, built.since, from_start=False)
        return Work(first, built.since, replace(built, since=first))
    return None


def _next_stop(since: datetime, until: datetime) -> datetime:
    """Return the end of the day, or of the month if the rest of that is empty."""
    day, month = (end_of(floor(since, span), span) for span in (Span.DAY, Span.MONTH))
    is_whole = floor(since, Span.DAY) == since
    return day if not is_whole or _is_busy(since, min(month, until)) else month


def _last_stop(since: datetime, until: datetime) -> datetime:
    """Return the begin of the day, or an earlier one if the time before is empty."""
    day, month = (floor(until - HOUR, span) for span in (Span.DAY, Span.MONTH))
    if floor(until, Span.DAY) != until or _is_busy(month, until):
        return day
    is_whole = floor(until, Span.MONTH) == until
    return since if is_whole and not _is_busy(since, until) else month


def _is_busy(since: datetime, until: datetime) -> bool:
    return any(
        rows_of(model).filter(**{f"{name}__gte": since, f"{name}__lt": until}).exists()
        for model, name in _SOURCES
    )


def _shortened(since: datetime, until: datetime, *, from_start: bool) -> datetime:
    """Return the other end of a part of the hours with about `ROWS_AT_ONCE` logs."""
    count = rows_between(since, until).count()
    hours = (until - since) // HOUR
    if count > ROWS_AT_ONCE:
        hours = max(1, hours * ROWS_AT_ONCE // count)
    return since + hours * HOUR if from_start else until - hours * HOUR
