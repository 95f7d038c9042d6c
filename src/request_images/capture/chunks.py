"""A buffer for bytes in chunks, which takes as much memory as they have bytes."""

from __future__ import annotations

from io import BytesIO


class Chunks:
    """Bytes in chunks: a single one is kept as it is, several are copied to a buffer.

    One object for each chunk would take twenty times the size of a body that a view
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
        # `getvalue` returns the buffer's own object, without a copy.
        return self._first if self._buffer is None else self._buffer.getvalue()
