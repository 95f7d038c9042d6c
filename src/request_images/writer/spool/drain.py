"""Write the requests of the spool folder, in batches, each exactly once.

If the database refuses a row for its values, a smaller copy is written; if it refuses
all of them, the request is quarantined. Requests wait while the database accepts none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.db import close_old_connections, connections

from request_images import signals
from request_images.conf import conf
from request_images.db.destination import Destination, entered, require
from request_images.health import count, report
from request_images.writer.background import BATCH_BYTES, BATCH_ITEMS
from request_images.writer.connection import usable_connection
from request_images.writer.degrade import lacks_bytes, smaller_copies
from request_images.writer.notify import send, send_signals
from request_images.writer.probe import is_temporary, try_write
from request_images.writer.record import Job, Record
from request_images.writer.rows import save_once

from .folder import Entry, Spool

if TYPE_CHECKING:
    from typing_extensions import Self

Loader = Callable[[Mapping[str, Any], bytes], Job]
"""Returns the job of a document and its bytes, as `Job.dump` gave them."""


@dataclass
class SpoolResult:
    """The result of writing the requests of the spool folder.

    Attributes:
        written: Requests that were written just now.
        known: Requests whose row existed already: a process was killed after writing
            it.
        failed: Requests that were tried and stay, because the database does not accept
            them now.
        bad: Requests that were quarantined, because it never will.
    """

    written: int = 0
    known: int = 0
    failed: int = 0
    bad: int = 0

    @classmethod
    def sum(cls, results: Iterable[SpoolResult]) -> SpoolResult:
        """Return what several results count together."""
        return cls(*map(sum, zip((0,) * 4, *map(astuple, results), strict=True)))

    @property
    def done(self) -> int:
        """Requests that wait no longer."""
        return self.written + self.known + self.bad


def set_loader(load: Loader) -> None:
    """Set the function of the capture, which this module cannot import."""
    global _load  # noqa: PLW0603  # there is one
    _load = load


_load: Loader | None = None


def write_waiting(
    spool: Spool,
    refused: set[str],
    *,
    is_last_use: bool,
    is_stopping: Callable[[], bool] = lambda: False,
) -> dict[str, SpoolResult]:
    """Write what waits in a folder, the oldest first. The caller reads it alone.

    Args:
        spool: The folder.
        refused: Groups to leave out; those that are refused now are added.
        is_last_use: Whether to close the connections that were opened.
        is_stopping: Tells before each batch whether to leave the others.

    Returns:
        The result of each group that was tried.

    Raises:
        OSError: The folder cannot be read.
    """
    if _load is None:  # nothing must be set aside as bad for this
        raise RuntimeError("request_images.capture.examine is not imported.")
    results: dict[str, SpoolResult] = {}
    with _Places(is_last_use) as places:
        for batch in _batches(spool.take(refused)):
            if is_stopping():
                break
            group = batch[0].group
            result = results.setdefault(group, SpoolResult())
            if not _Batch(spool, places, result, _load).write(batch):
                refused.add(group)  # it must not hold up the others
    return results


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Yield entries of one group each; only one batch is in memory."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        is_full = len(batch) == BATCH_ITEMS or size + len(entry.data) > BATCH_BYTES
        if batch and (is_full or entry.group != batch[0].group):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.data)
    if batch:
        yield batch


class _Places(ExitStack):
    """The destinations of requests, and the connections that are used."""

    def __init__(self, is_last_use: bool) -> None:
        super().__init__()
        self._is_last_use = is_last_use

    def __enter__(self) -> Self:
        self._aliases: set[str] = set()
        self._known: set[Destination] = set()
        return super().__enter__()

    @contextmanager
    def entered(self, where: Destination) -> Iterator[None]:
        """Enter a destination; raise any exception if that is not possible."""
        if where.alias not in self._aliases:
            self._aliases.add(where.alias)
            self.enter_context(
                usable_connection(
                    where.alias, is_handled=False, is_last_use=self._is_last_use
                )
            )
        # Before anything is examined: the database may be down for long.
        connections[where.alias].ensure_connection()
        if where not in self._known:
            require(where)
            self._known.add(where)
        with entered(where):
            yield


@dataclass
class _Batch:
    """Writes requests that are in memory together: of one destination, mostly."""

    spool: Spool
    places: _Places
    result: SpoolResult
    load: Loader

    def write(self, entries: Sequence[Entry]) -> bool:
        """Write a batch; False if its database accepts no rows now."""
        by_destination: dict[Destination, list[tuple[Entry, Job]]] = {}
        for entry in entries:
            if (job := self._job_of(entry)) is not None:
                where = job.destination or Destination()
                by_destination.setdefault(where, []).append((entry.emptied(), job))
        are_written = [self._write_to(*given) for given in by_destination.items()]
        return all(are_written)

    def _write_to(self, where: Destination, jobs: Sequence[tuple[Entry, Job]]) -> bool:
        with ExitStack() as stack:
            try:
                stack.enter_context(self.places.entered(where))
            except Exception as error:  # noqa: BLE001  # it may be back later
                report("spool", error)
                close_old_connections()  # one that is lost would fail again
                self.result.failed += len(jobs)
                return False
            return self._write_together(jobs) or all(
                self._write_one(entry, job) for entry, job in jobs
            )

    def _job_of(self, entry: Entry) -> Job | None:
        try:
            return self.load(entry.document, entry.data)
        except Exception as error:  # noqa: BLE001  # this is no request
            report("spool", error)
            self._set_aside(entry, error)
            return None

    def _write_together(self, jobs: Sequence[tuple[Entry, Job]]) -> bool:
        if len(jobs) == 1:
            return False
        try:
            new = save_once([_examined(job) for _, job in jobs])
        except Exception as error:  # noqa: BLE001  # each is tried by itself
            report("spool", error)
            return False
        self._finish(jobs, new)
        return True

    def _finish(self, jobs: Sequence[tuple[Entry, Job]], new: Sequence[Record]) -> None:
        self.spool.remove([entry for entry, _ in jobs])
        written = {id(record) for record in new}
        for _, job in jobs:
            record = job.examine()
            if id(record) in written:
                self._tell(record, job.failure)
            else:
                self.result.known += 1

    def _tell(self, record: Record, failure: Exception | None) -> None:
        self.result.written += 1
        count("unspooled")
        send_signals(record, failure=failure)

    def _write_one(self, entry: Entry, job: Job) -> bool:
        """Write one request; False if the database accepts no rows now."""
        failures: list[Exception] = []
        try:
            record = _examined(job)
            for less in chain((record,), smaller_copies(record, failures)):
                try:
                    is_new = bool(save_once([less]))
                except Exception as error:  # noqa: BLE001  # ours, never the request's
                    report("spool", error)
                    failures.append(error)
                else:
                    self.spool.remove([entry])
                    if is_new:
                        is_less = lacks_bytes(less, record)
                        self._tell(less, failures[0] if is_less else job.failure)
                    else:
                        self.result.known += 1
                    return True
                if try_write() is not None:
                    self.result.failed += 1
                    return False
                if is_temporary(failures[-1]):
                    self.result.failed += 1  # it is tried again with the next look
                    return True
        except Exception as error:  # noqa: BLE001  # this is no request
            report("spool", error)
            failures.append(error)
        self._set_aside(entry, failures[-1])
        return True

    def _set_aside(self, entry: Entry, error: Exception) -> None:
        self.result.bad += 1
        self.spool.quarantine(entry)
        send(signals.capture_failed, log=None, exception=error)


def _examined(job: Job) -> Record:
    record = job.examine()
    # No other process reads the folder. The row may exist all the same: a process was
    # killed before it could mark the request, or lost its connection in the commit.
    record.is_in_doubt = True
    return record


def sweep(spool: Spool) -> None:
    """Delete old bad files of a folder.

    Raises:
        OSError: The folder cannot be read or written.
    """
    days = conf.RETENTION_DAYS  # bad files hold images, too
    spool.sweep(None if days is None else days * 86_400.0)
