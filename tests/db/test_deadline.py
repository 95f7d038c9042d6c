"""A deadline ends what a silent database server would hold for minutes."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction
from django.http import JsonResponse

from request_images import health
from request_images.db import deadline as module
from request_images.db.deadline import NoAnswer, deadline
from request_images.db.errors import Fault, fault_of
from request_images.testing import flush
from request_images.writer import jobs
from tests.image_files import draw

from .databases import post, rows_of
from .servers import silent_server

connection = connections["default"]  # the proxy is another one in another thread
pytestmark = pytest.mark.django_db(transaction=True)

needs_server = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="there is no server to wait for"
)
LONG = 60
"""The seconds that a driver would wait, at least; no test may take as long."""


@pytest.fixture
def silent():
    with silent_server() as server:
        yield server


@pytest.fixture
def watcher(monkeypatch):
    """A thread of its own, that soon sleeps and soon retires."""
    monkeypatch.setattr(module, "_ACTIVE_SECONDS", 0.1)
    own = module._Watcher()
    monkeypatch.setattr(module, "_watcher", own)
    return own


def ask(sql="SELECT 1"):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


@needs_server
@pytest.mark.parametrize("is_open", [True, False])
def test_silent_server_is_waited_for_briefly(silent, is_open):
    """Neither a statement nor the opening of a connection waits for longer."""
    if is_open:
        ask()
    silent.fall_silent()
    began = time.monotonic()
    kind = NoAnswer if is_open else OperationalError
    with (
        pytest.raises(kind) as caught,
        deadline(connection, 0.2),
        transaction.atomic(),
    ):
        ask()
    assert time.monotonic() - began < LONG / 2
    assert fault_of(caught.value) is Fault.AWAY
    assert connection.connection is None
    silent.answer()
    assert ask() == (1,), "Django opens another connection"


@needs_server
def test_nothing_is_opened_after_the_deadline(silent):
    """A second try in the same block does not wait again."""
    ask()
    silent.fall_silent()
    errors, times = [], []
    with pytest.raises(NoAnswer), deadline(connection, 0.1):
        for _ in range(3):
            with pytest.raises(OperationalError) as caught:
                ask()
            errors.append(type(caught.value))
            times.append(time.monotonic())
            connection.close()
    assert errors == [OperationalError, NoAnswer, NoAnswer]
    assert times[-1] - times[0] < 1


@needs_server
def test_error_in_time_stays_as_it_is():
    """What the database refuses is no silence."""
    with (
        pytest.raises(DatabaseError) as caught,
        deadline(connection, LONG),
        deadline(connection, LONG),
    ):
        ask("SELECT nonsense")
    assert not isinstance(caught.value, NoAnswer)
    assert ask() == (1,)


@needs_server
def test_connection_is_never_cut_behind_its_block(monkeypatch, watcher):
    """However close the deadline is to the end of the block."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0001)
    results = set()
    for number in range(300):
        try:
            with deadline(connection, 0.003):
                ends = time.monotonic() + number % 10 / 1000
                while time.monotonic() < ends:
                    ask()
        except OperationalError as error:
            results.add(type(error))
        else:
            results.add(None)
        assert ask() == (1,)
    assert results == {None, NoAnswer}, "some were in time, and some were not"


@needs_server
def test_block_waits_until_its_connection_is_cut(monkeypatch, watcher):
    """Both at once: the next block finds a connection of its own."""
    is_cutting, goes_on = threading.Event(), threading.Event()
    cut = module._Watch.cut

    def slow(watch):
        is_cutting.set()
        assert goes_on.wait(LONG)
        cut(watch)

    monkeypatch.setattr(module._Watch, "cut", slow)
    ask()
    threading.Timer(0.2, goes_on.set).start()
    with pytest.raises(NoAnswer), deadline(connection, 0):
        assert is_cutting.wait(LONG)
    assert goes_on.is_set()
    assert connection.connection is None
    assert ask() == (1,)


