"""Repeat a transaction that met another one, after a pause."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error

from .errors import Fault, fault_of, met_other_rows
from .limits import seconds_left

T = TypeVar("T")
TRIES = 10
"""How often a transaction is tried that meets others."""

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1


def retry(
    work: Callable[[], T],
    *,
    also: tuple[type[Exception], ...] = (),
    retry_locks: bool = False,
) -> T:
    """Run a transaction, and run it again if another one came in between.

    All pauses together take less than 0.7 seconds, and no longer than a `time_limit`.

    Args:
        work: Begins and ends the transaction. It reads anew each time.
        also: Other exceptions of `work` that the next try will not meet.
        retry_locks: Whether to try again when somebody holds a lock for longer than the
            transaction waits.

    Raises:
        django.db.Error: The database failed otherwise, or the last try met another
            transaction, too.
    """
    expected: tuple[type[Exception], ...] = (Error, *also)
    for number in range(TRIES - 1):
        try:
            return work()
        except expected as error:
            known = isinstance(error, also)
            if not known and not is_retryable(error, retry_locks=retry_locks):
                raise
            # Longer each time: they may be many.
            longest = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
            if seconds_left() < longest:
                raise
        # A random pause, or two would meet again.
        time.sleep(random.uniform(0, longest))  # noqa: S311  # no secret
    return work()


def is_retryable(error: Exception, *, retry_locks: bool) -> bool:
    """Tell whether the next try may succeed; arguments as for `retry`."""
    # Two rows of the same image, or a reference to one that has just gone: the next try
    # reads things as they are.
    faults = {Fault.CONFLICT, Fault.BUSY} if retry_locks else {Fault.CONFLICT}
    return met_other_rows(error) or fault_of(error) in faults
