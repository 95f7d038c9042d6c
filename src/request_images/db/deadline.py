"""A deadline for a database connection that holds even if the server is silent.

The limits of `transactions` are kept by the server. One that is frozen, or behind a
network that drops packets, keeps none, and its driver waits for minutes. So a thread of
this process shuts the connection's socket down, and the driver raises an error at once.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from request_images.conf import conf
from request_images.health import report

from .limits import seconds_left

_WITH_SOCKET = frozenset({"postgresql", "mysql"})

POLL_SECONDS = 0.05
"""How late the thread may notice that a deadline has passed."""

_ACTIVE_SECONDS = 1.0
"""How long the thread looks again and again after the last block."""

_IDLE_SECONDS = 60.0

_GRACE_SECONDS = 0.2

_BYTES_A_SECOND = 1024 * 1024
"""A slow way to the database takes this many."""


class NoAnswer(OperationalError):
    """The database did not answer in time; the connection to it is closed."""


def write_deadline(using: str, size: int = 0) -> AbstractContextManager[None]:
    """Limit the time for which a write of so many bytes waits for its database.

    The limits that the server keeps come first: its error leaves the connection usable.
    A transaction that is open already (a test's) has no limit: it is not ours to end.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        return nullcontext()
    # MariaDB waits for a lock for a second at least.
    seconds = 1 + 2 * max(1, conf.LOCK_TIMEOUT_SECONDS) + size / _BYTES_A_SECOND
    left = seconds_left()
    return deadline(connection, min(seconds, left and left + _GRACE_SECONDS))


@contextmanager
def deadline(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    """Let a block wait for its database for a limited time, whatever the server does.

    When the time is up, the connection breaks, and the block cannot open another one.
    The time for connecting is limited, too: in whole seconds, at least 2 on PostgreSQL,
    unless the project's ``OPTIONS`` limit it. SQLite has no server to wait for.

    Args:
        connection: The connection of this thread, which ``connections`` returns.
        seconds: The time for the whole block.

    Raises:
        NoAnswer: The time was up before the block ended.
    """
    if connection.vendor not in _WITH_SOCKET:
        yield
        return
    watch = _Watch(connection, seconds)
    attributes = vars(connection)
    outer = attributes.get("get_new_connection")
    attributes["get_new_connection"] = watch.new_connection
    _watcher.add(watch)
    try:
        yield
    except Exception as error:
        if _watcher.remove(watch):
            raise NoAnswer(watch.message) from error
        raise
    else:
        if _watcher.remove(watch):  # the block has suppressed an error
            raise NoAnswer(watch.message)
    finally:
        del attributes["get_new_connection"]
        if outer is not None:
            attributes["get_new_connection"] = outer
        if _watcher.remove(watch):
            with suppress(Exception):  # to close what is broken is an error to some
                connection.close()


class _Watch:
    """One block, and the socket that it waits for."""

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connect = connection.get_new_connection
        self._seconds = seconds
        self.ends = time.monotonic() + seconds
        self.is_cut = False
        self._socket: tuple[int, os.stat_result] | None = None
        self._note_socket(connection.connection)

    @property
    def message(self) -> str:
        """What has happened when the time was up."""
        return f"the database did not answer within {self._seconds:g} s"

    def new_connection(self, params: dict[str, Any]) -> Any:
        """Return a new connection of the driver, as Django's wrapper does."""
        left = self.ends - time.monotonic()
        if left <= 0:
            self.is_cut = True
            raise NoAnswer(self.message)
        params.setdefault("connect_timeout", math.ceil(left))
        driver_connection = self._connect(params)
        self._note_socket(driver_connection)
        return driver_connection

    def _note_socket(self, driver_connection: Any) -> None:
        # Here, because some drivers answer no other thread.
        with suppress(Exception):  # there is none, or it is closed
            number = driver_connection.fileno()
            self._socket = number, os.fstat(number)

    def cut(self) -> None:
        """Shut the socket down, unless it is closed already."""
        if self._socket is None:
            return
        number, known = self._socket
        with suppress(OSError):
            copied = os.dup(number)
            try:
                # Another thread may have opened a file with the same number.
                if os.path.samestat(os.fstat(copied), known):
                    with socket.socket(fileno=os.dup(copied)) as shared:
                        shared.shutdown(socket.SHUT_RDWR)
                    self.is_cut = True
            finally:
                os.close(copied)


class _Watcher:
    """The thread that cuts blocks off whose time is up: lazy, not inherited."""

    def __init__(self) -> None:
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()
        self._watches: set[_Watch] = set()
        self._was_used = False
        self._is_asleep = False
        self._wake = threading.Event()
        self.thread: threading.Thread | None = None

    def add(self, watch: _Watch) -> None:
        """Watch a block that begins."""
        with self._lock:
            self._watches.add(watch)
            self._was_used = True
            if self._is_asleep:  # else it looks soon: a wake-up would cost a switch
                self._is_asleep = False
                self._wake.set()
            if self.thread is None:
                self._start()

    def remove(self, watch: _Watch) -> bool:
        """Forget a block that has ended; return whether its time was up before."""
        # Not while the thread shuts a socket down: the next block may use it.
        with self._lock:
            self._watches.discard(watch)
        return watch.is_cut

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run, name="request_images-deadline", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as exception:
            # The system starts none; the next use tries. An exiting process starts none
            # since Python 3.12.
            if "shutdown" not in str(exception):
                report("deadline", exception)
        else:
            self.thread = thread

    def _run(self) -> None:
        used_at = time.monotonic()
        while True:
            with self._lock:
                now = time.monotonic()
                if self._watches or self._was_used:
                    used_at, self._was_used = now, False
                for watch in self._watches:
                    if now >= watch.ends:
                        watch.cut()
                if now - used_at > _IDLE_SECONDS:
                    self.thread = None  # the next block starts another
                    return
                self._is_asleep = now - used_at > _ACTIVE_SECONDS
                self._wake.clear()
                pause = _IDLE_SECONDS if self._is_asleep else POLL_SECONDS
            self._wake.wait(pause)


_watcher = _Watcher()
