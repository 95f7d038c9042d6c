"""Requests as a CSV file: one line per request, in constant memory, no formulas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db.models import F

from request_images.aggregation.properties import COLUMNS, MEASURES
from request_images.models import RequestImage, RequestLog
from request_images.query.criteria import Criteria
from request_images.query.paging import SORTS, Walk

CHUNK = 1000
"""The number of requests in memory at a time."""
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

_MEASURED = (*MEASURES, "layout")

_FIRST = ("image_hash", "mime_type", "file_size", "width", "height", "source")
_Column = Callable[[RequestLog, RequestImage | None], Any]


def _of_log(name: str) -> _Column:
    return lambda log, image: getattr(log, name)


def _of_image(name: str) -> _Column:
    return lambda log, image: None if image is None else getattr(image, name)


_WRITTEN: Mapping[str, _Column] = {
    "created_at": lambda log, image: log.created_at.isoformat(),
    "outcome": lambda log, image: "failed" if log.is_failed else "succeeded",
    "metadata": lambda log, image: json.dumps(log.metadata, ensure_ascii=False),
}
LOG_COLUMNS: Mapping[str, _Column] = {
    name: _WRITTEN.get(name, _of_log(name))
    for name in (
        *("created_at", "request_id", "endpoint", "method", "path", "status_code"),
        *("outcome", "error_type", "error_message", "duration_ms", "upload_ms"),
        *("username", "image_count", "capture_status", "capture_detail"),
        *("sample_probability", "is_pinned", "link_model", "link_pk", "metadata"),
    )
}
IMAGE_COLUMNS: Mapping[str, _Column] = {
    **{name: _of_image(name) for name in dict.fromkeys((*_FIRST, *COLUMNS))},
    # Selected as annotations of the log: a content would load its bytes.
    **{name: _of_log(name) for name in _MEASURED},
}


def safe_cell(value: Any) -> Any:
    """Return a value that no spreadsheet runs as a formula.

    Such texts get a quote in front (OWASP, "CSV Injection"). Numbers do not change.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def csv_chunks(criteria: Criteria, *, with_images: bool) -> Iterator[str]:
    """Yield the lines of a CSV file of the matching requests, the newest first.

    The rows are read page by page: no database keeps a result open, and MariaDB's
    driver would load all rows.

    Args:
        criteria: The criteria of the requests.
        with_images: Whether the file has the columns of `IMAGE_COLUMNS`.

    Yields:
        Some lines of the file (RFC 4180), the header first.
    """
    columns = {**LOG_COLUMNS, **(IMAGE_COLUMNS if with_images else {})}
    yield _lines([columns])
    logs = RequestLog.objects.select_related("image")
    if with_images:
        logs = logs.annotate(**{n: F(f"image__content__{n}") for n in _MEASURED})
    walk = Walk(logs, criteria, SORTS["newest"])
    page = walk.page(CHUNK)
    while page:
        yield _lines(
            [safe_cell(of(log, getattr(log, "image", None))) for of in columns.values()]
            for log in page
        )
        page = walk.after(page[-1], CHUNK) if len(page) == CHUNK else []


def _lines(rows: Any) -> str:
    out = io.StringIO()
    # Texts in quotes: some spreadsheets end a cell at a semicolon, and a formula might
    # follow it.
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return out.getvalue()
