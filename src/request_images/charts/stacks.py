"""Stacked bars over time: counts by kind, the most frequent kind at the bottom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .figure import Chart, Heading, Key, Row, Table, TimePlot, empty, swatch, time_plot
from .notation import ENGLISH, Notation, Quantity
from .scales import linear
from .svg import Svg, checked, isolated, linked, tag

_BOTTOM = 194.0
TOP = 6
"""The number of kinds with a colour of their own; all others share one."""
_LONGEST_KEY = 60  # characters


@dataclass(frozen=True)
class Stack:
    """The counts by kind of one period.

    Attributes:
        begin: Its first moment.
        end: The first moment after it.
        counts: The count of each kind; any number of kinds.
    """

    begin: datetime
    end: datetime
    counts: Mapping[str, int]


Link = Callable[[Stack | None, str | None], str]
"""Return the link for a period (None: all) and a kind (None: the others)."""


def stacked_bars(
    heading: Heading,
    stacks: Sequence[Stack],
    *,
    link: Link = lambda _stack, _kind: "",
    notation: Notation = ENGLISH,
) -> Chart:
    """Draw the counts of each kind over time: six kinds, and all others.

    Args:
        heading: The texts of the chart.
        stacks: The periods, in their order.
        link: Returns the link of a part; empty for none.
        notation: The reader's notation.

    Raises:
        ValueError: A count is not finite or negative.
    """
    totals: Counter[str] = Counter()
    for stack in stacks:
        for kind, count in stack.counts.items():
            totals[kind] += int(checked(count))
    kinds = _kinds(+totals, notation)
    if not kinds:
        return empty(heading, notation)
    highest = max(sum(stack.counts.values()) for stack in stacks)
    y = linear(highest, _BOTTOM, 10, Quantity.COUNT)
    plot = time_plot(stacks[0].begin, stacks[-1].end, y, Quantity.COUNT, notation)
    gettext = notation.gettext
    summary = gettext("%(count)s in total; most frequent: %(kind)s.") % {
        "count": notation.count(sum(totals.values())),
        "kind": kinds[0].label,
    }
    marks = (_marks(stack, kinds, plot, link) for stack in stacks)
    rows = [
        Row(
            notation.when(stack.begin),
            [notation.count(count) for _, count in _parts(stack.counts, kinds)],
        )
        for stack in stacks
    ]
    return Chart(
        heading,
        plot.draw(heading, *marks, summary=summary),
        Table([gettext("Time"), *(kind.label for kind in kinds)], rows),
        _keys(totals, kinds, link, notation),
    )


@dataclass(frozen=True)
class _Kind:
    """A kind with a colour; its name is None for all others together."""

    name: str | None
    label: str
    css: str


def _kinds(totals: Mapping[str, int], notation: Notation) -> list[_Kind]:
    """Return the kinds with a colour, the most frequent first."""
    gettext = notation.gettext
    ranked = sorted(totals, key=lambda kind: (-totals[kind], kind))
    # A single other kind keeps its name.
    named = ranked if len(ranked) <= TOP + 1 else ranked[:TOP]
    kinds = [
        _Kind(name, isolated(name) or gettext("no name"), f"ri-fill-{number}")
        for number, name in enumerate(named, 1)
    ]
    if len(named) < len(ranked):
        kinds.append(_Kind(None, gettext("others"), f"ri-fill-{TOP + 1}"))
    return kinds


def _parts(
    counts: Mapping[str, int], kinds: Sequence[_Kind]
) -> Iterator[tuple[_Kind, int]]:
    """Yield each kind with its count."""
    known = 0
    for kind in kinds:
        if kind.name is None:
            yield kind, sum(counts.values()) - known
        else:
            count = counts.get(kind.name, 0)
            known += count
            yield kind, count


def _marks(stack: Stack, kinds: Sequence[_Kind], plot: TimePlot, link: Link) -> Svg:
    left, right = plot.column(stack.begin, stack.end)
    gap = min(3.0, (right - left) / 5)
    parts, below = [], 0
    for kind, count in _parts(stack.counts, kinds):
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
            class_=kind.css,
        )
        when = plot.notation.when(stack.begin)
        text = f"{when}, {kind.label}: {plot.write(count)}"
        parts.append(linked(link(stack, kind.name), text, mark))
    return tag("g", *parts) if parts else Svg("")


def _keys(
    totals: Mapping[str, int], kinds: Sequence[_Kind], link: Link, notation: Notation
) -> list[Key]:
    keys = []
    for kind, count in _parts(totals, kinds):
        name = kind.label
        if len(name) > _LONGEST_KEY:
            name = f"{name[:_LONGEST_KEY]}…"
        text = f"{name}: {notation.count(count)}"
        keys.append(Key(swatch(kind.css), text, link(None, kind.name)))
    return keys
