"""Telling the receivers of the signals what became of a request."""

from __future__ import annotations

import asyncio

from django.dispatch import Signal

from . import signals
from .health import count, report
from .models import RequestImage, RequestLog


def announce(
    log: RequestLog,
    image: RequestImage | None,
    *,
    is_kept: bool,
    failure: BaseException | None = None,
) -> None:
    """Count a request whose row was written, and tell of it. Never raises.

    Args:
        log: The row.
        image: Its image, if it has one.
        is_kept: Whether the image's bytes were kept.
        failure: The fault of ours because of which they were not.
    """
    count(str(log.capture_status))
    if failure is not None:
        tell(signals.capture_failed, log=log, exception=failure)
    elif is_kept:
        tell(signals.image_saved, log=log, image=image)
    else:
        tell(signals.image_skipped, log=log, image=image)


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
