"""The processor time of a write, and its floor: `python -m bench.floor PART`.

``batch`` writes 50 requests at once, by the writer of the mode ``background``; its
floor is their hashes, one question for the known ones, and three binary COPYs into
three tables without further indexes. ``duplicates`` is the same with one image that is
stored already. ``alone`` writes one request in its own thread; its floor is the hash
and one prepared statement for all three rows. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import django
import psycopg

from .images import another, draw

MODES = {"batch": "background", "duplicates": "background", "alone": "after_response"}
"""Each part, and the write mode that it measures."""
_BATCH = 50
_ROUNDS = 9
_TABLES = {
    "content": "image_hash varchar(64) UNIQUE, data bytea",
    "log": "request_id varchar(64), created_at timestamptz, endpoint varchar(100),"
    " method varchar(10), path text, status_code int, duration_ms double precision",
    "image": "log_id bigint, created_at timestamptz, image_hash varchar(64),"
    " file_size bigint, content_id bigint",
}
_TYPES = {
    "content": ("int8", "varchar", "bytea"),
    "log": (
        *("int8", "varchar", "timestamptz", "varchar", "varchar", "text"),
        *("int4", "float8"),
    ),
    "image": ("int8", "int8", "timestamptz", "varchar", "int8", "int8"),
}
_KNOWN = "SELECT image_hash, id FROM bench_floor_content WHERE image_hash = ANY(%s)"
_ONE = """
WITH content AS (
    INSERT INTO bench_floor_content (image_hash, data) VALUES (%s, %b)
    ON CONFLICT DO NOTHING RETURNING id
), log AS (
    INSERT INTO bench_floor_log (request_id, created_at, endpoint, method, path,
        status_code, duration_ms)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
)
INSERT INTO bench_floor_image (log_id, created_at, image_hash, file_size, content_id)
SELECT log.id, %s, %s, %s, content.id FROM log, content
"""


@dataclass(frozen=True)
class Cpu:
    """Processor time for each image, in milliseconds."""

    process_ms: float
    database_ms: float


class Floor:
    """The least that a write costs, on Django's connection to PostgreSQL."""

    def __init__(self) -> None:
        from django.db import connection

        connection.ensure_connection()
        self._connection: Any = connection.connection
        for name, columns in _TABLES.items():
            table = f"bench_floor_{name}"
            self._connection.execute(f"DROP TABLE IF EXISTS {table}")
            self._connection.execute(
                f"CREATE TABLE {table} (id bigserial PRIMARY KEY, {columns})"
            )
        self._connection.execute(
            "ALTER TABLE bench_floor_content ALTER data SET STORAGE EXTERNAL"
        )

    def batch(self, images: list[bytes]) -> None:
        """Write many images in one transaction."""
        from hashlib import sha256

        now, hashes = (
            datetime.now(timezone.utc),
            [sha256(i).hexdigest() for i in images],
        )
        with self._connection.transaction(), self._cursor() as cursor:
            cursor.execute(_KNOWN, [list(set(hashes))], prepare=True)
            known: dict[str, int] = dict(cursor)
            names = ", ".join(
                f"nextval('bench_floor_{name}_id_seq')" for name in _TABLES
            )
            statement = f"SELECT {names} FROM generate_series(1, %s)"
            cursor.execute(statement, [len(images)], prepare=True)
            rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _TABLES}
            for ids, image_hash, data in zip(cursor, hashes, images, strict=True):
                content, log, image = ids
                if image_hash not in known:
                    known[image_hash] = content
                    rows["content"].append((content, image_hash, data))
                own = (now, image_hash, len(data), known[image_hash])
                rows["log"].append((log, image_hash, now, *_LOG))
                rows["image"].append((image, log, *own))
            for name, those in rows.items():
                if not those:
                    continue
                statement = f"COPY bench_floor_{name} FROM STDIN (FORMAT BINARY)"
                with cursor.copy(statement) as copy:
                    copy.set_types(_TYPES[name])
                    for row in those:
                        copy.write_row(row)

    def alone(self, images: list[bytes]) -> None:
        """Write each image by one statement, which commits by itself."""
        from hashlib import sha256

        for data in images:
            image_hash, now = sha256(data).hexdigest(), datetime.now(timezone.utc)
            values = (image_hash, data, image_hash, now, *_LOG)
            values += (now, image_hash, len(data))
            self._cursor().execute(_ONE, values, prepare=True)

    def _cursor(self) -> psycopg.Cursor[Any]:
        return psycopg.Cursor(self._connection)  # Django's own binds no parameters


_LOG = ("floor", "POST", "/floor/", 200, 1.0)


def measure(part: str) -> dict[str, float]:
    """Return the processor time of a capture's write, and of its floor."""
    floor = Floor()
    write = _write_alone if part == "alone" else _write_batch
    least = floor.alone if part == "alone" else floor.batch
    image = draw(100 * 1024)
    same = [another(image)] * _BATCH

    def least_cpu(images: list[bytes]) -> float:
        started = time.thread_time()
        least(images)
        return time.thread_time() - started

    found: dict[str, list[Cpu]] = {"": [], "floor_": []}
    works = (("", write()), ("floor_", least_cpu))
    for turn in range(_ROUNDS + 1):
        for name, work in works:
            images = [another(image) for _ in range(_BATCH)]
            cpu = _cpu_of(work, same if part == "duplicates" else images)
            if turn:  # the first one imports, connects and prepares
                found[name].append(cpu)
    return {
        f"{name}{figure}": median(getattr(cpu, figure) for cpu in each)
        for name, each in found.items()
        for figure in ("process_ms", "database_ms")
    }


def _write_batch() -> Callable[[list[bytes]], float]:
    from .handling import Wsgi, capture

    wsgi = Wsgi()

    def work(images: list[bytes]) -> float:
        # The requests are handled in this thread, and written in the other one.
        started = time.process_time() - time.thread_time()
        capture(wsgi, images)
        return time.process_time() - time.thread_time() - started

    return work


def _write_alone() -> Callable[[list[bytes]], float]:
    from request_images.testing import flush

    from .handling import Wsgi, environ_of

    wsgi = Wsgi()

    def closing(image: bytes, path: str) -> float:
        response = wsgi.answer(environ_of(image, path))
        started = time.process_time()
        response.close()
        flush(30)
        return time.process_time() - started

    def work(images: list[bytes]) -> float:
        return sum(
            closing(image, "/captured/") - closing(image, "/bare/") for image in images
        )

    return work


def _cpu_of(work: Callable[[list[bytes]], float], images: list[bytes]) -> Cpu:
    before = _database_cpu()
    here = work(images)
    return Cpu(
        1000 * here / len(images), 1000 * (_database_cpu() - before) / len(images)
    )


def _database_cpu() -> float:
    # The scheduler counts nanoseconds, if the database runs on this machine.
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        )
        pids = [pid for (pid,) in cursor.fetchall()]
    total = 0.0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue
    return total


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(measure(sys.argv[1])))
