"""A thread that ends requests which nobody closes: lazy, not inherited over a fork."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from request_images.health import report

GRACE_SECONDS = 5.0
"""How long after its view a request that nobody closes counts as over."""

MAX_WAITING = 200
"""How many requests may wait until others with an unread body end in their threads."""

_IDLE_SECONDS = 60.0


class Watched(Protocol):
    """What the watchdog needs of a request."""

    def expire(self) -> None:
        """End the request, although somebody may still close it."""


class Watchdog:
    """Ends each request that is not closed within the grace period after its view."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()
        self._deadlines: dict[Watched, float] = {}  # in order: all have the same grace
        self._sizes: dict[Watched, int] = {}
        self._wake = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether some request is not over yet."""
        return bool(self._deadlines)

    @property
    def is_busy(self) -> bool:
        """Whether too many requests wait for this thread to end another one."""
        return len(self._deadlines) > MAX_WAITING

    def waiting(self) -> list[Watched]:
        """Return the requests that are not over yet."""
        return list(self._deadlines)

    def watch(self, end: Watched, size: int = 0, max_bytes: int = 0) -> bool:
        """End a request after the grace period, unless it ends before.

        If all requests hold more than `max_bytes`, the oldest are due. Return False if
        they hold twice as much: then the caller must drop the bytes.
        """
        with self._lock:
            self._deadlines[end] = time.monotonic() + GRACE_SECONDS
            self._sizes[end] = size
            total = sum(self._sizes.values())
            if total > max_bytes:
                self._make_due(total - max_bytes)
            if total > 2 * max_bytes:
                self._sizes[end] = 0  # the caller drops them
            self._ensure_thread()
        return total <= 2 * max_bytes

    def _make_due(self, size: int) -> None:
        now = time.monotonic()
        for end in self._deadlines:
            if size <= 0:
                break
            self._deadlines[end] = min(self._deadlines[end], now)
            size -= self._sizes.get(end, 0)
        self._wake.set()

    def end_soon(self, end: Watched) -> None:
        """End a request now, before all others."""
        with self._lock:
            self._deadlines.pop(end, None)
            self._deadlines = {end: time.monotonic(), **self._deadlines}
            self._ensure_thread()
        self._wake.set()

    def unwatch(self, end: Watched) -> None:
        """Leave a request alone that has ended."""
        with self._lock:
            self._deadlines.pop(end, None)
            self._sizes.pop(end, None)

    def _ensure_thread(self) -> None:
        if self.thread is not None and self.thread.is_alive():
            return
        thread = threading.Thread(
            target=self._run, name="request_images-watchdog", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as exception:
            # The system starts no thread. A request that is closed ends all the same,
            # and the next request tries again.
            report("watchdog", exception)
        else:
            self.thread = thread

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            self._wake.clear()  # before looking, so that no wake-up is missed
            end, seconds = self._next()
            if end is not None:
                try:
                    end.expire()
                finally:
                    self.unwatch(end)  # also if it had ended meanwhile, or raises
            if end is not None or self._deadlines:
                idle_since = time.monotonic()
            elif self._retires(time.monotonic() - idle_since):
                return
            # A request wakes this thread only if it is urgent: a wake-up for each
            # request would cost each a thread switch.
            self._wake.wait(seconds)

    def _next(self) -> tuple[Watched | None, float]:
        # A request that is due, or how long to wait before there can be one.
        with self._lock:
            if not self._deadlines:
                return None, GRACE_SECONDS
            end, deadline = next(iter(self._deadlines.items()))
            seconds = deadline - time.monotonic()
            return (None, seconds) if seconds > 0 else (end, 0.0)

    def _retires(self, idle_seconds: float) -> bool:
        with self._lock:
            if self._deadlines or idle_seconds <= _IDLE_SECONDS:
                return False
            self.thread = None  # the next request starts another
            return True
