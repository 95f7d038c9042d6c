"""Tiles: a number, its change since the previous period, and its time series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .lines import path_of
from .notation import ENGLISH, Notation, Quantity
from .svg import Svg, checked, path, tag

SPARK_WIDTH, SPARK_HEIGHT = 96.0, 24.0
_UNCHANGED = 0.005  # a smaller relative change counts as none


class Verdict(Enum):
    """The rating of a change."""

    BETTER = "better"
    WORSE = "worse"
    NEITHER = "neither"


@dataclass(frozen=True)
class Tile:
    """A number, for a template to write.

    Attributes:
        name: Its name.
        value: The number with its unit, written.
        change: Its change since the previous period, written with an arrow; empty when
            that is unknown.
        verdict: Whether the change is for the better; in words in `verdict_text`.
        verdict_text: "better", "worse", or empty.
        before: The number of the previous period, written; empty when there is none.
        href: Its link; empty for none.
        spark: The sparkline of its time series, without numbers; empty when there is
            none.
    """

    name: str
    value: str
    change: str
    verdict: Verdict
    verdict_text: str
    before: str
    href: str
    spark: Svg


def tile(  # noqa: PLR0913  # each by its name
    name: str,
    now: float | None,
    before: float | None,
    quantity: Quantity,
    *,
    lower_is_better: bool | None = None,
    history: Sequence[float | None] = (),
    href: str = "",
    notation: Notation = ENGLISH,
) -> Tile:
    """Return a tile.

    Args:
        name: The name of the number.
        now: The number; None when there is none.
        before: The number of the previous period; None when there is none.
        quantity: What it measures. Shares change by points, all else by percent.
        lower_is_better: Whether a lower number is better; None when neither is.
        history: Its time series for the sparkline; None makes a gap.
        href: The link of the tile; empty for none.
        notation: The reader's notation.

    Raises:
        ValueError: A number is not finite or negative.
    """
    for value in (now, before, *history):
        if value is not None:
            checked(value)
    verdict, change = Verdict.NEITHER, ""
    if now is not None and before is not None:
        change, direction = _change(now, before, quantity, notation)
        if direction and lower_is_better is not None:
            is_better = (direction < 0) is lower_is_better
            verdict = Verdict.BETTER if is_better else Verdict.WORSE
    gettext = notation.gettext
    words = {Verdict.BETTER: gettext("better"), Verdict.WORSE: gettext("worse")}
    return Tile(
        name=name,
        value=notation.write(now, quantity),
        change=change,
        verdict=verdict,
        verdict_text=words.get(verdict, ""),
        before="" if before is None else notation.write(before, quantity),
        href=href,
        spark=spark(history),
    )


def _change(
    now: float, before: float, quantity: Quantity, notation: Notation
) -> tuple[str, int]:
    """Return a change in words, and -1, 0 or 1 for its direction."""
    gettext = notation.gettext
    if quantity is Quantity.SHARE:
        points = abs(now - before) * 100
        if points < 0.05:
            return gettext("unchanged"), 0
        text = gettext("%(points)s points") % {"points": notation.number(points, 1)}
    elif now == before or (before and abs(now / before - 1) < _UNCHANGED):
        return gettext("unchanged"), 0
    elif not before:
        text = gettext("from zero")
    elif now > 10 * before:
        factor = notation.number(now / before, 0)
        text = gettext("%(factor)s times as much") % {"factor": factor}
    else:
        text = notation.write(abs(now / before - 1), Quantity.SHARE)
    return f"{'▲' if now > before else '▼'} {text}", 1 if now > before else -1


def spark(history: Sequence[float | None]) -> Svg:
    """Return the sparkline of a time series; empty without at least two values."""
    known = [checked(value) for value in history if value is not None]
    if len(known) < 2:
        return Svg("")
    high = max(known) or 1.0
    step = (SPARK_WIDTH - 6) / (len(history) - 1)
    points = [
        None
        if value is None
        else (3 + index * step, SPARK_HEIGHT - 3 - value / high * (SPARK_HEIGHT - 6))
        for index, value in enumerate(history)
    ]
    last = [point for point in points if point][-1]
    return tag(
        "svg",
        path(path_of(points), "ri-line ri-line-1"),
        tag("circle", cx=last[0], cy=last[1], r=2.5, class_="ri-dot ri-dot-1"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {SPARK_WIDTH:.0f} {SPARK_HEIGHT:.0f}",
        class_="ri-spark",
        aria_hidden="true",
    )
