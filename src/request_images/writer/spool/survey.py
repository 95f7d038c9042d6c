"""What is wrong with the spool folder, before it is needed.

Not everything can be known: a folder on a disk that is not mounted looks like any other
folder, and what this user may do says little about another one.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from request_images.conf import conf

from .files import open_file, own_user
from .spooling import spool_contents

UNWRITABLE, NO_ROOM, OF_NETWORK, OF_OTHER = "unwritable", "no_room", "network", "other"
_FULL = 0.9
_NETWORKS = re.compile(r"nfs|cifs|smb|ceph|9p|afs|fuse\.(sshfs|glusterfs|s3fs)")
_MOUNTS = Path("/proc/mounts")


def spool_problems() -> Iterator[tuple[str, str]]:
    """Yield the kind of each problem, and a clause about it in English.

    A folder that is there is written to; one that is not is not created: it would
    belong to the user of this command.
    """
    if conf.SPOOL_DIR is None:
        return
    folder = Path(conf.SPOOL_DIR)
    try:
        found = next(path for path in (folder, *folder.absolute().parents) if _is(path))
        if not found.is_dir():
            yield UNWRITABLE, f"{found} is no folder"
            return
        yield from _of_user(folder, found)
        yield from _of_room(found)
    except OSError as error:
        yield UNWRITABLE, f"it cannot be used: {error}"
        return
    kind = _file_system(os.path.realpath(found))
    if _NETWORKS.match(kind):
        yield OF_NETWORK, f"it is on a network ({kind}), where locks may not hold"


def _is(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _of_user(folder: Path, found: Path) -> Iterator[tuple[str, str]]:
    # Root may write the spool of the web processes.
    if found == folder and own_user() not in (0, owner := found.stat().st_uid):
        text = f"it belongs to user {owner}, and this process runs as {own_user()}"
        yield OF_OTHER, text
    if not os.access(found, os.W_OK | os.X_OK):
        does = "write to it" if found == folder else f"create it in {found}"
        yield UNWRITABLE, f"this process may not {does}"
    elif found == folder:
        probe = folder / f"{uuid.uuid4().hex}.probe"
        try:
            os.close(open_file(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        finally:
            with suppress(OSError):
                probe.unlink()


def _of_room(found: Path) -> Iterator[tuple[str, str]]:
    most, used = conf.SPOOL_MAX_MB * 1024 * 1024, spool_contents().size
    if used > _FULL * most:
        share = round(100 * used / most)
        yield NO_ROOM, f"{share} % of REQUEST_IMAGES_SPOOL_MAX_MB are used"
    elif shutil.disk_usage(found).free < most - used:
        yield NO_ROOM, "its disk has less room than REQUEST_IMAGES_SPOOL_MAX_MB"


def _file_system(path: str) -> str:
    """Return the type of the file system of a path; empty if the system says none."""
    found = ("", "")
    with suppress(OSError):
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            _, place, kind, *_ = line.split()
            place = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place)
            if Path(path).is_relative_to(place) and len(place) >= len(found[0]):
                found = place, kind
    return found[1]
