"""Summaries of periods, from rollups or from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import DatabaseError

from request_images.aggregation.facets import Facet
from request_images.aggregation.gather import Parts
from request_images.aggregation.periods import (
    Built,
    Period,
    Span,
    cover_each,
    floor,
)
from request_images.aggregation.properties import ALL
from request_images.aggregation.tallies import Cells, add_packed, take_from
from request_images.db.errors import Fault, fault_of
from request_images.db.expressions import same_text
from request_images.health import report
from request_images.models import RequestLog
from request_images.models.querysets import RequestLogQuerySet
from request_images.models.statistics import StatisticsRollup

from . import reader, rollups
from .live import (
    MOST_ROWS,
    Slot,
    edges_of,
    hour_from,
    live_parts,
    parts_of,
    sorted_into,
)
from .reader import State
from .summary import Summary

BUILD_SECONDS = 0.25
"""The approximate time that a reader spends on missing rollups, in seconds."""

_TRIES = 3


class _RollupSummary(Summary):
    """A summary from rollups, and from rows for the open hour."""

    def __init__(
        self,
        period: Period,
        endpoint: str | None,
        state: State,
        live: tuple[Parts, int],
    ) -> None:
        since = max(period.since, reader.kept_since())
        missing = state.built.missing(since, period.until)
        super().__init__(period, live[0], missing + live[1])
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
        # A single slot is as long as a period and has many values: nothing to subtract.
        subtracts = len(slots) > 1
        if unclear := self._add_rollups(found, whole, subtracts=subtracts):
            again = sorted_into(slots, parts, unclear)
            self._add_rollups(again, whole, subtracts=False)
            found |= again
        return found

    def _add_rollups(
        self,
        found: Mapping[Facet, list[Cells]],
        slots: Sequence[Slot],
        *,
        subtracts: bool,
    ) -> list[Facet]:
        """Add the rollups of each slot.

        Returns:
            The facets for which this is not possible: values would have to be
            subtracted, but some of them are not recorded one by one.
        """
        if not found:
            return []
        for _ in range(_TRIES):
            pieces = cover_each(slots, self._state.built, subtracts=subtracts)
            rows = reader.kept_of(pieces, found, self._endpoint)
            state = reader.state() or self._state
            before, self._state = self._state, state
            if (state.version, state.last_mark) == (before.version, before.last_mark):
                break  # otherwise another process has changed the rollups
        subtracted: dict[Facet, list[Cells]] = {f: [{} for _ in slots] for f in found}
        for piece, facet, data in rows:
            for number, is_added in pieces.get(piece, ()):
                add_packed((found if is_added else subtracted)[facet][number], data)
        unclear = []
        for facet, by_slot in subtracted.items():
            for cells, others in zip(found[facet], by_slot, strict=True):
                if others and (None in cells or None in others):
                    unclear.append(facet)
                    break
                take_from(cells, others)
        return unclear


def summarize(period: Period, endpoint: str | None = None) -> Summary:
    """Summarize all requests of a period, or those of one endpoint.

    Missing rollups are made now, for `BUILD_SECONDS`, the newest hours first;
    `Summary.missing_hours` counts the rest. An hour with more than `MOST_ROWS` requests
    is left to the command `update_image_statistics` and to cleanup. An endpoint has no
    figures of stored contents.

    Args:
        period: The whole hours to summarize.
        endpoint: The endpoint; None for all endpoints.
    """
    return summarize_all([period], endpoint)[0]


def summarize_all(
    periods: Sequence[Period], endpoint: str | None = None
) -> list[Summary]:
    """Summarize several periods like `summarize`, with fewer queries."""
    first = min(period.since for period in periods)
    last = max(period.until for period in periods)
    state, since = reader.state(), max(first, reader.kept_since())
    if state is None or reader.left(state.built, since):
        try:
            rollups.update(since, seconds=BUILD_SECONDS, most_rows=MOST_ROWS)
        except DatabaseError as error:
            # The database may be a replica, for instance, which takes no rows.
            if fault_of(error) not in (Fault.BUSY, Fault.CONFLICT):
                report("statistics", error)
        state = reader.state()
    if state is None:
        state = State(0, None, Built(first, first))
    since = max(state.built.until, first)
    live = live_parts([(since, last)] if since < last else [], endpoint)
    return [_RollupSummary(period, endpoint, state, live) for period in periods]


def is_known(endpoint: str) -> bool:
    """Return whether an endpoint has requests, or had some in the rollups.

    Args:
        endpoint: Any text that a column can hold.
    """
    return any(
        rows.filter(same_text("endpoint", endpoint)).exists()
        for rows in (
            reader.rows_of(RequestLog),
            reader.rows_of(StatisticsRollup).filter(
                span=Span.HOUR.value, is_total=False, facet=ALL.name
            ),
        )
    )


def summarize_rows(logs: RequestLogQuerySet, period: Period) -> Summary:
    """Summarize request logs of a period by reading each row.

    Args:
        logs: Request logs of any time.
        period: The whole hours to summarize.

    Raises:
        TooManyRequests: There are more than `live.MOST_ROWS`, or it takes too long.
    """
    return Summary(period, parts_of(logs, period))
