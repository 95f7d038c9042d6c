"""Single requests: how long each took, by how many megapixels its image has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .figure import (
    WIDTH,
    Chart,
    Frame,
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
from .sampling import Dot, Sample, sample
from .scales import logarithmic
from .svg import Svg, isolated, linked, tag

HEIGHT = 340.0
TABLE_ROWS = 100
_RADIUS = 2.6


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
    """Draw requests as dots, and those that failed as crosses, on logarithmic axes.

    Args:
        heading: What the chart is called.
        points: The requests; of too many a `sample` is drawn.
        total: How many requests there are, when `points` are a sample already: one
            with all that failed and the slowest percent.
        is_whole: Whether all of those are among `points`.
        quantity: What the lying axis measures.
        name: What is written beside the lying axis.
        notation: The reader's.

    Raises:
        ValueError: A number is not finite or negative.
    """
    chosen = sample(points)
    if not chosen.dots:
        return empty(heading, notation)
    y = logarithmic(
        [dot.y for dot in chosen.dots], HEIGHT - 44, 10, Quantity.DURATION, 8
    )
    frame = Frame(margin(y, Quantity.DURATION, notation), 10, WIDTH - 20, HEIGHT - 44)
    x = logarithmic(
        [dot.x for dot in chosen.dots], frame.left + 6, frame.right, quantity, 8
    )
    plot = Plot(frame, x, y, Quantity.DURATION, notation)
    chosen = replace(chosen, is_whole=chosen.is_whole and is_whole)
    note = _note(chosen, max(total or 0, chosen.total), notation)
    marks = [
        _drawn(dot, plot, quantity, is_telling=index < chosen.telling)
        for index, dot in enumerate(chosen.dots)
    ]
    svg = drawing(
        heading,
        HEIGHT,
        y_axis(plot),
        x_axis(plot, quantity, name),
        # What tells most lies on top.
        tag("g", *reversed(marks)),
        summary=note,
    )
    table = _table(chosen, quantity, notation, name)
    return Chart(heading, svg, table, _keys(chosen, notation), note)


def _drawn(dot: Dot, plot: Plot, quantity: Quantity, *, is_telling: bool) -> Svg:
    place = plot.x(dot.x), plot.y(dot.y)
    if dot.failed:
        mark = cross(*place, "ri-failed")
    else:
        mark = tag("circle", cx=place[0], cy=place[1], r=_RADIUS, class_="ri-ok")
    parts = [
        plot.notation.write(dot.x, quantity),
        plot.write(dot.y),
    ]
    if dot.failed:
        gettext = plot.notation.gettext
        parts.append(gettext("failed"))
    if dot.text:
        parts.append(isolated(dot.text))
    # Two thousand stops of the Tab key would be none.
    index = None if is_telling else -1
    return linked(dot.href, ", ".join(parts), mark, tabindex=index)


def _note(chosen: Sample, total: int, notation: Notation) -> str:
    gettext, ngettext = notation.gettext, notation.ngettext
    shown = len(chosen.dots)
    if shown == total:
        return ngettext(
            "The one request of this period whose image has dimensions.",
            "All %(count)s requests of this period whose image has dimensions.",
            total,
        ) % {"count": notation.write(total, Quantity.COUNT)}
    numbers = {
        "shown": notation.write(shown, Quantity.COUNT),
        "total": notation.write(total, Quantity.COUNT),
    }
    if chosen.is_whole:
        return (
            gettext(
                "Sampled %(shown)s of %(total)s requests whose image has dimensions; "
                "all that failed and the slowest percent are among them."
            )
            % numbers
        )
    return (
        gettext(
            "Sampled %(shown)s of %(total)s requests whose image has dimensions; even "
            "those that failed and the slowest are too many to draw all."
        )
        % numbers
    )


def _keys(chosen: Sample, notation: Notation) -> list[Key]:
    gettext = notation.gettext
    failed = sum(dot.failed for dot in chosen.dots)
    counts = {
        "dot": (gettext("succeeded (%(count)s)"), len(chosen.dots) - failed),
        "cross": (gettext("failed (%(count)s)"), failed),
    }
    css = {"dot": "ri-ok", "cross": "ri-failed"}
    return [
        Key(
            swatch(css[shape], shape),
            text % {"count": notation.write(n, Quantity.COUNT)},
        )
        for shape, (text, n) in counts.items()
        if n
    ]


def _table(chosen: Sample, quantity: Quantity, notation: Notation, name: str) -> Table:
    gettext = notation.gettext
    columns = [
        gettext("Duration"),
        name or gettext("Size"),
        gettext("Failed"),
        gettext("Details"),
    ]
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
        note = gettext("The first %(count)s: those that failed, then the slowest.") % {
            "count": notation.write(TABLE_ROWS, Quantity.COUNT)
        }
    return Table(columns, rows, note)
