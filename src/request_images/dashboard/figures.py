"""The tiles and charts of a dashboard, drawn from an overview."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from django.utils.translation import gettext

from request_images.aggregation.comparison import Comparison, Share
from request_images.aggregation.facets import Facet, Number
from request_images.aggregation.percentiles import BUCKET_RATIO, percentiles
from request_images.aggregation.properties import ERROR, FACETS, RELEASE
from request_images.aggregation.tallies import Tally
from request_images.charts import (
    Bar,
    Cell,
    Chart,
    Heading,
    Marker,
    Measure,
    Notation,
    Quantity,
    Slot,
    Stack,
    Tile,
    bar_chart,
    heatmap,
    line_chart,
    stacked_bars,
    tile,
)
from request_images.query.labels import slower_texts
from request_images.query.links import Links
from request_images.statistics.summary import Summary

from .overview import Overview, newly_stored

_SHARES = (0.5, 0.95, 0.99)
_COLUMNS = 40
_LOG2_RATIO = math.log2(BUCKET_RATIO)
_MOST_BARS = 12
_MOST_GROUPS = 12


@dataclass(frozen=True)
class Figures:
    """Draws the tiles and charts of an overview.

    Attributes:
        overview: The numbers.
        links: The links to the pages of requests.
        notation: The notation of numbers and times for the reader.
    """

    overview: Overview
    links: Links
    notation: Notation

    def tiles(self, *, has_endpoint: bool) -> list[Tile]:
        """Return the tiles: numbers of the period, compared with the period before.

        Args:
            has_endpoint: Whether only one endpoint is shown. Stored bytes are not
                known by endpoint, so the tile shows the received bytes.
        """
        overview = self.overview
        now, before = overview.whole, Tally()
        if overview.is_comparable:
            before = overview.earlier
        had = before.count or None
        bytes_name = gettext("Newly stored")
        bytes_of: Callable[[Summary], int] = newly_stored
        if has_endpoint:
            bytes_name, bytes_of = gettext("Received"), Summary.received_bytes
        size, size_before = bytes_of(overview.now), had and bytes_of(overview.before)
        rates = list(map(_rate, overview.series))
        middle, high, _p99 = zip(*map(_percentiles, overview.series), strict=True)
        p50, p95, _p99 = zip(_percentiles(now), _percentiles(before), strict=True)
        better = partial(self._tile, lower_is_better=True)
        return [
            self._tile(
                gettext("Requests"), now.count, had, Quantity.COUNT, _counts(overview)
            ),
            better(
                gettext("Failed"),
                _rate(now),
                _rate(before),
                Quantity.SHARE,
                rates,
                outcome="failed",
            ),
            better(
                gettext("Median duration"),
                *p50,
                Quantity.DURATION,
                middle,
                sort="slowest",
            ),
            better(
                gettext("p95 duration"), *p95, Quantity.DURATION, high, sort="slowest"
            ),
            self._tile(bytes_name, size, size_before, Quantity.BYTES, sort="largest"),
        ]

    def _tile(  # noqa: PLR0913  # as many as a tile has
        self,
        name: str,
        now: float | None,
        before: float | None,
        quantity: Quantity,
        history: Sequence[float | None] = (),
        *,
        lower_is_better: bool | None = None,
        **texts: str,
    ) -> Tile:
        return tile(
            name,
            now,
            before,
            quantity,
            lower_is_better=lower_is_better,
            history=history,
            href=self.links.to(**texts),
            notation=self.notation,
        )

    def durations(self) -> Chart:
        """Draw percentiles over time, with markers for new releases."""
        overview = self.overview
        slots = [
            Slot(
                since,
                until,
                _percentiles(tally),
                tally.count,
                tally.failed,
                self.links.within(since, until, sort="slowest"),
            )
            for (since, until), tally in zip(
                overview.slots, overview.series, strict=True
            )
        ]
        markers = [
            Marker(each.since, each.name, self.links.having(RELEASE, each.name))
            for each in overview.arrivals
        ]
        heading = Heading("durations", gettext("Durations over time"))
        return line_chart(
            heading,
            ["p50", "p95", "p99"],
            slots,
            markers=markers,
            notation=self.notation,
        )

    def errors(self) -> Chart:
        """Draw the failed requests over time by error."""
        overview = self.overview
        values: dict[str, str] = {}
        stacks = []
        for (since, until), cells in zip(overview.slots, overview.errors, strict=True):
            counts: dict[str, int] = {}
            for value, tally in cells.items():
                kind = ERROR.words(value)
                values[kind] = value
                counts[kind] = tally.count
            stacks.append(Stack(since, until, counts))
        heading = Heading(
            "errors",
            gettext("Errors over time"),
            empty=gettext("No request failed in this period."),
        )
        link = partial(self._error_link, values)
        return stacked_bars(heading, stacks, link=link, notation=self.notation)

    def by(self, facet: Facet) -> Chart:
        """Draw the requests, the failures and the p95 of each value of a facet."""
        heading = Heading(facet.name.replace("_", "-"), facet.title)
        found = self.overview.now.values(facet)
        values = list(found)
        if isinstance(facet, Number):
            values.sort(key=lambda value: float(value or "inf"))
        measures = [
            Measure(gettext("requests"), Quantity.COUNT),
            Measure(gettext("failed"), Quantity.SHARE, "ri-bad"),
            Measure(gettext("lift"), Quantity.SHARE, is_drawn=False),
            Measure("p50", Quantity.DURATION, is_drawn=False),
            Measure("p95", Quantity.DURATION, "ri-slow"),
        ]
        bars = [self._bar(facet, value, found) for value in values[:_MOST_BARS]]
        name = gettext("Group")
        chart = bar_chart(heading, name, measures, bars, notation=self.notation)
        if len(values) <= _MOST_BARS:
            return chart
        text = gettext("The %(some)d largest groups, of %(all)d or more.")
        note = text % {"some": _MOST_BARS, "all": len(values)}
        return replace(chart, note=note)

    def failing(self) -> Chart:
        """Draw the groups that set failed requests apart, ranked by difference."""
        return self._ranked(
            Heading("separating", gettext("What sets failed requests apart")),
            Measure(gettext("failed"), Quantity.SHARE, "ri-bad"),
            self.overview.failing(),
            {"outcome": "failed"},
        )

    def slow(self) -> Chart:
        """Draw the groups that set the slowest tenth apart."""
        asked = self.links.texts.get("duration", "")
        return self._ranked(
            Heading("slow", gettext("What sets slow requests apart")),
            Measure(gettext("slowest tenth"), Quantity.SHARE, "ri-slow"),
            self.overview.slow(),
            slower_texts(self.overview.slow_ms, asked),
        )

    def _ranked(
        self,
        heading: Heading,
        hits: Measure,
        found: Sequence[Comparison],
        texts: Mapping[str, str],
    ) -> Chart:
        text = gettext(
            "Nothing stands out. Groups of fewer than 30 requests are not compared."
        )
        if not self.overview.is_complete:
            found = []
            text = gettext("Findings appear when all hours are counted.")
        heading = replace(heading, empty=text)
        measures = [
            hits,
            Measure(gettext("of the others"), Quantity.SHARE),
            Measure(gettext("lift"), Quantity.SHARE),
            Measure(gettext("requests"), Quantity.COUNT),
            Measure("p50", Quantity.DURATION, is_drawn=False),
            Measure("p95", Quantity.DURATION, is_drawn=False),
        ]
        bars = []
        for comparison in found[:_MOST_GROUPS]:
            facet, share = FACETS[comparison.name], comparison.share
            tally = self.overview.now.values(facet)[comparison.key]
            numbers = [share.rate, comparison.rest.rate, comparison.lift, share.count]
            bars.append(
                Bar(
                    facet.described(comparison.key),
                    [*numbers, *_percentiles(tally)[:2]],
                    [share.interval, comparison.rest.interval],
                    self.links.having(facet, comparison.key, **texts),
                )
            )
        name = gettext("Group")
        return bar_chart(heading, name, measures, bars, notation=self.notation)

    def heat(self) -> Chart:
        """Draw the duration distribution over time."""
        overview = self.overview
        step = math.ceil(len(overview.slots) / _COLUMNS)
        cells = []
        for at in range(0, len(overview.slots), step):
            slots = overview.slots[at : at + step]
            since, until = slots[0][0], slots[-1][1]
            tally = Tally()
            for each in overview.series[at : at + step]:
                tally.add(each)
            for power, count in sorted(_doublings(tally).items()):
                low, high = (_first_of(each) for each in (power, power + 1))
                href = self.links.within(since, until, duration=f"{low:.6f}-{high:.6f}")
                low_ms, high_ms = 2.0**power, 2.0 ** (power + 1)
                cells.append(Cell(since, until, low_ms, high_ms, count, href=href))
        heading = Heading("heat", gettext("Duration distribution"))
        return heatmap(heading, cells, notation=self.notation)

    def _bar(self, facet: Facet, value: str, found: Mapping[str, Tally]) -> Bar:
        tally = found[value]
        share = Share(tally.failed, tally.count)
        others = [Share(each.failed, each.count) for each in found.values()]
        rest = sum(others, Share(0, 0)) - share
        lift = Comparison(facet.name, value, share, rest).lift
        p50, p95, _p99 = _percentiles(tally)
        return Bar(
            facet.words(value),
            [tally.count, share.rate, lift, p50, p95],
            [None, share.interval],
            self.links.having(facet, value),
        )

    def _error_link(
        self, values: Mapping[str, str], stack: Stack | None, kind: str | None
    ) -> str:
        texts = {"outcome": "failed"}
        if kind is not None:
            texts = ERROR.parameters(values[kind])
        if stack is None:
            return self.links.to(**texts)
        return self.links.within(stack.begin, stack.end, **texts)


def _percentiles(tally: Tally) -> list[float | None]:
    return percentiles(tally.histogram, _SHARES)


def _counts(overview: Overview) -> list[float | None]:
    """Return the number of requests of each slot; None for an incomplete slot."""
    longest = max(until - since for since, until in overview.slots)
    return [
        # A day may be an hour shorter than another.
        tally.count if until - since > 0.9 * longest else None
        for (since, until), tally in zip(overview.slots, overview.series, strict=True)
    ]


def _rate(tally: Tally) -> float | None:
    return tally.failed / tally.count if tally.count else None


def _doublings(tally: Tally) -> dict[int, int]:
    """Return the number of requests between each two powers of two milliseconds."""
    counts: dict[int, int] = {}
    for bucket, count in tally.histogram.items():
        power = math.floor(bucket * _LOG2_RATIO)
        counts[power] = counts.get(power, 0) + count
    return counts


def _first_of(power: int) -> float:
    """Return the start of the first bucket above a power of two, in milliseconds.

    It is up to 2 % above the power of two, since only whole buckets are counted.
    """
    return BUCKET_RATIO ** math.ceil(power / _LOG2_RATIO)
