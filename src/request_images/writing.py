"""The work behind the response: find the image, decide, inspect, write, tell.

Whatever fails in here is counted and logged, and said on the row where one can be
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.db import connections, router
from django.dispatch import Signal

from . import policy, signals, storing
from .columns import clean_text
from .formats import sniff
from .health import report
from .inspection import inspect
from .models import RequestImage, RequestLog
from .outcome import CaptureStatus
from .payload import Payload
from .policy import Decision
from .sources import Candidate, Source, find


def is_image(head: bytes) -> bool:
    """Tell whether an image of a known format begins here."""
    return sniff(head) is not None


@contextmanager
def usable_connection(*, is_handled: bool, is_last_use: bool) -> Iterator[None]:
    """See to it that our database connection is fit for use, and is not left behind.

    Args:
        is_handled: Whether Django's handler has called the view, and is done with the
            connection. Whoever called it directly goes on using it.
        is_last_use: Whether this thread will never use it again. What was opened here
            is closed then, whatever ``CONN_MAX_AGE`` says: nobody else would.
    """
    connection = connections[router.db_for_write(RequestLog)]
    if connection.in_atomic_block:  # a test's transaction is not ours to end
        yield
        return
    was_closed = connection.connection is None
    if not was_closed and is_handled and not connection.get_autocommit():
        # What the view left open is rolled back by Django in a moment, and our rows
        # would be with it.
        connection.close()
    try:
        yield
    finally:
        if was_closed and is_last_use:
            connection.close()


def write(
    log: RequestLog, collect: Callable[[], Payload], sources: Sequence[Source]
) -> None:
    """Write the row of a request that is over, and tell the receivers of signals.

    Args:
        log: The unsaved log, complete but for its image.
        collect: Returns what was seen of the request's body.
        sources: Where its image is looked for; empty for "wherever it fits".
    """
    image: RequestImage | None = None
    data: bytes | None = None
    failure: Exception | None = None
    try:
        payload = collect()
        candidate, log.image_count = find(payload, sources, is_image)
        decision, image, data = _judge(candidate, payload)
    except Exception as exception:  # noqa: BLE001
        report("inspection", exception)
        failure = exception
        decision = _failed(exception)
    _describe(log, decision)
    store_failure = _save(log, image, data)
    if store_failure is not None and data is not None:
        # A row without its image still says that there was a request, and why.
        _describe(log, _failed(store_failure))
        failure, data = store_failure, None
        store_failure = _save(log, image, None)
    if store_failure is not None and image is not None:
        # Whatever it is that a column does not take.
        image = None
        failure = failure or store_failure
        _describe(log, _failed(failure))
        store_failure = _save(log, None, None)
    if store_failure is not None:
        _tell(signals.capture_failed, log=None, exception=store_failure)
    elif failure is not None:
        _tell(signals.capture_failed, log=log, exception=failure)
    elif data is not None:
        _tell(signals.image_saved, log=log, image=image)
    else:
        _tell(signals.image_skipped, log=log, image=image)


def _judge(
    candidate: Candidate | None, payload: Payload
) -> tuple[Decision, RequestImage | None, bytes | None]:
    if candidate is None:
        decision = policy.decide_unseen(
            was_read=payload.was_read, expected_size=payload.expected_size
        )
        return decision, None, None
    image = RequestImage(
        source=clean_text(candidate.source, 200), file_size=candidate.size
    )
    if image_format := sniff(candidate.head):
        image.mime_type = image_format.mime_type
    early = policy.decide_without_bytes(candidate)
    data = candidate.data
    if data is None or (early is not None and not candidate.complete):
        # Half an image has no hash that another could share.
        return early or Decision(CaptureStatus.UNREAD), image, None
    info = inspect(data)
    image.image_hash = info.image_hash
    image.file_size = info.file_size
    image.width, image.height = info.width, info.height
    decision = early or policy.decide(info)
    return decision, image, data if decision.keeps else None


def _describe(log: RequestLog, decision: Decision) -> None:
    log.capture_status = decision.status
    log.capture_detail = clean_text(decision.detail, 200)


def _failed(exception: Exception) -> Decision:
    detail = f"{type(exception).__name__}: {exception}"
    return Decision(CaptureStatus.STORE_FAILED, detail)


def _save(
    log: RequestLog, image: RequestImage | None, data: bytes | None
) -> Exception | None:
    before = storing.open_connection()
    try:
        try:
            storing.save(log, image, data)
        except Exception:
            if not storing.has_lost(before):
                raise
            storing.save(log, image, data)  # over a new one
    except Exception as exception:  # noqa: BLE001
        report("store", exception)
        return exception
    return None


def _tell(signal: Signal, **arguments: object) -> None:
    for receiver, answer in signal.send_robust(sender=RequestLog, **arguments):
        if isinstance(answer, Exception):
            report(f"receiver {receiver!r}", answer)
