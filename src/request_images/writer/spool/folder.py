"""A folder for what cannot be written now: written whole, bounded, read exactly once.

A file comes to be under another name, is synced, and is renamed into place: a process
that is killed at any moment leaves a whole file or none. Whoever reads one holds a
lock on it that the kernel takes away with the process. A file that is no whole entry
is put aside, with the suffix ``.bad``, and stands in nobody's way.

This module knows nothing of images or databases: an entry is a JSON document and some
bytes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from request_images.health import count, report

from .entry import held, last_in_queue, new_name, pack, put_at, unpack
from .quota import Account, create, open_account, read_account

SUFFIX = ".spooled"
_NEW = ".new"
_BAD = ".bad"
_ACCOUNT = "account"
_ABANDONED_SECONDS = 3600.0
_COUNT_SECONDS = 10.0
"""How old a count must be, at the least, to be made anew where there is no room."""
_BAD_SHARE = 4
"""Of the folder's bytes, bad files may have one in so many."""


class Contents(NamedTuple):
    """What a folder holds.

    Attributes:
        entries: How many entries wait.
        size: Bytes of all files, bad ones included.
        bad: How many files were put aside because they could not be used.
        oldest: When the oldest entry was put in, in seconds since 1970; None for none.
        refused_at: When there last was no room for an entry; None for never.
    """

    entries: int = 0
    size: int = 0
    bad: int = 0
    oldest: float | None = None
    refused_at: float | None = None


@dataclass(frozen=True)
class Entry:
    """What one file holds. It stays where it is unless something is done with it."""

    document: dict[str, Any]
    data: bytes
    spool: Spool
    path: Path

    @property
    def content(self) -> tuple[dict[str, Any], bytes]:
        """What was put."""
        return self.document, self.data

    def remove(self) -> None:
        """Delete it: it was dealt with."""
        self.spool.remove(self.path)

    def postpone(self) -> None:
        """Put it behind all others. Never raises: it may also stay where it is."""
        try:
            self.spool.rename(self.path, last_in_queue(self.path.name))
        except OSError as error:
            report("spool", error)

    def put_aside(self) -> None:
        """Never yield it again, and keep it for a person to look at."""
        self.spool.put_aside(self.path)


class Spool:
    """One folder.

    Args:
        folder: Where; it is made when the first entry comes.
        max_bytes: Bytes that all its files may have together, whichever and how many
            processes put them there.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self.folder = Path(folder)
        self._max_bytes = max_bytes
        self._next: list[str] = []

    def put(self, document: dict[str, Any], *data: bytes) -> bool:
        """Keep an entry; False when there is no room for it.

        Raises:
            OSError: The folder cannot be written.
            TypeError, ValueError: The document holds what JSON cannot.
        """
        parts = pack(document, *data)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.folder / f"{new_name()}{_NEW}"
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
            file = os.fdopen(create(new, os.O_WRONLY | os.O_EXCL), "wb")
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
        # Under the account's lock, as every change of the folder: nothing is missed.
        account.size = sum(_size(path) for path in self._paths(_NEW, SUFFIX, _BAD))
        account.counted_at = time.time()

    def _names(self, *suffixes: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self.folder)  # noqa: PTH208  # a Path each is too dear
            return [name for name in names if name.endswith(suffixes)]
        return []

    def _paths(self, *suffixes: str) -> Iterator[Path]:
        return (self.folder / name for name in self._names(*suffixes))

    def contents(self) -> Contents:
        """Return what the folder holds, without a look at each file.

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
            oldest=min(map(put_at, waiting), default=None),
            refused_at=account.refused_at or None,
        )

    def take(self) -> Generator[Entry, None, None]:
        """Yield entries, the oldest first; say of each what is to become of it.

        Entries that another process deals with are left out, and so is a file that
        cannot be opened, which is reported. A file that is no whole entry is put aside.
        Asked again after it was left early, it goes on where it was, without a look
        at the folder.

        Raises:
            OSError: The folder cannot be read.
        """
        if not self._next:
            self._next = sorted(self._names(SUFFIX), reverse=True)
        while self._next:
            path = self.folder / self._next.pop()
            with held(path) as file:
                if file is None:
                    continue
                try:
                    document, data = unpack(file)
                except OSError as error:
                    report("spool", error)
                except (ValueError, TypeError, RecursionError) as error:
                    report("spool", error)
                    self.put_aside(path)
                else:
                    yield Entry(document, data, self, path)

    def remove(self, path: Path) -> None:
        """Delete a file. Never raises: what stays is found there again."""
        try:
            with self._account() as account:
                size = _size(path)
                path.unlink(missing_ok=True)
                account.size -= size
        except OSError as error:
            report("spool", error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)  # the next count sees that it is gone

    def put_aside(self, path: Path) -> None:
        """Call a file bad. Never raises: what stays is found there again."""
        count("spool_bad")
        try:
            self.rename(path, path.with_suffix(_BAD).name)
        except OSError as error:
            report("spool", error)

    def rename(self, path: Path, name: str) -> None:
        """Give a file of the folder another name.

        Raises:
            OSError: It is as it was.
        """
        with self._account():  # or a count that is just being made might miss it
            path.rename(self.folder / name)

    def sweep(self, bad_seconds: float | None) -> None:
        """Delete what a killed process left half-written, and bad files.

        Args:
            bad_seconds: How old bad files may become; None for any age. Of more than a
                quarter of the folder's bytes the oldest go in any case.

        Raises:
            OSError: The folder cannot be read or written.
        """
        if not self.folder.exists():
            return
        with self._account() as account:
            half = [(*_age_and_size(path), path) for path in self._paths(_NEW)]
            _unlink([path for age, _, path in half if age > _ABANDONED_SECONDS])
            room = self._max_bytes // _BAD_SHARE
            going = []
            # The youngest first: they have the room.
            for age, size, path in sorted(
                (*_age_and_size(path), path) for path in self._paths(_BAD)
            ):
                room -= size
                if room < 0 or (bad_seconds is not None and age > bad_seconds):
                    going.append(path)
            _unlink(going)
            self._count(account)


def _size(path: Path) -> int:
    return _age_and_size(path)[1]


def _age_and_size(path: Path) -> tuple[float, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0.0, 0
    return time.time() - status.st_mtime, status.st_size


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            report("spool", error)
