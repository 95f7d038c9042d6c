"""The circuit breaker: what keeps failing is left alone, and tried again."""

from __future__ import annotations

import pytest

from request_images.storage import breaker
from request_images.storage.breaker import Breaker


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(breaker, "time", clock)
    return clock


def test_opens_after_failures_in_a_row(clock):
    """A success in between starts the count anew."""
    tested = Breaker(failures=2, pause=30)
    tested.failed()
    tested.succeeded()
    tested.failed()
    assert tested.allows()
    tested.failed()
    assert not tested.allows()


def test_one_try_after_the_pause(clock):
    """Behind the pause one try decides; the others wait for it."""
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


def test_reset(clock):
    """A new process knows nothing of its parent's failures."""
    tested = Breaker(failures=1)
    tested.failed()
    tested.reset()
    assert tested.allows()
