"""A bounded folder of entries that cannot be written to the database now.

A file is written under another name, synced, and renamed into place: a process that is
killed at any moment leaves a whole file or none. Who reads a file holds a lock on it,
which the kernel releases with the process, so that each is read exactly once. A damaged
file is quarantined, by the suffix ``.bad``.

This module knows nothing of images or databases: an entry is a JSON document and some
bytes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Container, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from request_images.health import count, report

from .entry import (
    created_at_of,
    group_of,
    new_name,
    open_locked,
    pack,
    requeued_name,
    unpack,
)
from .files import open_file, require_folder
from .quota import Account, open_account, read_account

SUFFIX = ".spooled"
_NEW = ".new"
_BAD = ".bad"
_ACCOUNT = "account"
_ABANDONED_SECONDS = 3600.0
_COUNT_SECONDS = 10.0
"""A folder without room is counted again if the last count is older than this."""
_BAD_SHARE = 4
"""Bad files may have one in `_BAD_SHARE` of the folder's bytes."""


class Contents(NamedTuple):
    """The numbers of a folder.

    Attributes:
        entries: Number of entries that wait.
        size: Bytes of all files, bad ones included.
        bad: Number of files in quarantine.
        oldest: Time of the oldest entry, in seconds since 1970; None for no entry.
        refused_at: Last time that there was no room for an entry; None for never.
    """

    entries: int = 0
    size: int = 0
    bad: int = 0
    oldest: float | None = None
    refused_at: float | None = None


@dataclass(frozen=True)
class Entry:
    """One entry. Its file stays unless one of the methods is called."""

    document: dict[str, Any]
    data: bytes
    spool: Spool
    path: Path

    @property
    def group(self) -> str:
        """The group that it was put into."""
        return group_of(self.path.name)

    def remove(self) -> None:
        """Delete the file."""
        self.spool.remove(self.path)

    def postpone(self) -> None:
        """Move it to the end of the queue. Never raises: at worst it stays in place."""
        try:
            self.spool.rename(self.path, requeued_name(self.path.name))
        except OSError as error:
            report("spool", error)

    def quarantine(self) -> None:
        """Never yield it again; keep the file for a person to examine."""
        self.spool.quarantine(self.path)


class Spool:
    """One folder, created with the first entry, with a limit for all its processes."""

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._next: list[str] = []

    def put(self, document: dict[str, Any], *data: bytes, group: str = "") -> bool:
        """Save an entry; return False if there is no room for it.

        Its group is a short name, in hexadecimal digits, which `take` can skip.

        Raises:
            OSError: The folder cannot be written.
            TypeError, ValueError: JSON cannot hold the document.
        """
        parts = pack(document, *data)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.folder / f"{new_name(group)}{_NEW}"
        file = self._reserve(new, sum(len(part) for part in parts))
        if file is None:
            return False
        try:
            with file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            self.rename(new, new.with_suffix(SUFFIX).name)
        except OSError:
            self.remove(new)
            raise
        return True

    def _reserve(self, new: Path, size: int) -> IO[bytes] | None:
        """Create a file of a size, if there is room, so that any count sees it."""
        with self._account() as account:
            is_old = time.time() - account.counted_at > _COUNT_SECONDS
            if account.size + size > self._max_bytes and is_old:
                self._count(account)
            if account.size + size > self._max_bytes:
                account.refused += 1
                account.refused_at = time.time()
                return None
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            file = os.fdopen(open_file(new, flags), "wb")
            account.size += size
            file.truncate(size)
            return file

    @contextlib.contextmanager
    def _account(self) -> Iterator[Account]:
        with open_account(self.folder / _ACCOUNT) as account:
            if not account.counted_at:
                self._count(account)
            yield account

    def _count(self, account: Account) -> None:
        # Under the account's lock, as every change of the folder.
        account.size = sum(_size(path) for path in self._paths(_NEW, SUFFIX, _BAD))
        account.counted_at = time.time()

    def _names(self, *suffixes: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            require_folder(self.folder)
            names = os.listdir(self.folder)  # noqa: PTH208  # a Path each is slow
            return [name for name in names if name.endswith(suffixes)]
        return []

    def _paths(self, *suffixes: str) -> Iterator[Path]:
        return (self.folder / name for name in self._names(*suffixes))

    def contents(self) -> Contents:
        """Return the numbers of the folder, without opening its files.

        Raises:
            OSError: The folder cannot be read.
        """
        names = self._names(SUFFIX, _BAD)
        waiting = [name for name in names if name.endswith(SUFFIX)]
        account = read_account(self.folder / _ACCOUNT)
        if not account.counted_at:
            self._count(account)
        return Contents(
            entries=len(waiting),
            size=account.size,
            bad=len(names) - len(waiting),
            oldest=min(map(created_at_of, waiting), default=None),
            refused_at=account.refused_at or None,
        )

    def take(self, skipped: Container[str] = ()) -> Generator[Entry, None, None]:
        """Yield the entries, the oldest first, without the groups that are skipped.

        Entries that another process reads are left out, and so is a file that cannot be
        opened, which is reported. A damaged file is quarantined. A second call after
        an early end goes on from there, without listing the folder.

        Raises:
            OSError: The folder cannot be read.
        """
        if not self._next:
            self._next = sorted(self._names(SUFFIX), reverse=True)
        while self._next:
            path = self.folder / self._next.pop()
            if group_of(path.name) in skipped:
                continue
            with open_locked(path) as file:
                if file is None:
                    continue
                try:
                    document, data = unpack(file)
                except OSError as error:
                    report("spool", error)
                except (ValueError, TypeError, RecursionError) as error:
                    report("spool", error)
                    self.quarantine(path)
                else:
                    yield Entry(document, data, self, path)

    def remove(self, path: Path) -> None:
        """Delete a file. Never raises: a file that stays is found again."""
        try:
            with self._account() as account:
                size = _size(path)
                path.unlink(missing_ok=True)
                account.size -= size
        except OSError as error:
            report("spool", error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # the next count corrects the size

    def quarantine(self, path: Path) -> None:
        """Mark a file as bad. Never raises: a file that stays is found again."""
        count("spool_bad")
        try:
            self.rename(path, path.with_suffix(_BAD).name)
        except OSError as error:
            report("spool", error)

    def rename(self, path: Path, name: str) -> None:
        """Rename a file of the folder, or raise an `OSError`."""
        with self._account():  # or a running count might miss it
            path.rename(self.folder / name)

    def sweep(self, bad_seconds: float | None) -> None:
        """Delete half-written files of killed processes, and old bad files.

        Args:
            bad_seconds: Maximum age of bad files; None for no maximum. Those that take
                more than a quarter of the folder's bytes go in any case, oldest first.

        Raises:
            OSError: The folder cannot be read or written.
        """
        if not self.folder.exists():
            return
        with self._account() as account:
            for path in self._paths(_NEW):
                if _age_and_size(path)[0] > _ABANDONED_SECONDS:
                    _unlink(path)
            room = self._max_bytes // _BAD_SHARE
            # The youngest first: they stay.
            for age, size, path in sorted(
                (*_age_and_size(path), path) for path in self._paths(_BAD)
            ):
                room -= size
                if room < 0 or (bad_seconds is not None and age > bad_seconds):
                    _unlink(path)
            self._count(account)


def _size(path: Path) -> int:
    return _age_and_size(path)[1]


def _age_and_size(path: Path) -> tuple[float, int]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0.0, 0
    return time.time() - status.st_mtime, status.st_size


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        report("spool", error)
