"""Health: faults are counted each time and logged once a minute."""

from __future__ import annotations

import datetime
import logging
import os
import subprocess
import sys
import threading
import traceback

import pytest
from django.db import connection

from request_images import health
from tests.image_files import draw
from tests.images.test_inspection_hostile import calls_of


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


def test_fault_is_counted_and_logged_with_its_traceback(logged, caplog):
    """One fault, one line, and the line says that no request was affected."""
    error = OSError("disk full")
    health.report("store", error)
    assert health.faults() == {"store:OSError": 1}
    [line] = logged()
    assert line.startswith("Capture fault in store: OSError: disk full (1 since")
    assert "No request was affected." in line
    assert caplog.records[0].exc_info[1] is error


def test_repeated_fault_is_logged_once_a_minute(logged, clock):
    """A repeated fault does not fill the disk; the next line gives its number."""
    for _ in range(5):
        health.report("store", OSError("disk full"))
    assert len(logged()) == 1
    clock[0] += health.LOG_INTERVAL
    health.report("store", OSError("disk full"))
    assert len(logged()) == 2
    assert "(5 since the last line, 6 in total)" in logged()[1]
    assert health.faults() == {"store:OSError": 6}


def test_faults_of_different_kinds_do_not_hide_each_other(logged, clock):
    """The place and the class of the exception make the kind."""
    health.report("store", OSError())
    health.report("store", ValueError())
    health.report("tap", OSError())
    assert len(logged()) == 3
    assert set(health.faults()) == {"store:OSError", "store:ValueError", "tap:OSError"}


def test_returned_counts_are_a_copy(logged):
    """A caller that changes the result does not change the counters."""
    health.faults()["x"] = 1
    assert health.faults() == {}
    health.counts()["x"] = 1
    assert health.counts() == {}


def test_results_are_counted():
    """By name, one at a time or several."""
    health.count("stored")
    health.count("stored")
    health.count("dropped", 3)
    assert health.counts() == {"stored": 2, "dropped": 3}
    health.reset()
    assert health.counts() == {}


def test_threads_count_together():
    """No count is lost between threads."""

    def work():
        for _ in range(1000):
            health.count("stored")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert health.counts() == {"stored": 8000}


def test_counting_is_cheap():
    """It takes a lock and adds one, however much was counted before."""
    for _ in range(1000):
        health.count("stored")
    assert calls_of(health.count, "stored") < 10


def test_of_process_returns_all_counters(logged):
    """The result has the process id, the start of counting, and all counters."""
    health.count("stored")
    health.report("store", OSError())
    process = health.of_process()
    assert process.pid == os.getpid()
    age = datetime.datetime.now(datetime.timezone.utc) - process.since
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=1)
    assert process.counts == {"stored": 1}
    assert process.faults == {"store:OSError": 1}


def test_forked_child_starts_from_zero():
    """Counts before a fork belong to the parent; a lock held then blocks no child."""
    code = """
import os, sys, threading, time
from request_images import health
health.count("stored")
held = threading.Thread(target=lambda: (health._lock.acquire(), time.sleep(60)))
held.daemon = True
held.start()
while not health._lock.locked():
    time.sleep(0.001)
if os.fork() == 0:
    health.count("duplicate")
    process = health.of_process()
    print(process.counts, process.pid == os.getpid(), flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "{'duplicate': 1} True\n"


def test_reset_clears_counts_and_log_times(logged, clock):
    """After a reset the first fault is logged again."""
    health.report("store", OSError())
    health.reset()
    assert health.faults() == {}
    health.report("store", OSError())
    assert len(logged()) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("is_async", [False, True])
def test_traceback_of_a_fault_has_no_unrelated_error(
    caplog, client, async_client_post, is_async
):
    """Kind: what a log line shows before the fault is what led to it, or nothing."""

    def broken(*arguments):
        raise RuntimeError("broken database")

    with connection.execute_wrapper(broken):
        if is_async:
            async_client_post("/body/")
        else:
            client.post("/body/", draw(), content_type="image/png")
    [error] = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert str(error) == "broken database"
    chain = "".join(traceback.format_exception(error))
    assert chain.count("Traceback") == 1
    health.reset()


def test_text_of_an_exception_stays_on_its_line(logged):
    """Kind: text that a client chose makes no line of a log of its own."""
    health.report("store", ValueError("a\n2026-01-01 ERROR forged\r\x1b[2Jb"))
    [line] = logged()
    assert "ValueError: a\\n2026-01-01 ERROR forged\\r\\x1b[2Jb (1 since" in line
