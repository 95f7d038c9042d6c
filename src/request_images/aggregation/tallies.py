"""Counted requests: added up, and packed into a few bytes.

Whatever is added up in whichever order, the sums are the same, so that hours make days
and days make months.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import TypeAlias

MOST_VALUES = 100
"""So many different values are told apart; those of the rest are added up."""

_VERSION = b"\x01"
_LENGTH_BYTES = 4
_CODES = "HIQ"
"""Of counts, by `array`: of 16, 32 and 64 bits."""


@dataclass
class Tally:
    """Some requests, counted.

    Attributes:
        count: How many there are.
        failed: How many of them failed.
        total_us: Their durations' sum, in whole microseconds: a sum of fractions would
            be another one in another order.
        total_bytes: The sum of their images' sizes, where those are known.
        histogram: How many of them have which duration bucket.
    """

    count: int = 0
    failed: int = 0
    total_us: int = 0
    total_bytes: int = 0
    histogram: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, other: Tally) -> None:
        """Count other requests too."""
        self.count += other.count
        self.failed += other.failed
        self.total_us += other.total_us
        self.total_bytes += other.total_bytes
        own = self.histogram
        for bucket, count in other.histogram.items():
            own[bucket] += count


Cells: TypeAlias = dict["str | None", Tally]
"""Tallies by value; None is the key of all values that are not told apart."""


def add_up(many: Iterable[Cells]) -> Cells:
    """Add up the tallies of each value."""
    sums: Cells = {}
    for cells in many:
        add_to(sums, cells)
    return sums


def add_to(sums: Cells, cells: Cells) -> None:
    """Count other requests, too, of each value."""
    for value, tally in cells.items():
        own = sums.get(value)
        if own is None:
            own = sums[value] = Tally()
        own.add(tally)


def take_from(sums: Cells, cells: Cells) -> None:
    """Count requests no more, which are among those that were counted.

    None of the values may be one that was not told apart.
    """
    for value, tally in cells.items():
        own = sums[value]
        own.count -= tally.count
        own.failed -= tally.failed
        own.total_us -= tally.total_us
        own.total_bytes -= tally.total_bytes
        histogram = own.histogram
        for bucket, count in tally.histogram.items():
            histogram[bucket] -= count
            if not histogram[bucket]:
                del histogram[bucket]
        if not own.count:
            del sums[value]


def capped(cells: Cells) -> Cells:
    """Return the most frequent values, and all others added up under None."""
    if len(cells) <= MOST_VALUES:
        return cells
    ranked = sorted(
        (item for item in cells.items() if item[0] is not None),
        key=lambda item: (-item[1].count, item[0]),
    )
    capped_cells: Cells = dict(ranked[:MOST_VALUES])
    rest = capped_cells[None] = Tally()
    for _, tally in ranked[MOST_VALUES:]:
        rest.add(tally)
    rest.add(cells.get(None, Tally()))
    return capped_cells


def pack(cells: Cells) -> bytes:
    """Return tallies as bytes: JSON of the sums, then the buckets, then their counts.

    Buckets are of 16 bits, and counts of as few as the largest needs, little-endian.
    """
    buckets = array("h")
    counts: list[int] = []
    head = []
    for value, tally in cells.items():
        ordered = sorted(tally.histogram.items())
        buckets.extend(map(itemgetter(0), ordered))
        counts.extend(map(itemgetter(1), ordered))
        sums = (tally.count, tally.failed, tally.total_us, tally.total_bytes)
        head.append((value, *sums, len(ordered)))
    text = json.dumps(head, separators=(",", ":")).encode()
    length = len(text).to_bytes(_LENGTH_BYTES, "little")
    bits = max(counts, default=0).bit_length()
    code = next(code for code in _CODES if bits <= 8 * array(code).itemsize)
    numbers = _bytes(buckets), _bytes(array(code, counts))
    return b"".join((_VERSION, code.encode(), length, text, *numbers))


def unpack(data: bytes | memoryview) -> Cells:
    """Return the tallies that `pack` made bytes of.

    Raises:
        ValueError: They are of a later version.
    """
    cells: Cells = {}
    add_packed(cells, data)
    return cells


def add_packed(sums: Cells, data: bytes | memoryview) -> None:
    """Count other requests, too, of each value, which `pack` made bytes of.

    Raises:
        ValueError: They are of a later version.
    """
    data = bytes(data)
    if data[:1] != _VERSION:
        raise ValueError("packed by a later version")
    begin = 2 + _LENGTH_BYTES
    end = begin + int.from_bytes(data[2:begin], "little")
    head = json.loads(data[begin:end])
    buckets, counts = array("h"), array(chr(data[1]))
    middle = end + sum(line[-1] for line in head) * buckets.itemsize
    buckets.frombytes(data[end:middle])
    counts.frombytes(data[middle:])
    if sys.byteorder == "big":  # pragma: no cover  # no machine of ours
        buckets.byteswap()
        counts.byteswap()
    pairs = zip(buckets, counts, strict=True)
    for value, count, failed, total_us, total_bytes, length in head:
        own = sums.get(value)
        if own is None:  # the quicker way, and most are alone
            histogram = defaultdict(int, islice(pairs, length))
            sums[value] = Tally(count, failed, total_us, total_bytes, histogram)
            continue
        own.count += count
        own.failed += failed
        own.total_us += total_us
        own.total_bytes += total_bytes
        histogram = own.histogram
        for bucket, number in islice(pairs, length):
            histogram[bucket] += number


def _bytes(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":  # pragma: no cover  # no machine of ours
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()
