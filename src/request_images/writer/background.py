"""A queue bounded in bytes, and the one thread that writes what is in it.

The thread is lazy (no request, no thread) and not inherited over a fork. The exit of
the process waits for it. This module knows nothing of images or databases.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from multiprocessing import util
from operator import itemgetter
from typing import Generic, TypeVar

T = TypeVar("T")

BATCH_ITEMS = 50
"""How many items one batch has at most."""
BATCH_BYTES = 8 * 1024 * 1024
"""How many bytes one batch has at most; a larger item is a batch of its own."""
AGAIN_SECONDS = 1.0
"""How long items wait that could not be written, unless others are written before."""
LINGER_SECONDS = 0.05
"""How long an item waits for others of its batch: one transaction for many items costs
a fraction, and interrupts requests less often."""


class ExitPhase(IntEnum):
    """When a callback is called at the exit of the process."""

    REQUESTS = 1
    """Open requests end: they may go into a queue."""
    QUEUES = 2
    """Queues are closed: what they cannot write may be lost."""
    LOSSES = 3
    """Losses are written."""


_exit_callbacks: list[tuple[ExitPhase, Callable[[], None]]] = []
_exited_process: int | None = None


def run_at_exit(callback: Callable[[], None], phase: ExitPhase) -> None:
    """Call back once when this process exits in an ordinary way.

    Within a phase, the first one registered is the first one called.
    """
    _exit_callbacks.append((phase, callback))


def _run_exit_callbacks() -> None:
    global _exited_process  # noqa: PLW0603  # one exit for each process
    # An ordinary process calls this twice: `multiprocessing` uses ``atexit`` too.
    if _exited_process == os.getpid():
        return
    _exited_process = os.getpid()
    for _, callback in sorted(_exit_callbacks, key=itemgetter(0)):
        callback()


atexit.register(_run_exit_callbacks)
# The workers of servers that fork by multiprocessing (granian) exit without the
# callbacks of ``atexit``.
util.Finalize(None, _run_exit_callbacks, exitpriority=10)


def is_in_tests() -> bool:
    """Tell whether a test runner has set this process up."""
    # Not imported: a server need not load it.
    module = sys.modules.get("django.test.utils")
    return hasattr(getattr(module, "_TestState", None), "saved_data")


class WriteQueue(Generic[T]):
    """A queue whose thread writes the items in batches.

    Args:
        write: Called in the thread with one batch; it must not raise. It returns the
            items to write again later, in their order.
        give_up: Called with the items that are left at the exit of the process.
        finish: Called in the thread when it ends, to close its connections.
        shutdown_seconds: Returns how long the exit of the process waits.
        thread_name: The name of the thread.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Sequence[T]],
        *,
        give_up: Callable[[Sequence[T]], None],
        finish: Callable[[], None],
        shutdown_seconds: Callable[[], float],
        thread_name: str = "request_images-writer",
    ) -> None:
        self._write = write
        self._give_up = give_up
        self._finish = finish
        self._shutdown_seconds = shutdown_seconds
        self._thread_name = thread_name
        self.reset()
        os.register_at_fork(after_in_child=self.reset)
        run_at_exit(self._close_at_exit, ExitPhase.QUEUES)

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._changed = threading.Condition()
        self._waiting: deque[tuple[T, int]] = deque()
        self._put_off: deque[tuple[T, int]] = deque()
        self._again_at = 0.0
        self._bytes = 0  # of the items that wait or are being written
        self._items = 0
        self._is_exiting = False
        self._is_urgent = False
        self.thread: threading.Thread | None = None

    def put(
        self, item: T, size: int, *, max_bytes: int, max_items: int, seconds: float = 0
    ) -> bool:
        """Add an item, if there is room for it; else return False.

        An item that is larger than the queue has room in an empty one.

        Args:
            item: The item.
            size: Its bytes.
            max_bytes: The bytes that all items may have together.
            max_items: The number of items that the queue may have.
            seconds: How long to wait for room. Nobody waits while items are put off.
        """

        def has_room() -> bool:
            fits = self._bytes + size <= max_bytes or not self._items
            return fits and self._items < max_items

        with self._changed:
            if not has_room():
                self._is_urgent = True
                self._changed.notify_all()
                if seconds:  # even to wait for no time lets others in between
                    self._changed.wait_for(
                        lambda: self._is_closed or has_room(), seconds
                    )
            if self._is_exiting or not has_room() or not self._has_thread():
                return False
            self._waiting.append((item, size))
            self._bytes += size
            self._items += 1
            # In between, an item would wake the thread for nothing.
            if len(self._waiting) == 1 or self._has_batch():
                self._changed.notify_all()
        return True

    @property
    def _is_closed(self) -> bool:
        # There will be no room soon.
        return self._is_exiting or bool(self._put_off)

    def _has_batch(self) -> bool:
        return len(self._waiting) >= BATCH_ITEMS or self._bytes >= BATCH_BYTES

    def _has_thread(self) -> bool:
        if self.thread is None or not self.thread.is_alive():
            thread = threading.Thread(
                target=self._run, name=self._thread_name, daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                return False  # the system starts none; the next item tries again
            self.thread = thread
        return True

    @property
    def is_open(self) -> bool:
        """Whether it takes items, if there is room."""
        with self._changed:
            return not self._is_exiting and self._has_thread()

    @property
    def size(self) -> int:
        """Bytes that wait or are being written."""
        return self._bytes

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait until everything is written; return False if that takes too long."""
        with self._changed:
            self._is_urgent = True
            self._again_at = 0.0
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._items == 0, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._has_work():
                    self._changed.wait(self._seconds_until_due())
                if self._is_due():
                    self._waiting.extendleft(reversed(self._put_off))
                    self._put_off.clear()
                    self._again_at = 0.0
                if not self._waiting:
                    break  # at the exit
                self._changed.wait_for(self._is_time, LINGER_SECONDS)
                self._is_urgent = False
                batch = self._take()
            self._write_batch(batch)
            batch.clear()  # or the variable would hold the bytes until the next batch
        self._finish()

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._is_exiting or self._is_due()

    def _is_due(self) -> bool:
        return bool(self._put_off) and time.monotonic() >= self._again_at

    def _seconds_until_due(self) -> float | None:
        rest = max(0.0, self._again_at - time.monotonic())
        return rest if self._put_off else None

    def _write_batch(self, batch: Sequence[tuple[T, int]]) -> None:
        again: set[int] = set()
        try:
            again = set(map(id, self._write([item for item, _ in batch])))
        finally:
            with self._changed:
                self._put_off += [pair for pair in batch if id(pair[0]) in again]
                self._items -= len(batch) - len(again)
                self._bytes -= sum(
                    size for item, size in batch if id(item) not in again
                )
                if not again:
                    self._again_at = 0.0
                elif self._is_exiting:  # each item has had one more try
                    self._again_at = float("inf")
                elif not self._again_at:
                    self._again_at = time.monotonic() + AGAIN_SECONDS
                self._changed.notify_all()

    def _is_time(self) -> bool:
        return self._is_urgent or self._is_exiting or self._has_batch()

    def _take(self) -> list[tuple[T, int]]:
        batch = [self._waiting.popleft()]
        total = batch[0][1]
        while self._waiting and len(batch) < BATCH_ITEMS:
            total += self._waiting[0][1]
            if total > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    def close(self, timeout: float) -> None:
        """Take no more items, and wait until all are written; give up the others."""
        with self._changed:
            self._is_exiting = True
            self._again_at = 0.0
            self._changed.notify_all()
        if self.thread is not None:
            self.thread.join(timeout)
        with self._changed:
            left = [item for item, _ in (*self._put_off, *self._waiting)]
            self._put_off.clear()
            self._waiting.clear()
        if left:
            self._give_up(left)

    def _close_at_exit(self) -> None:
        if self.thread is not None:
            self.close(self._shutdown_seconds())
