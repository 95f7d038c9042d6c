"""For the tests of a project that has decorated views."""

from __future__ import annotations

import time

from request_images.writer.write import backlog

from .capture import lifecycle

__all__ = ("flush",)


def flush(timeout: float = 10.0) -> None:
    """Wait until every request of this process that is answered has its row.

    Django's test client needs no waiting: the row is there when it returns. A live
    server in a thread of the test does, and so does the background thread.

    Args:
        timeout: Seconds.

    Raises:
        TimeoutError: Something is still to be written; a streamed response, for
            instance, that nobody has read to its end.
    """
    deadline = time.monotonic() + timeout
    is_done = lifecycle.wait_until_idle(timeout)
    rest = max(0.0, deadline - time.monotonic())
    if not (is_done and backlog.wait_until_empty(rest)):
        raise TimeoutError(f"not everything was written within {timeout} seconds")
