"""The circuit breaker: what keeps failing is left alone, and tried again."""

from __future__ import annotations

import pytest

from request_images.storage import breaker
from request_images.storage.breaker import Breaker, Breakers


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    return clock


def test_opens_after_consecutive_failures(clock):
    """A success restarts the count."""
    tested = Breaker(failures=2, pause=30)
    tested.failed()
    tested.succeeded()
    tested.failed()
    assert tested.allows()
    tested.failed()
    assert not tested.allows()


def test_opens_at_once_if_told(clock):
    """A service that says nothing costs its time at each call."""
    tested = Breaker(failures=5, pause=30)
    assert tested.is_closed
    tested.failed(opens=True)
    assert not tested.is_closed
    assert not tested.allows()
    clock.now += 31
    assert tested.allows()
    assert not tested.is_closed  # it is tested


def test_one_attempt_after_the_pause_decides(clock):
    """All other threads wait for its result."""
    tested = Breaker(failures=1, pause=30)
    tested.failed()
    clock.now += 31
    assert tested.allows()
    assert not tested.allows()
    tested.failed()
    clock.now += 31
    assert tested.allows()
    tested.succeeded()
    assert tested.allows()
    assert tested.allows()


def test_pause_doubles_with_each_attempt_that_fails(clock):
    """Up to the longest; a success begins anew. What began earlier changes nothing."""
    tested = Breaker(failures=2, pause=1, longest=4)
    for pause in (1, 2, 4, 4):
        for _ in range(10):
            tested.failed()
        clock.now += pause - 0.1
        assert not tested.allows()
        clock.now += 0.2
        assert tested.allows()
    tested.succeeded()
    tested.failed()
    tested.failed()
    clock.now += 1.1
    assert tested.allows()


def test_attempt_without_a_result_ends_no_service(clock):
    """After the longest pause, another one tries."""
    tested = Breaker(failures=1, pause=1, longest=4)
    tested.failed()
    clock.now += 1.1
    assert tested.allows()
    clock.now += 3
    assert not tested.allows()
    clock.now += 1.1
    assert tested.allows()


def test_reset_closes_the_breaker(clock):
    """A child process does not inherit its parent's failures."""
    tested = Breakers()
    for _ in range(5):
        tested.failed("a")
    assert not tested.allows("a")
    tested.reset()
    assert tested.allows("a")


def test_services_have_breakers_of_their_own(clock):
    """A database that is down stops no other."""
    tested = Breakers()
    for _ in range(5):
        tested.failed("a")
    assert not tested.allows("a")
    assert tested.allows("b")
    tested.succeeded("a")
    assert tested.allows("a")
