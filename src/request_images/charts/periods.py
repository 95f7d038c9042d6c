"""What charts over time share: the periods they count by, and releases."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .figure import Frame, Plot
from .moments import seconds
from .scales import Scale
from .svg import Svg, isolated, label, linked, tag, width_of

MARKER_ROWS = 2
MARKER_HEIGHT = 15.0
_LONGEST_MARKER = 110.0


@dataclass(frozen=True)
class Marker:
    """A moment to mark, such as that of a release.

    Attributes:
        at: When it was.
        text: Its name.
        href: Where it leads; empty for nowhere.
    """

    at: datetime
    text: str
    href: str = ""


def period_scale(begin: datetime, end: datetime, frame: Frame) -> Scale:
    """Return the axis of a time.

    Raises:
        ValueError: The end is not behind the beginning.
    """
    low, high = seconds(begin), seconds(end)
    if not low < high:
        raise ValueError(f"a period from {begin} to {end}")
    return Scale(low, high, frame.left, frame.right)


def marker_rows(markers: Sequence[Marker]) -> int:
    """Return how many lines of labels to leave room for, above the plot."""
    return min(MARKER_ROWS, len(markers))


def by_slot(
    markers: Sequence[Marker], begins: Sequence[datetime]
) -> dict[int, list[str]]:
    """Return the names of the markers in each slot, by its number.

    Args:
        markers: What is marked; what is before the first slot is left out.
        begins: When each slot begins.
    """
    starts = [seconds(begin) for begin in begins]
    found: dict[int, list[str]] = {}
    for marker in sorted(markers, key=lambda marker: seconds(marker.at)):
        index = bisect_right(starts, seconds(marker.at)) - 1
        if index >= 0:
            found.setdefault(index, []).append(marker.text)
    return found


def marks_of(markers: Sequence[Marker], plot: Plot) -> Svg:
    """Return upright lines with labels above; a label without room is its tooltip only.

    Args:
        markers: What to mark; what is outside the axis is left out.
        plot: Where; above it is room for `marker_rows` lines of labels.
    """
    frame, scale = plot.frame, plot.x
    shown = [m for m in markers if scale.low <= seconds(m.at) <= scale.high]
    taken = [frame.left] * marker_rows(markers)
    parts = []
    for marker in sorted(shown, key=lambda marker: seconds(marker.at)):
        x = scale(seconds(marker.at))
        room = min(_LONGEST_MARKER, width_of(marker.text))
        begin = min(x, frame.right - room) + 3
        row = next((r for r, end in enumerate(taken) if end <= begin), None)
        top = frame.top - 4 - (row or 0) * MARKER_HEIGHT
        line = tag(
            "path", d=f"M{x:.1f} {top:.1f}V{frame.bottom:.1f}", class_="ri-marker"
        )
        marks = [line]
        if row is not None:
            taken[row] = begin + room + 5
            css = "ri-label ri-marker-text"
            marks.append(label(begin, top - 2, marker.text, css, room))
        text = f"{isolated(marker.text)}, {plot.notation.when(marker.at)}"
        parts.append(linked(marker.href, text, *marks))
    return tag("g", *parts) if parts else Svg("")
