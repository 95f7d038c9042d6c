"""How much to do at once, so that whoever else writes is not stopped for long."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

AIM_SECONDS = 0.05
"""How long one transaction may take; a concurrent writer waits as long at the worst."""
BYTES_OF_A_ROW = 16 * 1024
"""So many bytes cost about as much as a row without any: measured, on SQLite."""
_FIRST = 50
_LONGEST_PAUSE = 1.0


def loads(rows: Iterable[int], sizes: Iterable[int]) -> list[int]:
    """Return what each of some deletions costs, in rows without any bytes.

    Args:
        rows: How many rows each is about.
        sizes: How many bytes these have.
    """
    pairs = zip(rows, sizes, strict=True)
    return [number + size // BYTES_OF_A_ROW for number, size in pairs]


class Pace:
    """Batches of rows that take about the same time, with a pause after each.

    A row with bytes counts as many: a batch of empty rows says nothing of the next one,
    whose images may be of megabytes.

    The pause is as long as the batch took. Without one the next batch would have the
    lock again before a writer that waits for it looks again, which on SQLite it does
    only every so many milliseconds.

    Args:
        largest: How many rows a batch may have at the most.
        aim: How many seconds a batch should take.
    """

    def __init__(self, largest: int, *, aim: float = AIM_SECONDS) -> None:
        self._largest, self._aim = largest, aim
        self.size = min(_FIRST, largest)

    def fitting(self, loads: Sequence[int]) -> int:
        """Return how many of the next rows are a batch; one at least.

        Args:
            loads: What each of them costs.
        """
        within = sum(load <= self.size for load in accumulate(loads))
        return max(1, within)

    @contextmanager
    def batch(self, rows: int) -> Iterator[None]:
        """Time a batch that costs so many rows, and let others write; then adapt."""
        started = time.perf_counter()
        yield
        took = time.perf_counter() - started
        # By what one row took; never more than twice as many at once, as rows differ.
        fitting = int(rows * self._aim / max(took, 1e-6))
        self.size = max(1, min(self._largest, fitting, self.size * 2))
        time.sleep(min(took, _LONGEST_PAUSE))
