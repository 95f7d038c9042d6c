"""The spool folder of the settings: requests into it, and the ways they come back.

Requests go into it by ``WRITE_MODE = "spool"``, and if the database cannot take them.
One process at a time writes them: `follow`, or else a lazy thread of a process that has
put or found some.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from request_images.conf import conf
from request_images.db.columns import clean_json
from request_images.db.destination import Destination
from request_images.exceptions import WorkTaken
from request_images.health import count, report, report_faults
from request_images.writer.background import ExitPhase, run_at_exit
from request_images.writer.record import Job
from request_images.writer.task_queue import tasks_put_off

from .drain import SpoolResult, sweep, write_waiting
from .folder import Contents, Spool

POLL_SECONDS = 0.25
"""Interval between two looks into the folder while requests may come."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
"""Intervals between two tries while a database does not accept requests."""
LOOK_SECONDS = 10.0
"""Interval between two looks of a process that has put nothing into the folder."""
IDLE_SECONDS = 5.0
"""How long the folder has nothing for the thread before the thread ends."""
SWEEP_SECONDS = 3600.0
"""Interval between two sweeps of the folder."""

_key = lru_cache(maxsize=256)(lambda where: where.key)


def save_to_spool(job: Job) -> bool:
    """Put a request into the spool folder; False if there is no folder or no room.

    What is put there is what was captured, examined or not. Never raises: the caller
    has other requests to handle.
    """
    try:
        spool = _spool()
        if spool is None:
            return False
        is_kept = _put(spool, job)
    except Exception as error:  # noqa: BLE001  # ours, never the request's
        report("spool", error)
        job.refusal = f"{type(error).__name__}: {error}"
        return False
    if not is_kept:
        job.refusal = "No room: the folder has REQUEST_IMAGES_SPOOL_MAX_MB"
    count("spooled" if is_kept else "spool_full")
    _drainer.is_wanted = _drainer.is_wanted or is_kept
    return is_kept


def _put(spool: Spool, job: Job) -> bool:
    document, data = job.dump()
    group = _key(job.destination or Destination())
    try:
        return spool.put(document, *data, group=group)
    except (TypeError, ValueError, RecursionError):
        # A function of the project has added what JSON cannot hold.
        document["log"]["metadata"] = clean_json(document["log"]["metadata"])
    return spool.put(document, *data, group=group)


def write_spooled() -> SpoolResult:
    """Write the requests in the spool folder, the oldest first, each exactly once.

    Raises:
        WorkTaken: Another process is doing it.
        OSError: The folder cannot be read or written.
    """
    spool = _spool()
    if spool is None or not spool.folder.exists():
        return SpoolResult()
    with spool.reading() as is_ours:
        if not is_ours:
            raise WorkTaken("Another process writes the requests of the spool folder.")
        sweep(spool)
        return SpoolResult.sum(write_waiting(spool, set(), is_last_use=True).values())


def drain_soon(*, is_healthy: bool = False) -> None:
    """Have a thread write what waits in the folder, if there is something.

    Never raises: it is no failure of the caller's write.

    Args:
        is_healthy: Whether the caller has just written a row, so that a database that
            was down may be back.
    """
    try:
        if conf.SPOOL_DIR is not None:
            _drainer.look(is_healthy=is_healthy)
    except Exception as error:  # noqa: BLE001  # ours, never the request's
        report("spool", error)


def spool_contents() -> Contents:
    """Return the numbers of the spool folder.

    Raises:
        OSError: The folder cannot be read.
    """
    spool = _spool()
    return Contents() if spool is None else spool.contents()


