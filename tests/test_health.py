"""Our own faults: counted each time, logged once a minute."""

from __future__ import annotations

import logging

import pytest

from request_images import health


@pytest.fixture
def logged(caplog):
    """Return a function that returns what was logged so far."""
    caplog.set_level(logging.ERROR, "request_images")
    yield lambda: [record.getMessage() for record in caplog.records]
    health.reset()


@pytest.fixture
def clock(monkeypatch):
    """Stop the clock; the value of ``clock[0]`` is what it shows."""
    now = [1000.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: now[0])
    return now


def test_a_fault_is_counted_and_logged_with_its_traceback(logged, caplog):
    """One fault, one line, and the line says that the request was not affected."""
    error = OSError("disk full")
    health.report("store", error)
    assert health.faults() == {"store:OSError": 1}
    [line] = logged()
    assert line.startswith("Capture fault in store: OSError: disk full (1 since")
    assert "Nothing of it was raised into the request." in line
    assert caplog.records[0].exc_info[1] is error


def test_the_same_fault_is_logged_once_a_minute(logged, clock):
    """A fault that repeats fills no disk; the next line says how often it came."""
    for _ in range(5):
        health.report("store", OSError("disk full"))
    assert len(logged()) == 1
    clock[0] += health.LOG_INTERVAL
    health.report("store", OSError("disk full"))
    assert len(logged()) == 2
    assert "(5 since the last line, 6 in all)" in logged()[1]
    assert health.faults() == {"store:OSError": 6}


def test_faults_of_different_kinds_do_not_hide_each_other(logged, clock):
    """The place and the class of the exception make the kind."""
    health.report("store", OSError())
    health.report("store", ValueError())
    health.report("tap", OSError())
    assert len(logged()) == 3
    assert set(health.faults()) == {"store:OSError", "store:ValueError", "tap:OSError"}


def test_the_counts_are_a_copy(logged):
    """What a caller does with the counts changes nothing."""
    health.faults()["x"] = 1
    assert health.faults() == {}


def test_reset_forgets(logged, clock):
    """After a reset the first fault is logged again."""
    health.report("store", OSError())
    health.reset()
    assert health.faults() == {}
    health.report("store", OSError())
    assert len(logged()) == 2
