"""Stacked bars over time: how many of each kind, the most frequent at the bottom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .figure import (
    WIDTH,
    Chart,
    Frame,
    Heading,
    Key,
    Plot,
    Row,
    Table,
    drawing,
    empty,
    margin,
    swatch,
    time_axis,
    y_axis,
)
from .notation import ENGLISH, Notation, Quantity
from .periods import period_scale
from .scales import linear
from .svg import Svg, checked, isolated, linked, tag

HEIGHT = 220.0
TOP = 6
"""How many kinds have a colour of their own; all others share one."""
_LONGEST_KEY = 60  # characters


@dataclass(frozen=True)
class Stack:
    """A period of time, and how many of each kind there were.

    Attributes:
        begin: Its first moment.
        end: The first moment behind it.
        counts: How many, by kind; any number of kinds.
    """

    begin: datetime
    end: datetime
    counts: Mapping[str, int]


Link = Callable[[Stack | None, str | None], str]
"""From a period (None for all) and a kind (None for the others) to where they are."""


def _nowhere(_stack: Stack | None, _kind: str | None) -> str:
    return ""


def stacked_bars(
    heading: Heading,
    stacks: Sequence[Stack],
    *,
    link: Link = _nowhere,
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw how many of each kind there were over time: six kinds, and all others.

    Args:
        heading: What the chart is called.
        stacks: The periods, in their order.
        link: Where a part leads; an empty text for nowhere.
        notation: The reader's.

    Raises:
        ValueError: A count is not finite or negative.
    """
    totals: Counter[str] = Counter()
    for stack in stacks:
        for kind, count in stack.counts.items():
            totals[kind] += int(checked(count))
    kinds = _most_frequent(+totals)
    if not kinds:
        return empty(heading, notation)
    highest = max(sum(stack.counts.values()) for stack in stacks)
    y = linear(highest, HEIGHT - 26, 10, Quantity.COUNT)
    frame = Frame(margin(y, Quantity.COUNT, notation), 10, WIDTH - 10, HEIGHT - 26)
    begin, end = stacks[0].begin, stacks[-1].end
    x = period_scale(begin, end, frame)
    plot = Plot(frame, x, y, Quantity.COUNT, notation)
    svg = drawing(
        heading,
        HEIGHT,
        y_axis(plot),
        time_axis(plot, begin, end),
        *(_drawn(stack, kinds, plot, link) for stack in stacks),
        summary=_summary(totals, kinds, notation),
    )
    return Chart(
        heading,
        svg,
        _table(stacks, kinds, notation),
        _keys(totals, kinds, link, notation),
    )


def _most_frequent(totals: Mapping[str, int]) -> list[str | None]:
    """Return the kinds with a colour, the most frequent first; None for the others."""
    ranked = sorted(totals, key=lambda kind: (-totals[kind], kind))
    # One other kind may as well have its name.
    return [*ranked] if len(ranked) <= TOP + 1 else [*ranked[:TOP], None]


def _parts(counts: Mapping[str, int], kinds: Sequence[str | None]) -> list[int]:
    """Return how many there are of each kind that has a colour."""
    known = [counts.get(kind, 0) for kind in kinds if kind is not None]
    return [*known, sum(counts.values()) - sum(known)][: len(kinds)]


def _name(kind: str | None, notation: Notation) -> str:
    gettext = notation.gettext
    if kind is None:
        return gettext("others")
    return isolated(kind) or gettext("no name")


def _css(number: int, kind: str | None) -> str:
    return "ri-fill-7" if kind is None else f"ri-fill-{number + 1}"


def _drawn(stack: Stack, kinds: Sequence[str | None], plot: Plot, link: Link) -> Svg:
    left, right = plot.column(stack.begin, stack.end)
    gap = min(3.0, (right - left) / 5)
    parts, below = [], 0
    for number, (kind, count) in enumerate(
        zip(kinds, _parts(stack.counts, kinds), strict=True)
    ):
        if not count:
            continue
        bottom, top = plot.y(below), plot.y(below + count)
        below += count
        mark = tag(
            "rect",
            x=left + gap / 2,
            y=top,
            width=right - left - gap,
            # A line of background between two parts.
            height=max(0.5, bottom - top - 0.8),
            class_=_css(number, kind),
        )
        name = _name(kind, plot.notation)
        text = f"{plot.notation.when(stack.begin)}, {name}: {plot.write(count)}"
        parts.append(linked(link(stack, kind), text, mark))
    return tag("g", *parts) if parts else Svg("")


def _keys(
    totals: Mapping[str, int],
    kinds: Sequence[str | None],
    link: Link,
    notation: Notation,
) -> list[Key]:
    keys = []
    for number, (kind, count) in enumerate(
        zip(kinds, _parts(totals, kinds), strict=True)
    ):
        name = _name(kind, notation)
        if len(name) > _LONGEST_KEY:
            name = f"{name[:_LONGEST_KEY]}…"
        text = f"{name}: {notation.write(count, Quantity.COUNT)}"
        keys.append(Key(swatch(_css(number, kind)), text, link(None, kind)))
    return keys


def _summary(
    totals: Mapping[str, int], kinds: Sequence[str | None], notation: Notation
) -> str:
    gettext = notation.gettext
    return gettext("%(count)s altogether; most frequent: %(kind)s.") % {
        "count": notation.write(sum(totals.values()), Quantity.COUNT),
        "kind": _name(kinds[0], notation),
    }


def _table(
    stacks: Sequence[Stack], kinds: Sequence[str | None], notation: Notation
) -> Table:
    gettext = notation.gettext
    rows = [
        Row(
            notation.when(stack.begin),
            [
                notation.write(count, Quantity.COUNT)
                for count in _parts(stack.counts, kinds)
            ],
        )
        for stack in stacks
    ]
    return Table([gettext("Time"), *(_name(kind, notation) for kind in kinds)], rows)
