"""A heatmap of durations over time: how many requests took how long, when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .figure import (
    WIDTH,
    Chart,
    Frame,
    Heading,
    Key,
    Plot,
    Row,
    Table,
    drawing,
    empty,
    margin,
    swatch,
    time_axis,
    y_axis,
)
from .moments import seconds
from .notation import ENGLISH, Notation, Quantity
from .periods import period_scale
from .scales import logarithmic
from .svg import Svg, checked, linked, tag

HEIGHT = 240.0
SHADES = 6
_WIDEST_GAP = 0.5


@dataclass(frozen=True)
class Cell:
    """Requests of one period whose durations are of one class.

    Attributes:
        begin: The first moment of the period.
        end: The first moment behind it.
        low: The shortest duration of the class, in ms.
        high: The first duration above it.
        count: How many requests there are.
        failed: How many of them failed.
        href: Where they are to be seen; empty for nowhere.
    """

    begin: datetime
    end: datetime
    low: float
    high: float
    count: int
    failed: int = 0
    href: str = ""


def heatmap(
    heading: Heading, cells: Sequence[Cell], *, notation: Notation = ENGLISH
) -> Chart:
    """Draw how many requests took how long, on a logarithmic axis, over time.

    Args:
        heading: What the chart is called.
        cells: In any order; those of no requests are not drawn.
        notation: The reader's.

    Raises:
        ValueError: A duration or a count is not finite or negative, or a class has
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
    y = logarithmic(bounds, HEIGHT - 26, 10, Quantity.DURATION, 7)
    left = margin(y, Quantity.DURATION, notation)
    frame = Frame(left, 10, WIDTH - 10, HEIGHT - 26)
    x = period_scale(begin, end, frame)
    plot = Plot(frame, x, y, Quantity.DURATION, notation)
    limits = shade_limits(max(cell.count for cell in shown))
    svg = drawing(
        heading,
        HEIGHT,
        y_axis(plot),
        time_axis(plot, begin, end),
        tag("g", *(_drawn(cell, plot, limits) for cell in shown)),
        summary=_summary(shown, notation),
    )
    return Chart(heading, svg, _table(shown, notation), _keys(limits, notation))


def shade_limits(largest: int) -> list[int]:
    """Return the largest count of each shade, each about the same factor apart.

    Few counts have few shades: each of at most `SHADES` numbers has its own.
    """
    if largest <= SHADES:
        return list(range(1, largest + 1))
    factor = math.log(largest) / SHADES
    limits = [round(math.exp(factor * shade)) for shade in range(1, SHADES)]
    # Each at least one more than the one before.
    for index, limit in enumerate(limits):
        limits[index] = max(limit, limits[index - 1] + 1 if index else 1)
    return [*limits, largest]


def _shade(count: int, limits: Sequence[int]) -> int:
    """Return the number of a count's shade, the darkest being `SHADES`."""
    place = next(index for index, limit in enumerate(limits) if count <= limit)
    return SHADES - len(limits) + place + 1


def _drawn(cell: Cell, plot: Plot, limits: Sequence[int]) -> Svg:
    left, right = plot.column(cell.begin, cell.end)
    top, bottom = plot.y(cell.high), plot.y(cell.low)
    # Where cells are narrow, gaps between them would be all there is to see.
    gap = min(_WIDEST_GAP, (right - left) / 12)
    mark = tag(
        "rect",
        x=left + gap,
        y=top + _WIDEST_GAP,
        width=max(0.5, right - left - 2 * gap),
        height=max(0.5, bottom - top - 2 * _WIDEST_GAP),
        class_=f"ri-heat-{_shade(cell.count, limits)}",
    )
    notation = plot.notation
    told = notation.failed_of(cell.failed, cell.count)
    text = f"{notation.when(cell.begin)}, {_class(cell, notation)}: {told}"
    return linked(cell.href, text, mark)


def _class(cell: Cell, notation: Notation) -> str:
    return notation.between(cell.low, cell.high, Quantity.DURATION)


def _keys(limits: Sequence[int], notation: Notation) -> list[Key]:
    keys, low = [], 1
    for limit in limits:
        css = f"ri-heat-{_shade(limit, limits)}"
        text = (
            notation.write(limit, Quantity.COUNT)
            if low == limit
            else notation.between(low, limit, Quantity.COUNT)
        )
        keys.append(Key(swatch(css), text))
        low = limit + 1
    ngettext = notation.ngettext
    last = ngettext("%(count)s request", "%(count)s requests", limits[-1]) % {
        "count": keys[-1].text
    }
    return [*keys[:-1], Key(keys[-1].swatch, last)]


def _summary(shown: Sequence[Cell], notation: Notation) -> str:
    gettext = notation.gettext
    fullest = max(shown, key=lambda cell: cell.count)
    return gettext("Most requests in one cell: %(count)s, at %(when)s, %(class)s.") % {
        "count": notation.write(fullest.count, Quantity.COUNT),
        "when": notation.when(fullest.begin),
        "class": _class(fullest, notation),
    }


def _table(shown: Sequence[Cell], notation: Notation) -> Table:
    """Return a row for each period, with a column for each class of durations."""
    gettext = notation.gettext
    classes = {(cell.low, cell.high): _class(cell, notation) for cell in shown}
    order = sorted(classes)
    columns = [gettext("Time"), *(classes[bounds] for bounds in order)]
    periods: dict[datetime, list[Cell]] = {}
    for cell in shown:
        periods.setdefault(cell.begin, []).append(cell)
    rows = []
    for begin, cells in periods.items():
        counts = {(cell.low, cell.high): cell.count for cell in cells}
        numbers = [*(counts.get(bounds, 0) for bounds in order)]
        numbers += [sum(numbers), sum(cell.failed for cell in cells)]
        written = [notation.write(number, Quantity.COUNT) for number in numbers]
        rows.append(Row(notation.when(begin), written))
    return Table([*columns, gettext("Requests"), gettext("Failed")], rows)
