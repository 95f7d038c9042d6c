"""A scatter chart of single requests, and the choice of the requests to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
LIMIT = 2_000
"""The largest number of marks in a chart."""
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


@dataclass(frozen=True)
class Sample:
    """A sample of requests.

    Attributes:
        dots: Those to draw: the failed first, then the slowest, then the others.
        total: The number of all requests.
        notable: The number of `dots` that are failed or among the slowest.
        is_whole: Whether all that failed and all the slowest are among them.
    """

    dots: Sequence[Dot]
    total: int
    notable: int
    is_whole: bool = True


def sample(points: Sequence[Dot], limit: int = LIMIT) -> Sample:
    """Choose the requests to draw: failed ones, the slowest percent, some of the rest.

    The same points give the same choice. The others are thinned out evenly by their
    duration, which keeps their distribution. Where the limit is too small for all that
    failed, or for these and the slowest, those are thinned out likewise.

    Args:
        points: All that could be drawn.
        limit: The largest number to draw.

    Raises:
        ValueError: A number is not finite or negative, or the limit is below 1.
    """
    if limit < 1:
        raise ValueError(f"a limit of {limit} points")
    for point in points:
        checked(point.x), checked(point.y)
    order = sorted(range(len(points)), key=lambda i: (points[i].y, points[i].x, i))
    slowest = set(order[len(order) - math.ceil(SLOWEST_SHARE * len(order)) :])
    failed = [i for i in order if points[i].failed]
    slow = [i for i in order if i in slowest and not points[i].failed]
    others = [i for i in order if i not in slowest and not points[i].failed]
    chosen = _evenly(failed, limit)
    chosen += _evenly(slow, limit - len(chosen))
    notable = len(chosen)
    chosen += _evenly(others, limit - notable)
    is_whole = notable == len(failed) + len(slow)
    return Sample([points[i] for i in chosen], len(points), notable, is_whole)


def _evenly(numbers: Sequence[int], count: int) -> list[int]:
    if count >= len(numbers):
        return list(numbers)
    return [numbers[index * len(numbers) // count] for index in range(count)]


def scatter(  # noqa: PLR0913  # each by its name
    heading: Heading,
    points: Sequence[Dot],
    *,
    total: int | None = None,
    is_whole: bool = True,
    quantity: Quantity = Quantity.MEGAPIXELS,
    name: str = "",
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw requests as dots, and failed ones as crosses, on logarithmic axes.

    Args:
        heading: The texts of the chart.
        points: The requests; of too many, a `sample` is drawn.
        total: The number of all requests, when `points` are a sample already, with all
            that failed and the slowest percent.
        is_whole: Whether all of those are among `points`.
        quantity: What the horizontal axis measures.
        name: The name of the horizontal axis.
        notation: The reader's notation.

    Raises:
        ValueError: A number is not finite or negative.
    """
    chosen = sample(points)
    if not chosen.dots:
        return empty(heading, notation)
    durations, sizes = [dot.y for dot in chosen.dots], [dot.x for dot in chosen.dots]
    y = logarithmic(durations, HEIGHT - 44, 10, Quantity.DURATION, 8)
    left = margin(y, Quantity.DURATION, notation)
    x = logarithmic(sizes, left + 6, WIDTH - 20, quantity, 8)
    plot = Plot(x, y, Quantity.DURATION, notation, left)
    chosen = replace(chosen, is_whole=chosen.is_whole and is_whole)
    note = _note(chosen, max(total or 0, chosen.total), notation)
    marks = [
        _mark(dot, plot, quantity, is_notable=index < chosen.notable)
        for index, dot in enumerate(chosen.dots)
    ]
    axes = y_axis(plot), x_axis(plot, quantity, name)
    # The most notable lie on top.
    svg = drawing(heading, HEIGHT, *axes, tag("g", *reversed(marks)), summary=note)
    table = _table(chosen, quantity, notation, name)
    return Chart(heading, svg, table, _keys(chosen, notation), note)


def _mark(dot: Dot, plot: Plot, quantity: Quantity, *, is_notable: bool) -> Svg:
    x, y = plot.x(dot.x), plot.y(dot.y)
    parts = [plot.notation.write(dot.x, quantity), plot.write(dot.y)]
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


def _note(chosen: Sample, total: int, notation: Notation) -> str:
    gettext, ngettext = notation.gettext, notation.ngettext
    if len(chosen.dots) == total:
        return ngettext(
            "The one request of this period whose image has dimensions.",
            "All %(count)s requests of this period whose image has dimensions.",
            total,
        ) % {"count": notation.count(total)}
    if chosen.is_whole:
        text = gettext(
            "A sample of %(shown)s of the %(total)s requests whose image has "
            "dimensions. It includes all that failed and the slowest percent."
        )
    else:
        text = gettext(
            "A sample of %(shown)s of the %(total)s requests whose image has "
            "dimensions. Too many failed or were slow to draw them all."
        )
    shown = notation.count(len(chosen.dots))
    return text % {"shown": shown, "total": notation.count(total)}


def _keys(chosen: Sample, notation: Notation) -> list[Key]:
    gettext = notation.gettext
    failed = sum(dot.failed for dot in chosen.dots)
    kinds = (
        (swatch("ri-ok", "dot"), gettext("succeeded (%(count)s)")),
        (swatch("ri-failed", "cross"), gettext("failed (%(count)s)")),
    )
    return [
        Key(mark, text % {"count": notation.count(count)})
        for (mark, text), count in zip(
            kinds, (len(chosen.dots) - failed, failed), strict=True
        )
        if count
    ]


def _table(chosen: Sample, quantity: Quantity, notation: Notation, name: str) -> Table:
    gettext = notation.gettext
    size = name or gettext("Size")
    columns = [gettext("Duration"), size, gettext("Failed"), gettext("Details")]
    rows = [
        Row(
            notation.write(dot.y, Quantity.DURATION),
            [
                notation.write(dot.x, quantity),
                gettext("yes") if dot.failed else gettext("no"),
                dot.text,
            ],
            dot.href,
        )
        for dot in chosen.dots[:TABLE_ROWS]
    ]
    note = ""
    if len(chosen.dots) > TABLE_ROWS:
        note = gettext("The first %(count)s: those that failed, then the slowest.")
        note %= {"count": notation.count(TABLE_ROWS)}
    return Table(columns, rows, note)
