"""Rows, built directly through the models, without a request."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from request_images.aggregation.percentiles import bucket_of
from request_images.aggregation.periods import floor
from request_images.capture.examine import CapturedRequest
from request_images.db.destination import Destination
from request_images.db.insert import insert
from request_images.images.inspection import inspect
from request_images.images.measures import VERSION
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.cutoffs import Retention, Term
from request_images.models.statistics import mark_stale
from request_images.outcome import CaptureStatus
from request_images.writer.record import Record
from tests.image_files import draw

PICTURE = draw()


def unsaved_record(seed: int, fmt: str = "PNG") -> Record:
    """Return an unwritten request with a picture."""
    data = draw(fmt, seed=seed)
    info = inspect(data)
    log = RequestLog(
        request_id=uuid.uuid4().hex,
        created_at=timezone.now(),
        endpoint="solve",
        method="POST",
        path="/solve/",
        status_code=200,
        duration_ms=1,
        duration_bucket=bucket_of(1),
        capture_status=CaptureStatus.STORED,
    )
    image = RequestImage(
        image_hash=info.image_hash,
        file_size=info.file_size,
        mime_type=info.format.mime_type,
        color_mode=info.color_mode,
        is_animated=info.is_animated,
        has_orientation=info.has_orientation,
    )
    return record_of(log, image, data)


def record_of(log, image=None, data=None) -> Record:
    """Return the record of an unsaved log, with an image if there is one."""
    record = Record(log, Destination())
    if image is not None:
        record.add(image, data)
    return record


def examined_job(record: Record) -> CapturedRequest:
    """Return the examined request that a record is of."""
    return CapturedRequest(record.log, destination=record.destination, record=record)


@contextmanager
def tables_missing() -> Iterator[None]:
    """Remove our tables, as before the first ``migrate``."""
    models = RequestImage, RequestLog
    with connection.constraint_checks_disabled():  # others refer to them
        with connection.schema_editor() as editor:
            for model in models:
                editor.delete_model(model)
        try:
            yield
        finally:
            with connection.schema_editor() as editor:
                for model in reversed(models):
                    editor.create_model(model)


def make_log(**request: object) -> RequestLog:
    """Write the log of a request; see `make_logs` for the arguments."""
    [log] = make_logs([request])
    return log


def make_logs(requests: Iterable[Mapping[str, object]]) -> list[RequestLog]:
    """Write the logs of requests in a few queries.

    Args:
        requests: The values of each log that replace the defaults, and `days_old`, its
            age.
    """
    logs = [_log(**request) for request in requests]
    _write(logs)
    return logs


def _log(*, days_old: float = 0, **values: object) -> RequestLog:
    usual = {
        "request_id": uuid.uuid4().hex,
        "created_at": timezone.now() - timedelta(days=days_old),
        "endpoint": "solve",
        "method": "POST",
        "path": "/solve/",
        "status_code": 200,
        "duration_ms": 12.5,
        "capture_status": CaptureStatus.NO_IMAGE,
    }
    values = usual | values
    values.setdefault("duration_bucket", bucket_of(values["duration_ms"]))
    return RequestLog(**values)


def _write(rows: Sequence[RequestLog] | Sequence[RequestImage]) -> None:
    """Insert rows, and mark their hours as stale."""
    with transaction.atomic(savepoint=False):
        insert(rows, "default")
        mark_stale({floor(row.created_at) for row in rows}, "default")


def analysed(image: RequestImage, **values: object) -> RequestImage:
    """Set the measurements of an image's content, and return the image."""
    usual = {"brightness": 100, "contrast": 50, "entropy": 7, "sharpness": 200}
    rows = ImageContent.objects.filter(pk=image.content_id)
    rows.update(**{**usual, "layout": "0" * 64, "analysis_version": VERSION} | values)
    return image


def make_content(data: bytes = PICTURE) -> ImageContent:
    """Return the content of some bytes; write it if it does not exist."""
    return _contents([data])[data][0]


def _contents(many: Iterable[bytes]) -> dict[bytes, tuple[ImageContent, bool]]:
    """Return the content of each, and whether it existed before."""
    hashes = {data: hashlib.sha256(data).hexdigest() for data in many}
    known = ImageContent.objects.filter(image_hash__in=hashes.values())
    before = {content.image_hash: content for content in known} if hashes else {}
    found = {
        data: (before.get(h) or ImageContent.holding(h, data), h in before)
        for data, h in hashes.items()
    }
    insert([content for content, is_known in found.values() if not is_known], "default")
    return found


