"""Counters of what became of the captures of this process, and of our own faults.

Process-local and cheap: counting must never cost the request more than a dictionary
look-up. Faults are logged too, at most once a minute for each kind: one that repeats a
thousand times a second must not fill a disk.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

__all__ = ("ProcessHealth", "counts", "faults", "of_process")

logger: logging.Logger = logging.getLogger("request_images")

LOG_INTERVAL = 60.0
"""Seconds between two log lines about the same kind of fault."""


@dataclass(frozen=True)
class ProcessHealth:
    """What one process counted.

    Attributes:
        pid: The process's id.
        since: Since when it counts: its start, or its first use of this app.
        counts: How many captures came to which end; as `counts` returns it.
        faults: How often each kind of fault happened; as `faults` returns it.
    """

    pid: int
    since: datetime
    counts: dict[str, int]
    faults: dict[str, int]


def count(name: str, by: int = 1) -> None:
    """Count what became of a capture.

    Args:
        name: A capture status, when the row was written with it; ``"lost"`` when no
            row could be written; ``"rescued"``, ``"dropped"`` or ``"spooled"``;
            ``"spool_full"`` or ``"spool_bad"``.
        by: How many.
    """
    with _lock:
        _counts[name] += by


def counts() -> dict[str, int]:
    """Return how many captures of this process came to which end."""
    with _lock:
        return dict(_counts)


def report(kind: str, exception: BaseException) -> None:
    """Count a fault of ours and log it, unless one of its kind was logged just now.

    Args:
        kind: Where it happened, such as ``"store"``; with the exception's class it
            makes the counter's key.
        exception: What happened.
    """
    key = f"{kind}:{type(exception).__name__}"
    now = time.monotonic()
    with _lock:
        _faults[key] += 1
        count = _faults[key]
        logged_at, logged_count = _last_logged.get(key, (None, 0))
        if logged_at is not None and now - logged_at < LOG_INTERVAL:
            return
        _last_logged[key] = (now, count)
    with suppress(Exception):  # of the project's own handlers and filters
        _log(kind, exception, count, count - logged_count)


def _log(kind: str, exception: BaseException, count: int, new: int) -> None:
    logger.error(
        "Capture fault in %s: %s: %s (%d since the last line, %d in all). "
        "Nothing of it was raised into the request.",
        kind,
        type(exception).__name__,
        exception,
        new,
        count,
        exc_info=exception,
    )


def faults() -> dict[str, int]:
    """Return how often each kind of fault happened in this process."""
    with _lock:
        return dict(_faults)


def of_process() -> ProcessHealth:
    """Return everything that this process counted, from one moment."""
    with _lock:
        return ProcessHealth(os.getpid(), _since, dict(_counts), dict(_faults))


def reset() -> None:
    """Forget all counts, as a new process does (and a test)."""
    # Everything anew, the lock too: in the child of a fork it may be held by a thread
    # that is not there any more.
    global _lock, _since, _counts, _faults, _last_logged  # noqa: PLW0603  # of the process, all of it
    _lock = threading.Lock()
    _since = datetime.now(timezone.utc)
    _counts = Counter()
    _faults = Counter()
    _last_logged = {}


_lock: threading.Lock
_since: datetime
_counts: Counter[str]
_faults: Counter[str]
_last_logged: dict[str, tuple[float, int]]
reset()
# A server that loads the app before it forks has counted what the children have not.
os.register_at_fork(after_in_child=reset)
