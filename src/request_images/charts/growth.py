"""What grows: its level over time as an area, and where it leads as a dashed line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from .figure import (
    WIDTH,
    Chart,
    Frame,
    Heading,
    Plot,
    Row,
    Table,
    drawing,
    empty,
    hit,
    margin,
    time_axis,
    y_axis,
)
from .moments import seconds
from .notation import ENGLISH, Notation, Quantity
from .periods import period_scale
from .scales import linear
from .svg import Svg, checked, label, linked, tag

HEIGHT = 220.0


@dataclass(frozen=True)
class Level:
    """How much there is at some moment.

    Attributes:
        at: The moment.
        value: How much.
        href: Where it leads; empty for nowhere.
    """

    at: datetime
    value: float
    href: str = ""


def growth_chart(  # noqa: PLR0913  # each by its name
    heading: Heading,
    levels: Sequence[Level],
    *,
    projection: Sequence[Level] = (),
    limit: float | None = None,
    quantity: Quantity = Quantity.BYTES,
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw how much there was over time, and how much there will be if it goes on.

    Args:
        heading: What the chart is called.
        levels: How much there was, in the order of time; two at the least.
        projection: How much there will be, in the order of time, behind `levels`.
        limit: How much there may be; None without a limit.
        quantity: What the levels measure.
        notation: The reader's.

    Raises:
        ValueError: A value is not finite or negative, or no time goes by.
    """
    if len(levels) < 2:
        return empty(heading, notation)
    values = [checked(level.value) for level in [*levels, *projection]]
    if limit is not None:
        values.append(checked(limit))
    y = linear(max(values), HEIGHT - 26, 20, quantity)
    frame = Frame(margin(y, quantity, notation), 20, WIDTH - 14, HEIGHT - 26)
    begin, end = levels[0].at, (projection or levels)[-1].at
    x = period_scale(begin, end, frame)
    plot = Plot(frame, x, y, quantity, notation)
    svg = drawing(
        heading,
        HEIGHT,
        y_axis(plot),
        time_axis(plot, begin, end),
        _area(levels, plot),
        _projected(levels, projection, plot),
        _limit(limit, plot),
        _points(levels, projection, plot),
        summary=_summary(levels, projection, plot),
    )
    return Chart(heading, svg, _table(levels, projection, plot))


def _path(levels: Sequence[Level], plot: Plot) -> str:
    places = [(plot.x(seconds(level.at)), plot.y(level.value)) for level in levels]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _area(levels: Sequence[Level], plot: Plot) -> Svg:
    line = _path(levels, plot)
    ground = f"V{plot.frame.bottom:.1f}H{plot.frame.left:.1f}Z"
    return tag(
        "g",
        tag("path", d=f"{line}{ground}", class_="ri-area"),
        tag("path", d=line, class_="ri-line ri-line-1"),
    )


def _projected(levels: Sequence[Level], projection: Sequence[Level], plot: Plot) -> Svg:
    if not projection:
        return Svg("")
    line = _path([levels[-1], *projection], plot)
    return tag("path", d=line, class_="ri-line ri-projection")


def _limit(limit: float | None, plot: Plot) -> Svg:
    if limit is None:
        return Svg("")
    frame, gettext = plot.frame, plot.notation.gettext
    text = gettext("limit %(amount)s") % {"amount": plot.write(limit)}
    height = plot.y(limit)
    line = f"M{frame.left:.1f} {height:.1f}H{frame.right:.1f}"
    return tag(
        "g",
        tag("path", d=line, class_="ri-limit"),
        label(frame.left + 6, height - 5, text),
    )


def _points(
    levels: Sequence[Level],
    projection: Sequence[Level],
    plot: Plot,
) -> Svg:
    """Return what can be pointed at: a column around each level."""
    frame, everything = plot.frame, [*levels, *projection]
    places = [plot.x(seconds(level.at)) for level in everything]
    middles = [(left + right) / 2 for left, right in pairwise(places)]
    edges = [frame.left, *middles, frame.right]
    columns = []
    for number, level in enumerate(everything):
        text = f"{plot.notation.when(level.at)}: {plot.write(level.value)}"
        if number >= len(levels):
            gettext = plot.notation.gettext
            text = gettext("%(level)s, if it goes on like this") % {"level": text}
        left, right = edges[number], edges[number + 1]
        columns.append(
            linked(
                level.href,
                text,
                hit(left, frame.top, right - left, frame.bottom - frame.top),
                tag(
                    "circle",
                    cx=places[number],
                    cy=plot.y(level.value),
                    r=2.5,
                    class_="ri-dot ri-dot-1 ri-faint",
                ),
            )
        )
    return tag("g", *columns)


def _summary(
    levels: Sequence[Level],
    projection: Sequence[Level],
    plot: Plot,
) -> str:
    notation, gettext = plot.notation, plot.notation.gettext
    told = gettext("From %(low)s on %(begin)s to %(high)s on %(end)s.")
    ends = [(levels[0], levels[-1])]
    ends += [(levels[-1], projection[-1])] if projection else []
    return " ".join(
        told
        % {
            "begin": notation.when(first.at),
            "low": plot.write(first.value),
            "end": notation.when(last.at),
            "high": plot.write(last.value),
        }
        for first, last in ends
    )


def _table(
    levels: Sequence[Level],
    projection: Sequence[Level],
    plot: Plot,
) -> Table:
    notation, gettext = plot.notation, plot.notation.gettext
    kinds = [gettext("measured")] * len(levels)
    kinds += [gettext("projected")] * len(projection)
    rows = [
        Row(notation.when(lv.at), [plot.write(lv.value), kind], lv.href)
        for lv, kind in zip([*levels, *projection], kinds, strict=True)
    ]
    return Table([gettext("Time"), gettext("Level"), gettext("Kind")], rows)
