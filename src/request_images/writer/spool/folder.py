"""A bounded folder of records that wait to be written to the database.

The processes that fill it append to segments of their own (`segment`), and share a
number, the bytes of the folder, once for each segment. One process at a time reads.

This module knows nothing of images or databases: a record is a JSON document and some
bytes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from django.core.files import locks

from request_images.health import count, report

from .files import open_file, require_folder
from .quota import Account, open_account, read_account
from .segment import (
    SEGMENT_SECONDS,
    Appender,
    Damage,
    Name,
    Segment,
    Span,
    pack,
    packed_size,
)

SUFFIX = ".spooled"
_BAD = ".bad"
_ACCOUNT = "account"
_READER = "reader"
_SEGMENT_BYTES = 4 * 1024 * 1024
_SHARE = 64
"""A segment has one in `_SHARE` of the folder's bytes at most, or one record."""
_MAX_OPEN = 16
_LOCK_SECONDS = 1.0
_TRIES = 3
"""The reader may delete a new segment, too, before there is something in it."""
_COUNT_SECONDS = 10.0
"""A folder without room is counted again if the last count is older than this."""
_BAD_SHARE = 4
"""Bad files may have one in `_BAD_SHARE` of the folder's bytes."""


class Contents(NamedTuple):
    """The numbers of a folder.

    Attributes:
        entries: Number of records that wait.
        size: Bytes of all files, bad ones included.
        bad: Number of files in quarantine.
        oldest: Time of the oldest record, in seconds since 1970; None for no record.
        refused_at: Last time that there was no room for a record; None for never.
    """

    entries: int = 0
    size: int = 0
    bad: int = 0
    oldest: float | None = None
    refused_at: float | None = None


@dataclass(frozen=True)
class Entry:
    """A record that waits, and where it is."""

    document: dict[str, Any]
    data: bytes
    path: Path
    span: Span

    @property
    def group(self) -> str:
        """The group that it was put into."""
        return Name.parse(self.path.stem).group

    def emptied(self) -> Entry:
        """Return it without what it holds in memory."""
        return replace(self, document={}, data=b"")


