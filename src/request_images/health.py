"""Counters of the results of captures, and of faults of this app, in this process.

Counting costs a request no more than a dictionary look-up. Faults are also logged, at
most once a minute for each kind: a fault that repeats a thousand times a second must
not fill a disk.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ContextDecorator, suppress
from dataclasses import dataclass
from datetime import datetime, timezone

__all__ = ("ProcessHealth", "counts", "faults", "of_process")

logger: logging.Logger = logging.getLogger("request_images")

LOG_INTERVAL = 60.0
"""Seconds between two log lines about the same kind of fault."""


@dataclass(frozen=True)
class ProcessHealth:
    """The counters of one process.

    Attributes:
        pid: The process's id.
        since: The start of counting: the process's start, or its first use of this app.
        counts: The number of captures by result, as `counts` returns it.
        faults: The number of faults by kind, as `faults` returns it.
    """

    pid: int
    since: datetime
    counts: dict[str, int]
    faults: dict[str, int]


def count(name: str, by: int = 1) -> None:
    """Count the result of a capture.

    Args:
        name: The capture status of the written row; ``"lost"`` when no row could be
            written; ``"rescued"``, ``"dropped"``, ``"spooled"``, ``"spool_full"``,
            ``"not_enqueued"`` (a task for a new image) or
            ``"spool_bad"``.
        by: The number of captures.
    """
    with _lock:
        _counts[name] += by


def counts() -> dict[str, int]:
    """Return the number of this process's captures by result."""
    return of_process().counts


def report(kind: str, exception: BaseException) -> None:
    """Count a fault of this app, and log it unless its kind was logged just now.

    Args:
        kind: The place, such as ``"store"``; with the exception's class it is the
            counter's key.
        exception: The exception.
    """
    key = f"{kind}:{type(exception).__name__}"
    now = time.monotonic()
    with _lock:
        _faults[key] += 1
        count = _faults[key]
        logged_at, logged_count = _last_logged.get(key, (None, 0))
        is_due = logged_at is None or now - logged_at >= LOG_INTERVAL
        if is_due:
            _last_logged[key] = (now, count)
    if not is_due:
        for callback in _unlogged_callbacks:
            callback()
        return
    with suppress(Exception):  # from the project's own handlers and filters
        logger.error(
            "Capture fault in %s: %s: %s (%d since the last line, %d in total). "
            "No request was affected.",
            kind,
            type(exception).__name__,
            _on_one_line(str(exception)),
            count - logged_count,
            count,
            exc_info=exception,
        )


def call_when_unlogged(callback: Callable[[], None]) -> None:
    """Call back after a fault that is not logged yet; `log_rest` is then to be called.

    The callback must not raise.
    """
    _unlogged_callbacks.append(callback)


def has_unlogged() -> bool:
    """Tell whether faults were counted since their last line."""
    with _lock:
        return any(_faults[key] > logged for key, (_, logged) in _last_logged.items())


def log_rest(*, is_last: bool = False) -> None:
    """Log the numbers of faults since their last lines, if a minute is over."""
    now = time.monotonic()
    lines = []
    with _lock:
        for key, (logged_at, logged) in _last_logged.items():
            is_due = is_last or now - logged_at >= LOG_INTERVAL
            if is_due and _faults[key] > logged:
                lines.append((key, _faults[key] - logged, _faults[key]))
        for key, _, count in lines:
            _last_logged[key] = (now, count)
    for line in lines:
        text = "Capture fault %s: %d more since the last line, %d in total."
        with suppress(Exception):  # as above
            logger.error(text, *line)


def log_loss(
    reason: str, since: float, total: tuple[int, int], logged: tuple[int, int]
) -> None:
    """Log losses of one reason since the last line about it.

    Args:
        reason: The reason.
        since: Time of the first one, in seconds since 1970.
        total: Number of requests, and of images.
        logged: Both numbers in the last line.
    """
    start = datetime.fromtimestamp(since, timezone.utc)
    with suppress(Exception):  # as above
        logger.error(
            "Lost since %s: %d requests and %d images (%d and %d since the last line): "
            "%s.",
            f"{start:%Y-%m-%d %H:%M:%S} UTC",
            *total,
            *(now - before for now, before in zip(total, logged, strict=True)),
            _on_one_line(reason),
        )


class _ReportedFaults(ContextDecorator):
    # Not a generator: each read of a body enters it, in a fifth of the time.
    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: object, exception: BaseException | None, _traceback: object
    ) -> bool:
        if not isinstance(exception, Exception):
            return False
        report(self._kind, exception)
        return True


def report_faults(kind: str) -> _ReportedFaults:
    """Report an exception of the context instead of raising it."""
    return _ReportedFaults(kind)


def _on_one_line(text: str) -> str:
    """Escape what would begin a line of the log, or what a terminal obeys."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def faults() -> dict[str, int]:
    """Return the number of this process's faults by kind."""
    return of_process().faults


def of_process() -> ProcessHealth:
    """Return all counters of this process at one moment."""
    with _lock:
        return ProcessHealth(os.getpid(), _since, dict(_counts), dict(_faults))


def reset() -> None:
    """Reset all counters, as a new process does (and a test)."""
    # The lock is new too: in the child of a fork, a thread may hold it that does not
    # exist there.
    global _lock, _since, _counts, _faults, _last_logged  # noqa: PLW0603  # all
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
_unlogged_callbacks: list[Callable[[], None]] = []
reset()
# A server may load the app before it forks; its counts are not those of the children.
os.register_at_fork(after_in_child=reset)
