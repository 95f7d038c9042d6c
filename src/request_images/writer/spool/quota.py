"""The size of a folder in bytes, in a file that all its processes share and lock.

A process takes the lock once for each segment: it adds the room that it reserves. The
process that deletes a segment subtracts its size. So the number may be too large, by
room that was not filled, but never too small; the next count corrects it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.core.files import locks

from .files import open_file

LOCK_SECONDS = 1.0
"""How long to wait for the lock, which is held for the time of a count at most."""
_POLL_SECONDS = 0.002
_LENGTH = 256
_MAX_BYTES = 4096
_MOST = 2**63


@dataclass
class Account:
    """The shared numbers of a folder.

    Attributes:
        size: Bytes of its files, unfinished ones included.
        counted_at: Time of the last count, in seconds since 1970; 0 for never.
        refused: Number of files that there was no room for.
        refused_at: Last time of that, in seconds since 1970; 0 for never.
    """

    size: int = 0
    counted_at: float = 0.0
    refused: int = 0
    refused_at: float = 0.0


@contextlib.contextmanager
def open_account(path: Path) -> Iterator[Account]:
    """Lock the account, and save what is changed in it.

    The wait for the lock is limited: the process that holds it may have been stopped.

    Raises:
        OSError: It cannot be read or written, or another process holds it too long.
    """
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        _wait_for_lock(descriptor)
        try:
            found = file.read(_MAX_BYTES)
            account = _parse(found)
            yield account
            file.seek(0)
            text = json.dumps(asdict(account)).encode().ljust(_LENGTH)
            if len(found) > len(text):
                file.truncate()  # not always: ext4 writes such a file to the disk
            file.write(text)
        finally:
            # Explicitly: a child that was forked meanwhile has the file open, too.
            locks.unlock(descriptor)


def read_account(path: Path) -> Account:
    """Return the account without locking it; an empty one if there is none.

    Raises:
        OSError: It cannot be read.
    """
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return Account()
    with os.fdopen(descriptor, "rb") as file:
        return _parse(file.read(_MAX_BYTES))


def _wait_for_lock(descriptor: int) -> None:
    # Not by a blocking lock, which has no time-out.
    deadline = time.monotonic() + LOCK_SECONDS
    while not locks.lock(descriptor, locks.LOCK_EX | locks.LOCK_NB):
        if time.monotonic() > deadline:
            raise TimeoutError("another process holds the folder's lock")
        time.sleep(_POLL_SECONDS)


def _parse(content: bytes) -> Account:
    try:
        account = Account(**json.loads(content))
        # Raises if one is not a number. With a size below 0 all entries would fit.
        is_right = all(0 <= value < _MOST for value in asdict(account).values())
    except (ValueError, TypeError, RecursionError):
        is_right = False
    return account if is_right else Account()  # new, or torn: it will be counted
