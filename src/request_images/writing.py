"""The work behind the response: write at once or in the background, and tell.

Whatever fails in here is counted and logged, and said on the row where one can be
written. What cannot be written goes to the spool folder, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from django.db import connections

from . import judging, signals, storing
from .announcing import announce, tell
from .backlog import Backlog
from .breaker import Breaker
from .conf import conf
from .exceptions import StorageError, StoreUnavailable
from .faults import Fault, fault_of
from .health import count, report
from .judging import Job, drop_refused, judge
from .outcome import CaptureStatus
from .payload import Payload
from .policy import Decision
from .records import Record
from .spooling import set_aside, write_spooled_now_and_then
from .storing import usable_connection


def write(
    job: Job, collect: Callable[[], Payload], *, is_handled: bool, is_last_use: bool
) -> None:
    """Write the row of a request that is over, and tell the receivers of signals.

    Args:
        job: The request, but for its payload.
        collect: Returns what was seen of the request's body.
        is_handled: Whether a server's request is over; not one of a test, nor a view
            that is called directly: they want to see their row at once.
        is_last_use: Whether this thread will not use its database connection again.
    """
    try:
        job.payload = collect()
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("tap", exception)
        job.failure, job.decision = exception, judging.failed(exception)
    if job.decision is not None:
        job.payload = Payload()  # nobody will look into it
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
    """Look at requests and write them, in one transaction if that works."""
    records = [judge(job) for job in jobs]
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
        job.payload, job.record = Payload(), None
        record.let_go()
    if failure is None:
        write_spooled_now_and_then()


def _save(records: Sequence[Record], *, is_in_doubt: bool = False) -> Exception | None:
    if not breaker.allows():
        return StoreUnavailable("not tried: it has just failed several times")
    before = storing.open_connection()
    try:
        try:
            storing.save_many(storing.unwritten(records) if is_in_doubt else records)
        except Exception:
            if not storing.has_lost(before):
                raise
            storing.save_many(storing.unwritten(records))  # over a new one
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
    if failure is not None and _is_passing(failure) and _is_set_aside(job, record):
        return  # image and all
    if failure is not None:
        failure = _save_less(job, record, failure)
    if failure is None:
        announce(record, failure=job.failure)
    elif not _is_set_aside(job, record):
        count("lost")
        tell(signals.capture_failed, log=None, exception=failure)


def _is_passing(failure: Exception) -> bool:
    if isinstance(failure, StorageError):
        return failure.is_passing
    return fault_of(failure) in (Fault.BUSY, Fault.CONFLICT)


def _is_set_aside(job: Job, record: Record) -> bool:
    # As it will be when it is written after all.
    judging.describe(record.log, cast("Decision", job.decision))  # `judge` decided
    for each in record.further:
        if each.data is not None:
            judging.describe(each.image, Decision(CaptureStatus.STORED))
    return set_aside(record)


def _save_less(job: Job, record: Record, failure: Exception) -> Exception | None:
    """Try again, each time without more of what may be the reason.

    A row without its image still says that there was a request, and why.
    """
    left: Exception | None = failure
    if fault_of(failure) is Fault.ROW:
        judging.make_plain(record)
        left = _save([record])
    if left is None or record.image is None:
        return left
    less = record.copy()
    while left is not None and _is_one_image(left) and drop_refused(less, left):
        left = _save([less])
    if left is not None:
        judging.drop(less.with_bytes or [less], judging.failed(failure))
        left = _save([less])
    if left is not None and fault_of(left) is Fault.ROW:
        judging.drop([less], judging.failed(failure))
        less.image, less.further = None, ()
        left = _save([less])
    if left is None:
        job.failure = failure
        record.data, record.further = less.data, less.further
    return left


def _is_one_image(failure: Exception) -> bool:
    # A database that is away has nothing against this image.
    return isinstance(failure, StorageError) or fault_of(failure) is Fault.ROW


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
        record = judge(job)
        lost += not _is_set_aside(job, record)
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
