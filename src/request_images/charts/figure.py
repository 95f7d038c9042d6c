"""The parts that all charts share: heading, table, legend, plot and axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from . import time_axis
from .notation import Notation, Quantity
from .scales import Scale
from .svg import Svg, escaped, label, tag, width_of

WIDTH = 640.0
TICK_GAP = 18.0
_SWATCH = 12.0


@dataclass(frozen=True)
class Heading:
    """The texts of a chart.

    Attributes:
        name: Unique in its page; letters, digits and hyphens. Ids begin with it.
        title: What the chart shows.
        empty: The sentence shown when there is nothing to draw.
    """

    name: str
    title: str
    empty: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a chart's table.

    Attributes:
        head: The label of its mark.
        cells: Its numbers, written.
        href: The link of its mark; empty for none.
    """

    head: str
    cells: Sequence[str]
    href: str = ""


@dataclass(frozen=True)
class Table:
    """A chart's table twin: the same numbers as text.

    Attributes:
        columns: The heads of all columns, beginning with that of the row heads.
        rows: Its rows.
        note: What is left out, if anything.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Key:
    """An entry of a legend.

    Attributes:
        swatch: A small drawing of the mark.
        text: What the mark stands for.
        href: The link for all such marks together; empty for none.
    """

    swatch: Svg
    text: str
    href: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, for a template to write.

    Attributes:
        heading: Its texts.
        svg: The drawing; empty when there is nothing to draw, and then `note` says so.
        table: The same numbers as text; None when there are none.
        keys: The legend, for marks without a label of their own.
        note: A remark about the drawing.
    """

    heading: Heading
    svg: Svg = Svg("")  # noqa: RUF009  # it cannot change
    table: Table | None = None
    keys: Sequence[Key] = field(default=())
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """The area between two axes, in the units of the drawing.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        quantity: What the vertical axis measures.
        notation: The reader's notation.
        left: Where the area begins; it ends with the axes.
    """

    x: Scale
    y: Scale
    quantity: Quantity
    notation: Notation
    left: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x.stop

    @property
    def top(self) -> float:
        """The upper edge."""
        return self.y.stop

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y.start

    def write(self, value: float | None) -> str:
        """Write a number of the vertical axis."""
        return self.notation.write(value, self.quantity)

    def hit_area(self, left: float, right: float) -> Svg:
        """Return a column of the plot, to point at."""
        return hit_area(left, self.top, right - left, self.bottom - self.top)


