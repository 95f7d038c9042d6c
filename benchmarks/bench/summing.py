"""Processes of the statistics' measurement: `python -m bench.summing WHAT`.

``fill ROWS`` inserts this number of requests of 30 days, most with an image.
``measure`` sums them up, reads the pages, and prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from statistics import median
from typing import Any

import django

DAYS = 30
_ROUNDS = 7
_AT_ONCE = 250_000

# Equal for SQLite and PostgreSQL, except for the conversion of a number to a time.
# ``r`` is a pseudo-random number between 0 and 1.
_NUMBERS = """
WITH RECURSIVE numbers(n) AS (
    SELECT CAST(%(first)s AS bigint)
    UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < %(last)s
), chance AS (
    SELECT n, (n * 48271 %% 65537) / 65537.0 AS r, (n * 16807 %% 32749) / 32749.0 AS q
    FROM numbers
), requests AS (
    SELECT n, r, q, n * %(step)s AS seconds, EXP(2 + 3 * r + 2 * q) AS ms FROM chance
)
"""
_LOGS = """
INSERT INTO request_images_requestlog (
    id, request_id, created_at, endpoint, method, path, status_code, duration_ms,
    duration_bucket, error_type, error_message, username, metadata, image_count,
    capture_status, capture_detail, sample_probability, is_pinned, link_model, link_pk,
    release
)
{numbers} SELECT
    n + 1, 'bench-' || n, {moment},
    CASE WHEN q < 0.6 THEN 'solve' WHEN q < 0.9 THEN 'read' ELSE 'classify' END,
    'POST', '/solve/', CASE WHEN r < 0.06 THEN 500 WHEN r < 0.1 THEN 422 ELSE 200 END,
    ms, FLOOR(LN(ms) / LN(1.02)),
    CASE WHEN r < 0.02 THEN 'ValueError' WHEN r < 0.05 THEN 'Timeout'
         WHEN r < 0.1 THEN 'no_barcode' ELSE '' END,
    '', '', '{{}}', 1, CASE WHEN q < 0.1 THEN 'no_image' ELSE 'stored' END,
    '', 1, {false}, '', '', '2.' || (n * 4 / %(rows)s)
FROM requests
"""
_IMAGES = """
INSERT INTO request_images_requestimage (
    log_id, created_at, image_hash, mime_type, file_size, width, height, source,
    color_mode, is_animated, has_orientation, declared_type, is_repeated
)
{numbers} SELECT
    n + 1, {moment}, 'bench-' || n,
    CASE WHEN r < 0.6 THEN 'image/jpeg' WHEN r < 0.9 THEN 'image/png'
         ELSE 'image/webp' END,
    20000 + (r * 3000000), 320 * (1 + n %% 8), 240 * (1 + n %% 5), 'files.image',
    CASE WHEN n %% 9 = 0 THEN 'L' WHEN n %% 9 = 1 THEN 'RGBA' ELSE 'RGB' END,
    n %% 31 = 0, n %% 7 = 0,
    CASE WHEN n %% 13 = 0 THEN 'image/gif' ELSE 'image/jpeg' END, n %% 3 = 0
