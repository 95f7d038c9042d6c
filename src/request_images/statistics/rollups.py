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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    add_to,
    add_up,
    capped,
    pack,
    unpack,
)
from request_images.db.errors import Fault, fault_of
from request_images.db.transactions import bounded_transaction
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
    gone_between,
    kept_since,
    left,
    outlived,
    rows_between,
    rows_of,
    state,
)
from .schedule import Work, first_hour, first_rolled_up, next_work

_AT_ONCE = 2000
_TRIES = 5

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


def update(
    since: datetime | None = None,
    *,
    seconds: float | None = None,
    beat: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Roll up closed hours that are missing or stale, the newest first.

    Args:
        since: The first hour; None for that of the first request.
        seconds: The approximate time limit; None for no limit.
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
    contents = contents_between(work.since, work.until)
    parts = [gather(rows.iterator(chunk_size=_AT_ONCE)), contents]
    gone = gone_between(work.since, work.until)
    hourly = _documents([*parts, *(part for _, part in gone)])
    documents = {**hourly, **_longer(work, hourly)}
    try:
        with bounded_transaction(database()):
            # A second process waits here, finds a new version, and changes nothing.
            state = rows_of(StatisticsState).filter(pk=STATE, version=version)
            then = {"since": work.then.since, "until": work.then.until}
            if not state.update(version=version + 1, **then):
                return False
            _replace(work, documents)
            _compact(gone)
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
        pieces: defaultdict[Key, list[Cells]] = defaultdict(list)
        names = ("endpoint", "is_total", "facet", "tallies")
        for endpoint, is_total, facet, data in others.values_list(*names):
            key = (span, start, None if is_total else endpoint, FACETS[facet])
            pieces[key].append(unpack(data))
        for (_, _, endpoint, facet), cells in shorter.items():
            pieces[span, start, endpoint, facet].append(cells)
        shorter = {key: capped(add_up(many)) for key, many in pieces.items()}
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


def _compact(gone: Sequence[tuple[int, Parts]]) -> None:
    """Merge the rows of requests that cleanup has deleted, to one row an hour."""
    rows: defaultdict[datetime, list[int]] = defaultdict(list)
    cells: defaultdict[tuple[datetime, str, Facet], Cells] = defaultdict(dict)
    for pk, parts in gone:
        for hour in {place.hour for place in parts}:
            rows[hour].append(pk)
        for (hour, endpoint, facet, value), tally in parts.items():
            add_to(cells[hour, endpoint, facet], {value: tally})
    several = {hour: pks for hour, pks in rows.items() if len(pks) > 1}
    left_over = {
        Place(hour, endpoint, facet, value): tally
        for (hour, endpoint, facet), each in cells.items()
        if hour in several
        for value, tally in capped(each).items()
    }
    _delete_all(GoneRequests, [pk for pks in several.values() for pk in pks])
    new = [GoneRequests(hour=h, tallies=pack(c)) for h, c in by_hour(left_over).items()]
    rows_of(GoneRequests).bulk_create(new, batch_size=200)


def _delete_all(model: type[models.Model], pks: Sequence[int]) -> int:
    return sum(
        delete(rows_of(model).filter(pk__in=pks[at : at + 500]))
        for at in range(0, len(pks), 500)
    )
