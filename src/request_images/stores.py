"""Where the bytes of an image are: put, read, delete, the same for every store.

A store is given the content's row and never looks for one itself.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

from django.db import connections
from django.db.models import Model

psycopg: Any = None
with suppress(ImportError):  # psycopg 2, or another database
    psycopg = import_module("psycopg")

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

    def insert(self, content: Model, using: str) -> None:
        """Insert the row of a content that was `put`, into the database ``using``."""

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

    def insert(self, content: Model, using: str) -> None:
        """Insert the row, with its bytes as a binary parameter where that pays."""
        connection = connections[using]
        if connection.vendor == "postgresql" and psycopg is not None:
            _insert_binary(content, connection)
        else:
            content.save(force_insert=True, using=using)

    def read(self, content: Content) -> bytes:
        """Return the bytes as they were received."""
        # Some databases hand out a memoryview.
        return bytes(content.data or b"")


def _insert_binary(content: Model, connection: Any) -> None:
    # Django sends parameters as text: twice the bytes on the wire, and four times the
    # time. psycopg's own cursor sends them as they are.
    fields = [f for f in content._meta.local_concrete_fields if not f.primary_key]
    names = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    marks = ", ".join("%b" if field.name == "data" else "%s" for field in fields)
    table = connection.ops.quote_name(content._meta.db_table)
    values = [field.pre_save(content, add=True) for field in fields]
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(connection.connection) as cursor,
    ):
        cursor.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id",  # noqa: S608
            values,
        )
        row = cursor.fetchone()
    content.pk = row and row[0]
    content._state.adding = False
    content._state.db = connection.alias


_STORES: dict[str, Store] = {DATABASE: DatabaseStore()}


def store_of(alias: str) -> Store:
    """Return the store of a storage alias.

    Raises:
        KeyError: No store has this alias.
    """
    return _STORES[alias]
