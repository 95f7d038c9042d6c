"""Helper for the tests of a project with decorated views."""

from __future__ import annotations

import time

from request_images.writer.jobs import queue
from request_images.writer.task_queue import queue as task_queue

from .capture import lifecycle

__all__ = ("flush",)


def flush(timeout: float = 10.0) -> None:
    """Wait until each answered request of this process has its row, and its tasks.

    Django's test client does not need it: the row exists when the client returns. A
    live server in a thread needs it, and so does the background thread.

    Args:
        timeout: The longest time to wait, in seconds.

    Raises:
        TimeoutError: A request is not written yet; for instance, its streamed response
            was not read to the end.
    """
    deadline = time.monotonic() + timeout
    is_done = lifecycle.wait_until_idle(timeout)
    for waiting in (queue, task_queue()):
        rest = max(0.0, deadline - time.monotonic())
        is_done = is_done and waiting.wait_until_empty(rest)
    if not is_done:
        raise TimeoutError(f"not everything was written within {timeout} seconds")
