"""Telling the receivers of the signals what became of a request."""

from __future__ import annotations

import asyncio

from django.dispatch import Signal

from request_images import signals
from request_images.health import count, report
from request_images.models import RequestLog

from .record import Record


def announce(record: Record, *, failure: BaseException | None = None) -> None:
    """Count a request whose row was written, and tell of it. Never raises.

    Args:
        record: The request, with the bytes of its images that were kept.
        failure: The fault of ours because of which others were not.
    """
    log, image, is_kept = record.log, record.image, record.data is not None
    further = [each.image for each in record.further]
    count(str(log.capture_status))
    if failure is not None:
        tell(signals.capture_failed, log=log, exception=failure)
    if is_kept:
        tell(signals.image_saved, log=log, image=image, further=further)
    elif failure is None:
        tell(signals.image_skipped, log=log, image=image, further=further)


def tell(signal: Signal, **arguments: object) -> None:
    """Send a signal. A receiver that raises is counted, and the others still run."""
    try:
        answers = signal.send_robust(sender=RequestLog, **arguments)
    except (asyncio.CancelledError, SystemExit, GeneratorExit) as exception:
        report("receiver", exception)  # Django lets these through
        return
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            report(f"receiver {receiver!r}", answer)
