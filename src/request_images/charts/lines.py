"""A line chart over time, with releases as markers and gaps where data are missing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .figure import Chart, Heading, Row, Table, TimePlot, empty, time_plot
from .notation import ENGLISH, Notation, Quantity
from .scales import linear, spread
from .svg import Svg, checked, isolated, label, linked, path, tag, width_of
from .time_axis import seconds

_BOTTOM = 234.0
_LONGEST_NAME = 90.0
_MANY = 60  # more points than that are shown by their line alone
_MARKER_ROWS = 2  # lines of labels above the plot
_MARKER_HEIGHT = 15.0
_LONGEST_MARKER = 110.0


@dataclass(frozen=True)
class Marker:
    """A moment to mark, such as a release.

    Attributes:
        at: The moment.
        text: Its name.
        href: Its link; empty for none.
    """

    at: datetime
    text: str
    href: str = ""


@dataclass(frozen=True)
class Slot:
    """A period of time, and the values of all lines in it.

    Attributes:
        begin: Its first moment.
        end: The first moment after it.
        values: One for each line; None where there is none.
        count: The number of requests they are from.
        failed: The number of failed requests among them.
        href: Its link; empty for none.
    """

    begin: datetime
    end: datetime
    values: Sequence[float | None]
    count: int = 0
    failed: int = 0
    href: str = ""


def line_chart(
    heading: Heading,
    names: Sequence[str],
    slots: Sequence[Slot],
    *,
    markers: Sequence[Marker] = (),
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw durations as lines over time, each with its name at its end.

    Args:
        heading: The texts of the chart.
        names: The names of the lines, such as "p50".
        slots: The periods, in their order; their lengths may differ.
        markers: The moments to mark, such as releases.
        notation: The reader's notation.

    Raises:
        ValueError: A value is not finite or negative, or has no line.
    """
    if any(len(slot.values) != len(names) for slot in slots):
        raise ValueError("each slot needs a value for each line")
    values = [checked(v) for slot in slots for v in slot.values if v is not None]
    if not values:
        return empty(heading, notation)
    top = 10 + _MARKER_HEIGHT * _marker_rows(markers)
    y = linear(max(values), _BOTTOM, top, Quantity.DURATION)
    right = min(_LONGEST_NAME, max(width_of(name) for name in names)) + 10
    begin, end = slots[0].begin, slots[-1].end
    plot = time_plot(begin, end, y, Quantity.DURATION, notation, right=right)
    lines = [_points(slots, number, plot) for number in range(len(names))]
    gettext = notation.gettext
    summary = gettext("From %(begin)s to %(end)s, between %(low)s and %(high)s.") % {
        "begin": notation.when(begin),
        "end": notation.when(end),
        "low": plot.write(min(values)),
        "high": plot.write(max(values)),
    }
    svg = plot.draw(
        heading,
        _marker_lines(markers, plot),
        *(
            path(path_of(points), f"ri-line ri-line-{number}")
            for number, points in enumerate(lines, 1)
        ),
        _names(names, lines, plot),
        _columns(slots, names, lines, plot),
        summary=summary,
    )
    return Chart(heading, svg, _table(slots, names, markers, plot))


Points = list[tuple[float, float] | None]


def _points(slots: Sequence[Slot], number: int, plot: TimePlot) -> Points:
    """Return the points of a line, each in the middle of its slot."""
    return [
        None
        if (value := slot.values[number]) is None
        else (sum(plot.column(slot.begin, slot.end)) / 2, plot.y(value))
        for slot in slots
    ]


def path_of(points: Points) -> str:
    """Return the path through some points, with a gap at each None."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        pen = "L"
    return "".join(parts)


def _names(names: Sequence[str], lines: Sequence[Points], plot: TimePlot) -> Svg:
    """Return each line's name beside its last point."""
    ends = [next((p for p in reversed(line) if p), None) for line in lines]
    known = [(name, end[1]) for name, end in zip(names, ends, strict=True) if end]
    places = spread([y for _, y in known], 14, plot.top + 4, plot.bottom)
    return tag(
        "g",
        *(
            label(plot.right + 6, y + 4, name, "ri-label ri-name", _LONGEST_NAME)
            for (name, _), y in zip(known, places, strict=True)
        ),
        aria_hidden="true",
    )


