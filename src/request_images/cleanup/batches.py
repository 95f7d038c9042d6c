"""Delete in paced batches, each retried while other transactions interfere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

from request_images.db.retry import retry

from .delete_rows import Going, cost_of, remove
from .report import Report

AIM_SECONDS = 0.05
"""How long one transaction should take; other writers wait that long at worst."""
_FIRST = 50
_LONGEST_PAUSE = 1.0


class Pace:
    """The size of batches, so that each takes about the same time, and pauses after it.

    The size is measured in the cost of rows, because an image of megabytes takes longer
    than an empty row.

    The pause is as long as the batch took. Without it, the next batch would take the
    lock again before a waiting writer looks again, which SQLite does at intervals only.

    Args:
        largest: The largest size of a batch.
        aim: Seconds that a batch should take.
    """

    def __init__(self, largest: int, *, aim: float = AIM_SECONDS) -> None:
        self._largest, self._aim = largest, aim
        self.size = min(_FIRST, largest)

    def fitting(self, costs: Sequence[int]) -> int:
        """Return how many rows of these costs make the next batch; at least one."""
        return max(1, sum(total <= self.size for total in accumulate(costs)))

    @contextmanager
    def batch(self, cost: int) -> Iterator[None]:
        """Measure a batch, pause for other writers, and adapt the size."""
        started = time.perf_counter()
        yield
        took = time.perf_counter() - started
        # At most twice the size before, because rows differ.
        fitting = int(cost * self._aim / max(took, 1e-6))
        self.size = max(1, min(self._largest, fitting, self.size * 2))
        time.sleep(min(took, _LONGEST_PAUSE))


def remove_paced(
    going: Sequence[Going],
    pace: Pace,
    detail: str = "",
    *,
    beat: Callable[[], None] = lambda: None,
    on_batch: Callable[[Report], None] = lambda went: None,
) -> Report:
    """Delete rows batch by batch, each in one transaction.

    Args:
        going: What to delete.
        pace: The sizes of the batches.
        detail: The `capture_detail` of logs whose images were over the budget.
        beat: Called before each batch; what it raises ends the run.
        on_batch: Called after each batch with what was deleted.
    """
    report, costs = Report(), cost_of(going)
    while going:
        beat()
        number = pace.fitting(costs)
        with pace.batch(sum(costs[:number])):
            work = partial(remove, going[:number], detail)
            went = retry(work, retry_locks=True)
        on_batch(went)
        report += went
        going, costs = going[number:], costs[number:]
    return report
