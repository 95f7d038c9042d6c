"""The backlog: bounded in bytes and items, lazy, drained, not inherited."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from request_images.writer.background import BATCH_BYTES, BATCH_ITEMS, WriteQueue
from tests.traps import trap

ROOM = {"max_bytes": 1000, "max_items": 10}


class Gate:
    """A writer that waits to be let through, and remembers its batches."""

    def __init__(self):
        self.batches = []
        self.refuses = lambda item: False
        self.is_inside = threading.Event()
        self.may_pass = threading.Event()

    def __call__(self, batch):
        self.is_inside.set()
        assert self.may_pass.wait(60)
        self.batches.append(list(batch))
        return [item for item in batch if self.refuses(item)]


@pytest.fixture
def gate():
    return Gate()


def make(write, finish=lambda: None, give_up=None):
    return WriteQueue(
        write, give_up=give_up, finish=finish, shutdown_seconds=lambda: 10
    )


def test_queue_without_items_has_no_thread(gate):
    """No item, no thread."""
    backlog = make(gate)
    assert backlog.thread is None
    assert backlog.wait_until_empty(0)


@trap("W20")
def test_is_bounded_in_bytes_and_items(gate):
    """W20: what is being written counts too: it is still in memory."""
    backlog = make(gate)
    assert backlog.put("a", 600, **ROOM)
    assert gate.is_inside.wait(60)
    assert not backlog.put("b", 401, **ROOM)
    assert not backlog.put("b", 401, **ROOM, seconds=0.01)
    assert backlog.put("c", 400, **ROOM)
    assert backlog.size == 1000
    assert not backlog.put("d", 0, max_bytes=1000, max_items=2)
    assert not backlog.wait_until_empty(0.01)
    gate.may_pass.set()
    assert backlog.wait_until_empty(10)
    assert gate.batches == [["a"], ["c"]]
    assert backlog.size == 0


def test_writes_in_batches(gate):
    """A batch is bounded in items and in bytes; one large item is alone."""
    backlog = make(gate)
    room = {"max_bytes": 10**9, "max_items": 10**6}
    assert backlog.put("first", 1, **room)
    assert gate.is_inside.wait(60)
    for number in range(BATCH_ITEMS + 1):
        backlog.put(number, 1, **room)
    backlog.put("large", BATCH_BYTES + 1, **room)
    backlog.put("small", 1, **room)
    gate.may_pass.set()
    assert backlog.wait_until_empty(10)
    assert [len(batch) for batch in gate.batches] == [1, BATCH_ITEMS, 1, 1, 1]


class TestLingering:
    """Items wait a moment for one another, unless somebody is in a hurry."""

    @pytest.fixture(autouse=True)
    def _for_ever(self, monkeypatch, gate):
        monkeypatch.setattr("request_images.writer.background.LINGER_SECONDS", 60)
        gate.may_pass.set()

    def test_items_wait_for_each_other(self, gate):
        """Requests of one moment are written together, and soon if somebody waits."""
        backlog = make(gate)
        for letter in "abc":
            assert backlog.put(letter, 1, **ROOM)
        assert backlog.wait_until_empty(10)
        assert gate.batches == [["a", "b", "c"]]

    def test_full_queue_is_written_at_once(self, gate):
        """Whoever finds no room gets the next one some."""
        backlog = make(gate)
        assert backlog.put("a", 1000, **ROOM)
        assert not gate.is_inside.is_set()
        assert not backlog.put("b", 1, **ROOM)
        assert gate.is_inside.wait(60)

    def test_complete_batch_is_written_at_once(self, gate):
        """A full batch waits for nothing: full of items, or of bytes."""
        backlog = make(gate)
        room = {"max_bytes": 10**9, "max_items": 10**6}
        backlog.put("large", BATCH_BYTES, **room)
        assert gate.is_inside.wait(60)
        gate.is_inside.clear()
        for number in range(BATCH_ITEMS):
            backlog.put(number, 1, **room)
        assert gate.is_inside.wait(60)

    def test_exit_writes_all_items(self, gate):
        """The exit of the process does not linger."""
        backlog = make(gate)
        backlog.put("a", 1, **ROOM)
        backlog.close(10)
        assert gate.batches == [["a"]]


def test_child_process_has_an_empty_queue(gate):
    """The child of a fork has neither its parent's thread nor its items."""
    gate.may_pass.set()
    backlog = make(gate)
    backlog.put("a", 1, **ROOM)
    backlog.wait_until_empty(10)
    backlog.reset()
    assert backlog.thread is None
    assert backlog.put("b", 1, **ROOM)
    assert backlog.wait_until_empty(10)


