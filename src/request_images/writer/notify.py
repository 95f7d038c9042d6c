"""The steps after a row is written: signals, and tasks for new images."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from django.dispatch import Signal, receiver

from request_images import signals
from request_images.conf import conf
from request_images.contents.task_backend import why_no_worker
from request_images.db.destination import destination_of
from request_images.health import count, report
from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.outcome import CaptureStatus
from request_images.storage.encodings import encodings_of

from .losses import lost
from .record import Record
from .task_queue import Call, enqueue_all

_TASKS = (
    ("THUMBNAILS", "make_thumbnail", "thumbnail task"),
    ("COMPRESSION", "compress_content", "compression task"),
    ("ANALYSIS", "analyze_content", "analysis task"),
)
"""Each task: the setting that asks for it, its name, and the name of its fault."""


def send_signals(record: Record, *, failure: BaseException | None = None) -> None:
    """Count a request whose row was written, and send its signals. Never raises.

    `failure` is our own fault because of which images were not kept.
    """
    log, image, is_kept = record.log, record.image, record.data is not None
    count(str(log.capture_status))
    rows: list[RequestLog | FurtherImage] = [log, *record.further]
    for row in rows:
        if row.capture_status == CaptureStatus.STORE_FAILED:
            where = record.destination
            lost("", row.capture_detail, requests=0, images=1, where=where)
    if failure is not None:
        send(signals.capture_failed, log=log, exception=failure)
    if is_kept:
        send(signals.image_saved, log=log, image=image, further=record.further)
    elif failure is None:
        send(signals.image_skipped, log=log, image=image, further=record.further)


def send(signal: Signal, **arguments: object) -> None:
    """Send a signal. A receiver that raises is counted, and the others still run."""
    try:
        answers = signal.send_robust(sender=RequestLog, **arguments)
    except (asyncio.CancelledError, SystemExit, GeneratorExit) as exception:
        report("receiver", exception)  # Django lets these through
        return
    for called, answer in answers:
        if isinstance(answer, Exception):
            report(f"receiver {called!r}", answer)


@receiver(
    (signals.image_saved, signals.image_skipped),
    dispatch_uid="request_images.enqueue_tasks",
)
def enqueue_tasks(
    log: RequestLog,
    image: RequestImage | None,
    further: Sequence[FurtherImage] = (),
    **_others: Any,
) -> None:
    """Enqueue the tasks for new images that the settings ask for. Never raises.

    A receiver of ``image_saved``, and of ``image_skipped``, where a further image may
    still have been kept. It runs after the row's commit. With a backend that would run
    the task at once it does nothing: capturing decodes no pixels. Where it cannot know
    that, the task itself does nothing.
    """
    new: list[RequestImage | FurtherImage] = []
    # The content of a duplicate has its tasks already.
    if image is not None and log.capture_status == CaptureStatus.STORED:
        new.append(image)
    new += [row for row in further if row.capture_status == CaptureStatus.STORED]
    for setting, task, fault in _TASKS:
        try:
            if getattr(conf, setting) != "task":
                continue
            images = new
            if task == "compress_content":
                types = encodings_of(conf.ENCODINGS)
                images = [row for row in new if row.mime_type in types]
            if images and not why_no_worker():
                where = destination_of(RequestLog)
                enqueue_all(
                    [Call(task, fault, row.content_id or 0, where) for row in images]
                )
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report(fault, exception)
