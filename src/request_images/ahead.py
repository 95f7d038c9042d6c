"""Thumbnails ahead of time: a task for each image that was newly stored."""

from __future__ import annotations

from typing import Any

from django.db import router

from .conf import conf
from .health import report
from .limits import bounded_transaction
from .models import RequestImage, RequestLog
from .outcome import CaptureStatus
from .tasking import why_no_worker


def enqueue_thumbnail(log: RequestLog, image: RequestImage, **_others: Any) -> None:
    """Have the thumbnail of a new content made; a receiver of ``image_saved``.

    It runs behind the commit of the row, and never raises. With a backend that would
    run the task here and now it does nothing: capturing decodes no pixels.
    """
    if log.capture_status != CaptureStatus.STORED:
        return  # the content of a duplicate has its task already
    try:
        if conf.THUMBNAILS != "task" or why_no_worker():
            return
        # Not above: the module needs a package that not every project has.
        from .tasks import make_thumbnail

        # A backend that writes into our database waits for locks no longer than we do.
        with bounded_transaction(router.db_for_write(RequestLog)):
            make_thumbnail.enqueue(image.content_id)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("thumbnail task", exception)
