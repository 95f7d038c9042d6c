"""A segment: a file of records, each with its length, checksum, document and bytes.

A process appends to a segment of its own, with one write a record and no fsync. Killed
at any moment, it leaves whole records, and at most one torn record at the end. A record
that was written or quarantined is marked by one byte in place: when a reader is killed,
the next one continues behind the marked records.

Appending, and deleting the file, hold its lock: nothing is appended to a file that is
deleted. Each segment has a marker before each record, by which the next record is found
behind a damaged one. It is random, lest an image contains it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from django.core.files import locks
from django.core.serializers.json import DjangoJSONEncoder

from .files import open_file

SEGMENT_SECONDS = 60.0
"""How long a segment takes records."""
_MARKER_SIZE = 8
_DONE = b"\x01"
# Time in nanoseconds; length of the document, and of the bytes.
_FACTS = struct.Struct(">QIQ")
_CHECKSUMS = struct.Struct(">II")  # of the facts; of the document
_START_SIZE = _MARKER_SIZE + 1 + _FACTS.size + _CHECKSUMS.size
_encode = DjangoJSONEncoder(allow_nan=False).encode


class Name(NamedTuple):
    """The name of a segment, without its suffix.

    Attributes:
        created_at: Time of its first record, in nanoseconds since 1970.
        marker: What each of its records begins with.
        group: The group of its records: a short text of hexadecimal digits.
        text: The whole name.
    """

    created_at: int
    marker: bytes
    group: str
    text: str

    @classmethod
    def new(cls, group: str) -> Name:
        """Return a new name, which sorts behind the older ones."""
        return cls.parse(f"{time.time_ns():020d}-{uuid.uuid4().hex}-{group}")

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read a name.

        Raises:
            ValueError: It is not a name of ours.
        """
        created_at, identity, group, *_ = text.split("-")
        marker = bytes.fromhex(identity)[:_MARKER_SIZE]
        if len(marker) < _MARKER_SIZE:
            raise ValueError("no identity of a segment")
        return cls(int(created_at), marker, group, text)


def pack(document: dict[str, Any], data: Sequence[bytes]) -> list[bytes]:
    """Return the parts of a record, except for the marker.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold the document.
    """
    head = _encode(document).encode()
    facts = _FACTS.pack(time.time_ns(), len(head), sum(map(len, data)))
    checksums = _CHECKSUMS.pack(zlib.crc32(facts), zlib.crc32(head))
    return [b"\0" + facts + checksums, head, *data]


def packed_size(parts: Sequence[bytes]) -> int:
    """Return the size of a packed record in its file."""
    return _MARKER_SIZE + sum(map(len, parts))


class Appender:
    """A segment that this process appends to."""

    def __init__(self, path: Path, room: int) -> None:
        self._name, self._room = Name.parse(path.stem), room
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = open_file(path, flags)

    def append(self, parts: Sequence[bytes]) -> bool:
        """Append a packed record; return False if the segment takes no more.

        Raises:
            OSError: It cannot be written; then nothing of the record stays.
        """
        age = time.time_ns() - self._name.created_at
        if not 0 <= age < SEGMENT_SECONDS * 1e9 or not _lock(self._descriptor):
            return False
        try:
            found = os.fstat(self._descriptor)
            size = packed_size(parts)
            if not found.st_nlink or found.st_size + size > self._room:
                return False
            try:
                self._write([self._name.marker, *parts], size)
            except OSError:
                os.ftruncate(self._descriptor, found.st_size)
                raise
        finally:
            locks.unlock(self._descriptor)
        return True

    def _write(self, parts: Sequence[bytes], size: int) -> None:
        if hasattr(os, "writev"):
            written = os.writev(self._descriptor, parts)
        else:
            written = os.write(self._descriptor, b"".join(parts))
        if written < size:
            raise OSError(errno.ENOSPC, "the record was not written whole")

    def __del__(self) -> None:
        """Close the file. Not by a method: threads may be about to append."""
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._descriptor)


class Span(NamedTuple):
    """A record in its file, or bytes that are none: what is known without reading it.

    Attributes:
        start: Its first byte.
        end: The byte behind its last.
        created_at: Its time, in seconds since 1970.
        head: Length of its document.
        checksum: Checksum of its document; None if the bytes are no record.
        is_done: Whether it is dealt with.
    """

    start: int
    end: int
    created_at: float
    head: int
    checksum: int | None
    is_done: bool


