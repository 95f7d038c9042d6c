"""Write the rows of requests that are over: at once, or by the background thread.

Every failure in here is counted and logged, and given on the row where one can be
written. What cannot be written takes the steps of `fallback`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import cast

from django.db import Error, close_old_connections, connections

from request_images import signals
from request_images.conf import conf
from request_images.db.deadline import NoAnswer
from request_images.db.destination import Destination, entered
from request_images.db.errors import Fault, fault_of
from request_images.db.limits import time_limit
from request_images.exceptions import StoreUnavailable
from request_images.health import count, report
from request_images.storage.breaker import Breakers

from . import rows
from .background import ExitPhase, WriteQueue, run_at_exit
from .connection import usable_connection
from .degrade import lacks_bytes, smaller_copies
from .fallback import Step, steps_after
from .losses import ledger, lost
from .modes import write_mode
from .notify import send, send_signals
from .probe import try_write
from .record import Job, Record
from .spool.spooling import drain_soon, save_to_spool
from .task_queue import tasks_put_off

Wait = Callable[[Job], bool]
"""Keeps a job, to be written again later; returns False if it cannot."""


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
        _lose(job, job.failure, "destination")
    elif not is_handled:
        _write_to(job.destination, [job], is_handled=False, is_last_use=is_last_use)
    else:
        _write_handled(job, job.destination, is_last_use=is_last_use)
        drain_soon()


def _write_handled(job: Job, where: Destination, *, is_last_use: bool) -> None:
    mode = write_mode(is_last_use=is_last_use)
    if mode == "spool" and save_to_spool(job):
        job.free()
    elif mode != "after_response":  # a full folder, too
        _enqueue(job, is_last_use=is_last_use)
    # While a database fails, the background thread tests whether it is back: that may
    # take a while.
    elif breakers.is_closed(where) or not _put(job):
        _write_now(job, where, is_last_use=is_last_use)


def _enqueue(job: Job, *, is_last_use: bool) -> None:
    if _put(job, conf.BACKLOG_WAIT_SECONDS):
        return
    if not queue.is_open:  # the process exits, or the system starts no thread
        _write_now(job, cast("Destination", job.destination), is_last_use=is_last_use)
    elif save_to_spool(job):
        job.free()
    else:
        count("dropped")
        images = len(job.examine().with_bytes)
        job.drop_images()
        failure = StoreUnavailable("there was no room in the queue")
        if _put(job):
            _count_lost(job, failure, "queue", requests=0, images=images)
        else:
            _lose(job, failure, "queue", images)


def _put(job: Job, seconds: float = 0.0) -> bool:
    return queue.put(
        job,
        job.size,
        max_bytes=int(conf.BACKLOG_MAX_MB * 1024 * 1024),
        max_items=conf.BACKLOG_MAX_REQUESTS,
        seconds=seconds,
    )


def _write_now(job: Job, where: Destination, *, is_last_use: bool) -> None:
    with time_limit(conf.AFTER_RESPONSE_SECONDS):
        _write_to(where, [job], wait=_put, is_handled=True, is_last_use=is_last_use)


def _write_to(
    where: Destination,
    jobs: Sequence[Job],
    wait: Wait | None = None,
    *,
    is_handled: bool,
    is_last_use: bool,
) -> None:
    with ExitStack() as stack:
        if is_handled:
            stack.enter_context(tasks_put_off())
        try:
            stack.enter_context(
                usable_connection(
                    where.alias, is_handled=is_handled, is_last_use=is_last_use
                )
            )
            _enter(where, stack, is_handled=is_handled)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("destination", exception)
            for job in jobs:
                if save_to_spool(job):
                    job.free()
                elif wait is None or not wait(job):
                    _lose(job, exception, "destination")
        else:
            is_written = write_jobs(jobs, wait)
            if is_handled:
                drain_soon(is_healthy=is_written)


def _enter(where: Destination, stack: ExitStack, *, is_handled: bool) -> None:
    try:
        stack.enter_context(entered(where))
    except Error:
        if not is_handled:  # the caller goes on using its connections
            raise
        # The project's function asks a database, and this thread may have a connection
        # that the server has closed. Django replaces it between requests only.
        close_old_connections()
        stack.enter_context(entered(where))


def _lose(
    job: Job, failure: Exception | None, place: str = "store", dropped: int = 0
) -> None:
    images = dropped + len(job.examine().with_bytes)
    _count_lost(job, failure, place, images=images)
    send(signals.capture_failed, log=None, exception=failure)
    job.free()


def _count_lost(
    job: Job, failure: Exception | None, place: str, *, requests: int = 1, images: int
) -> None:
    why = job.refusal or failure or "Unknown"
    place = "spool" if job.refusal else place
    lost(place, why, requests=requests, images=images, where=job.destination)


def write_jobs(jobs: Sequence[Job], wait: Wait | None = None) -> bool:
    """Examine requests of one destination, and write them in one transaction.

    Args:
        jobs: The requests.
        wait: Keeps a request that cannot be written now; None if nobody can.

    Returns:
        Whether the transaction was committed.
    """
    records = [job.examine() for job in jobs]
    failure = _save(records)
    # One row that cannot be written must not cost the others theirs. If the breaker is
    # open, it does not let them through either.
    is_tried_alone = len(jobs) > 1 and not isinstance(failure, StoreUnavailable)
    for job, record in zip(jobs, records, strict=True):
        own_failure = failure
        if failure is not None and is_tried_alone:
            own_failure = _save([record])
        try:
            is_over = _finish(job, record, own_failure, wait)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            is_over = True
            lost("finish", exception, where=record.destination)
            report("finish", exception)
        if is_over:
            # A failure's traceback refers to the frames that refer to these.
            job.free()
            record.free()
    return failure is None


def _save(records: Sequence[Record]) -> Exception | None:
    where = records[0].destination
    if not breakers.allows(where):
        return StoreUnavailable("not tried: it has just failed several times")
    try:
        rows.save_once(records)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("store", exception)
        if fault_of(exception) is Fault.AWAY:
            for record in records:
                record.is_in_doubt = True
        # A refused row says nothing about other rows. A lock counts as a failure, as it
        # may be on a whole table; if it is on one content, another row ends the count.
        if fault_of(exception) in (Fault.AWAY, Fault.BUSY):
            # A silent database would cost each of five threads its time.
            breakers.failed(where, opens=isinstance(exception, NoAnswer))
            ledger.failed(where, exception)
        else:
            breakers.succeeded(where)
        return exception
    breakers.succeeded(where)
    ledger.succeeded(where)
    return None


def _finish(
    job: Job, record: Record, failure: Exception | None, wait: Wait | None
) -> bool:
    """Send the signals of a written request; take the steps of one that is not.

    Returns:
        False if the request waits, to be written again.
    """
    if failure is None:
        send_signals(record, failure=job.failure)
        return True
    for step in steps_after(failure):
        if step is Step.SPOOL and save_to_spool(job):
            return True  # with its images
        if step is Step.WAIT and wait is not None and not _is_refused(failure, wait):
            if wait(job):
                return False
        elif step is Step.LESS and (written := _save_less(record, failure)):
            is_less = lacks_bytes(written, record)
            send_signals(written, failure=failure if is_less else job.failure)
            written.free()
            return True
    _lose(job, failure)
    return True


def _is_refused(failure: Exception, wait: Wait) -> bool:
    """Tell whether the database refuses this request alone, whatever the error says.

    Some drivers lose the connection over a row that is too large. The request's own
    thread does not ask: it has little time.
    """
    is_asked = wait is not _put and fault_of(failure) is Fault.AWAY
    return (
        is_asked and not isinstance(failure, StoreUnavailable) and try_write() is None
    )


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


def _write_batch(jobs: Sequence[Job]) -> Sequence[Job]:
    """Write jobs in the background thread; return those to write again."""
    by_destination: dict[Destination, list[Job]] = {}
    for job in jobs:
        by_destination.setdefault(cast("Destination", job.destination), []).append(job)
    again: list[Job] = []

    def wait(job: Job) -> bool:
        again.append(job)
        return True

    for where, group in by_destination.items():
        try:
            _write_to(where, group, wait, is_handled=True, is_last_use=False)
        except BaseException as exception:  # noqa: BLE001  # nobody would see it
            lost("backlog", exception, requests=len(group), where=where)
            report("backlog", exception)
    return again


def _give_up(jobs: Sequence[Job]) -> None:
    """Spool the requests that are left at the exit of the process."""
    left = [job for job in jobs if not save_to_spool(job)]
    failure = StoreUnavailable(f"{len(left)} requests were not written in time")
    for job in left:
        _lose(job, failure, "exit")
    if left:
        report("exit", failure)


breakers = Breakers()
# What waits for a database has one more try at the exit, before the queue is closed.
run_at_exit(breakers.reset, ExitPhase.QUEUES)
queue: WriteQueue[Job] = WriteQueue(
    _write_batch,
    give_up=_give_up,
    finish=connections.close_all,
    shutdown_seconds=lambda: conf.SHUTDOWN_SECONDS,
)
