"""Which of many requests to draw: the telling ones always, and some of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .svg import checked

LIMIT = 2_000
"""How many marks a chart has at the most."""

SLOWEST_SHARE = 0.01
"""How many of all requests count as the slowest, rounded up."""


@dataclass(frozen=True)
class Dot:
    """A request to draw.

    Attributes:
        x: What it is looked at by, such as megapixels.
        y: How long it took, in ms.
        failed: Whether it failed.
        href: Where it is to be seen; empty for nowhere.
        text: What else to say of it, such as its error type.
    """

    x: float
    y: float
    failed: bool = False
    href: str = ""
    text: str = ""


@dataclass(frozen=True)
class Sample:
    """Some of many requests.

    Attributes:
        dots: Those to draw: the failed first, then the slowest, then the others.
        total: How many there are altogether.
        telling: How many of `dots` are failed or among the slowest.
        is_whole: Whether all that failed and all the slowest are among them.
    """

    dots: Sequence[Dot]
    total: int
    telling: int
    is_whole: bool = True


def sample(points: Sequence[Dot], limit: int = LIMIT) -> Sample:
    """Choose what to draw: the failed, the slowest percent, an even choice of the rest.

    The same points give the same choice. The others are thinned out along their
    durations, so that what remains is spread as they are. Where the limit is too small
    for all that failed, or for them and the slowest, those are thinned out likewise.

    Args:
        points: All that could be drawn.
        limit: How many to draw at the most.

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
    telling = len(chosen)
    chosen += _evenly(others, limit - telling)
    is_whole = telling == len(failed) + len(slow)
    return Sample([points[i] for i in chosen], len(points), telling, is_whole)


def _evenly(numbers: Sequence[int], count: int) -> list[int]:
    if count >= len(numbers):
        return list(numbers)
    return [numbers[index * len(numbers) // count] for index in range(count)]
