"""A circuit breaker: stop calling what keeps failing, and try it again after a pause.

The pattern is Michael Nygard's ("Release It!", 2007). Without it, a storage that is
down would cost every request its timeout.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable


class Breaker:
    """A circuit breaker for one service.

    Args:
        failures: Failures in a row after which it opens.
        pause: Seconds for which it stays open; then one call is tried.
        longest: Each call that is tried and fails doubles the pause, up to this.
    """

    def __init__(
        self, *, failures: int = 5, pause: float = 1.0, longest: float = 30.0
    ) -> None:
        self._failures = failures
        self._first_pause = self._pause = pause
        self._longest = longest
        self._lock = threading.Lock()
        self._failed = 0
        self._open_until = 0.0
        self._is_trying = False

    def allows(self) -> bool:
        """Return whether to call the service. After a pause, one caller gets True."""
        with self._lock:
            now = time.monotonic()
            if now < self._open_until:
                return False
            if self._failed >= self._failures:
                # Half open: the other callers wait for the result of this one.
                self._open_until = now + self._longest
                self._is_trying = True
            return True

    def succeeded(self) -> None:
        """Record a successful call."""
        with self._lock:
            self._failed = 0
            self._open_until = 0.0
            self._pause = self._first_pause
            self._is_trying = False

    @property
    def is_closed(self) -> bool:
        """Whether all callers may call the service."""
        return self._failed < self._failures

    def failed(self, *, opens: bool = False) -> None:
        """Record a failed call, which opens the breaker at once if it `opens` it."""
        with self._lock:
            was_closed = self.is_closed
            self._failed = max(self._failed + 1, self._failures if opens else 0)
            # Calls that began before it opened may fail later: they tell nothing new.
            if was_closed is not self.is_closed or self._is_trying:
                self._open_until = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, self._longest)
                self._is_trying = False


class Breakers:
    """A circuit breaker for each of many services; healthy ones take no memory.

    Args:
        failures: Failures in a row after which each opens.
    """

    def __init__(self, failures: int = 5) -> None:
        self._failures = failures
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Close all, as in a new process: the parent's locks may stay locked there."""
        self._failing: dict[Hashable, Breaker] = {}

    def allows(self, service: Hashable) -> bool:
        """Return whether to call a service. After a pause, one caller gets True."""
        breaker = self._failing.get(service)
        return breaker is None or breaker.allows()

    def succeeded(self, service: Hashable) -> None:
        """Record a successful call of a service."""
        self._failing.pop(service, None)

    def is_closed(self, service: Hashable) -> bool:
        """Return whether all callers may call a service."""
        breaker = self._failing.get(service)
        return breaker is None or breaker.is_closed

    def failed(self, service: Hashable, *, opens: bool = False) -> None:
        """Record a failed call of a service; see `Breaker.failed`."""
        breaker = Breaker(failures=self._failures)
        self._failing.setdefault(service, breaker).failed(opens=opens)
