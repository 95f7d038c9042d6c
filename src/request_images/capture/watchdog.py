"""A thread that ends requests which nobody closes: lazy, not inherited over a fork."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from request_images.health import report

GRACE_SECONDS = 5.0
"""How long after its view a request that nobody closes is taken to be over."""

_IDLE_SECONDS = 60.0


class Rescued(Protocol):
    """What the rescue needs of the end of a request."""

    def rescue(self) -> None:
        """Take the request to be over, whoever may still close it."""


class Rescue:
    """Ends requests that nobody has closed some time after their view."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()
        self._deadlines: dict[Rescued, float] = {}  # in order: one grace for all
        self._sizes: dict[Rescued, int] = {}
        self._wake = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether some request is not over yet."""
        return bool(self._deadlines)

    def waiting(self) -> list[Rescued]:
        """Return the requests that are not over yet."""
        return list(self._deadlines)

    def watch(self, end: Rescued, size: int = 0, max_bytes: int = 0) -> bool:
        """End a request after the grace period, unless it ends before.

        Args:
            end: The request.
            size: Bytes that it holds until then.
            max_bytes: Bytes that all of them may hold; beyond that the oldest are due.

        Returns:
            False when they hold twice as much: ending them takes too long.
        """
        with self._lock:
            self._deadlines[end] = time.monotonic() + GRACE_SECONDS
            self._sizes[end] = size
            held = sum(self._sizes.values())
            if held > max_bytes:
                self._make_due(held - max_bytes)
            if held > 2 * max_bytes:
                self._sizes[end] = 0  # the caller lets go of it
            self._ensure_thread()
        return held <= 2 * max_bytes

    def _make_due(self, size: int) -> None:
        now = time.monotonic()
        for end in self._deadlines:
            if size <= 0:
                break
            self._deadlines[end] = min(self._deadlines[end], now)
            size -= self._sizes.get(end, 0)
        self._wake.set()

    def hurry(self, end: Rescued) -> None:
        """End a request now, before all others."""
        with self._lock:
            self._deadlines.pop(end, None)
            self._deadlines = {end: time.monotonic(), **self._deadlines}
            self._ensure_thread()
        self._wake.set()

    def forget(self, end: Rescued) -> None:
        """Leave a request alone that ended by itself."""
        with self._lock:
            self._deadlines.pop(end, None)
            self._sizes.pop(end, None)

    def _ensure_thread(self) -> None:
        if self.thread is not None and self.thread.is_alive():
            return
        thread = threading.Thread(
            target=self._run, name="request_images-rescue", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as exception:
            # No thread to be had. Whoever closes the request still ends it, and the
            # next request tries again.
            report("rescue", exception)
        else:
            self.thread = thread

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            self._wake.clear()  # before looking, so that no hurry is missed
            end, seconds = self._next()
            if end is not None:
                self._end(end)
            if end is not None or self._deadlines:
                idle_since = time.monotonic()
            elif self._retires(time.monotonic() - idle_since):
                return
            # A request wakes this thread only when it is in a hurry: it would cost
            # each of them a switch.
            self._wake.wait(seconds)

    def _next(self) -> tuple[Rescued | None, float]:
        # A request that is due, or how long to wait before there can be one.
        with self._lock:
            if not self._deadlines:
                return None, GRACE_SECONDS
            end = next(iter(self._deadlines))
            seconds = self._deadlines[end] - time.monotonic()
            if seconds > 0:
                return None, seconds
            return end, 0.0

    def _end(self, end: Rescued) -> None:
        try:
            end.rescue()
        finally:
            # Also when it had ended meanwhile, or worse: it must not come up again.
            self.forget(end)

    def _retires(self, idle_seconds: float) -> bool:
        with self._lock:
            if self._deadlines or idle_seconds <= _IDLE_SECONDS:
                return False
            self.thread = None  # the next request starts another
            return True
