"""What separates some requests from the others: counts in, a ranked list out.

Requests are divided by one of their properties at a time, such as the MIME type of
their image, and in each class some of them are hits: those that failed, or those that
were slow. A class stands out when its share of hits is too unlike that of all others
to be chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

ENOUGH = 30
"""Requests that a class, and all others together, must have for anything to be said."""

_Z = 1.959964  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Share:
    """How many of some requests are hits.

    Attributes:
        hits: How many are.
        count: How many requests there are.
    """

    hits: int
    count: int

    @property
    def rate(self) -> float:
        """The share, from 0 to 1; 0 of none."""
        return self.hits / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Between what the true share is, with a confidence of 95 %.

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
        """Return the share among those that are not in ``other``, a part of these."""
        return Share(self.hits - other.hits, self.count - other.count)


@dataclass(frozen=True)
class Standout:
    """A class of requests whose share of hits is unlike that of all others.

    Attributes:
        name: The property that divides the requests, such as ``"mime_type"``.
        key: The class, such as ``"image/webp"``.
        share: The hits in it.
        rest: The hits among all others.
    """

    name: str
    key: str
    share: Share
    rest: Share

    @property
    def lift(self) -> float | None:
        """The class's share divided by that of all requests; None when that is 0."""
        whole = (self.share + self.rest).rate
        return self.share.rate / whole if whole else None

    @property
    def gap(self) -> float:
        """How far the two intervals are apart, from 0 to 1; below 0 they overlap.

        Intervals of 95 % that do not touch are much rarer by chance than one in
        twenty, which is what looking at many classes at once needs.
        """
        low, high = self.share.interval
        rest_low, rest_high = self.rest.interval
        return max(low - rest_high, rest_low - high)

    @property
    def is_worse(self) -> bool:
        """Whether the class has more hits than the others, not fewer."""
        return self.share.rate > self.rest.rate


def separate(
    classes: Mapping[str, Sequence[tuple[str, Share]]], enough: int = ENOUGH
) -> list[Standout]:
    """Return the classes that stand out, the most unlike the others first.

    Args:
        classes: For each property its classes, which together are all requests that
            have the property at all. Of classes that stand out alike, those of the
            first property come first: the others may be its echo.
        enough: How many requests a class, and all others, must have.
    """
    return telling(
        (each for name, shares in classes.items() for each in _standouts(name, shares)),
        enough,
    )


def telling(standouts: Iterable[Standout], enough: int = ENOUGH) -> list[Standout]:
    """Return those that stand out by more than chance, the most unlike first.

    Args:
        standouts: Classes beside all others; of equals the first one comes first.
        enough: How many requests a class, and all others, must have.
    """
    found = [
        standout
        for standout in standouts
        if min(standout.share.count, standout.rest.count) >= enough and standout.gap > 0
    ]
    return sorted(found, key=lambda standout: -standout.gap)


def _standouts(name: str, shares: Iterable[tuple[str, Share]]) -> list[Standout]:
    shares = sorted(shares, key=itemgetter(0))
    whole = sum((share for _, share in shares), Share(0, 0))
    return [Standout(name, key, share, whole - share) for key, share in shares]
