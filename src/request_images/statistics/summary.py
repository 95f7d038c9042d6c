"""The statistics of a period: closed hours as they were added up, the open hour live.

Two kinds of questions are answered by what was added up: about all requests of a
period, and about those of one endpoint. Any other is answered by looking at the rows,
as long as there are not too many of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from request_images.aggregation.facets import Facet, Parts
from request_images.aggregation.periods import (
    HOUR,
    Period,
)
from request_images.aggregation.tallies import (
    MOST_VALUES,
    Cells,
    Tally,
)

from .groups import Group, group_of
from .live import Slot, sorted_into


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
        reader: dict[str | None, int] = {}
        for cells in by_slot:
            for value, tally in cells.items():
                reader[value] = reader.get(value, 0) + tally.count
        if facet is Facet.ALL:
            reader = {"": 0}
        known = [(value, n) for value, n in reader.items() if value is not None]
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
