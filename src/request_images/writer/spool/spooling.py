"""Requests that could not be written: into the spool folder, and back.

If the database refuses a row for its values, a smaller copy is written; if it refuses
all of them, the file is quarantined. Entries wait while the database accepts no rows.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models

from request_images import signals
from request_images.conf import conf
from request_images.db.columns import clean_json
from request_images.db.destination import Destination, entered, require
from request_images.health import count, report
from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.outcome import UNUSABLE, CaptureStatus
from request_images.writer.connection import usable_connection
from request_images.writer.degrade import lacks_bytes, smaller_copies
from request_images.writer.notify import send, send_signals
from request_images.writer.probe import is_temporary, try_write
from request_images.writer.record import Record
from request_images.writer.rows import save_once

from .folder import Contents, Entry, Spool

if TYPE_CHECKING:
    from typing_extensions import Self

RETRY_SECONDS = 10.0
"""Interval between two looks into the folder, by a healthy process."""
SECONDS_AT_ONCE = 0.1
"""How long it writes then: the thread of a request must not wait for long."""
AGAIN_SECONDS = 0.5
"""Interval if that was not enough time."""
SWEEP_SECONDS = 3600.0
"""Interval between two sweeps of the folder."""

M = TypeVar("M", bound=models.Model)


@dataclass
class SpoolResult:
    """The result of writing the entries of the spool folder.

    Attributes:
        written: Entries that were written just now.
        known: Entries whose row existed already: a process was killed after writing it.
        failed: Entries that stay, because the database does not accept them now.
        bad: Entries that were quarantined, because it never will.
        is_cut_short: Whether time was up before the folder was empty.
    """

    written: int = 0
    known: int = 0
    failed: int = 0
    bad: int = 0
    is_cut_short: bool = False


def save_to_spool(record: Record) -> bool:
    """Save a request in the spool folder; False if there is no folder or no room.

    Never raises: the caller has other requests to handle.
    """
    try:
        spool = _spool()
        if spool is None:
            return False
        is_kept = _put(spool, record)
    except Exception as error:  # noqa: BLE001  # ours, never the request's
        report("spool", error)
        return False
    count("spooled" if is_kept else "spool_full")
    return is_kept


def write_spooled() -> SpoolResult:
    """Write the requests in the spool folder, the oldest first, each exactly once.

    Raises:
        OSError: The folder cannot be read or written.
    """
    spool = _spool()
    if spool is None:
        return SpoolResult()
    _sweep(spool)
    return _write_from(spool)


def write_spooled_if_due() -> None:
    """Write some of the requests in the spool folder, unless that was just done.

    Never raises: it is no failure of the caller's write.
    """
    try:
        if conf.SPOOL_DIR is None or time.monotonic() < _next_look:
            return
        if _lock.acquire(blocking=False):
            try:
                _write_due()
            finally:
                _lock.release()
    except Exception as error:  # noqa: BLE001  # ours, never the request's
        report("spool", error)


def spool_contents() -> Contents:
    """Return the numbers of the spool folder.

    Raises:
        OSError: The folder cannot be read.
    """
    spool = _spool()
    return Contents() if spool is None else spool.contents()


def _write_due() -> None:
    global _next_look, _next_sweep, _unfinished  # noqa: PLW0603  # one each for the process
    now = time.monotonic()
    _next_look = now + RETRY_SECONDS
    spool = _spool()
    if spool is None:
        return
    if now >= _next_sweep:
        _next_sweep = now + SWEEP_SECONDS
        _sweep(spool)
    if _unfinished is not None and _unfinished.folder == spool.folder:
        spool = _unfinished
    _unfinished = None
    if _write_from(spool, SECONDS_AT_ONCE).is_cut_short:
        _unfinished = spool
        _next_look = time.monotonic() + AGAIN_SECONDS


def _sweep(spool: Spool) -> None:
    days = conf.RETENTION_DAYS  # bad files hold images, too
    spool.sweep(None if days is None else days * 86_400.0)


def _spool() -> Spool | None:
    if conf.SPOOL_DIR is None:
        return None
    return Spool(conf.SPOOL_DIR, int(conf.SPOOL_MAX_MB * 1024 * 1024))


def _put(spool: Spool, record: Record) -> bool:
    for picture in record.with_bytes:
        # Instead of the status of the failed write.
        if picture.status_row.capture_status not in UNUSABLE:
            picture.status_row.capture_status = CaptureStatus.STORED
    document = document_of(record)
    data = [picture.data or b"" for picture in record.with_bytes]
    group = record.destination.key
    try:
        return spool.put(document, *data, group=group)
    except (TypeError, ValueError, RecursionError):
        # A function of the project has added what JSON cannot hold.
        document["log"]["metadata"] = clean_json(record.log.metadata)
    return spool.put(document, *data, group=group)


def _write_from(spool: Spool, seconds: float = float("inf")) -> SpoolResult:
    result = SpoolResult()
    end = time.monotonic() + seconds
    refused: set[str] = set()  # a database that is down must not stop the others
    with _Places() as places, closing(spool.take(refused)) as entries:
        for entry in entries:
            if not _write_entry(entry, places, result):
                refused.add(entry.group)
            if time.monotonic() > end:
                result.is_cut_short = True
                break
    return result


class _Places(ExitStack):
    """The destinations of entries, whose connections are closed at the end."""

    def __enter__(self) -> Self:
        self._aliases: set[str] = set()
        self._known: set[Destination] = set()
        return super().__enter__()

    @contextmanager
    def entered(self, where: Destination) -> Iterator[None]:
        """Enter a destination; raise any exception if that is not possible."""
        if where.alias not in self._aliases:
            self._aliases.add(where.alias)
            self.enter_context(
                usable_connection(where.alias, is_handled=False, is_last_use=True)
            )
        if where not in self._known:
            require(where)
            self._known.add(where)
        with entered(where):
            yield


def _write_entry(entry: Entry, places: _Places, result: SpoolResult) -> bool:
    """Write one entry; False if its database accepts no rows now."""
    try:
        record = restored(entry.document, entry.data)
    except Exception as error:  # noqa: BLE001  # this is no request
        report("spool", error)
        return _set_aside(entry, result, error)
    with ExitStack() as stack:
        try:
            stack.enter_context(places.entered(record.destination))
        except Exception as error:  # noqa: BLE001  # it may be back later
            report("spool", error)
            result.failed += 1
            return False
        return _write_record(entry, record, result)


def _set_aside(entry: Entry, result: SpoolResult, error: Exception) -> bool:
    result.bad += 1
    entry.quarantine()
    send(signals.capture_failed, log=None, exception=error)
    return True


def _write_record(entry: Entry, record: Record, result: SpoolResult) -> bool:
    failures: list[Exception] = []
    try:
        for less in chain((record,), smaller_copies(record, failures)):
            try:
                # The lock keeps other processes from this entry. Its row may exist all
                # the same: a process was killed before it could delete the entry, or
                # the connection was lost during the commit.
                less.is_in_doubt = True
                is_new = bool(save_once([less]))
            except Exception as error:  # noqa: BLE001  # ours, never the request's
                report("spool", error)
                failures.append(error)
            else:
                entry.remove()
                result.written += is_new
                result.known += not is_new
                if is_new:
                    count("unspooled")
                    failure = failures[0] if lacks_bytes(less, record) else None
                    send_signals(less, failure=failure)
                return True
            if try_write() is not None:
                result.failed += 1
                return False
            if is_temporary(failures[-1]):
                result.failed += 1
                entry.postpone()
                return True
    except Exception as error:  # noqa: BLE001  # this is no request
        report("spool", error)
        failures.append(error)
    return _set_aside(entry, result, failures[-1])


def document_of(record: Record) -> dict[str, Any]:
    """Return a request as a JSON document, without the bytes of its images."""
    return {
        "destination": record.destination._asdict(),
        "log": _dump(record.log),
        "image": None if record.image is None else _dump(record.image),
        "further": [_dump(row) for row in record.further],
        "sizes": [
            None if picture.data is None else len(picture.data)
            for picture in record.pictures
        ]
        or [None],
    }


def restored(document: dict[str, Any], data: bytes) -> Record:
    """Return the request that a document was made of.

    Raises:
        Exception: The document is malformed, or the bytes are not those of its images.
    """
    where = Destination(**document["destination"])
    record = Record(_load(RequestLog, document["log"]), where)
    rows: list[RequestImage | FurtherImage] = []
    if document["image"] is not None:
        rows.append(_load(RequestImage, document["image"]))
    rows += [_load(FurtherImage, values) for values in document["further"]]
    start, sizes = 0, document["sizes"]
    if not rows and sizes == [None]:
        sizes = []
    for row, size in zip(rows, sizes, strict=True):
        own_data = None if size is None else data[start : start + size]
        start += size or 0
        if own_data is not None and _hash(own_data) != row.image_hash:
            # Under this hash, the bytes would be taken for the image from now on.
            raise ValueError("not the bytes of the image")
        record.add(row, own_data)
    return record


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _dump(row: models.Model) -> dict[str, Any]:
    # Not Django's serializer: it drops microseconds, which identify a row.
    values = {}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif not isinstance(value, str | int | float | bool | dict | list | None):
            value = str(value)  # a user's UUID, say
        values[field.attname] = value
    return values


def _load(model: type[M], values: dict[str, Any]) -> M:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    known = {name: value for name, value in values.items() if name in fields}
    return model(**{name: fields[name].to_python(v) for name, v in known.items()})


def _reset() -> None:
    """Forget the state of this process, as a new process does."""
    global _lock, _next_look, _next_sweep, _unfinished  # noqa: PLW0603  # all of it
    # In the child of a fork, a thread of the parent may hold the lock.
    _lock = threading.Lock()
    _next_look = _next_sweep = 0.0
    _unfinished = None


_lock: threading.Lock
_next_look: float
_next_sweep: float
_unfinished: Spool | None
_reset()
os.register_at_fork(after_in_child=_reset)
