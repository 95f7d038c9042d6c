"""A circuit breaker: stop trying what keeps failing, and start again by itself.

The pattern is Michael Nygard's ("Release It!", 2007). A store that is down would
otherwise cost every request its time-out.
"""

from __future__ import annotations

import os
import threading
import time


class Breaker:
    """Tells whether a try is worth its time.

    Args:
        failures: Failures in a row after which it opens.
        pause: Seconds for which it stays open; then one try decides.
    """

    def __init__(self, *, failures: int = 5, pause: float = 30.0) -> None:
        self._failures = failures
        self._pause = pause
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()  # the parent's may be held, by nobody here
        self._failed = 0
        self._closed_at = 0.0

    def allows(self) -> bool:
        """Tell whether to try. Behind a pause, only one caller is told so."""
        with self._lock:
            now = time.monotonic()
            if now < self._closed_at:
                return False
            if self._failed >= self._failures:
                # Half open: whoever else asks waits for what this try brings.
                self._closed_at = now + self._pause
            return True

    def succeeded(self) -> None:
        """Say that a try went well."""
        with self._lock:
            self._failed = 0
            self._closed_at = 0.0

    def failed(self) -> None:
        """Say that a try failed."""
        with self._lock:
            self._failed += 1
            if self._failed >= self._failures:
                self._closed_at = time.monotonic() + self._pause
