"""One file of the spool folder: its name, its content and its lock."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.core.files import locks
from django.core.serializers.json import DjangoJSONEncoder

from request_images.health import report

from .files import open_file

_START = struct.Struct(">QQI")  # length of the document, of the bytes; checksum


def pack(document: dict[str, Any], *data: bytes) -> list[bytes]:
    """Return the parts of a file for a document and some bytes.

    Raises:
        TypeError, ValueError: JSON cannot hold the document.
    """
    head = json.dumps(document, cls=DjangoJSONEncoder, allow_nan=False).encode()
    size = sum(len(part) for part in data)
    return [_START.pack(len(head), size, zlib.crc32(head)), head, *data]


def unpack(file: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return the document of a file, and its bytes in one part.

    Raises:
        OSError: The file cannot be read.
        ValueError, TypeError, RecursionError: The file is damaged.
    """
    start = file.read(_START.size)
    if len(start) < _START.size:
        raise ValueError("shorter than its start")
    head_length, data_length, checksum = _START.unpack(start)
    whole = _START.size + head_length + data_length
    if os.fstat(file.fileno()).st_size != whole:
        raise ValueError("not as long as it was written")
    head = file.read(head_length)
    if zlib.crc32(head) != checksum:
        raise ValueError("not what was written")
    document = json.loads(head)
    if not isinstance(document, dict):
        raise TypeError("no document")
    return document, file.read(data_length)


def new_name(group: str) -> str:
    """Return a new file name: its place in the queue, its time, a UUID, its group."""
    now = _now()
    return f"{now}-{now}-{uuid.uuid4().hex}-{group}"


def group_of(name: str) -> str:
    """Return the group in the name of a file."""
    return name.partition(".")[0].rpartition("-")[2]


def requeued_name(name: str) -> str:
    """Return the name that moves a file to the end of the queue."""
    return f"{_now()}-{name.partition('-')[2]}"


def created_at_of(name: str) -> float:
    """Return the time of a file, in seconds since 1970."""
    with contextlib.suppress(ValueError, IndexError):
        return int(name.split("-")[1]) / 1e9
    return time.time()  # the name is not ours


def _now() -> str:
    return f"{time.time_ns():020d}"


@contextlib.contextmanager
def open_locked(path: Path) -> Iterator[IO[bytes] | None]:
    """Open and lock a file; yield None if that fails, or another process has it."""
    try:
        file = open(path, "rb", opener=open_file)  # noqa: SIM115  # closed below
    except FileNotFoundError:
        yield None
        return
    except OSError as error:  # another user's, or no plain file
        report("spool", error)
        yield None
        return
    with file:
        # Another process may have removed it between the two calls.
        is_ours = locks.lock(file, locks.LOCK_EX | locks.LOCK_NB) and path.exists()
        try:
            yield file if is_ours else None
        finally:
            if is_ours:
                locks.unlock(file)
