"""Captures in this process, without a view, and their stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.conf import settings
from django.test.utils import override_settings
from django.utils import timezone

if TYPE_CHECKING:
    from request_images.models import RequestImage, RequestLog

ALIAS = "bench"
STORES = {"database": None, "files": ALIAS}
"""Each measured store, and its alias in the settings."""


@contextmanager
def storing(folder: str, alias: str | None) -> Iterator[None]:
    """Write captures into a store; the file store uses a folder."""
    backend = "django.core.files.storage.FileSystemStorage"
    files = {"BACKEND": backend, "OPTIONS": {"location": folder}}
    storages = {**settings.STORAGES, ALIAS: files}
    with override_settings(STORAGES=storages, REQUEST_IMAGES_STORAGE=alias):
        yield


def request_with(data: bytes) -> tuple[RequestLog, RequestImage]:
    """Return the unsaved rows of a request with an image."""
    from request_images.images.inspection import inspect
    from request_images.models import RequestImage, RequestLog

    info = inspect(data)
    log = RequestLog(
        request_id=uuid.uuid4().hex,
        created_at=timezone.now(),
        endpoint="solve",
        method="POST",
        path="/solve/",
        status_code=200,
        duration_ms=10,
        duration_bucket=100,
        image_count=1,
        capture_status="stored",
    )
    image = RequestImage(
        image_hash=info.image_hash,
        file_size=info.file_size,
        mime_type=info.format.mime_type if info.format else "",
    )
    return log, image


def capture(data: bytes) -> int:
    """Record a request with an image, and return the primary key of its content."""
    from request_images.db.destination import Destination
    from request_images.writer.record import Record
    from request_images.writer.rows import save_many

    log, image = request_with(data)
    record = Record(log, Destination())
    record.add(image, data)
    save_many([record])
    return int(image.content_id or 0)
