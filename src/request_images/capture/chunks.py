"""Bytes in chunks, which take about as much memory as they have bytes."""

from __future__ import annotations

from io import BytesIO

_LARGE = 4096
"""Bytes of a chunk beside which the size of its object does not matter."""
_MOST_LOOSE = 1024 * 1024
"""Bytes that are joined after the response. They are in memory twice for a moment."""


class Chunks:
    """Bytes in chunks: one, or large ones, are kept as they are, others are copied.

    One object for each chunk would take twenty times the size of a body that a view
    reads in lines of two bytes. A copy made before the response delays it.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self._loose: list[bytes] = []
        self._buffer: BytesIO | None = None
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add a chunk."""
        self.size += len(data)
        is_large = len(data) >= _LARGE and self.size <= _MOST_LOOSE
        if self._buffer is None and (is_large or not self._loose):
            self._loose.append(data)
        elif data:
            if self._buffer is None:
                self._buffer = BytesIO()
                self._buffer.writelines(self._loose)
                self._loose.clear()
            self._buffer.write(data)

    def join(self) -> bytes:
        """Return all of it."""
        if self._buffer is not None:
            # `getvalue` returns the buffer's own object, without a copy.
            return self._buffer.getvalue()
        return self._loose[0] if len(self._loose) == 1 else b"".join(self._loose)
