"""The bytes of a folder, told by a file that all its processes share and lock.

To measure a folder of fifty thousand files takes a fifth of a second; to read one
number takes none. Whoever adds a file or takes one away does so, and changes the
number, under one lock. A process that is killed in between leaves a number that is too
large, never one too small; the next count mends it.
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

LOCK_SECONDS = 5.0
"""How long the lock is waited for. It is held for as long as a count takes, at most."""
_POLL_SECONDS = 0.002


@dataclass
class Account:
    """What the processes of a folder tell each other.

    Attributes:
        size: Bytes of its files, those on their way included.
        counted_at: When they were last counted, in seconds since 1970; 0 for never.
        refused: How many files there was no room for.
        refused_at: When that was last so, in seconds since 1970; 0 for never.
    """

    size: int = 0
    counted_at: float = 0.0
    refused: int = 0
    refused_at: float = 0.0


@contextlib.contextmanager
def open_account(path: Path) -> Iterator[Account]:
    """Lock the account, and keep what was changed in it.

    Nobody waits for it for ever: the one who holds the lock may have been stopped.

    Raises:
        OSError: It cannot be read or written, or another one holds it for too long.
    """
    descriptor = create(path, os.O_RDWR)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        _wait_for_lock(descriptor)
        try:
            account = _parse(file.read())
            yield account
            file.seek(0)
            file.truncate()
            file.write(json.dumps(asdict(account)).encode())
        finally:
            # By name: a child that was forked meanwhile has the file open, too.
            locks.unlock(descriptor)


def read_account(path: Path) -> Account:
    """Return the account as it is now, without the lock; an empty one if there is none.

    Raises:
        OSError: It cannot be read.
    """
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return Account()


def create(path: Path, flags: int) -> int:
    """Open a file that only the folder's owner may read, new or not.

    Args:
        path: Where.
        flags: How, as `os.open` takes it, beside the flag to create it.

    Returns:
        The file's descriptor.
    """
    descriptor = os.open(path, flags | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    owner = path.parent.stat()
    if hasattr(os, "fchown") and os.fstat(descriptor).st_uid != owner.st_uid:
        # What root's cron creates would be closed to the processes that serve.
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _wait_for_lock(descriptor: int) -> None:
    # Not by a lock that blocks: that one knows no time-out.
    deadline = time.monotonic() + LOCK_SECONDS
    while not locks.lock(descriptor, locks.LOCK_EX | locks.LOCK_NB):
        if time.monotonic() > deadline:
            raise TimeoutError("another process holds the folder's lock")
        time.sleep(_POLL_SECONDS)


def _parse(content: bytes) -> Account:
    try:
        account = Account(**json.loads(content))
        # Added up, so that what is no number is found out here.
        _ = account.size + account.counted_at + account.refused + account.refused_at
    except (ValueError, TypeError):
        return Account()  # new, or torn: it will be counted
    return account