class Spool:
    """One folder, created with the first record, with a limit for all its processes."""

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._open: dict[str, Appender] = {}

    def put(self, document: dict[str, Any], *data: bytes, group: str = "") -> bool:
        """Append a record; return False if there is no room for it.

        Its group is a short name, in hexadecimal digits, which `take` can skip.

        Raises:
            OSError: The folder cannot be written.
            TypeError, ValueError, RecursionError: JSON cannot hold the document.
        """
        parts = pack(document, data)
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            raise TimeoutError("another thread writes into the folder for too long")
        try:
            segment = self._open.get(group)
            if segment is not None and segment.append(parts):
                return True
            for _ in range(_TRIES):
                segment = self._new_segment(group, packed_size(parts))
                if segment is None or segment.append(parts):
                    return segment is not None
            raise OSError("a new segment cannot be locked")
        finally:
            self._lock.release()

    def _new_segment(self, group: str, size: int) -> Appender | None:
        self._open.pop(group, None)
        while len(self._open) >= _MAX_OPEN:
            self._open.pop(next(iter(self._open)))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = max(size, min(_SEGMENT_BYTES, self._max_bytes // _SHARE))
        path = self.folder / f"{Name.new(group).text}{SUFFIX}"
        with self._account() as account:
            is_old = time.time() - account.counted_at > _COUNT_SECONDS
            if account.size + room > self._max_bytes and is_old:
                self._count(account)
            room = max(size, min(room, self._max_bytes - account.size))
            if account.size + room > self._max_bytes:
                account.refused += 1
                account.refused_at = time.time()
                return None
            segment = Appender(path, room)
            account.size += room
        self._open[group] = segment
        return segment

    @contextlib.contextmanager
    def _account(self) -> Iterator[Account]:
        with open_account(self.folder / _ACCOUNT) as account:
            if not account.counted_at:
                self._count(account)
            yield account

    def _count(self, account: Account) -> None:
        # A segment that still grows has its whole room.
        growing = time.time() - SEGMENT_SECONDS
        account.size = 0
        for path in self._paths(SUFFIX, _BAD):
            size, modified_at = _size_and_time(path)
            room = min(_SEGMENT_BYTES, self._max_bytes // _SHARE)
            is_growing = path.suffix == SUFFIX and modified_at > growing
            account.size += max(size, room) if is_growing else size
        account.counted_at = time.time()

    def _names(self, *suffixes: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            require_folder(self.folder)
            names = os.listdir(self.folder)  # noqa: PTH208  # a Path each is slow
            return [name for name in names if name.endswith(suffixes)]
        return []

    def _paths(self, *suffixes: str) -> list[Path]:
        return [self.folder / name for name in sorted(self._names(*suffixes))]

    def contents(self) -> Contents:
        """Return the numbers of the folder, without reading its records.

        Raises:
            OSError: The folder cannot be read.
        """
        account = read_account(self.folder / _ACCOUNT)
        bad, entries, size, oldest = 0, 0, 0, time.time()
        for path in self._paths(SUFFIX, _BAD):
            size += _size_and_time(path)[0]
            if path.suffix == _BAD or not _is_segment(path):
                bad += 1
                continue
            with _reported(), Segment.opened(path, for_marks=False) as segment:
                for span in segment.spans():
                    if not span.is_done:
                        entries += 1
                        oldest = min(oldest, span.created_at)
        return Contents(
            entries=entries,
            size=size,
            bad=bad,
            oldest=oldest if entries else None,
            refused_at=account.refused_at or None,
        )

    @property
    def is_empty(self) -> bool:
        """Whether it has no segments, which a healthy folder has only for moments."""
        return not self._names(SUFFIX)

    @contextlib.contextmanager
    def reading(self) -> Iterator[bool]:
        """Become the one process that reads; yield False if another does, or none can.

        Raises:
            OSError: The folder cannot be written.
        """
        try:
            descriptor = open_file(self.folder / _READER, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            yield False  # there is no folder yet
            return
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            is_ours = locks.lock(file, locks.LOCK_EX | locks.LOCK_NB)
            try:
                yield is_ours
            finally:
                if is_ours:  # explicitly: a forked child has the file open, too
                    locks.unlock(file)

    def take(self, skipped: Container[str] = ()) -> Iterator[Entry]:
        """Yield the records that wait, the oldest segment first.

        Those of the groups that are skipped are left out, and so is a file that cannot
        be opened, which is reported. What is damaged is quarantined. Segments in which
        nothing waits are deleted.

        Raises:
            OSError: The folder cannot be read.
        """
        for path in self._paths(SUFFIX):
            if not _is_segment(path):
                self._quarantine_file(path)
            elif (group := Name.parse(path.stem).group) not in skipped:
                yield from self._take_from(path, group, skipped)

    def _take_from(
        self, path: Path, group: str, skipped: Container[str]
    ) -> Iterator[Entry]:
        with _reported(), Segment.opened(path) as segment:
            for found in segment.waiting():
                if isinstance(found, Damage):
                    report("spool", found.reason)
                    self._quarantine(segment, found.span)
                    continue
                yield Entry(found.document, found.data, path, found.span)
                if group in skipped:
                    return
            self._delete_if_done(segment)

    def remove(self, entries: Sequence[Entry]) -> None:
        """Mark entries as dealt with. Never raises: one that stays is found again."""
        for path, of_path in groupby(entries, key=lambda entry: entry.path):
            with _reported(), Segment.opened(path) as segment:
                end = 0
                for entry in of_path:
                    segment.mark_done(entry.span)
                    end = entry.span.end
                if end == segment.size:
                    self._delete_if_done(segment)

    def quarantine(self, entry: Entry) -> None:
        """Never yield an entry again; keep its bytes for a person to examine.

        Never raises: one that stays is found again.
        """
        with _reported(), Segment.opened(entry.path) as segment:
            self._quarantine(segment, entry.span)

    def _quarantine(self, segment: Segment, span: Span) -> None:
        count("spool_bad")
        path = segment.path.with_name(f"{segment.path.stem}-{span.start}{_BAD}")
        with os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
            file.write(segment.read(span.start, span.end))
        with self._account() as account:
            account.size += span.end - span.start
        segment.mark_done(span)

    def _quarantine_file(self, path: Path) -> None:
        count("spool_bad")
        report("spool", ValueError(f"{path.name} is not a name of ours"))
        with _reported():
            path.rename(path.with_suffix(_BAD))

    def _delete_if_done(self, segment: Segment) -> None:
        if segment.has_waiting:
            return
        with self._account() as account:  # or a count might miss the file
            size = segment.size
            if segment.delete_if_done():
                account.size -= size

    def sweep(self, bad_seconds: float | None) -> None:
        """Delete old bad files, and count the folder.

        Args:
            bad_seconds: Maximum age of bad files; None for no maximum. Those that take
                more than a quarter of the folder's bytes go in any case, oldest first.

        Raises:
            OSError: The folder cannot be read or written.
        """
        if not self.folder.exists():
            return
        with self._account() as account:
            room, now = self._max_bytes // _BAD_SHARE, time.time()
            found = [(*_size_and_time(path), path) for path in self._paths(_BAD)]
            # The youngest first: they stay.
            for size, modified_at, path in sorted(found, key=lambda f: -f[1]):
                room -= size
                is_old = bad_seconds is not None and now - modified_at > bad_seconds
                if room < 0 or is_old:
                    with _reported():
                        path.unlink(missing_ok=True)
            self._count(account)


def _is_segment(path: Path) -> bool:
    try:
        Name.parse(path.stem)
    except ValueError:
        return False
    return True


def _size_and_time(path: Path) -> tuple[int, float]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0, 0.0
    return status.st_size, status.st_mtime


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    # A file that another process deletes at any moment is no error.
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as error:
        report("spool", error)
