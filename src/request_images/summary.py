"""The statistics of a period: closed hours as they were added up, the open hour live.

Two kinds of questions are answered by what was added up: about all requests of a
period, and about those of one endpoint. Any other is answered by looking at the rows,
as long as there are not too many of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError

from . import rollups, sums
from .facets import Facet, Parts
from .faults import Fault, fault_of
from .health import report
from .ledger import StatisticsRollup
from .live import Slot, edges_of, hour_from, live_parts, parts_of, sorted_into
from .models import RequestLog
from .periods import HOUR, Built, Period, Span, cover, floor
from .querysets import RequestLogQuerySet
from .stats import Group, group_of
from .sums import State
from .tallies import MOST_VALUES, Cells, Tally, add_packed

BUILD_SECONDS = 0.25
"""So long a reader adds up what nobody has added up yet, about."""
_TRIES = 3


@dataclass(frozen=True)
class Series:
    """Requests that have something in common, over time.

    Attributes:
        key: What they have in common.
        points: A group for each hour or day; the same ones for every key.
    """

    key: Mapping[str, Any]
    points: Sequence[Group]


class Summary:
    """The statistics of a period; made by `summarize` and `summarize_rows`.

    Attributes:
        period: The whole hours that are summed up.
        missing_hours: How many closed hours of it are left out, because nobody has
            added them up yet; ``update_image_statistics`` does.
    """

    def __init__(self, period: Period, parts: Parts, missing_hours: int = 0) -> None:
        self.period = period
        self.missing_hours = missing_hours
        self._parts = parts
        self._whole: dict[Facet, Cells] = {}

    def overall(self) -> Group:
        """Return all requests as one group."""
        return group_of({}, self._tally(Facet.ALL))

    def by(self, facet: Facet, top: int = 20) -> list[Group]:
        """Return groups of requests, the most frequent first.

        Args:
            facet: What they are told apart by; the keys are those of `Facet.key`.
            top: How many groups at the most.
        """
        return [
            group_of(facet.key(value), tally) for value, tally in self._top(facet, top)
        ]

    def rest(self, facet: Facet, top: int = 20) -> Group:
        """Return the requests that `by` leaves out, as one group."""
        listed = {value for value, _ in self._top(facet, top)}
        others = Tally()
        for value, tally in self._cells(facet).items():
            if value not in listed:
                others.add(tally)
        return group_of({}, others)

    def by_hour(self, facet: Facet = Facet.ALL, top: int = 5) -> list[Series]:
        """Return groups over time, hour by hour, as `by_day`; the key is ``hour``."""
        return self._series(facet, top, list(self._hours()))

    def by_day(self, facet: Facet = Facet.ALL, top: int = 5) -> list[Series]:
        """Return groups over time, day by day, those without requests included.

        The days are those of the current time zone; the first and the last may be
        parts of days. The key of a point is its ``date``.

        Args:
            facet: What requests are told apart by.
            top: How many values at the most, the most frequent in the period first.
        """
        slots = [({"date": day}, (a, b)) for day, a, b in self.period.days()]
        return self._series(facet, top, slots)

    def values(self, facet: Facet) -> dict[str, Tally]:
        """Return the requests of each value told apart, the most frequent first.

        Args:
            facet: What they are told apart by.
        """
        return dict(self._top(facet, MOST_VALUES))

    def course(
        self, slots: Sequence[Slot], facet: Facet = Facet.ALL
    ) -> list[dict[str, Tally]]:
        """Return the same of each of some times.

        Args:
            slots: From when until when: in order, within the period, and not beginning
                or ending between the quarters of an hour.
            facet: What requests are told apart by.
        """
        return [
            {value: tally for value, tally in cells.items() if value is not None}
            for cells in self._load(facet, slots)
        ]

    def received_bytes(self) -> int:
        """Return how many bytes the images of the requests had, kept or not."""
        # Not of all requests: cleanup keeps count of what their images were by these.
        return sum(tally.total_bytes for tally in self._cells(Facet.FILE_SIZE).values())

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes of contents that came in the period, by storage alias.

        Of all endpoints. Those that are gone by now are counted as well.
        """
        cells = self._cells(Facet.CONTENT)
        return {value or "": tally.total_bytes for value, tally in cells.items()}

    def _hours(self) -> Iterator[tuple[dict[str, Any], Slot]]:
        at = self.period.since
        while at < self.period.until:
            yield {"hour": at}, (at, at + HOUR)
            at += HOUR

    def _tally(self, facet: Facet) -> Tally:
        return self._cells(facet).get("", Tally())

    def _top(self, facet: Facet, top: int) -> list[tuple[str, Tally]]:
        known = [(v, t) for v, t in self._cells(facet).items() if v is not None]
        return sorted(known, key=lambda item: (-item[1].count, item[0]))[:top]

    def _cells(self, facet: Facet) -> Cells:
        if facet not in self._whole:
            slot = (self.period.since, self.period.until)
            [self._whole[facet]] = self._load(facet, [slot])
        return self._whole[facet]

    def _series(
        self, facet: Facet, top: int, slots: Sequence[tuple[dict[str, Any], Slot]]
    ) -> list[Series]:
        by_slot = self._load(facet, [slot for _, slot in slots])
        sums: dict[str | None, int] = {}
        for cells in by_slot:
            for value, tally in cells.items():
                sums[value] = sums.get(value, 0) + tally.count
        if facet is Facet.ALL:
            sums = {"": 0}
        known = [(value, n) for value, n in sums.items() if value is not None]
        ranked = sorted(known, key=lambda item: (-item[1], item[0]))
        keys = [key for key, _ in slots]
        return [
            Series(
                facet.key(value),
                [
                    group_of(key, cells.get(value, Tally()))
                    for key, cells in zip(keys, by_slot, strict=True)
                ],
            )
            for value, _ in ranked[:top]
        ]

    def _load(self, facet: Facet, slots: Sequence[Slot]) -> list[Cells]:
        """Return the tallies of each slot by value; slots are in order."""
        return sorted_into(slots, self._parts, facet)