FROM requests WHERE q >= 0.1
"""
_MOMENT = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', %(start)s + seconds, 'unixepoch')",
    "postgresql": "to_timestamp(%(start)s + seconds)",
}

_GALLERY = "admin:request_images_requestimage_gallery"
PAGES = {
    "the dashboard's page": ("admin:request_images_requestlog_dashboard", ""),
    "the stats JSON": ("request_images:image-performance-stats", ""),
    "gallery": (_GALLERY, ""),
    "gallery, slowest": (_GALLERY, "?sort=slowest"),
    "gallery, failed": (_GALLERY, "?outcome=failed"),
    "gallery, failed beside succeeded": (_GALLERY, "?group=outcome"),
    "gallery, by error type": (_GALLERY, "?group=error_type"),
    "gallery, the same image once": (_GALLERY, "?group=image"),
    "gallery, two filters": (
        _GALLERY,
        "?error_type=no_barcode&mime_type=image/jpeg&width=640",
    ),
    "gallery, a filter against the order": (_GALLERY, "?outcome=failed&sort=slowest"),
}


def fill(rows: int) -> None:
    """Insert requests in bulk, by SQL.

    They end with this hour, so that the open hour is full at any time of measurement:
    requests of the open hour are read one by one.
    """
    from django.db import connection

    now = datetime.now(timezone.utc)
    end = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = end - timedelta(days=DAYS)
    moment = _MOMENT[connection.vendor]
    false = "0" if connection.vendor == "sqlite" else "false"
    with connection.cursor() as cursor:
        for first in range(0, rows, _AT_ONCE):
            values = {
                "first": first,
                "last": min(first + _AT_ONCE, rows),
                "rows": rows,
                "step": DAYS * 86_400 / rows,
                "start": start.timestamp(),
            }
            for statement in (_LOGS, _IMAGES):
                text = statement.format(numbers=_NUMBERS, moment=moment, false=false)
                cursor.execute(text, values)
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
        else:
            cursor.execute("ANALYZE")


def measure() -> None:
    """Sum up all hours, and time the pages and the JSON endpoint."""
    from request_images.aggregation.periods import Period
    from request_images.aggregation.properties import ERROR, FACETS
    from request_images.statistics import rollups
    from request_images.statistics.summarize import summarize

    found: dict[str, Any] = {"parts": {}}
    period = Period.last_days(DAYS)
    started = time.perf_counter()
    summarize(period)
    found["first_read_seconds"] = time.perf_counter() - started
    started, used = time.perf_counter(), time.process_time()
    done = rollups.update(period.before.since)
    found["build_seconds"] = time.perf_counter() - started
    found["build_cpu_seconds"] = time.process_time() - used
    found["hours"] = done.hours
    parts: dict[str, Callable[[], object]] = {
        "overall": lambda: summarize(period).overall(),
        "one endpoint": lambda: summarize(period, "solve").overall(),
        "the period before": lambda: summarize(period.before).overall(),
        "by hour": lambda: summarize(period).by_hour(),
        "by day": lambda: summarize(period).by_day(),
        "errors by day": lambda: summarize(period).by_day(ERROR),
        **{
            f"by {f.name}": lambda f=f: summarize(period).by(f) for f in FACETS.values()
        },
        **_pages(),
    }
    for name, ask in parts.items():
        found["parts"][name] = _timed(ask)
    sys.stdout.write(json.dumps(found))


def _pages() -> dict[str, Callable[[], object]]:
    """Return a function for each page, by name, that requests it as a browser does."""
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    user, _ = get_user_model().objects.get_or_create(
        username="bench", is_staff=True, is_superuser=True
    )
    client = Client()
    client.force_login(user)

    def page(name: str, query: str) -> Callable[[], object]:
        url = reverse(name) + query

        def ask() -> None:
            response = client.get(url)
            if response.status_code != 200:
                raise RuntimeError(f"{url} answers {response.status_code}")

        return ask

    return {name: page(*where) for name, where in PAGES.items()}


def _timed(ask: Callable[[], object]) -> dict[str, float]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    took, processor = [], []
    for _ in range(_ROUNDS):
        started, used = time.perf_counter(), time.process_time()
        ask()
        took.append((time.perf_counter() - started) * 1000)
        processor.append((time.process_time() - used) * 1000)
    with CaptureQueriesContext(connection) as queries:
        ask()
    return {
        "ms": median(took),
        "cpu_ms": median(processor),
        "queries": len(queries),
    }


if __name__ == "__main__":
    django.setup()
    what, *given = sys.argv[1:]
    if what == "fill":
        fill(int(given[0]))
    else:
        measure()
