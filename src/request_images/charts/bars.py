"""Classes side by side: for each, its numbers as bars, written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .figure import WIDTH, Chart, Frame, Heading, Row, Table, drawing, empty, hit
from .notation import ENGLISH, Notation, Quantity
from .scales import Scale
from .svg import Svg, checked, cut, isolated, label, linked, tag, width_of

ROW_HEIGHT = 26.0
_HEAD = 26.0
_BAR = 12.0
_GAP = 16.0
_LONGEST_LABEL = 180.0


@dataclass(frozen=True)
class Measure:
    """A number that all classes have, drawn as a column of bars.

    Attributes:
        name: What is written above.
        quantity: What it measures.
        css: The class of its bars: "ri-plain", "ri-bad" or "ri-slow".
        is_drawn: Whether it has bars; otherwise it is in the table alone.
    """

    name: str
    quantity: Quantity
    css: str = "ri-plain"
    is_drawn: bool = True


@dataclass(frozen=True)
class Bar:
    """A class of requests.

    Attributes:
        label: Its name.
        values: One for each measure; None where there is none.
        ranges: For some measures, by their number, how sure the value is: its lower
            and upper bound.
        href: Where it leads; empty for nowhere.
        text: The tooltip; made of the values when empty.
    """

    label: str
    values: Sequence[float | None]
    ranges: Sequence[tuple[float, float] | None] = ()
    href: str = ""
    text: str = ""


def bar_chart(
    heading: Heading,
    name: str,
    measures: Sequence[Measure],
    bars: Sequence[Bar],
    *,
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw a row for each class, with a bar for each of its numbers.

    Args:
        heading: What the chart is called.
        name: What the classes are, such as "Megapixels".
        measures: The columns.
        bars: The rows, in the order to draw them.
        notation: The reader's.

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
    panels = _panels(names, len(drawn), height)
    columns = [
        _column(number, measure, panel, bars, notation)
        for (number, measure), panel in zip(drawn, panels, strict=True)
    ]
    told = [bar.text or _told(bar, measures, notation) for bar in bars]
    rows = [
        _row(index, bar, names, told[index], [column[index] for column in columns])
        for index, bar in enumerate(bars)
    ]
    svg = drawing(
        heading,
        height,
        _heads([measure for _, measure in drawn], panels),
        *rows,
        summary=told[0],
    )
    return Chart(heading, svg, _table(name, measures, bars, notation))


class _Value(NamedTuple):
    amount: float | None
    text: str
    sure: tuple[float, float] | None


def _panels(left: float, count: int, height: float) -> list[Frame]:
    width = (WIDTH - left - 4 - _GAP * (count - 1)) / max(1, count)
    begins = [left + number * (width + _GAP) for number in range(count)]
    return [Frame(begin, _HEAD, begin + width, height - 4) for begin in begins]


def _heads(measures: Sequence[Measure], panels: Sequence[Frame]) -> Svg:
    parts = []
    for measure, panel in zip(measures, panels, strict=True):
        css = "ri-label ri-quiet"
        parts.append(label(panel.left, 15, measure.name, css, panel.width))
        line = f"M{panel.left:.1f} {panel.top:.1f}V{panel.bottom:.1f}"
        parts.append(tag("path", d=line, class_="ri-axis"))
    return tag("g", *parts, aria_hidden="true")


def _column(
    number: int,
    measure: Measure,
    panel: Frame,
    bars: Sequence[Bar],
    notation: Notation,
) -> list[Svg]:
    """Return the marks of one measure, one for each class."""
    values = [bar.values[number] for bar in bars]
    ranges = [bar.ranges[number] if number < len(bar.ranges) else None for bar in bars]
    ends = [checked(value) for value in values if value is not None]
    ends += [checked(bound) for pair in ranges if pair for bound in pair]
    texts = [notation.write(value, measure.quantity) for value in values]
    room = max(width_of(text) for text in texts) + 8
    scale = Scale(0.0, max(ends, default=0.0) or 1.0, panel.left, panel.right - room)
    return [
        _mark(scale, index, _Value(value, text, sure), measure.css)
        for index, (value, text, sure) in enumerate(
            zip(values, texts, ranges, strict=True)
        )
    ]


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
    if value.sure and value.amount is not None:
        low, high = scale(value.sure[0]), scale(value.sure[1])
        end = max(end, high)
        line = f"M{low:.1f} {middle - 3:.1f}v6m0-3H{high:.1f}m0-3v6"
        parts.append(tag("path", d=line, class_="ri-range"))
    parts.append(label(end + 5, middle + 4, value.text))
    return tag("g", *parts)


def _row(index: int, bar: Bar, names: float, told: str, marks: Sequence[Svg]) -> Svg:
    top = _HEAD + index * ROW_HEIGHT
    middle = top + ROW_HEIGHT / 2
    name = label(names - 8, middle + 4, cut(bar.label, names - 8), "ri-label ri-end")
    place = hit(0, top, WIDTH, ROW_HEIGHT)
    return linked(bar.href, told, place, name, *marks)


def _told(bar: Bar, measures: Sequence[Measure], notation: Notation) -> str:
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
    """Return a value of a bar, and behind it how sure it is."""
    text = notation.write(bar.values[number], quantity)
    sure = bar.ranges[number] if number < len(bar.ranges) else None
    if sure is None or bar.values[number] is None:
        return text
    low, high = (notation.write(bound, quantity) for bound in sure)
    return f"{text} ({low}–{high})"  # noqa: RUF001  # it is meant
