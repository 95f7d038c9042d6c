"""Run something at the exit of the process, however the server makes that happen."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from multiprocessing import util

_callbacks: list[Callable[[], None]] = []
_done_by: int | None = None


def run_at_exit(callback: Callable[[], None]) -> None:
    """Call back when this process exits in an ordinary way, once.

    What is registered first is called first: requests end before the queue that takes
    them is closed.

    Args:
        callback: What is to be done.
    """
    _callbacks.append(callback)


def _run() -> None:
    global _done_by  # noqa: PLW0603  # one exit for each process
    # An ordinary process comes by here twice: `multiprocessing` uses ``atexit`` too.
    if _done_by == os.getpid():
        return
    _done_by = os.getpid()
    for callback in _callbacks:
        callback()


atexit.register(_run)
# The workers of servers that fork by multiprocessing (granian) leave without what is
# registered with ``atexit``.
util.Finalize(None, _run, exitpriority=10)
