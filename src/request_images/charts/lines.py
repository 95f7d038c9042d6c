"""Lines over time: percentiles with releases, gaps where nothing was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from . import periods
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
from .notation import ENGLISH, Notation, Quantity
from .periods import Marker
from .scales import linear, logarithmic, spread
from .svg import Svg, checked, label, linked, tag, width_of

HEIGHT = 260.0
_LONGEST_NAME = 90.0
_MANY = 60  # more points than that are told by their line alone


@dataclass(frozen=True)
class Slot:
    """A period of time, and the numbers of all lines in it.

    Attributes:
        begin: Its first moment.
        end: The first moment behind it.
        values: One for each line; None where there is none.
        count: How many requests they are from.
        failed: How many of those failed.
        href: Where it leads; empty for nowhere.
    """

    begin: datetime
    end: datetime
    values: Sequence[float | None]
    count: int = 0
    failed: int = 0
    href: str = ""


def line_chart(  # noqa: PLR0913  # each by its name
    heading: Heading,
    names: Sequence[str],
    slots: Sequence[Slot],
    *,
    quantity: Quantity = Quantity.DURATION,
    markers: Sequence[Marker] = (),
    log: bool = False,
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw lines over time, each named at its end.

    Args:
        heading: What the chart is called.
        names: Those of the lines, such as "p50".
        slots: The periods, in their order; they need not be of one length.
        quantity: What the values measure.
        markers: What to mark, such as releases.
        log: Whether the axis of values is logarithmic.
        notation: The reader's.

    Raises:
        ValueError: A value is not finite or negative, or has no line.
    """
    if any(len(slot.values) != len(names) for slot in slots):
        raise ValueError("each slot needs a value for each line")
    values = [checked(v) for slot in slots for v in slot.values if v is not None]
    if not values:
        return empty(heading, notation)
    top = 10 + periods.MARKER_HEIGHT * periods.marker_rows(markers)
    bottom = HEIGHT - 26
    if log:
        y = logarithmic(values, bottom, top, quantity, 7)
    else:
        y = linear(max(values), bottom, top, quantity)
    room = min(_LONGEST_NAME, max(width_of(name) for name in names))
    right = WIDTH - room - 10
    frame = Frame(margin(y, quantity, notation), top, right, bottom)
    x = periods.period_scale(slots[0].begin, slots[-1].end, frame)
    plot = Plot(frame, x, y, quantity, notation)
    points = [_points(slots, number, plot) for number in range(len(names))]
    svg = drawing(
        heading,
        HEIGHT,
        y_axis(plot),
        time_axis(plot, slots[0].begin, slots[-1].end),
        periods.marks_of(markers, plot),
        *(_line(line, number) for number, line in enumerate(points)),
        _names(names, points, plot.frame),
        _slots(slots, names, points, plot),
        summary=_summary(slots, values, plot),
    )
    return Chart(heading, svg, _table(slots, names, markers, plot))


Points = list[tuple[float, float] | None]


def _points(slots: Sequence[Slot], number: int, plot: Plot) -> Points:
    """Return where a line's values are, each in the middle of its slot."""
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


def _line(points: Points, number: int) -> Svg:
    return tag("path", d=path_of(points), class_=f"ri-line ri-line-{number + 1}")


def _names(names: Sequence[str], points: Sequence[Points], frame: Frame) -> Svg:
    """Return each line's name beside its last point."""
    ends = [next((p for p in reversed(line) if p), None) for line in points]
    known = [(name, end[1]) for name, end in zip(names, ends, strict=True) if end]
    places = spread([y for _, y in known], 14, frame.top + 4, frame.bottom)
    return tag(
        "g",
        *(
            label(frame.right + 6, y + 4, name, "ri-label ri-name", _LONGEST_NAME)
            for (name, _), y in zip(known, places, strict=True)
        ),
        aria_hidden="true",
    )


def _slots(
    slots: Sequence[Slot],
    names: Sequence[str],
    points: Sequence[Points],
    plot: Plot,
) -> Svg:
    """Return what can be pointed at: a column for each slot, with its points."""
    frame, columns = plot.frame, []
    for index, slot in enumerate(slots):
        here = [line[index] for line in points]
        if not any(here):
            continue
        left, right = plot.column(slot.begin, slot.end)
        marks = [hit(left, frame.top, right - left, frame.bottom - frame.top)]
        for number, point in enumerate(here):
            if point:
                alone = _is_alone(points[number], index)
                faint = "" if alone or len(slots) <= _MANY else " ri-faint"
                css = f"ri-dot ri-dot-{number + 1}{faint}"
                marks.append(tag("circle", cx=point[0], cy=point[1], r=2.5, class_=css))
        text = _told(slot, names, plot)
        columns.append(linked(slot.href, text, *marks))
    return tag("g", *columns)


def _is_alone(line: Points, index: int) -> bool:
    return not any(line[max(0, index - 1) : index] + line[index + 1 : index + 2])


def _told(slot: Slot, names: Sequence[str], plot: Plot) -> str:
    numbers = ", ".join(
        f"{name} {plot.write(value)}"
        for name, value in zip(names, slot.values, strict=True)
        if value is not None
    )
    text = f"{plot.notation.when(slot.begin)}: {numbers}"
    if slot.count:
        text = f"{text}; {plot.notation.failed_of(slot.failed, slot.count)}"
    return text


def _summary(slots: Sequence[Slot], values: Sequence[float], plot: Plot) -> str:
    notation, gettext = plot.notation, plot.notation.gettext
    return gettext("From %(begin)s to %(end)s, between %(low)s and %(high)s.") % {
        "begin": notation.when(slots[0].begin),
        "end": notation.when(slots[-1].end),
        "low": plot.write(min(values)),
        "high": plot.write(max(values)),
    }


def _table(
    slots: Sequence[Slot],
    names: Sequence[str],
    markers: Sequence[Marker],
    plot: Plot,
) -> Table:
    notation, gettext = plot.notation, plot.notation.gettext
    columns = [gettext("Time"), *names, gettext("Requests"), gettext("Failed")]
    released = periods.by_slot(markers, [slot.begin for slot in slots])
    if released:
        columns.append(gettext("Release"))
    rows = [
        Row(
            notation.when(slot.begin),
            [
                *(plot.write(value) for value in slot.values),
                notation.write(slot.count, Quantity.COUNT),
                notation.write(slot.failed, Quantity.COUNT),
                *([", ".join(released.get(index, ()))] if released else ()),
            ],
            slot.href,
        )
        for index, slot in enumerate(slots)
    ]
    return Table(columns, rows)
