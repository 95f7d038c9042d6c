"""What waits to be written: a queue bounded in bytes, and one thread behind it.

The thread is lazy (no request, no thread), is not inherited over a fork, and is waited
for at the exit of the process. This module knows nothing of images or databases.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from .exits import run_at_exit

T = TypeVar("T")

BATCH_ITEMS = 50
"""How many items are written at once, at the most."""
BATCH_BYTES = 8 * 1024 * 1024
"""How many bytes are written at once; an item may be larger, and is then alone."""
LINGER_SECONDS = 0.05
"""How long an item may wait for others to be written with it: one transaction for many
costs a fraction, and requests are disturbed less often."""


class Backlog(Generic[T]):
    """Items on their way to a thread that writes them in batches.

    Args:
        write: Called in the thread with one batch. It must not raise.
        give_up: Called with what the exit of the process could not wait for.
        finish: Called in the thread when it ends, to let go of what is its own.
        shutdown_seconds: Returns how long the exit of the process waits.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], None],
        *,
        give_up: Callable[[Sequence[T]], None],
        finish: Callable[[], None],
        shutdown_seconds: Callable[[], float],
    ) -> None:
        self._write = write
        self._give_up = give_up
        self._finish = finish
        self._shutdown_seconds = shutdown_seconds
        self.reset()
        os.register_at_fork(after_in_child=self.reset)
        run_at_exit(self._close_at_exit)

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._changed = threading.Condition()
        self._waiting: deque[tuple[T, int]] = deque()
        self._bytes = 0  # of what waits and of what is being written
        self._items = 0
        self._is_exiting = False
        self._is_urgent = False
        self.thread: threading.Thread | None = None

    def put(self, item: T, size: int, *, max_bytes: int, max_items: int) -> bool:
        """Take an item over, unless there is no room for it. Never waits.

        Args:
            item: What is to be written.
            size: Its bytes in memory.
            max_bytes: Bytes that there may be in all.
            max_items: Items that there may be in all.

        Returns:
            False when it is the caller's to deal with.
        """
        with self._changed:
            is_full = self._bytes + size > max_bytes or self._items >= max_items
            if is_full:
                self._hurry()
            if is_full or self._is_exiting or not self._has_thread():
                return False
            self._waiting.append((item, size))
            self._bytes += size
            self._items += 1
            # Every other item would wake the thread up for nothing.
            if len(self._waiting) == 1 or self._has_batch():
                self._changed.notify_all()
        return True

    def _hurry(self) -> None:
        self._is_urgent = True
        self._changed.notify_all()

    def _has_batch(self) -> bool:
        return len(self._waiting) >= BATCH_ITEMS or self._bytes >= BATCH_BYTES

    def _has_thread(self) -> bool:
        if self.thread is None or not self.thread.is_alive():
            thread = threading.Thread(
                target=self._run, name="request_images-backlog", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                return False  # none to be had now; the next item tries again
            self.thread = thread
        return True

    @property
    def is_open(self) -> bool:
        """Whether it takes anything at all, provided that there is room."""
        with self._changed:
            return not self._is_exiting and self._has_thread()

    @property
    def size(self) -> int:
        """Bytes that wait or are being written."""
        return self._bytes

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait until everything is written; False when that takes too long.

        Args:
            timeout: Seconds.
        """
        with self._changed:
            self._hurry()
            return self._changed.wait_for(lambda: self._items == 0, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_exiting)
                if not self._waiting:
                    break
                self._changed.wait_for(self._is_time, LINGER_SECONDS)
                self._is_urgent = False
                batch = self._take()
            try:
                self._write([item for item, _ in batch])
            finally:
                with self._changed:
                    self._items -= len(batch)
                    self._bytes -= sum(size for _, size in batch)
                    self._changed.notify_all()
            batch.clear()  # the loop's variable would hold the bytes until the next
        self._finish()

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
        """Take nothing more, and wait until everything is written, or give it up.

        Args:
            timeout: Seconds.
        """
        with self._changed:
            self._is_exiting = True
            self._changed.notify_all()
        if self.thread is not None:
            self.thread.join(timeout)
        with self._changed:
            left = [item for item, _ in self._waiting]
            self._waiting.clear()
        if left:
            self._give_up(left)

    def _close_at_exit(self) -> None:
        if self.thread is not None:
            self.close(self._shutdown_seconds())
