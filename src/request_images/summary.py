"""The statistics of a period: closed hours as they were added up, the open hour live.

Two kinds of questions are answered by what was added up: about all requests of a
period, and about those of one endpoint. Any other is answered by looking at the rows,
as long as there are not too many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError

from . import rollups, sums
from .conditions import same_text
from .facets import Facet, Parts
from .faults import Fault, fault_of
from .health import report
from .ledger import StatisticsRollup
from .live import Slot, edges_of, hour_from, live_parts, parts_of, sorted_into
from .models import RequestLog
from .periods import (
    HOUR,
    Built,
    Period,
    Piece,
    Span,
    Use,
    cover,
    cover_days,
    cover_each,
    floor,
)
from .querysets import RequestLogQuerySet
from .stats import Group, group_of
from .sums import State
from .tallies import MOST_VALUES, Cells, Tally, add_packed, take_from

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

    def read(self, *facets: Facet) -> None:
        """Read these facets of the whole period in one go.

        Others are read when they are asked for, each by itself.

        Args:
            facets: What requests will be told apart by.
        """
        wanted = [facet for facet in facets if facet not in self._whole]
        slot = (self.period.since, self.period.until)
        for facet, [cells] in self._load(wanted, [slot]).items():
            self._whole[facet] = cells

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
        """Return the same of each of some times, as `courses` does for several facets.

        Args:
            slots: From when until when: in order, within the period, and not beginning
                or ending between the quarters of an hour.
            facet: What requests are told apart by.
        """
        return self.courses(slots, [facet])[facet]

    def courses(
        self, slots: Sequence[Slot], facets: Sequence[Facet]
    ) -> dict[Facet, list[dict[str, Tally]]]:
        """Return the same for several facets, which are read in one go.

        Args:
            slots: As for `course`.
            facets: What requests are told apart by.
        """
        return {
            facet: [
                {value: tally for value, tally in cells.items() if value is not None}
                for cells in course
            ]
            for facet, course in self._load(facets, slots).items()
        }

    def received_bytes(self) -> int:
        """Return how many bytes the images of the requests had, kept or not."""
        # Not of all requests: cleanup keeps count of what their images were by these.
        return sum(tally.total_bytes for tally in self._cells(Facet.FILE_SIZE).values())

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes of contents that came in the period, by storage alias.

        Of all endpoints, and of those contents that are still there: the ones that are
        gone are those of `Facet.CONTENT_GONE`.
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
            self.read(facet)
        return self._whole[facet]

    def _series(
        self, facet: Facet, top: int, slots: Sequence[tuple[dict[str, Any], Slot]]
    ) -> list[Series]:
        by_slot = self._load([facet], [slot for _, slot in slots])[facet]
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

    def _load(
        self, facets: Sequence[Facet], slots: Sequence[Slot]
    ) -> dict[Facet, list[Cells]]:
        """Return the tallies of each slot by value; slots are in order."""
        return sorted_into(slots, self._parts, facets)


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

    def _load(
        self, facets: Sequence[Facet], slots: Sequence[Slot]
    ) -> dict[Facet, list[Cells]]:
        parts = self._parts
        if edges := edges_of(slots, self._state.built.until):
            parts = parts | live_parts(edges, self._endpoint)[0]
        found = sorted_into(slots, parts, facets)
        whole = [(hour_from(since), floor(until)) for since, until in slots]
        # One slot is as long as a period, and has many values: nothing to take away.
        pieces_of = cover_days if len(slots) > 1 else cover_each
        if unclear := self._add_kept(found, whole, pieces_of):
            again = sorted_into(slots, parts, unclear)
            self._add_kept(again, whole, cover_each)
            found |= again
        return found

    def _add_kept(
        self,
        found: Mapping[Facet, list[Cells]],
        slots: Sequence[Slot],
        pieces_of: Callable[[Sequence[Slot], Built], Mapping[Piece, list[Use]]],
    ) -> list[Facet]:
        """Add what was added up of each slot.

        Returns:
            The facets by which that cannot be done: some values are not told apart,
            and something would have to be taken away from them.
        """
        if not found:
            return []
        for _ in range(_TRIES):
            pieces = pieces_of(slots, self._state.built)
            rows = sums.kept_of(pieces, found, self._endpoint)
            state = sums.state() or self._state
            if (state.version, state.last_mark) == self._token:
                break
            self._state = state  # somebody has changed them in between
        taken: dict[Facet, list[Cells]] = {each: [{} for _ in slots] for each in found}
        for piece, facet, data in rows:
            for number, is_added in pieces.get(piece, ()):
                add_packed((found if is_added else taken)[facet][number], data)
        unclear = []
        for facet, course in taken.items():
            for cells, others in zip(found[facet], course, strict=True):
                if others and (None in cells or None in others):
                    unclear.append(facet)
                    break
                take_from(cells, others)
        return unclear

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
        rows.filter(same_text("endpoint", endpoint)).exists()
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
