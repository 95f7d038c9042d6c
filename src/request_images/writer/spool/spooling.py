"""Requests that could not be written: to the spool folder, and from there back.

A row that the database refuses for what it holds is written without that, and put aside
if nothing helps. Only where the database takes no row at all, everything waits.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from request_images import signals
from request_images.conf import conf
from request_images.db.columns import clean_json
from request_images.health import count, report
from request_images.outcome import CaptureStatus
from request_images.writer.degrade import is_smaller, smaller
from request_images.writer.notify import announce, tell
from request_images.writer.probe import is_passing, try_write
from request_images.writer.record import Record
from request_images.writer.rows import save_once

from .documents import data_of, document_of, restored
from .folder import Contents, Entry, Spool

RETRY_SECONDS = 10.0
"""How often a healthy process looks into the folder."""
SECONDS_AT_ONCE = 0.1
"""How long it then writes, so that no request's thread is held for long."""
AGAIN_SECONDS = 0.5
"""How soon it goes on, where that was not enough."""
SWEEP_SECONDS = 3600.0
"""How often it tidies the folder up."""


@dataclass
class Unspooled:
    """What became of the entries of the spool folder.

    Attributes:
        written: Entries that were written just now.
        known: Entries whose row was there already: a process was killed after it.
        failed: Entries that stay, because the database did not take them now.
        bad: Entries that were put aside, because it never will.
        is_cut_short: Whether the time was over before the folder was empty.
    """

    written: int = 0
    known: int = 0
    failed: int = 0
    bad: int = 0
    is_cut_short: bool = False


def set_aside(record: Record) -> bool:
    """Keep a request in the spool folder; False when there is no folder, or no room.

    Never raises: whoever calls it has other requests to look after.
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


def write_spooled() -> Unspooled:
    """Write what the spool folder holds, the oldest first, each exactly once.

    Raises:
        OSError: The folder cannot be read or written.
    """
    spool = _spool()
    if spool is None:
        return Unspooled()
    _sweep(spool)
    return _write_from(spool)


def write_spooled_now_and_then() -> None:
    """Write some of what the spool folder holds, unless that was done just now.

    Never raises: what the caller has written is written.
    """
    try:
        if conf.SPOOL_DIR is None or time.monotonic() < _next_look:
            return
        if _turn.acquire(blocking=False):
            try:
                _look()
            finally:
                _turn.release()
    except Exception as error:  # noqa: BLE001  # ours, never the request's
        report("spool", error)


def spooled() -> Contents:
    """Return what the spool folder holds.

    Raises:
        OSError: The folder cannot be read.
    """
    spool = _spool()
    return Contents() if spool is None else spool.contents()


def _look() -> None:
    global _next_look, _next_sweep, _half_read  # noqa: PLW0603  # of the process
    now = time.monotonic()
    _next_look = now + RETRY_SECONDS
    spool = _spool()
    if spool is None:
        return
    if now >= _next_sweep:
        _next_sweep = now + SWEEP_SECONDS
        _sweep(spool)
    if _half_read is not None and _half_read.folder == spool.folder:
        spool = _half_read
    _half_read = None
    if _write_from(spool, SECONDS_AT_ONCE).is_cut_short:
        _half_read = spool
        _next_look = time.monotonic() + AGAIN_SECONDS


def _sweep(spool: Spool) -> None:
    days = conf.RETENTION_DAYS  # they hold images
    spool.sweep(None if days is None else days * 86_400.0)


def _spool() -> Spool | None:
    if conf.SPOOL_DIR is None:
        return None
    return Spool(conf.SPOOL_DIR, int(conf.SPOOL_MAX_MB * 1024 * 1024))


def _put(spool: Spool, record: Record) -> bool:
    for each in record.with_bytes:
        each.teller.capture_status = (
            CaptureStatus.STORED
        )  # not what a failed write said
    document, data = document_of(record), data_of(record)
    try:
        return spool.put(document, *data)
    except (TypeError, ValueError, RecursionError):
        # A project's function has put into it what JSON does not know.
        document["log"]["metadata"] = clean_json(record.log.metadata)
    return spool.put(document, *data)


def _write_from(spool: Spool, seconds: float = float("inf")) -> Unspooled:
    result = Unspooled()
    end = time.monotonic() + seconds
    with closing(spool.take()) as entries:
        for entry in entries:
            if not _settle(entry, result):
                break
            if time.monotonic() > end:
                result.is_cut_short = True
                break
    return result


def _settle(entry: Entry, result: Unspooled) -> bool:
    """Deal with one entry; False when the database takes nothing now."""
    failures: list[Exception] = []
    try:
        record = restored(*entry.content)
        for less in chain((record,), smaller(record, failures)):
            try:
                # Whoever holds the entry's lock is alone with it. Its row may be there
                # all the same: from a process that was killed before it could delete
                # the entry, or over a connection that was lost during its commit.
                is_new = bool(save_once([less], is_in_doubt=True))
            except Exception as error:  # noqa: BLE001  # ours, never the request's
                report("spool", error)
                failures.append(error)
            else:
                entry.remove()
                failure = failures[0] if is_smaller(less, record) else None
                _count(less, failure, result, is_new=is_new)
                return True
            if try_write() is not None:
                result.failed += 1
                return False
            if is_passing(failures[-1]):
                result.failed += 1
                entry.postpone()
                return True
    except Exception as error:  # noqa: BLE001  # whatever it is, it is no request
        report("spool", error)
        failures.append(error)
    result.bad += 1
    entry.put_aside()
    tell(signals.capture_failed, log=None, exception=failures[-1])
    return True


def _count(
    record: Record, failure: Exception | None, result: Unspooled, *, is_new: bool
) -> None:
    if not is_new:
        result.known += 1
        return
    result.written += 1
    count("unspooled")
    announce(record, failure=failure)


def _forget() -> None:
    """Know nothing of when what was done, as a new process does."""
    global _turn, _next_look, _next_sweep, _half_read  # noqa: PLW0603  # all of it
    # In the child of a fork, a thread that is not there any more may hold the lock.
    _turn = threading.Lock()
    _next_look = _next_sweep = 0.0
    _half_read = None


_turn: threading.Lock
_next_look: float
_next_sweep: float
_half_read: Spool | None
_forget()
os.register_at_fork(after_in_child=_forget)
