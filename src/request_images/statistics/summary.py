"""Statistics of a period: rollups for closed hours, rows for the open hour.

The rollups answer two kinds of questions: about all requests of a period, and about
those of one endpoint. Any other question is answered from the rows, if there are not
too many of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from request_images.aggregation.facets import Facet
from request_images.aggregation.gather import Parts
from request_images.aggregation.periods import HOUR, Period
from request_images.aggregation.properties import ALL, CONTENT, FILE_SIZE
from request_images.aggregation.tallies import MOST_VALUES, Cells, Tally

from .groups import Group, group_of
from .live import Slot, sorted_into


@dataclass(frozen=True)
class Series:
    """A time series of requests with a common property.

    Attributes:
        key: The property.
        points: A group for each hour or day; the same ones for every key.
    """

    key: Mapping[str, Any]
    points: Sequence[Group]


class Summary:
    """The statistics of a period; made by `summarize` and `summarize_rows`.

    Attributes:
        period: The summarized whole hours.
        missing_hours: The number of closed hours without rollups, which are left out;
            ``update_image_statistics`` makes them.
    """

    def __init__(self, period: Period, parts: Parts, missing_hours: int = 0) -> None:
        self.period = period
        self.missing_hours = missing_hours
        self._parts = parts
        self._whole: dict[Facet, Cells] = {}

    def read(self, *facets: Facet) -> None:
        """Read some facets of the whole period at once.

        Other facets are read one by one when they are needed.
        """
        wanted = [facet for facet in facets if facet not in self._whole]
        slot = (self.period.since, self.period.until)
        for facet, [cells] in self._load(wanted, [slot]).items():
            self._whole[facet] = cells

    def overall(self) -> Group:
        """Return all requests as one group."""
        return group_of({}, self._cells(ALL).get("", Tally()))

    def by(self, facet: Facet, top: int = 20) -> list[Group]:
        """Return groups of requests, the most frequent first.

        Args:
            facet: The facet to group by; the keys are those of `Facet.key`.
            top: The largest number of groups.
        """
        return [
            group_of(facet.key(value), tally) for value, tally in self._top(facet, top)
        ]

    def by_hour(self, facet: Facet = ALL, top: int = 5) -> list[Series]:
        """Return time series by hour, like `by_day`; the key of a point is ``hour``."""
        since, until = self.period.since, self.period.until
        hours = (since + n * HOUR for n in range((until - since) // HOUR))
        slots = [({"hour": hour}, (hour, hour + HOUR)) for hour in hours]
        return self._series(facet, top, slots)

    def by_day(self, facet: Facet = ALL, top: int = 5) -> list[Series]:
        """Return time series by day, with days without requests.

        The days are those of the current time zone; the first and the last may be
        parts of days. The key of a point is its ``date``.

        Args:
            facet: The facet to group by.
            top: The largest number of series, the most frequent values first.
        """
        slots = [({"date": day}, (a, b)) for day, a, b in self.period.days()]
        return self._series(facet, top, slots)

    def values(self, facet: Facet) -> dict[str, Tally]:
        """Return the tally of each value of a facet, the most frequent first."""
        return dict(self._top(facet, MOST_VALUES))

    def by_slot(
        self, slots: Sequence[Slot], facet: Facet = ALL
    ) -> list[dict[str, Tally]]:
        """Return the tally of each value of a facet, for each slot of time.

        Args:
            slots: Begin and end of each: in order, within the period, and at quarters
                of an hour.
            facet: The facet to group by.
        """
        return self.facets_by_slot(slots, [facet])[facet]

    def facets_by_slot(
        self, slots: Sequence[Slot], facets: Sequence[Facet]
    ) -> dict[Facet, list[dict[str, Tally]]]:
        """Return the result of `by_slot` for several facets, which are read at once."""
        return {
            facet: [
                {value: tally for value, tally in cells.items() if value is not None}
                for cells in by_slot
            ]
            for facet, by_slot in self._load(facets, slots).items()
        }

    def received_bytes(self) -> int:
        """Return the total size of the requests' images in bytes, kept or not."""
        # Cleanup keeps the sizes of deleted images in this facet.
        return sum(tally.total_bytes for tally in self._cells(FILE_SIZE).values())

    def stored_bytes(self) -> dict[str, int]:
        """Return the size in bytes of contents stored in the period, by storage alias.

        The contents are those of all endpoints that still exist; deleted contents are
        in `CONTENT_GONE`.
        """
        cells = self._cells(CONTENT)
        return {value or "": tally.total_bytes for value, tally in cells.items()}

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
        by_slot = self.by_slot([slot for _, slot in slots], facet)
        totals: Counter[str] = Counter({"": 0} if facet is ALL else {})
        for cells in by_slot:
            for value, tally in cells.items():
                totals[value] += tally.count
        ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
        return [
            Series(
                facet.key(value),
                [
                    group_of(key, cells.get(value, Tally()))
                    for (key, _), cells in zip(slots, by_slot, strict=True)
                ],
            )
            for value, _ in ranked[:top]
        ]

    def _load(
        self, facets: Sequence[Facet], slots: Sequence[Slot]
    ) -> dict[Facet, list[Cells]]:
        """Return the tallies of each slot by value; the slots are in order."""
        return sorted_into(slots, self._parts, facets)
