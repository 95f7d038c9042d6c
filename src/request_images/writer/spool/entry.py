"""One file of the spool folder: its name, what is in it, and who holds it."""

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

_START = struct.Struct(">QQI")  # length of the document, of the bytes; checksum


def pack(document: dict[str, Any], *data: bytes) -> list[bytes]:
    """Return the parts of a file: a document, and bytes in any number of parts.

    Raises:
        TypeError, ValueError: The document holds what JSON cannot.
    """
    head = json.dumps(document, cls=DjangoJSONEncoder, allow_nan=False).encode()
    size = sum(len(part) for part in data)
    return [_START.pack(len(head), size, zlib.crc32(head)), head, *data]


def unpack(file: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return what `pack` was given, the bytes in one part.

    Raises:
        OSError: The file cannot be read.
        ValueError, TypeError, RecursionError: It is not as it was written.
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


def new_name() -> str:
    """Return a name that no other file has: its place in the queue, and its time."""
    now = _now()
    return f"{now}-{now}-{uuid.uuid4().hex}"


def last_in_queue(name: str) -> str:
    """Return the name of the same file when it is put behind all others."""
    return f"{_now()}-{name.partition('-')[2]}"


def put_at(name: str) -> float:
    """Return when a file was new, in seconds since 1970."""
    with contextlib.suppress(ValueError, IndexError):
        return int(name.split("-")[1]) / 1e9
    return time.time()  # a name that is not ours


def _now() -> str:
    return f"{time.time_ns():020d}"


@contextlib.contextmanager
def held(path: Path) -> Iterator[IO[bytes] | None]:
    """Open a file that nobody else holds; None when it is not to be had."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    except OSError as error:  # another user's, say
        report("spool", error)
        yield None
        return
    with file:
        # Another process may have dealt with it between the two calls.
        is_ours = locks.lock(file, locks.LOCK_EX | locks.LOCK_NB) and path.exists()
        try:
            yield file if is_ours else None
        finally:
            if is_ours:
                locks.unlock(file)
