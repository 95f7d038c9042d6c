"""A heatmap: the distribution of durations over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .figure import Chart, Heading, Key, Row, Table, TimePlot, empty, swatch, time_plot
from .notation import ENGLISH, Notation, Quantity
from .scales import logarithmic
from .svg import Svg, checked, linked, tag
from .time_axis import seconds

_BOTTOM = 214.0
SHADES = 6
_WIDEST_GAP = 0.5


@dataclass(frozen=True)
class Cell:
    """The requests of one period whose durations are in one bin.

    Attributes:
        begin: The first moment of the period.
        end: The first moment after it.
        low: The shortest duration of the bin, in ms.
        high: The first duration above it.
        count: The number of requests.
        href: The link to them; empty for none.
    """

    begin: datetime
    end: datetime
    low: float
    high: float
    count: int
    href: str = ""


def heatmap(
    heading: Heading, cells: Sequence[Cell], *, notation: Notation = ENGLISH
) -> Chart:
    """Draw the number of requests by duration, on a logarithmic axis, over time.

    Args:
        heading: The texts of the chart.
        cells: In any order; cells without requests are not drawn.
        notation: The reader's notation.

    Raises:
        ValueError: A duration or a count is not finite or negative, or a bin has
            no width.
    """
    for cell in cells:
        if checked(cell.low) >= checked(cell.high):
            raise ValueError(f"a class from {cell.low} to {cell.high}")
    shown = sorted(
        (cell for cell in cells if checked(cell.count)),
        key=lambda cell: (seconds(cell.begin), cell.low),
    )
    if not shown:
        return empty(heading, notation)
    begin = min((cell.begin for cell in cells), key=seconds)
    end = max((cell.end for cell in cells), key=seconds)
    bounds = [bound for cell in shown for bound in (cell.low, cell.high)]
    y = logarithmic(bounds, _BOTTOM, 10, Quantity.DURATION, 7)
    plot = time_plot(begin, end, y, Quantity.DURATION, notation)
    limits = shade_limits(max(cell.count for cell in shown))
    marks = tag("g", *(_mark(cell, plot, limits) for cell in shown))
    svg = plot.draw(heading, marks, summary=_summary(shown, notation))
    return Chart(heading, svg, _table(shown, notation), _keys(limits, notation))


def shade_limits(largest: int) -> list[int]:
    """Return the largest count of each shade, in steps of about the same factor.

    Few counts have few shades: each of at most `SHADES` numbers has its own.
    """
    if largest <= SHADES:
        return list(range(1, largest + 1))
    factor = math.log(largest) / SHADES
    limits = [round(math.exp(factor * shade)) for shade in range(1, SHADES)]
    # Each is at least one more than the one before.
    for index, limit in enumerate(limits):
        limits[index] = max(limit, limits[index - 1] + 1 if index else 1)
    return [*limits, largest]


def _css(count: int, limits: Sequence[int]) -> str:
    """Return the class of a count's shade; the darkest is `SHADES`."""
    place = next(index for index, limit in enumerate(limits) if count <= limit)
    return f"ri-heat-{SHADES - len(limits) + place + 1}"


def _mark(cell: Cell, plot: TimePlot, limits: Sequence[int]) -> Svg:
    left, right = plot.column(cell.begin, cell.end)
    top, bottom = plot.y(cell.high), plot.y(cell.low)
    # Narrow cells would disappear among gaps of full width.
    gap = min(_WIDEST_GAP, (right - left) / 12)
    mark = tag(
        "rect",
        x=left + gap,
        y=top + _WIDEST_GAP,
        width=max(0.5, right - left - 2 * gap),
        height=max(0.5, bottom - top - 2 * _WIDEST_GAP),
        class_=_css(cell.count, limits),
    )
    notation = plot.notation
    requests = _requests(cell.count, notation.count(cell.count), notation)
    text = f"{notation.when(cell.begin)}, {_bin(cell, notation)}: {requests}"
    return linked(cell.href, text, mark)


def _bin(cell: Cell, notation: Notation) -> str:
    return notation.between(cell.low, cell.high, Quantity.DURATION)


def _requests(number: int, count: str, notation: Notation) -> str:
    ngettext = notation.ngettext
    text = ngettext("%(count)s request", "%(count)s requests", number)
    return text % {"count": count}


def _keys(limits: Sequence[int], notation: Notation) -> list[Key]:
    keys, low = [], 1
    for limit in limits:
        text = notation.count(limit)
        if low < limit:
            text = notation.between(low, limit, Quantity.COUNT)
        if limit == limits[-1]:
            text = _requests(limit, text, notation)
        keys.append(Key(swatch(_css(limit, limits)), text))
        low = limit + 1
    return keys


def _summary(shown: Sequence[Cell], notation: Notation) -> str:
    gettext = notation.gettext
    fullest = max(shown, key=lambda cell: cell.count)
    return gettext("Most requests in one cell: %(count)s, at %(when)s, %(class)s.") % {
        "count": notation.count(fullest.count),
        "when": notation.when(fullest.begin),
        "class": _bin(fullest, notation),
    }


def _table(shown: Sequence[Cell], notation: Notation) -> Table:
    """Return a row for each period, with a column for each bin of durations."""
    gettext = notation.gettext
    bins = {(cell.low, cell.high): _bin(cell, notation) for cell in shown}
    order = sorted(bins)
    columns = [gettext("Time"), *(bins[bounds] for bounds in order)]
    periods: dict[datetime, list[Cell]] = {}
    for cell in shown:
        periods.setdefault(cell.begin, []).append(cell)
    rows = []
    for begin, cells in periods.items():
        counts = {(cell.low, cell.high): cell.count for cell in cells}
        numbers = [counts.get(bounds, 0) for bounds in order]
        numbers.append(sum(numbers))
        rows.append(Row(notation.when(begin), list(map(notation.count, numbers))))
    return Table([*columns, gettext("Requests")], rows)
