"""Requests that could not be written: to the spool folder, and from there back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import DatabaseError, models, router

from .conf import conf
from .health import count, report
from .models import RequestImage, RequestLog
from .spool import Spool
from .storing import Record, save_many

RETRY_SECONDS = 10.0
"""How often a healthy process looks into the folder."""
AT_ONCE = 20
"""How many entries it then writes, so that no request's thread is held for long."""

M = TypeVar("M", bound=models.Model)

_next_look = 0.0


@dataclass
class Unspooled:
    """What became of the entries of the spool folder.

    Attributes:
        written: Entries that were written just now.
        known: Entries whose row was there already: a process was killed after it.
        failed: Entries that stay, because the database refused them.
    """

    written: int = 0
    known: int = 0
    failed: int = 0


def set_aside(record: Record) -> bool:
    """Keep a request in the spool folder; False when there is no folder, or no room."""
    spool = _spool()
    if spool is None:
        return False
    document = {
        "log": _dump(record.log),
        "image": None if record.image is None else _dump(record.image),
        "has_data": record.data is not None,
    }
    try:
        is_kept = spool.put(document, record.data or b"")
    except OSError as error:
        report("spool", error)
        return False
    count("spooled" if is_kept else "spool_full")
    return is_kept


def write_spooled(limit: int | None = None) -> Unspooled:
    """Write what the spool folder holds, the oldest first, each exactly once.

    Args:
        limit: How many entries at the most; None for all.
    """
    result = Unspooled()
    spool = _spool()
    if spool is None:
        return result
    spool.sweep()
    try:
        for entry in spool.take(limit):
            _write(entry.document, entry.data, result)
    except DatabaseError as error:
        # The entry stays where it is, and those behind it wait for the next time.
        report("spool", error)
        result.failed += 1
    return result


def write_spooled_now_and_then() -> None:
    """Write some of what the spool folder holds, unless that was done just now."""
    global _next_look  # noqa: PLW0603
    now = time.monotonic()
    if conf.SPOOL_DIR is None or now < _next_look:
        return
    _next_look = now + RETRY_SECONDS
    write_spooled(AT_ONCE)


def spooled() -> tuple[int, int]:
    """Return how many entries the spool folder holds, and how many bytes."""
    spool = _spool()
    return (0, 0) if spool is None else (spool.count(), spool.size())


def _spool() -> Spool | None:
    if conf.SPOOL_DIR is None:
        return None
    return Spool(conf.SPOOL_DIR, int(conf.SPOOL_MAX_MB * 1024 * 1024))


def _write(document: dict[str, Any], data: bytes, result: Unspooled) -> None:
    log = _load(RequestLog, document["log"])
    # Whoever holds the entry's lock is alone with it. A row that is there all the same
    # was written by a process that was killed before it could delete the entry.
    using = router.db_for_write(RequestLog)
    same = RequestLog.objects.using(using).filter(
        request_id=log.request_id, created_at=log.created_at
    )
    if same.exists():
        result.known += 1
        return
    image = None
    if document["image"] is not None:
        image = _load(RequestImage, document["image"])
    save_many([Record(log, image, data if document["has_data"] else None)])
    count("unspooled")
    result.written += 1


def _dump(row: models.Model) -> dict[str, Any]:
    # Not Django's serializer: it cuts microseconds off, and by them a row is known.
    values = {}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif not isinstance(value, str | int | float | bool | dict | None):
            value = str(value)  # a user's UUID, say
        values[field.attname] = value
    return values


def _load(model: type[M], values: dict[str, Any]) -> M:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    known = {name: value for name, value in values.items() if name in fields}
    return model(**{name: fields[name].to_python(v) for name, v in known.items()})
