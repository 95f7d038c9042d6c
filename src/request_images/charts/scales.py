"""Linear and logarithmic axes: the coordinates of numbers, and the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .notation import UNITS, Quantity

_SMALLEST = 1e-6  # an axis that ends below has no numbers to write
_STEPS = (1.0, 2.0, 5.0)
_MOST_STEPS = 5


@dataclass(frozen=True)
class Scale:
    """An axis: the coordinate of each number. Numbers beyond an end are put at it.

    Attributes:
        low: The number at ``start``.
        high: The number at ``stop``.
        start: A coordinate.
        stop: A coordinate; smaller than ``start`` on axes that go up.
        log: Whether the axis is logarithmic.
        ticks: The numbers to write beside the axis.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    ticks: Sequence[float] = ()

    def __call__(self, value: float) -> float:
        """Return the coordinate of a number."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def linear(high: float, start: float, stop: float, quantity: Quantity) -> Scale:
    """Return an axis from 0 to a round number at or above some number.

    Args:
        high: The largest number to show.
        start: The coordinate of 0.
        stop: The coordinate of the end.
        quantity: What it measures: steps are 1, 2 or 5 times a power of ten of a unit.
    """
    high = max(high, _SMALLEST)
    units = [factor for _, factor in UNITS[quantity] if factor <= high]
    unit = units[-1] if units else UNITS[quantity][0][1]
    step = unit * _step(high / unit / _MOST_STEPS)
    if quantity is Quantity.COUNT:
        step = max(step, 1.0)
    count = max(1, math.ceil(high / step - 1e-9))
    ticks = [step * index for index in range(count + 1)]
    return Scale(0.0, ticks[-1], start, stop, ticks=ticks)


def _step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(
        (step * power for step in _STEPS if step * power >= least * (1 - 1e-9)),
        10 * power,
    )


def logarithmic(
    values: Sequence[float], start: float, stop: float, quantity: Quantity, limit: int
) -> Scale:
    """Return a logarithmic axis that covers some numbers. Zeros are at its low end.

    Args:
        values: The numbers.
        start: The coordinate of the low end.
        stop: The coordinate of the high end.
        quantity: What they measure.
        limit: The largest number of ticks.
    """
    positive = [max(value, _SMALLEST) for value in values if value > 0] or [1.0]
    fine = _ladder(quantity, _STEPS)
    low = max((rung for rung in fine if rung <= min(positive)), default=fine[0])
    high = min((rung for rung in fine if rung >= max(positive)), default=fine[-1])
    if low == high:
        low, high = low / 2, high * 2
    ticks = [rung for rung in fine if low <= rung <= high]
    if len(ticks) > limit:
        ticks = [rung for rung in _ladder(quantity, (1.0,)) if low <= rung <= high]
    return Scale(low, high, start, stop, True, ticks[:: -(-len(ticks) // limit)])


def _ladder(quantity: Quantity, steps: Sequence[float]) -> list[float]:
    """Return the round numbers of a quantity, from the smallest that is drawn up."""
    factors = [factor for _, factor in UNITS[quantity]]
    below = [
        step * factors[0] * 10.0**power for power in range(-7, 0) for step in steps
    ]
    ladder = [rung for rung in below if rung >= _SMALLEST / 10]
    for index, factor in enumerate(factors):
        end = factors[index + 1] if index + 1 < len(factors) else 1e19
        power = 1.0
        while factor * power < end:
            ladder += [f for step in steps if (f := factor * step * power) < end]
            power *= 10
    return ladder


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move coordinates apart, each as little as possible.

    Args:
        places: Coordinates, in any order.
        gap: The least distance between two of them.
        low: The smallest coordinate.
        high: The largest coordinate. Too many for the room go beyond.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    found = [max(low, min(high, places[index])) for index in order]
    for index in range(1, len(found)):
        found[index] = max(found[index], found[index - 1] + gap)
    limit = high
    for index in reversed(range(len(found))):
        found[index] = min(found[index], limit)
        limit = found[index] - gap
    placed = dict(zip(order, found, strict=True))
    return [placed[index] for index in range(len(places))]