def make_image(
    data: bytes = PICTURE,
    *,
    kept: bool = True,
    image: Mapping[str, object] | None = None,
    **log: object,
) -> RequestImage:
    """Write an image with its log; see `make_images` for the arguments."""
    [row] = make_images([{"data": data, "kept": kept, "image": image or {}, **log}])
    return row


def make_images(requests: Iterable[Mapping[str, object]]) -> list[RequestImage]:
    """Write images with their logs in a few queries.

    Args:
        requests: The arguments of `make_logs` for each log, and for its image: `data`,
            its bytes; `kept`, whether they are stored; `image`, the fields that differ
            from those of `data`.
    """
    requests = [{"data": PICTURE, "kept": True, "image": {}} | r for r in requests]
    contents = _contents(r["data"] for r in requests if r["kept"])
    seen = {data for data, (_, is_known) in contents.items() if is_known}
    images = [_image(contents, seen, **request) for request in requests]
    _write([image.log for image in images])
    for image in images:
        image.log = image.log  # which has its key by now
    _write(images)
    return images


def _image(
    contents: Mapping[bytes, tuple[ImageContent, bool]],
    seen: set[bytes],
    *,
    data: bytes,
    kept: bool,
    image: Mapping[str, object],
    **log: object,
) -> RequestImage:
    if not kept:
        status = CaptureStatus.TOO_LARGE
    elif data in seen:
        status = CaptureStatus.DUPLICATE
    else:
        status = CaptureStatus.STORED
        seen.add(data)
    row = _log(**{"capture_status": status, "image_count": 1} | log)
    info = inspect(data)
    values = {
        "created_at": row.created_at,
        "image_hash": info.image_hash,
        "mime_type": info.format.mime_type if info.format else "",
        "file_size": info.file_size,
        "width": info.width,
        "height": info.height,
        "color_mode": info.color_mode,
        "is_animated": info.is_animated,
        "has_orientation": info.has_orientation,
        "is_repeated": status == CaptureStatus.DUPLICATE if kept else None,
        "source": "files.image",
        "content": contents[data][0] if kept else None,
    }
    return RequestImage(log=row, **values | image)


def add_further(
    image: RequestImage, data: bytes = PICTURE, *, kept: bool = True, **values: object
) -> FurtherImage:
    """Write a further image of a request, after its existing ones."""
    known = ImageContent.objects.filter(image_hash=hashlib.sha256(data).hexdigest())
    status = CaptureStatus.DUPLICATE if known.exists() else CaptureStatus.STORED
    info = inspect(data)
    usual = {
        "position": image.further.count() + 1,
        "image_hash": info.image_hash,
        "mime_type": info.format.mime_type,
        "file_size": info.file_size,
        "width": info.width,
        "height": info.height,
        "color_mode": info.color_mode,
        "is_animated": info.is_animated,
        "has_orientation": info.has_orientation,
        "is_repeated": status == CaptureStatus.DUPLICATE if kept else None,
        "source": "files.image",
        "content": make_content(data) if kept else None,
        "capture_status": status if kept else CaptureStatus.TOO_LARGE,
    }
    return image.further.create(**usual | values)


def make_user(*permissions: str, **values: object):
    """Create a staff user with permissions of this app, such as ``view_requestlog``."""
    usual = {"username": f"user-{uuid.uuid4().hex[:8]}", "is_staff": True}
    user = get_user_model().objects.create_user(**usual | values)
    if permissions:
        found = Permission.objects.filter(
            content_type__app_label="request_images", codename__in=permissions
        )
        assert found.count() == len(permissions)
        user.user_permissions.set(found)
    return user


def make_superuser():
    """Create a superuser."""
    return make_user(is_superuser=True)


@contextmanager
def capture_queries():
    """Collect the SQL of the block in a list, which is filled at the end."""
    queries: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield queries
    queries += [query["sql"] for query in captured.captured_queries]


def questions(queries: Iterable[str]) -> list[str]:
    """Return the queries that do not control transactions or time limits."""
    others = ("SAVEPOINT", "statement_timeout", "max_statement_time")
    return [sql for sql in queries if not any(word in sql for word in others)]


def loading_bytes(queries: Iterable[str]) -> list[str]:
    """Return the queries that read an image's bytes or its thumbnail."""
    columns = ['"data"', '"thumbnail"', "`data`", "`thumbnail`"]
    return [
        sql
        for sql in queries
        if sql.startswith("SELECT")
        and any(f"{column}" in sql.split(" FROM ")[0] for column in columns)
        and "LENGTH(" not in sql.split(" FROM ")[0]
    ]


def until(moment: datetime) -> Retention:
    """Return the retention that deletes every image from before a moment."""
    term = Term(moment, moment)
    return Retention(term, term)
