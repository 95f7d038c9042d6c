"""What every chart has: its heading, its frame with axes, its keys, its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from . import moments
from .notation import Notation, Quantity
from .scales import Scale
from .svg import Svg, label, tag, width_of, written

WIDTH = 640.0
TICK_GAP = 18.0
_SWATCH = 12.0


@dataclass(frozen=True)
class Heading:
    """What a chart is called.

    Attributes:
        name: Unique in its page; letters, digits and hyphens. Ids begin with it.
        title: What it shows.
        summary: One sentence that says what is to be seen, for those who do not.
        empty: What to say when there is nothing to draw.
    """

    name: str
    title: str
    summary: str = ""
    empty: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a chart's table.

    Attributes:
        head: Which mark it tells of.
        cells: Its numbers, written.
        href: Where the mark leads; empty for nowhere.
    """

    head: str
    cells: Sequence[str]
    href: str = ""


@dataclass(frozen=True)
class Table:
    """A chart's table twin: the same numbers for reading.

    Attributes:
        columns: The heads of all columns, that of the row heads first.
        rows: Its rows.
        note: What is not in it, if anything.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Key:
    """An entry of a legend.

    Attributes:
        swatch: A little drawing of the mark.
        text: What the mark stands for.
        href: Where all such marks lead together; empty for nowhere.
    """

    swatch: Svg
    text: str
    href: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, for a template to write.

    Attributes:
        heading: What it is called.
        svg: The drawing; empty when there is nothing to draw, and then `note` says so.
        table: The same numbers for reading; None when there are none.
        keys: The legend, for marks without a label of their own.
        note: What is to be known about the drawing.
    """

    heading: Heading
    svg: Svg = Svg("")  # noqa: RUF009  # it cannot change
    table: Table | None = None
    keys: Sequence[Key] = field(default=())
    note: str = ""


@dataclass(frozen=True)
class Frame:
    """Where a chart's plot begins and ends, in the units of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """How wide the plot is."""
        return self.right - self.left


@dataclass(frozen=True)
class Plot:
    """A frame with its axes, and the reader's notation.

    Attributes:
        frame: Where it is.
        x: The lying axis.
        y: The upright axis.
        quantity: What the upright axis measures.
        notation: The reader's.
    """

    frame: Frame
    x: Scale
    y: Scale
    quantity: Quantity
    notation: Notation

    def write(self, value: float | None) -> str:
        """Write a number of the upright axis."""
        return self.notation.write(value, self.quantity)

    def column(self, begin: datetime, end: datetime) -> tuple[float, float]:
        """Return where a period is on the axis of time: its left and right."""
        return self.x(moments.seconds(begin)), self.x(moments.seconds(end))


def empty(heading: Heading, notation: Notation) -> Chart:
    """Return the chart of nothing: a sentence."""
    gettext = notation.gettext
    return Chart(heading, note=heading.empty or gettext("No requests in this period."))


def drawing(heading: Heading, height: float, *parts: Svg, summary: str) -> Svg:
    """Return the SVG element of a chart, named by its title.

    Args:
        heading: What the chart is called.
        height: In the units of the drawing, which is `WIDTH` wide.
        parts: What is drawn, the lowest first.
        summary: What to say when the heading has no summary of its own.
    """
    title, description = f"{heading.name}-title", f"{heading.name}-summary"
    return tag(
        "svg",
        tag("title", written(heading.title), id=title),
        tag("desc", written(heading.summary or summary), id=description),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="graphics-document",
        aria_labelledby=title,
        aria_describedby=description,
        class_="ri-svg",
    )


def margin(scale: Scale, quantity: Quantity, notation: Notation) -> float:
    """Return the room that the numbers beside an upright axis take."""
    return max(width_of(notation.write(tick, quantity)) for tick in scale.ticks) + 10


def y_axis(plot: Plot) -> Svg:
    """Return an upright axis: a quiet line for each tick, and its number."""
    frame, lines, labels = plot.frame, [], []
    for tick in plot.y.ticks:
        y = plot.y(tick)
        lines.append(f"M{frame.left:.1f} {y:.1f}H{frame.right:.1f}")
        text = plot.write(tick)
        labels.append(label(frame.left - 6, y + 4, text, "ri-label ri-end"))
    grid = tag("path", d="".join(lines), class_="ri-grid")
    return tag("g", grid, *labels, aria_hidden="true")


def x_axis(plot: Plot, quantity: Quantity, name: str) -> Svg:
    """Return a lying axis of numbers, and what they measure at its end."""
    write = plot.notation.write
    ticks = [(plot.x(tick), write(tick, quantity)) for tick in plot.x.ticks]
    return _below(plot.frame, ticks, name)


def time_axis(plot: Plot, begin: datetime, end: datetime) -> Svg:
    """Return a lying axis of time, of as many ticks as have room."""
    limit = max(2, int(plot.frame.width // 68))
    ticks = [
        (plot.x(moments.seconds(moment)), text)
        for moment, text in moments.ticks(begin, end, limit, plot.notation)
    ]
    return _below(plot.frame, ticks, "")


def _below(frame: Frame, ticks: Sequence[tuple[float, str]], name: str) -> Svg:
    line = f"M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}"
    parts, taken = [], -1.0
    for x, text in ticks:
        half = width_of(text) / 2
        middle = min(max(x, half), WIDTH - half)
        line += f"M{x:.1f} {frame.bottom:.1f}v4"
        if middle - half > taken:
            css = "ri-label ri-middle"
            parts.append(label(middle, frame.bottom + TICK_GAP, text, css))
            taken = middle + half + 4
    if name:
        css = "ri-label ri-quiet ri-end"
        parts.append(label(frame.right, frame.bottom + 2 * TICK_GAP - 2, name, css))
    return tag("g", tag("path", d=line, class_="ri-axis"), *parts, aria_hidden="true")


def swatch(css: str, shape: str = "square") -> Svg:
    """Return the little drawing of a legend's entry.

    Args:
        css: The classes of the mark.
        shape: "square", "dot", "cross" or "line".
    """
    middle = _SWATCH / 2
    marks = {
        "square": tag("rect", width=_SWATCH, height=_SWATCH, class_=css),
        "dot": tag("circle", cx=middle, cy=middle, r=4.0, class_=css),
        "cross": cross(middle, middle, css, 4.0),
        "line": tag("path", d=f"M0 {middle:.0f}H{_SWATCH:.0f}", class_=css),
    }
    return tag(
        "svg",
        marks[shape],
        viewBox=f"0 0 {_SWATCH:.0f} {_SWATCH:.0f}",
        class_="ri-swatch",
        aria_hidden="true",
    )


def cross(x: float, y: float, css: str, half: float = 3.0) -> Svg:
    """Return a cross: the mark of what failed, told apart by more than its colour."""
    side = 2 * half
    start = f"M{x - half:.1f} {y - half:.1f}"
    d = f"{start}l{side:g} {side:g}m0-{side:g}l-{side:g} {side:g}"
    return tag("path", d=d, class_=css)


def hit(x: float, y: float, width: float, height: float) -> Svg:
    """Return a place to point at, larger than the mark in it."""
    return tag(
        "rect",
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        class_="ri-hit",
    )
