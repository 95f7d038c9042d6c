"""Write the rows of requests that are over: at once, or by the background thread.

Whatever fails in here is counted and logged, and said on the row where one can be
written. What cannot be written goes to the spool folder, if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connections

from request_images import signals
from request_images.conf import conf
from request_images.db.errors import Fault, fault_of
from request_images.exceptions import StorageError, StoreUnavailable
from request_images.health import count, report
from request_images.storage.breaker import Breaker

from . import rows
from .background import Backlog
from .degrade import is_smaller, smaller
from .notify import announce, tell
from .record import Job, Record
from .rows import usable_connection
from .spool.spooling import set_aside, write_spooled_now_and_then


def write(job: Job, *, is_handled: bool, is_last_use: bool) -> None:
    """Write the rows of a request that is over, and tell the receivers of signals.

    Args:
        job: The request.
        is_handled: Whether a server handled the request; not a test, nor a direct call
            of the view: these want to see their row at once.
        is_last_use: Whether this thread will not use its database connection again.
    """
    if is_handled and conf.WRITE_MODE == "background" and _is_put_off(job):
        return
    with usable_connection(is_handled=is_handled, is_last_use=is_last_use):
        write_jobs([job])


def _is_put_off(job: Job) -> bool:
    max_bytes = int(conf.BACKLOG_MAX_MB * 1024 * 1024)
    max_items = conf.BACKLOG_MAX_REQUESTS
    if backlog.put(job, job.size, max_bytes=max_bytes, max_items=max_items):
        return True
    if conf.BACKLOG_WHEN_FULL == "write" or not backlog.is_open:
        return False
    count("dropped")
    job.drop_image()
    if not backlog.put(job, job.size, max_bytes=max_bytes, max_items=max_items):
        count("lost")  # there is no room even for the log
    return True


def write_jobs(jobs: Sequence[Job]) -> None:
    """Examine requests and write them, in one transaction if that works."""
    records = [job.examined() for job in jobs]
    failure = _save(records)
    is_in_doubt = failure is not None and fault_of(failure) is Fault.AWAY
    for job, record in zip(jobs, records, strict=True):
        # One row that cannot be written must not cost the others theirs.
        alone = failure
        if failure is not None and len(jobs) > 1:
            alone = _save([record], is_in_doubt=is_in_doubt)
        try:
            _settle(job, record, alone)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            count("lost")
            report("settle", exception)
        # A failure's traceback knows the frames that know these.
        job.let_go()
        record.let_go()
    if failure is None:
        write_spooled_now_and_then()


def _save(records: Sequence[Record], *, is_in_doubt: bool = False) -> Exception | None:
    if not breaker.allows():
        return StoreUnavailable("not tried: it has just failed several times")
    try:
        rows.save_once(records, is_in_doubt=is_in_doubt)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("store", exception)
        _tell_breaker(exception, has_bytes=any(r.with_bytes for r in records))
        return exception
    breaker.succeeded()
    return None


def _tell_breaker(exception: Exception, *, has_bytes: bool) -> None:
    fault = fault_of(exception)
    # One content that is locked, or one row that is refused, is no reason to leave
    # the others out. A log that cannot be written for a lock is.
    if fault is Fault.AWAY or (fault is Fault.BUSY and not has_bytes):
        breaker.failed()


def _settle(job: Job, record: Record, failure: Exception | None) -> None:
    """Make the best of a request that was written, or could not be."""
    if failure is None:
        announce(record, failure=job.failure)
    elif _is_passing(failure) and set_aside(record):
        return  # image and all
    elif (written := _save_less(record, failure)) is not None:
        is_less = is_smaller(written, record)
        announce(written, failure=failure if is_less else job.failure)
        written.let_go()
    elif not set_aside(record):
        count("lost")
        tell(signals.capture_failed, log=None, exception=failure)


def _is_passing(failure: Exception) -> bool:
    if isinstance(failure, StorageError):
        return failure.is_passing
    return fault_of(failure) in (Fault.BUSY, Fault.CONFLICT)


def _save_less(record: Record, failure: Exception) -> Record | None:
    """Write as much of a refused record as is taken; None when nothing is.

    A row without its image still says that there was a request, and why.
    """
    failures = [failure]
    for less in smaller(record, failures):
        error = _save([less])
        if error is None:
            return less
        failures.append(error)
    return None


def _write_batch(jobs: Sequence[Job]) -> None:
    try:
        with usable_connection(is_handled=True, is_last_use=False):
            write_jobs(jobs)
    except BaseException as exception:  # noqa: BLE001  # a thread has nobody to tell
        count("lost", len(jobs))
        report("backlog", exception)


def _give_up(jobs: Sequence[Job]) -> None:
    """Put aside what the exit of the process cannot wait for."""
    lost = 0
    for job in jobs:
        lost += not set_aside(job.examined())
    if lost:
        count("lost", lost)
        report("exit", StoreUnavailable(f"{lost} requests were not written in time"))


breaker = Breaker()
backlog: Backlog[Job] = Backlog(
    _write_batch,
    give_up=_give_up,
    finish=connections.close_all,
    shutdown_seconds=lambda: conf.SHUTDOWN_SECONDS,
)
