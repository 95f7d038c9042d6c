"""Counters of our own faults, and their log lines, at most one a minute for each kind.

Process-local and cheap: a fault must never cost the request more than a dictionary
look-up, and a fault that repeats a thousand times a second must not fill a disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

logger = logging.getLogger("request_images")

LOG_INTERVAL = 60.0
"""Seconds between two log lines about the same kind of fault."""

_lock = threading.Lock()
_faults: Counter[str] = Counter()
_last_logged: dict[str, tuple[float, int]] = {}


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
    logger.error(
        "Capture fault in %s: %s: %s (%d since the last line, %d in all). "
        "Nothing of it was raised into the request.",
        kind,
        type(exception).__name__,
        exception,
        count - logged_count,
        count,
        exc_info=exception,
    )


def faults() -> dict[str, int]:
    """Return how often each kind of fault happened in this process."""
    with _lock:
        return dict(_faults)


def reset() -> None:
    """Forget all counts (for tests)."""
    with _lock:
        _faults.clear()
        _last_logged.clear()
