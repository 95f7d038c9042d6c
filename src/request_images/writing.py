"""The work behind the response: write at once or in the background, and tell.

Whatever fails in here is counted and logged, and said on the row where one can be
written. What cannot be written goes to the spool folder, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import connections
from django.dispatch import Signal

from . import judging, signals, storing
from .backlog import Backlog
from .breaker import Breaker
from .conf import conf
from .exceptions import StoreUnavailable
from .health import count, report
from .judging import Job, judge
from .models import RequestLog
from .payload import Payload
from .spooling import set_aside, write_spooled_now_and_then
from .storing import Record, usable_connection


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
    if is_handled and conf.WRITE_MODE == "background" and _is_put_off(job):
        return
    with usable_connection(is_handled=is_handled, is_last_use=is_last_use):
        write_jobs([job])


def _is_put_off(job: Job) -> bool:
    max_bytes = int(conf.BACKLOG_MAX_MB * 1024 * 1024)
    max_items = conf.BACKLOG_MAX_REQUESTS
    if backlog.put(job, job.size, max_bytes=max_bytes, max_items=max_items):
        return True
    if conf.BACKLOG_WHEN_FULL == "write":
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
    for job, record in zip(jobs, records, strict=True):
        # One row that cannot be written must not cost the others theirs.
        if failure is not None and len(jobs) > 1:
            _settle(job, record, _save([record]))
        else:
            _settle(job, record, failure)
    if failure is None:
        write_spooled_now_and_then()


def _save(records: Sequence[Record]) -> Exception | None:
    if not breaker.allows():
        return StoreUnavailable("not tried: it has just failed several times")
    before = storing.open_connection()
    try:
        try:
            storing.save_many(records)
        except Exception:
            if not storing.has_lost(before):
                raise
            storing.save_many(records)  # over a new one
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("store", exception)
        breaker.failed()
        return exception
    breaker.succeeded()
    return None


def _settle(job: Job, record: Record, failure: Exception | None) -> None:
    """Make the best of a request that was written, or could not be."""
    if failure is not None and record.image is not None:
        failure = _save_without_image(job, record, failure)
    if failure is None:
        _announce(job, record)
        return
    # As it will be when it is written after all.
    judging.describe(record.log, job.decision or judging.failed(failure))
    if not set_aside(record):
        count("lost")
        _tell(signals.capture_failed, log=None, exception=failure)


def _save_without_image(
    job: Job, record: Record, failure: Exception
) -> Exception | None:
    # A row without its image still says that there was a request, and why; and one
    # without all that is known of the image, if it is that which no column takes.
    judging.describe(record.log, judging.failed(failure))
    second = _save([Record(record.log, record.image)])
    if second is not None:
        second = _save([Record(record.log)])
    if second is None:
        job.failure, record.data = failure, None
    return second


def _announce(job: Job, record: Record) -> None:
    log, image = record.log, record.image
    count(str(log.capture_status))
    if job.failure is not None:
        _tell(signals.capture_failed, log=log, exception=job.failure)
    elif record.data is not None:
        _tell(signals.image_saved, log=log, image=image)
    else:
        _tell(signals.image_skipped, log=log, image=image)


def _tell(signal: Signal, **arguments: object) -> None:
    for receiver, answer in signal.send_robust(sender=RequestLog, **arguments):
        if isinstance(answer, Exception):
            report(f"receiver {receiver!r}", answer)


def _write_batch(jobs: Sequence[Job]) -> None:
    try:
        with usable_connection(is_handled=True, is_last_use=False):
            write_jobs(jobs)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        count("lost", len(jobs))
        report("backlog", exception)


breaker = Breaker()
backlog: Backlog[Job] = Backlog(
    _write_batch,
    finish=connections.close_all,
    shutdown_seconds=lambda: conf.SHUTDOWN_SECONDS,
)