class Rounds:
    """Rounds of writing what waits. What fails is tried again after longer and longer.

    Requests of a database that is down do not hold up those of others.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._swept_at = float("-inf")
        self._pauses: dict[str, tuple[float, float]] = {}  # of groups: since, seconds

    @property
    def is_pausing(self) -> bool:
        """Whether requests wait that could not be written."""
        return bool(self._pauses)

    def run(self, spool: Spool, *, is_back: bool = False) -> SpoolResult:
        """Write what waits and is not to pause, as the only reader.

        Args:
            spool: The folder.
            is_back: Whether a database may be back, so that nothing pauses for long.

        Raises:
            OSError: The folder cannot be read or written.
        """
        now = time.monotonic()
        if now - self._swept_at > SWEEP_SECONDS:
            self._swept_at = now
            sweep(spool)
        pausing = {
            group: (since, pause)
            for group, (since, pause) in self._pauses.items()
            if now - since < (FIRST_PAUSE_SECONDS if is_back else pause)
        }
        results = write_waiting(
            spool, set(pausing), is_last_use=False, is_stopping=self._is_stopping
        )
        for group, result in results.items():
            if result.failed:
                before = self._pauses.get(group, (0, FIRST_PAUSE_SECONDS / 2))[1]
                longer = min(2 * before, LONGEST_PAUSE_SECONDS)
                pausing[group] = (now, FIRST_PAUSE_SECONDS if result.done else longer)
        self._pauses = pausing
        return SpoolResult.sum(results.values())


@tasks_put_off()
def follow(stopping: threading.Event, tell: Callable[[str], None]) -> SpoolResult:
    """Write what comes into the spool folder until an event is set.

    Other processes write nothing meanwhile. A database that is down is waited for.

    Args:
        stopping: The event.
        tell: Called with a line when requests cannot be written, and when they can
            again.

    Returns:
        The sum of what was done.

    Raises:
        OSError: The folder could not be read or written at the beginning.
    """
    rounds, total = Rounds(stopping.is_set), SpoolResult()
    is_waiting = False
    with _as_only_reader(stopping) as spool:
        while not stopping.is_set():
            with report_faults("spool"):
                total = SpoolResult.sum([total, rounds.run(spool)])
            if is_waiting != rounds.is_pausing:
                is_waiting = rounds.is_pausing
                tell(_WAITS if is_waiting else _GOES_ON)
            stopping.wait(POLL_SECONDS)
    connections.close_all()
    return total


@contextmanager
def _as_only_reader(stopping: threading.Event) -> Iterator[Spool]:
    while True:
        spool = _spool()
        if spool is None:
            raise ImproperlyConfigured(NO_FOLDER)
        with spool.reading() as is_ours:
            if is_ours or stopping.is_set():
                yield spool
                return
        # There is no folder yet, or a process reads that will end.
        stopping.wait(POLL_SECONDS)


NO_FOLDER = "The setting REQUEST_IMAGES_SPOOL_DIR is not set."
_WAITS = "The database does not accept requests now; they wait in the folder."
_GOES_ON = "The database accepts requests again."


class _Drainer:
    """The thread of a web process that writes while no other process does.

    It is lazy, not inherited over a fork, and ends when nothing waits.

    Attributes:
        is_wanted: Whether this process has put a request into the folder since the
            thread has looked.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the state of this process, as a new process does."""
        # In the child of a fork, a thread of the parent may hold the lock.
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self._is_back = False  # a database, perhaps
        self._next_look = 0.0
        self.is_wanted = False
        self.thread: threading.Thread | None = None

    def look(self, *, is_healthy: bool) -> None:
        """Start the thread if something waits, and look for that from time to time.

        Raises:
            OSError: The folder cannot be read.
            RuntimeError: The system starts no thread.
        """
        if self.thread is not None:
            self._is_back = self._is_back or is_healthy
        elif not self.is_wanted:
            now = time.monotonic()
            if now < self._next_look:
                return
            self._next_look = now + LOOK_SECONDS
            spool = _spool()
            self.is_wanted = spool is not None and not spool.is_empty
        with self._lock:
            is_over = self._is_stopping.is_set()
            if self.is_wanted and self.thread is None and not is_over:
                thread = threading.Thread(
                    target=self._run, name="request_images-spool", daemon=True
                )
                thread.start()
                self.thread = thread

    @tasks_put_off()
    def _run(self) -> None:
        rounds = Rounds(self._is_stopping.is_set)
        idle_since = time.monotonic()
        try:
            while not self._is_over(idle_since):
                if self._round(rounds).done or rounds.is_pausing:
                    idle_since = time.monotonic()
                self._is_stopping.wait(POLL_SECONDS)
        finally:
            connections.close_all()

    def _is_over(self, idle_since: float) -> bool:
        with self._lock:
            is_idle = time.monotonic() - idle_since > IDLE_SECONDS
            is_over = self._is_stopping.is_set() or (is_idle and not self.is_wanted)
            if is_over:
                self.thread = None
            self.is_wanted = False
        return is_over

    def _round(self, rounds: Rounds) -> SpoolResult:
        is_back, self._is_back = self._is_back, False
        with report_faults("spool"):
            spool = _spool()
            if spool is not None:
                with spool.reading() as is_ours:
                    if is_ours:
                        return rounds.run(spool, is_back=is_back)
        return SpoolResult()

    def stop(self) -> None:
        """Let the thread finish its batch, and start no other."""
        self._is_stopping.set()
        if (thread := self.thread) is not None:
            thread.join(conf.SHUTDOWN_SECONDS)


def _spool() -> Spool | None:
    global _current  # noqa: PLW0603  # one for the process
    folder, max_mb = conf.SPOOL_DIR, conf.SPOOL_MAX_MB
    if folder is None:
        return None
    known = _current
    if known is None or known[:2] != (folder, max_mb):
        spool = Spool(folder, int(max_mb * 1024 * 1024))
        _current = known = (folder, max_mb, spool)
    return known[2]


def _reset() -> None:
    """Forget the state of this process, as a new process does."""
    global _current  # noqa: PLW0603  # as above
    _current = None
    _drainer.reset()


_current: tuple[str | os.PathLike[str], float, Spool] | None = None
_drainer = _Drainer()
os.register_at_fork(after_in_child=_reset)
run_at_exit(_drainer.stop, ExitPhase.QUEUES)
