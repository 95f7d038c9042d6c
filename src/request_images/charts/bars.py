"""A bar chart: a row for each group of requests, with a bar for each number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .figure import WIDTH, Chart, Heading, Row, Table, drawing, empty, hit_area
from .notation import ENGLISH, Notation, Quantity
from .scales import Scale
from .svg import Svg, checked, cut, isolated, label, linked, path, tag, width_of

ROW_HEIGHT = 26.0
_HEAD = 26.0
_BAR = 12.0
_GAP = 16.0
_LONGEST_LABEL = 180.0


@dataclass(frozen=True)
class Measure:
    """A number of all groups, drawn as a column of bars.

    Attributes:
        name: The head of the column.
        quantity: What it measures.
        css: The class of its bars: "ri-plain", "ri-bad" or "ri-slow".
        is_drawn: Whether it has bars; otherwise it is only in the table.
    """

    name: str
    quantity: Quantity
    css: str = "ri-plain"
    is_drawn: bool = True


@dataclass(frozen=True)
class Bar:
    """A group of requests.

    Attributes:
        label: Its name.
        values: One for each measure; None where there is none.
        ranges: The confidence interval of each value: its lower and upper bound; None
            or left out where there is none.
        href: Its link; empty for none.
    """

    label: str
    values: Sequence[float | None]
    ranges: Sequence[tuple[float, float] | None] = ()
    href: str = ""

    def interval(self, number: int) -> tuple[float, float] | None:
        """Return the confidence interval of a measure, by the measure's index."""
        return self.ranges[number] if number < len(self.ranges) else None


def bar_chart(
    heading: Heading,
    name: str,
    measures: Sequence[Measure],
    bars: Sequence[Bar],
    *,
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw a row for each group, with a bar for each of its numbers.

    Args:
        heading: The texts of the chart.
        name: The property that the groups differ in, such as "Megapixels".
        measures: The columns.
        bars: The rows, in the order to draw them.
        notation: The reader's notation.

    Raises:
        ValueError: A value is not finite or negative, or has no measure.
    """
    if any(len(bar.values) != len(measures) for bar in bars):
        raise ValueError("each bar needs a value for each measure")
    if not bars:
        return empty(heading, notation)
    names = min(_LONGEST_LABEL, max(width_of(bar.label) for bar in bars)) + 12
    height = _HEAD + ROW_HEIGHT * len(bars) + 4
    drawn = [each for each in enumerate(measures) if each[1].is_drawn]
    width = (WIDTH - names - 4 - _GAP * (len(drawn) - 1)) / max(1, len(drawn))
    heads, columns = [], []
    for place, (number, measure) in enumerate(drawn):
        left = names + place * (width + _GAP)
        heads.append(label(left, 15, measure.name, "ri-label ri-quiet", width))
        heads.append(path(f"M{left:.1f} {_HEAD:.1f}V{height - 4:.1f}", "ri-axis"))
        columns.append(_column(number, measure, (left, left + width), bars, notation))
    tooltips = [_tooltip(bar, measures, notation) for bar in bars]
    rows = [
        _row(index, bar, names, tooltips[index], [column[index] for column in columns])
        for index, bar in enumerate(bars)
    ]
    top = tag("g", *heads, aria_hidden="true")
    svg = drawing(heading, height, top, *rows, summary=tooltips[0])
    return Chart(heading, svg, _table(name, measures, bars, notation))


class _Value(NamedTuple):
    amount: float | None
    text: str
    interval: tuple[float, float] | None


def _column(
    number: int,
    measure: Measure,
    place: tuple[float, float],
    bars: Sequence[Bar],
    notation: Notation,
) -> list[Svg]:
    """Return the marks of one measure, one for each group."""
    values = [
        _Value(
            bar.values[number],
            notation.write(bar.values[number], measure.quantity),
            bar.interval(number),
        )
        for bar in bars
    ]
    ends = [checked(value.amount) for value in values if value.amount is not None]
    ends += [checked(end) for value in values for end in value.interval or ()]
    room = max(width_of(value.text) for value in values) + 8
    scale = Scale(0.0, max(ends, default=0.0) or 1.0, place[0], place[1] - room)
    return [_mark(scale, i, value, measure.css) for i, value in enumerate(values)]


def _mark(scale: Scale, index: int, value: _Value, css: str) -> Svg:
    end = scale(value.amount or 0.0)
    middle = _HEAD + (index + 0.5) * ROW_HEIGHT
    parts = []
    if value.amount:
        parts.append(
            tag(
                "rect",
                x=scale.start,
                y=middle - _BAR / 2,
                width=max(1.0, end - scale.start),
                height=_BAR,
                class_=css,
            )
        )
    if value.interval and value.amount is not None:
        low, high = map(scale, value.interval)
        end = max(end, high)
        line = f"M{low:.1f} {middle - 3:.1f}v6m0-3H{high:.1f}m0-3v6"
        parts.append(path(line, "ri-range"))
    parts.append(label(end + 5, middle + 4, value.text))
    return tag("g", *parts)


def _row(index: int, bar: Bar, names: float, text: str, marks: Sequence[Svg]) -> Svg:
    top = _HEAD + index * ROW_HEIGHT
    middle = top + ROW_HEIGHT / 2
    name = label(names - 8, middle + 4, cut(bar.label, names - 8), "ri-label ri-end")
    area = hit_area(0, top, WIDTH, ROW_HEIGHT)
    return linked(bar.href, text, area, name, *marks)


def _tooltip(bar: Bar, measures: Sequence[Measure], notation: Notation) -> str:
    numbers = ", ".join(
        f"{measure.name} {notation.write(value, measure.quantity)}"
        for measure, value in zip(measures, bar.values, strict=True)
        if measure.is_drawn
    )
    return f"{isolated(bar.label)}: {numbers}"


def _table(
    name: str, measures: Sequence[Measure], bars: Sequence[Bar], notation: Notation
) -> Table:
    rows = [
        Row(
            bar.label,
            [
                _written(bar, number, measure.quantity, notation)
                for number, measure in enumerate(measures)
            ],
            bar.href,
        )
        for bar in bars
    ]
    return Table([name, *(measure.name for measure in measures)], rows)


def _written(bar: Bar, number: int, quantity: Quantity, notation: Notation) -> str:
    """Return a value of a bar, followed by its confidence interval."""
    text = notation.write(bar.values[number], quantity)
    interval = bar.interval(number)
    if interval is None or bar.values[number] is None:
        return text
    low, high = (notation.write(bound, quantity) for bound in interval)
    return f"{text} ({low}–{high})"
