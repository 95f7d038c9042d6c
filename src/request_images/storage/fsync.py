"""Objects that stay through a power failure, where a storage keeps files itself."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from django.core.files.storage import Storage


def settle(storage: Storage, name: str) -> None:
    """Wait until an object that was just saved is on the disk, if it is a local file.

    Django leaves that to the system, while the database, which says that the object is
    there, does not.

    Args:
        storage: Any storage; what is no file of this machine is its server's business.
        name: The object's name.

    Raises:
        OSError: The disk did not take it after all.
    """
    try:
        path = Path(storage.path(name))
        _sync(path)
    except (NotImplementedError, FileNotFoundError):
        return  # some storages name a path where there is no file
    # The entries in the folders are data of their own, which not every system syncs.
    with suppress(OSError):
        _sync(path.parent)
        _sync(path.parent.parent)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