@needs_server
def test_thread_is_lazy_sleeps_and_ends(monkeypatch, watcher):
    """No block, no thread; and it looks only while there are blocks."""
    assert watcher.thread is None
    with deadline(connection, LONG):
        thread = watcher.thread
        assert thread.daemon
        ask()
    for _ in range(2):
        while not watcher._is_asleep:
            time.sleep(0.01)
        with pytest.raises(NoAnswer), deadline(connection, 0.1):
            # It was woken: this block is cut off.
            while watcher.thread is thread:  # pragma: no branch
                ask()
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.2)
    with deadline(connection, LONG):
        ask()
    thread.join(LONG)
    assert watcher.thread is None
    with deadline(connection, LONG):
        assert watcher.thread.is_alive()


@needs_server
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_thread_is_not_inherited(watcher):
    """The child of a fork has none, waits for no lock, and starts its own."""
    with deadline(connection, LONG), watcher._lock:
        pid = os.fork()
        if pid == 0:  # pragma: no cover  # in the child
            is_new = watcher.thread is None and not watcher._lock.locked()
            os._exit(0 if is_new else 1)
    assert os.waitpid(pid, 0) == (pid, 0)


@needs_server
@pytest.mark.parametrize(
    ("reason", "faults"),
    [
        ("can't start new thread", {"deadline:RuntimeError": 1}),
        ("can't create new thread at interpreter shutdown", {}),
    ],
)
def test_system_without_threads(monkeypatch, watcher, reason, faults):
    """The block runs, and the next one tries again."""

    def refused(thread):
        raise RuntimeError(reason)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with deadline(connection, LONG):
            assert ask() == (1,)
    assert health.faults() == faults
    health.reset()
    with deadline(connection, LONG):
        assert watcher.thread.is_alive()


@needs_server
@pytest.mark.parametrize("options", [{}, {"connect_timeout": 7}])
def test_time_of_connecting(monkeypatch, options):
    """It is limited, unless the project limits it."""
    expected = options.get("connect_timeout", 3)
    given = {**connection.settings_dict, "OPTIONS": options}
    monkeypatch.setattr(connection, "settings_dict", given)
    seen = []

    def connect(wrapper, params):
        seen.append(params.get("connect_timeout"))
        raise OperationalError("not now")

    monkeypatch.setattr(type(connection), "get_new_connection", connect)
    connection.close()
    for _ in range(2):
        with (
            pytest.raises(OperationalError),
            deadline(connection, 9),
            deadline(connection, 2.5),
        ):
            ask()
    assert seen == [expected, expected]
    with pytest.raises(OperationalError):
        ask()
    assert seen[-1] == options.get("connect_timeout")


@needs_server
def test_closed_connection_is_not_cut(watcher):
    """The number of its socket may be that of another file by now."""
    ask()
    number = connection.connection.fileno()
    with deadline(connection, 0.1):
        connection.close()
        ours, theirs = socket.socketpair()
        if ours.fileno() != number:  # pragma: no cover  # as the system numbers
            os.dup2(ours.fileno(), number)
        time.sleep(0.5)
    with socket.socket(fileno=number) as same:
        same.sendall(b"alive")
        assert theirs.recv(5) == b"alive"
    if ours.fileno() == number:  # pragma: no branch  # as above
        ours.detach()
    ours.close()
    theirs.close()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="it has no server")
def test_sqlite_needs_no_thread(watcher):
    with deadline(connection, 0):
        assert ask() == (1,)
    assert watcher.thread is None


@pytest.fixture
def _fresh_queue():
    yield
    jobs.queue.close(10)
    jobs.queue.reset()


@needs_server
@pytest.mark.usefixtures("_fresh_queue")
@pytest.mark.parametrize("seconds", [0.2, 60])
def test_silent_database_costs_no_request(silent, settings, seconds):
    """The request is answered, its thread is free, and the queue has its row."""
    settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
    settings.REQUEST_IMAGES_AFTER_RESPONSE_SECONDS = seconds
    ask()
    silent.fall_silent()
    began = time.monotonic()
    assert post("default") == JsonResponse({"body": draw().hex()}).content
    assert time.monotonic() - began < LONG / 2
    assert set(health.faults()) <= {"store:NoAnswer", "destination:NoAnswer"}
    health.reset()
    flush()  # its thread has a connection that is answered
    silent.answer()
    assert rows_of("default") == ["stored"]
