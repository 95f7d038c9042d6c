"""Where the bytes of an image are: put, read, delete, the same for every store.

A store is given the content's row and never looks for one itself.
"""

from __future__ import annotations

from typing import Protocol

DATABASE = ""
"""The storage alias that stands for the database column."""


class Content(Protocol):
    """What a store needs of an ``ImageContent`` row."""

    data: bytes | memoryview | None
    storage: str
    encoding: str
    stored_size: int


class Store(Protocol):
    """Keeps the bytes of contents."""

    def put(self, content: Content, data: bytes) -> None:
        """Keep ``data`` for a row that is about to be inserted."""

    def read(self, content: Content) -> bytes:
        """Return the bytes as they were received."""


class DatabaseStore:
    """Keeps the bytes in the row itself. They go when the row goes."""

    def put(self, content: Content, data: bytes) -> None:
        """Keep ``data`` for a row that is about to be inserted."""
        content.storage = DATABASE
        content.encoding = ""
        content.data = data
        content.stored_size = len(data)

    def read(self, content: Content) -> bytes:
        """Return the bytes as they were received."""
        # Some databases hand out a memoryview.
        return bytes(content.data or b"")


_STORES: dict[str, Store] = {DATABASE: DatabaseStore()}


def store_of(alias: str) -> Store:
    """Return the store of a storage alias.

    Raises:
        KeyError: No store has this alias.
    """
    return _STORES[alias]
