"""Open files in a folder whose owner may have put links to other files there.

Root's cron may write the spool of the web processes. The owner of the folder can put a
link to any file into it, a second name of a file, or a pipe, which blocks the process
that opens it. So a file must be a plain one with a single name, and belong to the
folder's owner, to root or to our own user. All others are refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_ROOT = 0
# A link is refused, and a pipe does not block. Some systems have neither flag.
_CAREFUL = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_OPENS_FOLDERS = os.open in os.supports_dir_fd  # Windows does not


def open_file(path: str | Path, flags: int) -> int:
    """Open a file of the folder, and return its descriptor.

    The flags are those of `os.open`. With ``O_CREAT``, only the folder's owner may read
    the new file.

    Raises:
        PermissionError: Somebody has put something else there.
        OSError: It cannot be opened.
    """
    path = Path(path)
    with _opened(path.parent) as folder:
        owner = path.parent.stat() if folder is None else os.fstat(folder)
        name = path if folder is None else path.name
        try:
            descriptor = os.open(name, flags | _CAREFUL, 0o600, dir_fd=folder)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        _require_plain_file(path, os.fstat(descriptor), owner)
        if flags & os.O_CREAT:
            _hand_over(descriptor, owner)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_folder(folder: Path) -> None:
    """Refuse a folder that is a link of another user than root and ourselves.

    Raises:
        PermissionError: It is such a link.
        OSError: There is no such folder.
    """
    with _opened(folder):
        pass


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Open a folder, lest its owner puts a link in its place after we looked.

    None is yielded where the system opens no folders, and knows no owners.
    """
    if not _OPENS_FOLDERS:
        yield None
        return
    flags = os.O_DIRECTORY | os.O_CLOEXEC
    try:
        descriptor = os.open(folder, flags | os.O_NOFOLLOW)
    except OSError:
        link = folder.lstat()
        if not stat.S_ISLNK(link.st_mode):
            raise
        if link.st_uid not in (_ROOT, own_user()):
            raise PermissionError(f"{folder} is a link of another user") from None
        descriptor = os.open(folder, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _require_plain_file(
    path: str | Path, found: os.stat_result, owner: os.stat_result
) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(f"{path} is no plain file")
    if found.st_nlink > 1:
        raise PermissionError(f"{path} has another name elsewhere")
    if found.st_uid not in (owner.st_uid, _ROOT, own_user()):
        raise PermissionError(f"{path} belongs to neither the folder's owner nor us")


def _hand_over(descriptor: int, owner: os.stat_result) -> None:
    # The web processes could not open what root's cron has created.
    if hasattr(os, "fchown") and os.fstat(descriptor).st_uid != owner.st_uid:
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def own_user() -> int:
    """Return the id of the user that this process runs as; 0 on Windows."""
    return os.geteuid() if hasattr(os, "geteuid") else _ROOT
