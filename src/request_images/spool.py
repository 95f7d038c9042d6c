"""A folder for what cannot be written now: written whole, bounded, read exactly once.

A file comes to be under another name, is synced, and is renamed into place: a process
that is killed at any moment leaves a whole file or none. Whoever reads one holds a
lock on it that the kernel takes away with the process.

This module knows nothing of images or databases: an entry is a JSON document and some
bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django.core.files import locks

SUFFIX = ".spooled"
_NEW = ".new"
_BAD = ".bad"
_LENGTH = struct.Struct(">Q")
_ABANDONED_SECONDS = 3600.0


class Entry(NamedTuple):
    """What one file holds."""

    document: dict[str, Any]
    data: bytes


class Spool:
    """One folder.

    Args:
        folder: Where; it is made when the first entry comes.
        max_bytes: Bytes that all its files may have together.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes

    def put(self, document: dict[str, Any], data: bytes) -> bool:
        """Keep an entry; False when there is no room for it.

        Raises:
            OSError: The folder cannot be written.
        """
        head = json.dumps(document).encode()
        size = _LENGTH.size + len(head) + len(data)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.size() + size > self._max_bytes:
            return False
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
        new = self._folder / f"{name}{_NEW}"
        try:
            with new.open("xb") as file:
                file.write(_LENGTH.pack(len(head)))
                file.write(head)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.rename(self._folder / f"{name}{SUFFIX}")
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        return True

    def size(self) -> int:
        """Return the bytes of all files, those on their way included."""
        return sum(size for _, size in self._files())

    def count(self) -> int:
        """Return how many entries there are."""
        return sum(path.suffix == SUFFIX for path, _ in self._files())

    def _files(self) -> Iterator[tuple[Path, int]]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as found:
            for entry in found:
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    yield Path(entry.path), entry.stat().st_size

    def take(self, limit: int | None = None) -> Iterator[Entry]:
        """Yield entries, the oldest first. Each is deleted once it was dealt with.

        An entry is dealt with when the next one is asked for; an exception on the way
        leaves it where it is. Entries that another process deals with are left out. A
        file that cannot be read is put aside, with the suffix ``.bad``.

        Args:
            limit: How many at the most; None for all.
        """
        found = sorted(path for path, _ in self._files() if path.suffix == SUFFIX)
        for path in found[:limit]:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                if not locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
                    continue
                if not path.exists():  # another process has just dealt with it
                    continue
                try:
                    entry = _read(file.read())
                except ValueError:
                    path.rename(path.with_suffix(_BAD))
                    continue
                yield entry
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what a process left that was killed while it wrote."""
        limit = time.time() - _ABANDONED_SECONDS
        for path, _ in self._files():
            with contextlib.suppress(FileNotFoundError):
                if path.suffix == _NEW and path.stat().st_mtime < limit:
                    path.unlink()


def _read(content: bytes) -> Entry:
    begin = _LENGTH.size
    if len(content) < begin:
        raise ValueError("shorter than its head")
    (length,) = _LENGTH.unpack(content[:begin])
    document = json.loads(content[begin : begin + length])
    return Entry(document, content[begin + length :])