@dataclass(frozen=True)
class Damage:
    """Bytes of a segment that are no record."""

    span: Span
    reason: Exception


@dataclass(frozen=True)
class Content:
    """A record that waits."""

    span: Span
    document: dict[str, Any]
    data: bytes


class Segment:
    """A segment that is read, and whose records are marked."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self._file = path, file
        self._marker = Name.parse(path.stem).marker

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, *, for_marks: bool = True) -> Iterator[Segment]:
        """Open a segment.

        Raises:
            OSError: It cannot be opened.
            ValueError: Its name is not one of ours.
        """
        flags = os.O_RDWR if for_marks else os.O_RDONLY
        mode = "r+b" if for_marks else "rb"
        with os.fdopen(open_file(path, flags), mode, buffering=0) as file:
            yield cls(path, file)

    def spans(self) -> Iterator[Span]:
        """Yield the bounds of the records, without examining them.

        What was torn, or is being written, is left out.
        """
        at, size = 0, self.size
        while (span := self._span(at)) is not None and span.end <= size:
            yield span
            at = span.end

    def waiting(self) -> Iterator[Content | Damage]:
        """Yield the records that wait, and what is damaged.

        Raises:
            OSError: The file cannot be read.
        """
        for span in self.spans():
            if not span.is_done:
                try:
                    yield self._content(span)
                except (ValueError, TypeError, RecursionError) as error:
                    yield Damage(span, error)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, start: int, end: int) -> bytes:
        """Return bytes of the file, fewer if it is shorter."""
        self._file.seek(start)
        parts, left = [], end - start
        while left > 0 and (part := self._file.read(left)):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _span(self, at: int) -> Span | None:
        start = self.read(at, at + _START_SIZE)
        head_of_file = start[:_MARKER_SIZE]
        if len(start) < _START_SIZE and self._marker.startswith(head_of_file):
            return None  # the end, or the first bytes of a record
        facts = start[_MARKER_SIZE + 1 : -_CHECKSUMS.size]
        of_facts, of_head = _CHECKSUMS.unpack(start[-_CHECKSUMS.size :].rjust(8))
        if head_of_file != self._marker or zlib.crc32(facts) != of_facts:
            end = self._next_start(at + 1)
            # Too short to be marked, and to hold anything.
            is_done = end - at < _START_SIZE
            return Span(at, end, time.time(), 0, None, is_done)
        created_at, head, data = _FACTS.unpack(facts)
        end = at + _START_SIZE + head + data
        is_done = start[_MARKER_SIZE] == _DONE[0]
        return Span(at, end, created_at / 1e9, head, of_head, is_done)

    def _content(self, span: Span) -> Content:
        if span.checksum is None:
            raise ValueError("not a record")
        end_of_head = span.start + _START_SIZE + span.head
        head = self.read(end_of_head - span.head, end_of_head)
        if zlib.crc32(head) != span.checksum:
            raise ValueError("not what was written")
        document = json.loads(head)
        if not isinstance(document, dict):
            raise TypeError("no document")
        return Content(span, document, self.read(end_of_head, span.end))

    def _next_start(self, at: int) -> int:
        rest = self.read(at, self.size)
        found = rest.find(self._marker)
        return at + (len(rest) if found < 0 else found)

    def mark_done(self, span: Span) -> None:
        """Never yield a record, or damaged bytes, again."""
        if span.checksum is None:  # a start is put over them, to be passed over
            size = span.end - span.start - _START_SIZE
            facts = _FACTS.pack(time.time_ns(), 0, size)
            checksums = _CHECKSUMS.pack(zlib.crc32(facts), 0)
            self._write(span.start, self._marker + _DONE + facts + checksums)
        else:
            self._write(span.start + _MARKER_SIZE, _DONE)

    def _write(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        self._file.write(data)

    def delete_if_done(self) -> bool:
        """Delete the file, unless a record waits or is being written."""
        if not _lock(self._file):
            return False
        try:
            if self.has_waiting:
                return False
            # Nothing is being written under the lock: what is at the end is torn.
            self.path.unlink(missing_ok=True)
        finally:
            locks.unlock(self._file)
        return True

    @property
    def has_waiting(self) -> bool:
        """Whether a record waits; one that is being written does not count."""
        return any(not span.is_done for span in self.spans())


def _lock(file: Any) -> bool:
    return locks.lock(file, locks.LOCK_EX | locks.LOCK_NB)
