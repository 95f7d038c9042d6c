"""Tallies of requests: summed up, and packed into bytes.

Sums do not depend on the order, so hours add up to days and days to months.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import TypeAlias

MOST_VALUES = 100
"""The most values with a tally of their own; the others share one."""

_VERSION = b"\x01"
_LENGTH_BYTES = 4
_CODES = "HIQ"
"""The type codes of `array` for counts of 16, 32 and 64 bits."""


@dataclass
class Tally:
    """The numbers of some requests.

    Attributes:
        count: Number of requests.
        failed: Number of failed requests.
        total_us: Sum of their durations in whole microseconds. A sum of fractions
            would depend on the order.
        total_bytes: Sum of the known sizes of their images in bytes.
        histogram: Number of requests by duration bucket.
    """

    count: int = 0
    failed: int = 0
    total_us: int = 0
    total_bytes: int = 0
    histogram: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, other: Tally) -> None:
        """Add the numbers of other requests."""
        self.count += other.count
        self.failed += other.failed
        self.total_us += other.total_us
        self.total_bytes += other.total_bytes
        own = self.histogram
        for bucket, count in other.histogram.items():
            own[bucket] += count


Cells: TypeAlias = dict["str | None", Tally]
"""Tallies by value; None is the key of all values without a tally of their own."""


def add_to(sums: Cells, cells: Cells) -> None:
    """Add the tallies of other requests, value by value."""
    for value, tally in cells.items():
        own = sums.get(value)
        if own is None:
            own = sums[value] = Tally()
        own.add(tally)


def take_from(sums: Cells, cells: Cells) -> None:
    """Subtract the tallies of requests that were counted, value by value.

    Values without a tally of their own must not be among them.
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
    """Return the most frequent values, with the sum of all others under None."""
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
    """Return tallies as bytes: JSON of the sums, then buckets, then their counts.

    Buckets have 16 bits, and counts as few as the largest needs, little-endian.
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
    numbers = (_little_endian(each) for each in (buckets, array(code, counts)))
    return b"".join((_VERSION, code.encode(), length, text, *numbers))


def unpack(data: bytes | memoryview) -> Cells:
    """Return the tallies that `pack` packed.

    Raises:
        ValueError: They are of a later version.
    """
    cells: Cells = {}
    add_packed(cells, data)
    return cells


def add_packed(sums: Cells, data: bytes | memoryview) -> None:
    """Add tallies that `pack` packed, value by value.

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
    pairs = zip(_little_endian(buckets), _little_endian(counts), strict=True)
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


def _little_endian(numbers: array[int]) -> array[int]:
    """Swap the bytes of an array on a big-endian machine, and return it."""
    if sys.byteorder == "big":  # pragma: no cover  # no machine of ours
        numbers.byteswap()
    return numbers
