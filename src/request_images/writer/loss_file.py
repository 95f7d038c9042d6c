"""The file of losses in the spool folder, for the time when no database takes them.

A line is one total. Processes append under a lock, each line in one write; of several
lines about one loss, the last counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from django.core.files import locks

from request_images.conf import conf
from request_images.db.destination import Destination
from request_images.models.losses import LossTotal

from .spool.files import open_file

_NAME = "losses"
_MAX_BYTES = 1024 * 1024
"""A larger file takes no more lines: its totals stay in memory."""

Placed = tuple[Destination | None, LossTotal]
"""A total, and where its rows belong; None if that is unknown."""


def append(losses: Iterable[Placed]) -> bool:
    """Append totals to the file; False if there is no folder.

    Raises:
        OSError: The file cannot be written now.
    """
    if conf.SPOOL_DIR is None:
        return False
    folder = Path(conf.SPOOL_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder / _NAME, os.O_CREAT) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise OSError(f"{folder / _NAME} is too large")
        file.write(b"".join(map(_line, losses)))
    return True


def read() -> list[Placed]:
    """Return the totals in the file.

    Raises:
        OSError: The file cannot be read.
    """
    if conf.SPOOL_DIR is None:
        return []
    with suppress(FileNotFoundError):
        path = Path(conf.SPOOL_DIR) / _NAME
        with open(path, "rb", opener=open_file) as file:
            return _parse(file)
    return []


@contextmanager
def taken() -> Iterator[list[Placed]]:
    """Yield the totals in the file, and leave in it those that are still in the list.

    Raises:
        OSError: The file cannot be read, or another process has it now.
    """
    if not read():
        yield []
        return
    with _locked(Path(str(conf.SPOOL_DIR)) / _NAME) as file:
        file.seek(0)
        losses = _parse(file)
        yield losses
        file.truncate(0)
        file.write(b"".join(map(_line, losses)))


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[IO[bytes]]:
    descriptor = open_file(path, os.O_RDWR | os.O_APPEND | flags)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        if not locks.lock(file, locks.LOCK_EX | locks.LOCK_NB):
            raise BlockingIOError(f"another process writes {path}")
        try:
            yield file
        finally:
            locks.unlock(file)


def _line(placed: Placed) -> bytes:
    where, total = placed
    line = {**asdict(total), "where": where}
    return json.dumps(line).encode() + b"\n"


def _parse(file: IO[bytes]) -> list[Placed]:
    found = {}
    for line in file:
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # not ours
            values = json.loads(line)
            where = values.pop("where")
            total = LossTotal(**values)
            found[total.key] = (where and Destination(*where), total)
    return list(found.values())
