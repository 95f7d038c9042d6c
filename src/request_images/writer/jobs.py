"""Write the rows of requests that are over: at once, or by the background thread.

Every failure in here is counted and logged, and given on the row where one can be
written. What cannot be written goes to the spool folder, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import cast

from django.db import Error, close_old_connections, connections

from request_images import signals
from request_images.conf import conf
from request_images.db.destination import Destination, entered
from request_images.db.errors import Fault, fault_of
from request_images.exceptions import StorageError, StoreUnavailable
from request_images.health import count, report
from request_images.storage.breaker import Breakers

from . import rows
from .background import WriteQueue
from .degrade import lacks_bytes, smaller_copies
from .notify import send, send_signals
from .record import Job, Record
from .rows import usable_connection
from .spool.spooling import save_to_spool, write_spooled_if_due


def write(job: Job, *, is_handled: bool, is_last_use: bool) -> None:
    """Write the rows of a request that is over, and send its signals.

    Args:
        job: The request.
        is_handled: Whether a server handled the request. Tests and direct calls of the
            view want to see their row at once.
        is_last_use: Whether this thread will not use its database connection again.
    """
    if job.destination is None:
        # In any other place than the view's, another tenant might see it.
        count("lost")
        send(signals.capture_failed, log=None, exception=job.failure)
    elif not (is_handled and conf.WRITE_MODE == "background" and _enqueue(job)):
        where = job.destination
        _write_to(where, [job], is_handled=is_handled, is_last_use=is_last_use)


def _write_to(
    where: Destination, jobs: Sequence[Job], *, is_handled: bool, is_last_use: bool
) -> None:
    with ExitStack() as stack:
        try:
            stack.enter_context(
                usable_connection(
                    where.alias, is_handled=is_handled, is_last_use=is_last_use
                )
            )
            _enter(where, stack)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("destination", exception)
            for job in jobs:
                _set_aside(job, exception)
        else:
            write_jobs(jobs)


def _enter(where: Destination, stack: ExitStack) -> None:
    try:
        stack.enter_context(entered(where))
    except Error:
        # The project's function asks a database, and this thread may have a connection
        # that the server has closed. Django replaces it between requests only.
        close_old_connections()
        stack.enter_context(entered(where))


def _set_aside(job: Job, failure: Exception) -> None:
    if not save_to_spool(job.examine()):
        count("lost")
        send(signals.capture_failed, log=None, exception=failure)
    job.free()


def _enqueue(job: Job) -> bool:
    max_bytes = int(conf.BACKLOG_MAX_MB * 1024 * 1024)
    max_items = conf.BACKLOG_MAX_REQUESTS
    if queue.put(job, job.size, max_bytes=max_bytes, max_items=max_items):
        return True
    if conf.BACKLOG_WHEN_FULL == "write" or not queue.is_open:
        return False
    count("dropped")
    job.drop_images()
    if not queue.put(job, job.size, max_bytes=max_bytes, max_items=max_items):
        count("lost")  # there is no room even for the log
    return True


def write_jobs(jobs: Sequence[Job]) -> None:
    """Examine requests of one destination, and write them in one transaction."""
    records = [job.examine() for job in jobs]
    failure = _save(records)
    is_in_doubt = failure is not None and fault_of(failure) is Fault.AWAY
    for job, record in zip(jobs, records, strict=True):
        # One row that cannot be written must not cost the others theirs.
        own_failure = failure
        if failure is not None and len(jobs) > 1:
            own_failure = _save([record], is_in_doubt=is_in_doubt)
        try:
            _finish(job, record, own_failure)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            count("lost")
            report("finish", exception)
        # A failure's traceback refers to the frames that refer to these.
        job.free()
        record.free()
    if failure is None:
        write_spooled_if_due()


def _save(records: Sequence[Record], *, is_in_doubt: bool = False) -> Exception | None:
    where = records[0].destination
    if not breakers.allows(where):
        return StoreUnavailable("not tried: it has just failed several times")
    try:
        rows.save_once(records, is_in_doubt=is_in_doubt)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("store", exception)
        # A refused row says nothing about other rows. A lock counts as a failure, as it
        # may be on a whole table; if it is on one content, another row ends the count.
        if fault_of(exception) in (Fault.AWAY, Fault.BUSY):
            breakers.failed(where)
        else:
            breakers.succeeded(where)
        return exception
    breakers.succeeded(where)
    return None


def _finish(job: Job, record: Record, failure: Exception | None) -> None:
    """Send the signals of a written request; save as much as possible of another."""
    if failure is None:
        send_signals(record, failure=job.failure)
        return
    may_pass = _is_temporary(failure)
    if may_pass and save_to_spool(record):
        return  # with its images
    written = _save_less(record, failure)
    if written is not None:
        is_less = lacks_bytes(written, record)
        send_signals(written, failure=failure if is_less else job.failure)
        written.free()
    elif may_pass or not save_to_spool(record):
        count("lost")
        send(signals.capture_failed, log=None, exception=failure)


def _is_temporary(failure: Exception) -> bool:
    if isinstance(failure, StorageError):
        return failure.is_passing
    return fault_of(failure) is not Fault.ROW


def _save_less(record: Record, failure: Exception) -> Record | None:
    """Write the largest copy of a refused record that is accepted, and return it.

    A row without its image still shows that there was a request, and why.
    """
    failures = [failure]
    for less in smaller_copies(record, failures):
        error = _save([less])
        if error is None:
            return less
        failures.append(error)
    return None


def _write_batch(jobs: Sequence[Job]) -> None:
    by_destination: dict[Destination, list[Job]] = {}
    for job in jobs:
        by_destination.setdefault(cast("Destination", job.destination), []).append(job)
    for where, group in by_destination.items():
        try:
            _write_to(where, group, is_handled=True, is_last_use=False)
        except BaseException as exception:  # noqa: BLE001  # nobody would see it
            count("lost", len(group))
            report("backlog", exception)


def _give_up(jobs: Sequence[Job]) -> None:
    """Spool the requests that are left at the exit of the process."""
    lost = 0
    for job in jobs:
        lost += not save_to_spool(job.examine())
    if lost:
        count("lost", lost)
        report("exit", StoreUnavailable(f"{lost} requests were not written in time"))


breakers = Breakers()
queue: WriteQueue[Job] = WriteQueue(
    _write_batch,
    give_up=_give_up,
    finish=connections.close_all,
    shutdown_seconds=lambda: conf.SHUTDOWN_SECONDS,
)