class _Kept(Summary):
    """A summary of which all but the open hour was added up before."""

    def __init__(
        self,
        period: Period,
        endpoint: str | None,
        state: State,
        live: tuple[Parts, int],
    ) -> None:
        since = max(period.since, sums.kept_since())
        _, missing = cover(since, min(period.until, state.built.until), state.built)
        super().__init__(period, live[0], len(missing) + live[1])
        self._endpoint = endpoint
        self._state = state
        # By facet, of the whole period: one query for all of them.
        self._all: dict[Facet, list[tuple[int, bytes]]] = {}

    def _load(self, facet: Facet, slots: Sequence[Slot]) -> list[Cells]:
        edges = edges_of(slots, self._state.built.until)
        parts, _ = live_parts(edges, self._endpoint)
        found = sorted_into(slots, self._parts | parts, facet)
        whole = [(hour_from(since), floor(until)) for since, until in slots]
        for number, data in self._rows(facet, whole):
            add_packed(found[number], data)
        return found

    def _rows(self, facet: Facet, slots: Sequence[Slot]) -> list[tuple[int, bytes]]:
        """Return what was added up of each slot: its number and tallies."""
        is_whole = len(slots) == 1
        if is_whole and self._all:
            return self._all[facet]
        facets = list(Facet) if is_whole else [facet]
        for _ in range(_TRIES):
            built = self._state.built
            numbers = {
                piece: number
                for number, (since, until) in enumerate(slots)
                for piece in cover(since, min(until, built.until), built)[0]
            }
            rows = sums.kept_of(list(numbers), facets, self._endpoint)
            state = sums.state() or self._state
            if (state.version, state.last_mark) == self._token:
                break
            self._state = state  # somebody has changed them in between
        found: dict[Facet, list[tuple[int, bytes]]] = {each: [] for each in facets}
        for piece, of_facet, data in rows:
            if piece in numbers:  # pragma: no branch  # nothing else was asked for
                found[of_facet].append((numbers[piece], data))
        if is_whole:
            self._all = found
        return found[facet]

    @property
    def _token(self) -> tuple[int, int | None]:
        return self._state.version, self._state.last_mark


def summarize(period: Period, endpoint: str | None = None) -> Summary:
    """Sum up all requests of a period, or those of one endpoint.

    What nobody has added up yet is added up now, for a moment; the newest hours come
    first, and what is still missing then is told. Of an endpoint there are no figures
    of stored contents.

    Args:
        period: The whole hours to sum up.
        endpoint: Of which endpoint; None for all of them.
    """
    return summarize_all([period], endpoint)[0]


def summarize_all(
    periods: Sequence[Period], endpoint: str | None = None
) -> list[Summary]:
    """Sum up several periods, as `summarize` does each, with fewer queries."""
    first = min(period.since for period in periods)
    last = max(period.until for period in periods)
    state, since = sums.state(), max(first, sums.kept_since())
    if state is None or sums.left(state.built, since):
        try:
            rollups.update(since, seconds=BUILD_SECONDS)
        except DatabaseError as error:
            # A replica, say, that takes no rows: what is missing is told.
            if fault_of(error) not in (Fault.BUSY, Fault.CONFLICT):
                report("statistics", error)
        state = sums.state()
    if state is None:
        state = State(0, None, Built(first, first))
    since = max(state.built.until, first)
    live = live_parts([(since, last)] if since < last else [], endpoint)
    return [_Kept(period, endpoint, state, live) for period in periods]


def is_known(endpoint: str) -> bool:
    """Tell whether there are requests of an endpoint, or were when they were counted.

    Args:
        endpoint: Any text that a column can hold.
    """
    return any(
        rows.filter(endpoint=endpoint).exists()
        for rows in (
            sums.rows_of(RequestLog),
            sums.rows_of(StatisticsRollup).filter(
                span=Span.HOUR.value, is_total=False, facet=Facet.ALL.value
            ),
        )
    )


def summarize_rows(logs: RequestLogQuerySet, period: Period) -> Summary:
    """Sum up some request logs of a period, by looking at each.

    Args:
        logs: Request logs, of any time.
        period: The whole hours to sum up.

    Raises:
        TooManyRequests: There are more than `live.MOST_ROWS`, or it takes too long.
    """
    return Summary(period, parts_of(logs, period))
