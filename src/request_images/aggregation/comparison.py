"""Subgroup comparison: counts in, a ranked list of groups that stand out.

Each facet divides the requests into groups. In each group some requests are hits: they
failed, or they were slow. A group stands out when its share of hits differs from that
of all other requests by more than chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

ENOUGH = 30
"""The fewest requests of a group, and of all others, that are compared."""

_Z = 1.959964  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Share:
    """The share of hits among some requests.

    Attributes:
        hits: Number of hits.
        count: Number of requests.
    """

    hits: int
    count: int

    @property
    def rate(self) -> float:
        """The share, from 0 to 1; 0 of none."""
        return self.hits / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The confidence interval of the share at 95 %.

        The score interval of E. B. Wilson, "Probable inference, the law of succession,
        and statistical inference", Journal of the American Statistical Association 22
        (1927): (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
        """
        if not self.count:
            return 0.0, 1.0
        n, p, z2 = self.count, self.rate, _Z * _Z
        middle = p + z2 / (2 * n)
        spread = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        low, high = ((middle + way * spread) / (1 + z2 / n) for way in (-1, 1))
        # At the ends the formula gives exactly 0 and 1, but for rounding.
        return (low if self.hits else 0.0), (high if self.hits < n else 1.0)

    def __add__(self, other: Share) -> Share:
        """Return the share among both."""
        return Share(self.hits + other.hits, self.count + other.count)

    def __sub__(self, other: Share) -> Share:
        """Return the share without the requests of ``other``, a part of these."""
        return Share(self.hits - other.hits, self.count - other.count)


@dataclass(frozen=True)
class Comparison:
    """One group of requests compared with all other requests.

    Attributes:
        name: The facet, such as ``"mime_type"``.
        key: The value of the group, such as ``"image/webp"``.
        share: The share of hits in the group.
        rest: The share of hits among all others.
    """

    name: str
    key: str
    share: Share
    rest: Share

    @property
    def lift(self) -> float | None:
        """The group's share divided by that of all requests; None if that is 0."""
        whole = (self.share + self.rest).rate
        return self.share.rate / whole if whole else None

    @property
    def gap(self) -> float:
        """The distance between the two intervals, from 0 to 1; below 0 they overlap.

        Intervals of 95 % that do not touch are much rarer by chance than one in
        twenty, which comparing many groups at once needs.
        """
        low, high = self.share.interval
        rest_low, rest_high = self.rest.interval
        return max(low - rest_high, rest_low - high)

    @property
    def is_worse(self) -> bool:
        """Whether the group has a larger share of hits than the others."""
        return self.share.rate > self.rest.rate


def compare(groups: Mapping[str, Sequence[tuple[str, Share]]]) -> list[Comparison]:
    """Return the groups that stand out, the largest difference first.

    Args:
        groups: The groups of each facet. Equal differences keep the order of the
            facets, since a later facet may only repeat an earlier one.
    """
    comparisons = []
    for name, shares in groups.items():
        whole = sum((share for _, share in shares), Share(0, 0))
        for key, share in sorted(shares, key=itemgetter(0)):
            comparisons.append(Comparison(name, key, share, whole - share))
    return significant(comparisons)


def significant(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Return the groups that differ by more than chance, the largest difference first.

    Args:
        comparisons: The groups compared with all others; equal ones keep their order.
    """
    found = [
        comparison
        for comparison in comparisons
        if min(comparison.share.count, comparison.rest.count) >= ENOUGH
        and comparison.gap > 0
    ]
    return sorted(found, key=lambda each: -each.gap)