def _columns(
    slots: Sequence[Slot],
    names: Sequence[str],
    lines: Sequence[Points],
    plot: TimePlot,
) -> Svg:
    """Return a column to point at for each slot, with its points."""
    columns = []
    for index, slot in enumerate(slots):
        if not any(line[index] for line in lines):
            continue
        marks = [plot.hit_area(*plot.column(slot.begin, slot.end))]
        for number, line in enumerate(lines, 1):
            if point := line[index]:
                before, after = line[max(0, index - 1) : index], line[index + 1 :][:1]
                is_faint = len(slots) > _MANY and any(before + after)
                css = f"ri-dot ri-dot-{number}{' ri-faint' * is_faint}"
                marks.append(tag("circle", cx=point[0], cy=point[1], r=2.5, class_=css))
        columns.append(linked(slot.href, _tooltip(slot, names, plot), *marks))
    return tag("g", *columns)


def _tooltip(slot: Slot, names: Sequence[str], plot: TimePlot) -> str:
    numbers = ", ".join(
        f"{name} {plot.write(value)}"
        for name, value in zip(names, slot.values, strict=True)
        if value is not None
    )
    text = f"{plot.notation.when(slot.begin)}: {numbers}"
    if slot.count:
        text = f"{text}; {plot.notation.failed_of(slot.failed, slot.count)}"
    return text


def _marker_rows(markers: Sequence[Marker]) -> int:
    return min(_MARKER_ROWS, len(markers))


def _marker_lines(markers: Sequence[Marker], plot: TimePlot) -> Svg:
    """Return vertical lines with labels above the plot.

    A label without room is in the tooltip only; a marker outside the axis is left out.
    """
    scale = plot.x
    shown = [m for m in markers if scale.low <= seconds(m.at) <= scale.high]
    taken = [plot.left] * _marker_rows(markers)
    parts = []
    for marker in sorted(shown, key=lambda marker: seconds(marker.at)):
        x = scale(seconds(marker.at))
        room = min(_LONGEST_MARKER, width_of(marker.text))
        begin = min(x, plot.right - room) + 3
        row = next((r for r, end in enumerate(taken) if end <= begin), None)
        top = plot.top - 4 - (row or 0) * _MARKER_HEIGHT
        marks = [path(f"M{x:.1f} {top:.1f}V{plot.bottom:.1f}", "ri-marker")]
        if row is not None:
            taken[row] = begin + room + 5
            css = "ri-label ri-marker-text"
            marks.append(label(begin, top - 2, marker.text, css, room))
        text = f"{isolated(marker.text)}, {plot.notation.when(marker.at)}"
        parts.append(linked(marker.href, text, *marks))
    return tag("g", *parts) if parts else Svg("")


def _markers_by_slot(
    markers: Sequence[Marker], slots: Sequence[Slot]
) -> dict[int, list[str]]:
    """Return the names of the markers in each slot, by the slot's index."""
    starts = [seconds(slot.begin) for slot in slots]
    found: dict[int, list[str]] = {}
    for marker in sorted(markers, key=lambda marker: seconds(marker.at)):
        index = bisect_right(starts, seconds(marker.at)) - 1
        if index >= 0:
            found.setdefault(index, []).append(marker.text)
    return found


def _table(
    slots: Sequence[Slot],
    names: Sequence[str],
    markers: Sequence[Marker],
    plot: TimePlot,
) -> Table:
    notation, gettext = plot.notation, plot.notation.gettext
    columns = [gettext("Time"), *names, gettext("Requests"), gettext("Failed")]
    releases = _markers_by_slot(markers, slots)
    if releases:
        columns.append(gettext("Release"))
    rows = [
        Row(
            notation.when(slot.begin),
            [
                *(plot.write(value) for value in slot.values),
                notation.count(slot.count),
                notation.count(slot.failed),
                *([", ".join(releases.get(index, ()))] if releases else ()),
            ],
            slot.href,
        )
        for index, slot in enumerate(slots)
    ]
    return Table(columns, rows)