class TestPutOff:
    """Items that cannot be written now are written later, or given up at the exit."""

    @pytest.fixture
    def refusing(self, gate, monkeypatch):
        """A queue with one item, "a", which was refused and is put off for a minute."""
        monkeypatch.setattr("request_images.writer.background.AGAIN_SECONDS", 60)
        gate.may_pass.set()
        gate.refuses = "ab".__contains__
        left = []
        backlog = make(gate, give_up=left.extend)
        backlog.left = left
        assert backlog.put("a", 1, **ROOM)
        deadline = time.monotonic() + 60
        while not backlog._put_off:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return backlog

    def test_item_is_written_again(self, gate, refusing):
        """It is tried again after a pause, before all later ones."""
        refusing._again_at = 0.0
        gate.refuses = lambda item: False
        assert refusing.put("c", 1, **ROOM)
        assert refusing.wait_until_empty(10)
        assert gate.batches == [["a"], ["a", "c"]]
        assert refusing.size == 0

    def test_pause_ends_by_itself(self, gate, monkeypatch):
        """Nobody needs to come."""
        monkeypatch.setattr("request_images.writer.background.AGAIN_SECONDS", 0.01)
        gate.may_pass.set()
        gate.refuses = lambda item: len(gate.batches) < 4
        backlog = make(gate)
        assert backlog.put("a", 1, **ROOM)
        deadline = time.monotonic() + 60
        while backlog.size:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert gate.batches == [["a"]] * 4

    def test_success_of_others_ends_the_pause(self, gate, refusing):
        """What is written shows that more can be."""
        assert refusing.put("c", 1, **ROOM)
        gate.refuses = lambda item: False
        deadline = time.monotonic() + 60
        while refusing.size:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert gate.batches == [["a"], ["c"], ["a"]]

    def test_nobody_waits_for_room_then(self, gate, refusing):
        """An item for which there is no room must not wait for a database."""
        assert not refusing.put("b", 1000, **ROOM, seconds=3600)

    def test_failures_of_others_do_not_prolong_the_pause(self, gate, refusing):
        """Each new item fails, too; the first one's time stays."""
        again_at = refusing._again_at
        assert refusing.put("b", 1, **ROOM)
        deadline = time.monotonic() + 60
        while len(refusing._put_off) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert refusing._again_at == again_at

    def test_exit_tries_once_more_and_gives_up(self, gate, refusing):
        """At the exit there is no later."""
        assert refusing.put("b", 1, **ROOM)
        refusing.close(10)
        assert sorted(refusing.left) == ["a", "b"]
        assert gate.batches[-1][0] == "a"
        assert not refusing.thread.is_alive()


def test_thread_that_cannot_start(gate, monkeypatch):
    """Without a thread nothing is taken that nobody would write; the next one tries."""
    gate.may_pass.set()
    backlog = make(gate)

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert not backlog.put("a", 1, **ROOM)
    assert backlog.size == 0
    assert backlog.put("b", 1, **ROOM)
    assert backlog.wait_until_empty(10)
    assert gate.batches == [["b"]]


def test_exit_writes_all_items(gate):
    """An exiting process takes nothing more, and waits for what it has."""
    finished = []
    backlog = make(gate, lambda: finished.append(1))
    backlog._close_at_exit()  # nothing was ever there
    backlog.put("a", 1, **ROOM)
    gate.may_pass.set()
    backlog._close_at_exit()
    assert gate.batches == [["a"]]
    assert finished == [1]
    assert not backlog.put("b", 1, **ROOM)


def test_exit_gives_up_items_after_its_timeout(gate):
    """Requests that the exit has no time for are handed over, not lost."""
    left = []
    backlog = make(gate, give_up=left.extend)
    backlog.put("held", 1, **ROOM)
    assert gate.is_inside.wait(60)
    backlog.put("a", 1, **ROOM)
    backlog.put("b", 1, **ROOM)
    backlog.close(0.01)
    assert left == ["a", "b"]
    gate.may_pass.set()
    backlog.thread.join(60)
    assert gate.batches == [["held"]]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_dead_thread_is_replaced(gate):
    """A thread that is gone is replaced by the next item."""
    gate.may_pass.set()

    def write(batch):
        if batch == ["fatal"]:
            raise SystemExit
        return gate(batch)

    backlog = make(write)
    backlog.put("fatal", 1, **ROOM)
    backlog.thread.join(60)
    assert not backlog.thread.is_alive()
    assert backlog.is_open
    assert backlog.put("next", 1, **ROOM)
    assert backlog.wait_until_empty(10)
    assert gate.batches == [["next"]]


@trap("W11")
def test_exit_of_a_real_process():
    """W11: everything is written before the process is gone; it asks but once."""
    script = (
        "import time\n"
        "from request_images.writer.background import WriteQueue\n"
        "def write(batch):\n"
        "    time.sleep(0.05)\n"
        "    print(*batch, flush=True)\n"
        "    return ()\n"
        "def finish(): print('end', flush=True)\n"
        "def seconds(): print('asked', flush=True); return 10\n"
        "backlog = WriteQueue(\n"
        "    write, give_up=None, finish=finish, shutdown_seconds=seconds)\n"
        "for n in range(3): backlog.put(n, 1, max_bytes=9, max_items=9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["asked", "0", "1", "2", "end"]
