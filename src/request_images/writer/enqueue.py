"""What is done ahead of time: tasks for each image newly stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import router

from request_images.conf import conf
from request_images.contents.task_backend import enqueuing, why_no_worker
from request_images.db.transactions import bounded_transaction
from request_images.health import report
from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.outcome import CaptureStatus
from request_images.storage.encodings import encodings_of


def enqueue_tasks(
    log: RequestLog,
    image: RequestImage | None,
    further: Sequence[FurtherImage] = (),
    **_others: Any,
) -> None:
    """Have new contents drawn small, analysed and compressed, as the settings say.

    A receiver of ``image_saved``, and of ``image_skipped``, where a further image may
    have been kept all the same.

    It runs behind the commit of the row, and never raises. With a backend that would
    run the task here and now it does nothing, and where it cannot know, the task does:
    capturing decodes no pixels.
    """
    new = list(_new(log, image, further))
    for name, task, fault in _TASKS:
        try:
            if getattr(conf, name) == "task":
                wanted = new if task != "compress_content" else _compressible(new)
                _enqueue(task, wanted)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report(fault, exception)


_TASKS = (
    ("THUMBNAILS", "make_thumbnail", "thumbnail task"),
    ("COMPRESSION", "compress_content", "compression task"),
    ("ANALYSIS", "analyze_content", "analysis task"),
)
"""For each a setting, the task that it asks for, and what its fault is called."""


def _compressible(
    images: Iterable[RequestImage | FurtherImage],
) -> list[RequestImage | FurtherImage]:
    types = encodings_of(conf.ENCODINGS)
    return [each for each in images if each.mime_type in types]


def _new(
    log: RequestLog, image: RequestImage | None, further: Iterable[FurtherImage]
) -> Iterator[RequestImage | FurtherImage]:
    # The content of a duplicate has its tasks already.
    if image is not None and log.capture_status == CaptureStatus.STORED:
        yield image
    for each in further:
        if each.capture_status == CaptureStatus.STORED:
            yield each


def _enqueue(name: str, images: Sequence[RequestImage | FurtherImage]) -> None:
    if not images or why_no_worker():
        return
    # Not above: the module needs a package that not every project has.
    from request_images import tasks

    # A backend that writes into our database waits for locks no longer than we do.
    with bounded_transaction(router.db_for_write(RequestLog)), enqueuing():
        for image in images:
            getattr(tasks, name).enqueue(image.content_id)