@dataclass(frozen=True)
class TimePlot(Plot):
    """A plot whose horizontal axis is time.

    Attributes:
        begin: The first moment.
        end: The last moment.
    """

    begin: datetime
    end: datetime

    def column(self, begin: datetime, end: datetime) -> tuple[float, float]:
        """Return the left and the right edge of a period."""
        return self.x(time_axis.seconds(begin)), self.x(time_axis.seconds(end))

    def draw(self, heading: Heading, *parts: Svg, summary: str) -> Svg:
        """Return the SVG element of a chart over time, as `drawing` does."""
        limit = max(2, int((self.right - self.left) // 68))
        ticks = [
            (self.x(time_axis.seconds(moment)), text)
            for moment, text in time_axis.ticks(
                self.begin, self.end, limit, self.notation
            )
        ]
        axes = y_axis(self), _horizontal_axis(self, ticks, "")
        height = self.bottom + 26
        css = "ri-svg ri-over-time"
        return drawing(heading, height, *axes, *parts, summary=summary, css=css)


def time_plot(  # noqa: PLR0913  # each by its name
    begin: datetime,
    end: datetime,
    y: Scale,
    quantity: Quantity,
    notation: Notation,
    *,
    right: float = 10.0,
) -> TimePlot:
    """Return the plot of a chart over time.

    Args:
        begin: The first moment.
        end: The last moment.
        y: The vertical axis.
        quantity: What it measures.
        notation: The reader's notation.
        right: The room to leave on the right.

    Raises:
        ValueError: The end is not after the beginning.
    """
    low, high = time_axis.seconds(begin), time_axis.seconds(end)
    if not low < high:
        raise ValueError(f"a period from {begin} to {end}")
    left = margin(y, quantity, notation)
    x = Scale(low, high, left, WIDTH - right)
    return TimePlot(x, y, quantity, notation, left, begin, end)


def empty(heading: Heading, notation: Notation) -> Chart:
    """Return the chart without data: a sentence."""
    gettext = notation.gettext
    return Chart(heading, note=heading.empty or gettext("No requests in this period."))


def drawing(
    heading: Heading, height: float, *parts: Svg, summary: str, css: str = "ri-svg"
) -> Svg:
    """Return the SVG element of a chart, named by its title.

    Args:
        heading: The texts of the chart.
        height: In the units of the drawing, which is `WIDTH` wide.
        parts: What is drawn, the lowest layer first.
        css: The classes of the element.
        summary: One sentence for readers who do not see the drawing.
    """
    title, description = f"{heading.name}-title", f"{heading.name}-summary"
    return tag(
        "svg",
        tag("title", escaped(heading.title), id=title),
        tag("desc", escaped(summary), id=description),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="graphics-document",
        aria_labelledby=title,
        aria_describedby=description,
        class_=css,
    )


def margin(scale: Scale, quantity: Quantity, notation: Notation) -> float:
    """Return the room for the numbers beside a vertical axis."""
    return max(width_of(notation.write(tick, quantity)) for tick in scale.ticks) + 10


def y_axis(plot: Plot) -> Svg:
    """Return a vertical axis: a quiet line for each tick, and its number."""
    lines, labels = [], []
    for tick in plot.y.ticks:
        y = plot.y(tick)
        lines.append(f"M{plot.left:.1f} {y:.1f}H{plot.right:.1f}")
        text = plot.write(tick)
        labels.append(label(plot.left - 6, y + 4, text, "ri-label ri-end"))
    grid = tag("path", d="".join(lines), class_="ri-grid")
    return tag("g", grid, *labels, aria_hidden="true")


def x_axis(plot: Plot, quantity: Quantity, name: str) -> Svg:
    """Return a horizontal axis of numbers, and its name at its end."""
    write = plot.notation.write
    ticks = [(plot.x(tick), write(tick, quantity)) for tick in plot.x.ticks]
    return _horizontal_axis(plot, ticks, name)


def _horizontal_axis(plot: Plot, ticks: Sequence[tuple[float, str]], name: str) -> Svg:
    line = f"M{plot.left:.1f} {plot.bottom:.1f}H{plot.right:.1f}"
    parts, taken = [], -1.0
    for x, text in ticks:
        half = width_of(text) / 2
        middle = min(max(x, half), WIDTH - half)
        line += f"M{x:.1f} {plot.bottom:.1f}v4"
        if middle - half > taken:
            css = "ri-label ri-middle"
            parts.append(label(middle, plot.bottom + TICK_GAP, text, css))
            taken = middle + half + 4
    if name:
        css = "ri-label ri-quiet ri-end"
        parts.append(label(plot.right, plot.bottom + 2 * TICK_GAP - 2, name, css))
    return tag("g", tag("path", d=line, class_="ri-axis"), *parts, aria_hidden="true")


def swatch(css: str, shape: str = "square") -> Svg:
    """Return the small drawing of a legend's entry.

    Args:
        css: The classes of the mark.
        shape: "square", "dot" or "cross".
    """
    middle = _SWATCH / 2
    marks = {
        "square": tag("rect", width=_SWATCH, height=_SWATCH, class_=css),
        "dot": tag("circle", cx=middle, cy=middle, r=4.0, class_=css),
        "cross": cross(middle, middle, css, 4.0),
    }
    return tag(
        "svg",
        marks[shape],
        viewBox=f"0 0 {_SWATCH:.0f} {_SWATCH:.0f}",
        class_="ri-swatch",
        aria_hidden="true",
    )


def cross(x: float, y: float, css: str, half: float = 3.0) -> Svg:
    """Return a cross: the mark of a failure, which differs by more than its colour."""
    side = 2 * half
    start = f"M{x - half:.1f} {y - half:.1f}"
    d = f"{start}l{side:g} {side:g}m0-{side:g}l-{side:g} {side:g}"
    return tag("path", d=d, class_=css)


def hit_area(x: float, y: float, width: float, height: float) -> Svg:
    """Return an area to point at, larger than the mark in it."""
    return tag(
        "rect",
        x=float(x),
        y=float(y),
        width=float(width),
        height=float(height),
        class_="ri-hit",
    )
