"""Summaries of periods, from the rollups or from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from django.db import DatabaseError

from request_images.aggregation.facets import Facet, Parts
from request_images.aggregation.periods import (
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
from request_images.aggregation.tallies import (
    Cells,
    add_packed,
    take_from,
)
from request_images.db.errors import Fault, fault_of
from request_images.db.expressions import same_text
from request_images.health import report
from request_images.models import RequestLog
from request_images.models.querysets import RequestLogQuerySet
from request_images.models.statistics import StatisticsRollup

from . import reader, rollups
from .live import Slot, edges_of, hour_from, live_parts, parts_of, sorted_into
from .reader import State
from .summary import Summary

BUILD_SECONDS = 0.25
"""So long a reader adds up what nobody has added up yet, about."""


_TRIES = 3


class _Kept(Summary):
    """A summary of which all but the open hour was added up before."""

    def __init__(
        self,
        period: Period,
        endpoint: str | None,
        state: State,
        live: tuple[Parts, int],
    ) -> None:
        since = max(period.since, reader.kept_since())
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
            rows = reader.kept_of(pieces, found, self._endpoint)
            state = reader.state() or self._state
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
    state, since = reader.state(), max(first, reader.kept_since())
    if state is None or reader.left(state.built, since):
        try:
            rollups.update(since, seconds=BUILD_SECONDS)
        except DatabaseError as error:
            # A replica, say, that takes no rows: what is missing is told.
            if fault_of(error) not in (Fault.BUSY, Fault.CONFLICT):
                report("statistics", error)
        state = reader.state()
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
            reader.rows_of(RequestLog),
            reader.rows_of(StatisticsRollup).filter(
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
