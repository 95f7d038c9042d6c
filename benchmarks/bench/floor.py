"""The lower bound of one capture on PostgreSQL, without the app.

A hash, the bytes as a binary parameter into a column that does not compress, and two
small rows in bulk.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import psycopg
from django.db import connection, transaction
from django.utils import timezone

_TABLE = "bench_floor"


@dataclass(frozen=True)
class Cpu:
    """Processor time for each image, in milliseconds."""

    process_ms: float
    database_ms: float


def make_table() -> None:
    """Create a table for the bytes, with as few columns as possible."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        cursor.execute(
            f"CREATE TABLE {_TABLE} (id bigserial PRIMARY KEY, "
            "image_hash varchar(64) UNIQUE, data bytea)"
        )
        cursor.execute(f"ALTER TABLE {_TABLE} ALTER COLUMN data SET STORAGE EXTERNAL")


def run(images: list[bytes]) -> None:
    """Write the images as cheaply as possible."""
    from request_images.models import RequestImage, RequestLog

    now = timezone.now()
    hashes = [hashlib.sha256(image).hexdigest() for image in images]
    with transaction.atomic():
        raw = psycopg.Cursor(connection.connection)
        raw.executemany(
            f"INSERT INTO {_TABLE} (image_hash, data) VALUES (%s, %b)",
            list(zip(hashes, images, strict=True)),
        )
        logs = [
            RequestLog(
                request_id=image_hash[:32],
                created_at=now,
                endpoint="floor",
                method="POST",
                path="/floor/",
                status_code=200,
                duration_ms=1.0,
                duration_bucket=1,
                capture_status="stored",
            )
            for image_hash in hashes
        ]
        RequestLog.objects.bulk_create(logs)
        RequestImage.objects.bulk_create(
            RequestImage(log=log, created_at=now, image_hash=image_hash, file_size=1)
            for log, image_hash in zip(logs, hashes, strict=True)
        )


def cpu_of(work: Callable[[list[bytes]], None], images: list[bytes]) -> Cpu:
    """Return the processor time of some work, in this process and in the database."""
    database, here = _database_cpu(), time.process_time()
    work(images)
    each = 1000 / len(images)
    here = time.process_time() - here
    return Cpu(each * here, each * (_database_cpu() - database))


def _database_cpu() -> float:
    # Only if the database runs on this machine and this user may watch it.
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    with connection.cursor() as cursor:
        cursor.execute(query)
        pids = [pid for (pid,) in cursor.fetchall()]
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total
