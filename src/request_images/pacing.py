"""How much to do at once, so that whoever else writes is not stopped for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

AIM_SECONDS = 0.05
"""How long one transaction may take; a concurrent writer waits as long at the worst."""
_FIRST = 50
_LONGEST_PAUSE = 1.0


class Pace:
    """Batches of rows that take about the same time, with a pause after each.

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

    @contextmanager
    def batch(self, rows: int) -> Iterator[None]:
        """Time a batch of so many rows, let others write, and choose the next size."""
        started = time.perf_counter()
        yield
        took = time.perf_counter() - started
        # By what one row took; never more than twice as many at once, as rows differ.
        fitting = int(rows * self._aim / max(took, 1e-6))
        self.size = max(1, min(self._largest, fitting, self.size * 2))
        time.sleep(min(took, _LONGEST_PAUSE))
