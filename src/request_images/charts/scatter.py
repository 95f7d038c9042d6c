"""A scatter chart of single requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .figure import (
    WIDTH,
    Chart,
    Heading,
    Key,
    Plot,
    Row,
    Table,
    cross,
    drawing,
    empty,
    margin,
    swatch,
    x_axis,
    y_axis,
)
from .notation import ENGLISH, Notation, Quantity
from .scales import logarithmic
from .svg import Svg, checked, isolated, linked, tag

HEIGHT = 340.0
TABLE_ROWS = 100
SLOWEST_SHARE = 0.01
"""The share of requests that count as the slowest; their number is rounded up."""
_RADIUS = 2.6


@dataclass(frozen=True)
class Dot:
    """A request to draw.

    Attributes:
        x: The property on the horizontal axis, such as megapixels.
        y: Its duration in ms.
        failed: Whether it failed.
        href: Its link; empty for none.
        text: An addition to the tooltip, such as its error type.
    """

    x: float
    y: float
    failed: bool = False
    href: str = ""
    text: str = ""


def scatter(  # noqa: PLR0913  # each by its name
    heading: Heading,
    points: Sequence[Dot],
    *,
    total: int | None = None,
    is_whole: bool = True,
    name: str = "",
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw requests as dots, and failed ones as crosses, on logarithmic axes.

    Args:
        heading: The texts of the chart.
        points: The requests to draw.
        total: The number of all requests; None if `points` are all.
        is_whole: Whether all that failed and the slowest percent are among `points`.
        name: The name of the horizontal axis, which measures megapixels.
        notation: The reader's notation.

    Raises:
        ValueError: A number is not finite or negative.
    """
    if not points:
        return empty(heading, notation)
    durations = [checked(dot.y) for dot in points]
    sizes = [checked(dot.x) for dot in points]
    y = logarithmic(durations, HEIGHT - 44, 10, Quantity.DURATION, 8)
    left = margin(y, Quantity.DURATION, notation)
    x = logarithmic(sizes, left + 6, WIDTH - 20, Quantity.MEGAPIXELS, 8)
    plot = Plot(x, y, Quantity.DURATION, notation, left)
    dots, notable = _ranked(points)
    note = _note(len(dots), max(total or 0, len(dots)), is_whole, notation)
    marks = [
        _mark(dot, plot, is_notable=index < notable) for index, dot in enumerate(dots)
    ]
    axes = y_axis(plot), x_axis(plot, Quantity.MEGAPIXELS, name)
    # The most notable lie on top.
    svg = drawing(heading, HEIGHT, *axes, tag("g", *reversed(marks)), summary=note)
    return Chart(
        heading, svg, _table(dots, notation, name), _keys(dots, notation), note
    )


def _ranked(points: Sequence[Dot]) -> tuple[list[Dot], int]:
    """Return the failed, the slowest, then the others; and the number of the former."""
    order = sorted(points, key=lambda dot: (dot.y, dot.x))
    edge = len(order) - math.ceil(SLOWEST_SHARE * len(order))
    notable = [dot for dot in order if dot.failed]
    notable += [dot for dot in order[edge:] if not dot.failed]
    return [*notable, *(dot for dot in order[:edge] if not dot.failed)], len(notable)


def _mark(dot: Dot, plot: Plot, *, is_notable: bool) -> Svg:
    x, y = plot.x(dot.x), plot.y(dot.y)
    parts = [plot.notation.write(dot.x, Quantity.MEGAPIXELS), plot.write(dot.y)]
    if dot.failed:
        gettext = plot.notation.gettext
        parts.append(gettext("failed"))
        mark = cross(x, y, "ri-failed")
    else:
        mark = tag("circle", cx=x, cy=y, r=_RADIUS, class_="ri-ok")
    if dot.text:
        parts.append(isolated(dot.text))
    # The Tab key visits the notable ones only, not two thousand.
    index = None if is_notable else -1
    return linked(dot.href, ", ".join(parts), mark, tabindex=index)


def _note(shown: int, total: int, is_whole: bool, notation: Notation) -> str:
    gettext, ngettext = notation.gettext, notation.ngettext
    if shown == total:
        return ngettext(
            "The one request of this period whose image has dimensions.",
            "All %(count)s requests of this period whose image has dimensions.",
            total,
        ) % {"count": notation.count(total)}
    if is_whole:
        text = gettext(
            "A sample of %(shown)s of the %(total)s requests whose image has "
            "dimensions. It includes all that failed and the slowest percent."
        )
    else:
        text = gettext(
            "A sample of %(shown)s of the %(total)s requests whose image has "
            "dimensions. Too many failed or were slow to draw them all."
        )
    return text % {"shown": notation.count(shown), "total": notation.count(total)}


def _keys(dots: Sequence[Dot], notation: Notation) -> list[Key]:
    gettext = notation.gettext
    failed = sum(dot.failed for dot in dots)
    kinds = (
        (swatch("ri-ok", "dot"), gettext("succeeded (%(count)s)"), len(dots) - failed),
        (swatch("ri-failed", "cross"), gettext("failed (%(count)s)"), failed),
    )
    return [
        Key(mark, text % {"count": notation.count(count)})
        for mark, text, count in kinds
        if count
    ]


def _table(dots: Sequence[Dot], notation: Notation, name: str) -> Table:
    gettext = notation.gettext
    size = name or gettext("Size")
    columns = [gettext("Duration"), size, gettext("Failed"), gettext("Details")]
    rows = [
        Row(
            notation.write(dot.y, Quantity.DURATION),
            [
                notation.write(dot.x, Quantity.MEGAPIXELS),
                gettext("yes") if dot.failed else gettext("no"),
                dot.text,
            ],
            dot.href,
        )
        for dot in dots[:TABLE_ROWS]
    ]
    note = ""
    if len(dots) > TABLE_ROWS:
        note = gettext("The first %(count)s: those that failed, then the slowest.")
        note %= {"count": notation.count(TABLE_ROWS)}
    return Table(columns, rows, note)
