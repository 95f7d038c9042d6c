"""A growth chart: a level over time as an area, and its projection as a dashed line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from .figure import Chart, Heading, Row, Table, TimePlot, empty, time_plot
from .notation import ENGLISH, Notation, Quantity
from .scales import linear
from .svg import Svg, checked, label, linked, path, tag
from .time_axis import seconds

_BOTTOM = 194.0


@dataclass(frozen=True)
class Level:
    """An amount of bytes at one moment."""

    at: datetime
    value: float


def growth_chart(
    heading: Heading,
    levels: Sequence[Level],
    *,
    projection: Sequence[Level] = (),
    limit: float | None = None,
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw an amount over time, and its projection.

    Args:
        heading: The texts of the chart.
        levels: The measured levels in the order of time, at least two.
        projection: The projected levels in the order of time, after `levels`.
        limit: The largest amount allowed; None without a limit.
        notation: The reader's notation.

    Raises:
        ValueError: A value is not finite or negative, or no time passes.
    """
    if len(levels) < 2:
        return empty(heading, notation)
    values = [checked(level.value) for level in [*levels, *projection]]
    if limit is not None:
        values.append(checked(limit))
    y = linear(max(values), _BOTTOM, 20, Quantity.BYTES)
    end = (projection or levels)[-1].at
    plot = time_plot(levels[0].at, end, y, Quantity.BYTES, notation, right=14)
    parts = [_area(levels, plot)]
    if projection:
        line = _line([levels[-1], *projection], plot)
        parts.append(path(line, "ri-line ri-projection"))
    if limit is not None:
        parts.append(_limit(limit, plot))
    parts.append(_points(levels, projection, plot))
    svg = plot.draw(heading, *parts, summary=_summary(levels, projection, plot))
    return Chart(heading, svg, _table(levels, projection, plot))


def _line(levels: Sequence[Level], plot: TimePlot) -> str:
    places = [(plot.x(seconds(level.at)), plot.y(level.value)) for level in levels]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _area(levels: Sequence[Level], plot: TimePlot) -> Svg:
    line = _line(levels, plot)
    ground = f"V{plot.bottom:.1f}H{plot.left:.1f}Z"
    return tag("g", path(line + ground, "ri-area"), path(line, "ri-line ri-line-1"))


def _limit(limit: float, plot: TimePlot) -> Svg:
    gettext = plot.notation.gettext
    text = gettext("limit %(amount)s") % {"amount": plot.write(limit)}
    height = plot.y(limit)
    line = f"M{plot.left:.1f} {height:.1f}H{plot.right:.1f}"
    return tag("g", path(line, "ri-limit"), label(plot.left + 6, height - 5, text))


def _points(
    levels: Sequence[Level], projection: Sequence[Level], plot: TimePlot
) -> Svg:
    """Return a column to point at around each level."""
    gettext, everything = plot.notation.gettext, [*levels, *projection]
    places = [plot.x(seconds(level.at)) for level in everything]
    middles = [(left + right) / 2 for left, right in pairwise(places)]
    edges = pairwise([plot.left, *middles, plot.right])
    columns = []
    for number, (level, x, (left, right)) in enumerate(
        zip(everything, places, edges, strict=True)
    ):
        text = f"{plot.notation.when(level.at)}: {plot.write(level.value)}"
        if number >= len(levels):
            text = gettext("%(level)s (projected)") % {"level": text}
        css = "ri-dot ri-dot-1 ri-faint"
        dot = tag("circle", cx=x, cy=plot.y(level.value), r=2.5, class_=css)
        columns.append(linked("", text, plot.hit_area(left, right), dot))
    return tag("g", *columns)


def _summary(
    levels: Sequence[Level], projection: Sequence[Level], plot: TimePlot
) -> str:
    notation, gettext = plot.notation, plot.notation.gettext
    sentence = gettext("From %(low)s on %(begin)s to %(high)s on %(end)s.")
    ends = [(levels[0], levels[-1])]
    ends += [(levels[-1], projection[-1])] if projection else []
    return " ".join(
        sentence
        % {
            "begin": notation.when(first.at),
            "low": plot.write(first.value),
            "end": notation.when(last.at),
            "high": plot.write(last.value),
        }
        for first, last in ends
    )


def _table(
    levels: Sequence[Level], projection: Sequence[Level], plot: TimePlot
) -> Table:
    notation, gettext = plot.notation, plot.notation.gettext
    kinds = [gettext("measured")] * len(levels)
    kinds += [gettext("projected")] * len(projection)
    rows = [
        Row(notation.when(lv.at), [plot.write(lv.value), kind])
        for lv, kind in zip([*levels, *projection], kinds, strict=True)
    ]
    return Table([gettext("Time"), gettext("Level"), gettext("Kind")], rows)
