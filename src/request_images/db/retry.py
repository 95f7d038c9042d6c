"""Do again what ran into somebody else's transaction, after a pause."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, IntegrityError

from .errors import Fault, fault_of

T = TypeVar("T")
TRIES = 10
"""How often something is tried that runs into others."""

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1


def undisturbed(
    work: Callable[[], T],
    *,
    also: tuple[type[Exception], ...] = (),
    through_locks: bool = False,
) -> T:
    """Do something in a transaction of its own; again if another one came in between.

    All pauses together take less than 0.7 seconds.

    Args:
        work: Begins and ends the transaction. Each time it looks anew at how things
            are.
        also: What else it may raise that the next try will not meet.
        through_locks: Whether to try again, too, when somebody holds a lock for longer
            than the transaction waits.

    Raises:
        django.db.Error: The database failed otherwise, or was disturbed to the end.
    """
    disturbances: tuple[type[Exception], ...] = (Error, *also)
    for number in range(TRIES - 1):
        try:
            return work()
        except disturbances as error:
            known = isinstance(error, also)
            if not known and not is_disturbance(error, through_locks=through_locks):
                raise
        # By chance, or two would meet again; longer each time, as there may be many.
        longest = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
        time.sleep(random.uniform(0, longest))  # noqa: S311  # nobody's secret
    return work()


def is_disturbance(error: Exception, *, through_locks: bool) -> bool:
    """Tell whether the next try may go well; arguments as for `undisturbed`."""
    # Two rows of the same image, or a reference to one that has just gone: the next
    # look finds things as they are.
    passing = {Fault.CONFLICT, Fault.BUSY} if through_locks else {Fault.CONFLICT}
    return isinstance(error, IntegrityError) or fault_of(error) in passing
