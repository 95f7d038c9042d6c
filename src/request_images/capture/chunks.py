"""Bytes that come in chunks, kept at the cost of their size, however small they are."""

from __future__ import annotations

from io import BytesIO


class Chunks:
    """Bytes in chunks: one is kept without a copy, more of them in one buffer.

    An object for each of them would take twenty times the size of a body that a view
    reads in lines of two bytes.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._first = b""
        self._buffer: BytesIO | None = None
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add a chunk."""
        if not self.size:
            self._first = data
        else:
            if self._buffer is None:
                self._buffer = BytesIO()
                self._buffer.write(self._first)
                self._first = b""
            self._buffer.write(data)
        self.size += len(data)

    def join(self) -> bytes:
        """Return all of it."""
        # It is the buffer's own object, no copy.
        return self._first if self._buffer is None else self._buffer.getvalue()
