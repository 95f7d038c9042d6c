"""Processes of the cleanup's measurement: `python -m bench.cleaning WHAT`.

``fill ROWS`` inserts this number of old requests, each with an image of its own.
``write`` records requests one at a time until its input ends. ``clean`` runs the same
code as `cleanup_old_images`. The last two print one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import threading
import time
import uuid
from datetime import timedelta

import django
from django.utils import timezone

KB = 1024
IMAGE_BYTES = KB
_AT_ONCE = 2000
_WRITES_A_SECOND = 100


def fill(rows: int) -> None:
    """Insert old requests in bulk."""
    from django.db import connection, transaction

    from request_images.models import ImageContent, RequestImage, RequestLog

    start = timezone.now() - timedelta(days=300)
    for first in range(0, rows, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, rows))
        data = [str(number).zfill(IMAGE_BYTES).encode() for number in numbers]
        moments = [start + timedelta(seconds=number) for number in numbers]
        hashes = [hashlib.sha256(each).hexdigest() for each in data]
        with transaction.atomic():
            logs = RequestLog.objects.bulk_create(
                RequestLog(
                    request_id=uuid.uuid4().hex,
                    created_at=moment,
                    endpoint="solve",
                    method="POST",
                    path="/solve/",
                    status_code=200,
                    duration_ms=10,
                    duration_bucket=100,
                    image_count=1,
                    capture_status="stored",
                )
                for moment in moments
            )
            contents = ImageContent.objects.bulk_create(
                ImageContent(image_hash=known, stored_size=len(each), data=each)
                for known, each in zip(hashes, data, strict=True)
            )
            RequestImage.objects.bulk_create(
                RequestImage(
                    log=log,
                    created_at=log.created_at,
                    image_hash=content.image_hash,
                    mime_type="image/jpeg",
                    file_size=IMAGE_BYTES,
                    content=content,
                )
                for log, content in zip(logs, contents, strict=True)
            )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def write() -> None:
    """Record requests, and measure the time of each write."""
    from request_images.db.destination import Destination
    from request_images.models import RequestImage, RequestLog
    from request_images.writer.record import Record
    from request_images.writer.rows import save_many

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set())).start()
    took: list[float] = []
    while not ended.wait(1 / _WRITES_A_SECOND):
        data = uuid.uuid4().hex.encode() * (IMAGE_BYTES // 32)
        now = timezone.now()
        log = RequestLog(
            request_id=uuid.uuid4().hex,
            created_at=now,
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
            image_hash=hashlib.sha256(data).hexdigest(),
            file_size=len(data),
            mime_type="image/jpeg",
        )
        started = time.perf_counter()
        record = Record(log, Destination())
        record.add(image, data)
        save_many([record])
        took.append((time.perf_counter() - started) * 1000)
    sys.stdout.write(json.dumps(took))


def clean() -> None:
    """Run the cleanup, and measure its time and memory."""
    from request_images.cleanup.retention import clean
    from request_images.models import RequestLog
    from request_images.models.cutoffs import Retention
    from request_images.models.job_locks import lease

    RequestLog.objects.first()  # imports and connects before the measurement
    before = _peak_mb()
    started = time.perf_counter()
    with lease("cleanup") as held:
        report = clean(Retention.of_days(30, 365), batch_size=500, beat=held.renew)
    seconds = time.perf_counter() - started
    found = {
        "images": report.total.images,
        "contents": report.total.contents,
        "seconds": seconds,
        "start_mb": before,
        "peak_mb": _peak_mb(),
    }
    sys.stdout.write(json.dumps(found))


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / KB


if __name__ == "__main__":
    django.setup()
    what, *given = sys.argv[1:]
    if what == "fill":
        fill(int(given[0]))
    else:
        {"write": write, "clean": clean}[what]()
