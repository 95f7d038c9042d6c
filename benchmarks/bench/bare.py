"""The lower bound of storing bytes: bare statements and files, without the app.

On PostgreSQL bytes are sent and read in binary, in a column that does not compress.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

_TABLE = "bench_bare"
_COLUMNS = {
    "postgresql": "id bigserial PRIMARY KEY, image_hash varchar(64) UNIQUE,"
    " name varchar(255), data bytea",
    "sqlite": "id integer PRIMARY KEY, image_hash varchar(64) UNIQUE,"
    " name varchar(255), data blob",
}


def make_table() -> None:
    """Create an empty table for the bytes, with as few columns as possible."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        cursor.execute(f"CREATE TABLE {_TABLE} ({_COLUMNS[connection.vendor]})")
        if connection.vendor == "postgresql":
            column = f"ALTER TABLE {_TABLE} ALTER COLUMN data"
            cursor.execute(f"{column} SET STORAGE EXTERNAL")


def is_kept(image_hash: str) -> bool:
    """Return whether the table has a hash."""
    found = _fetch(f"SELECT id FROM {_TABLE} WHERE image_hash = %s", [image_hash])
    return bool(found)


def insert(image_hash: str, data: bytes | None, name: str = "") -> None:
    """Insert a row."""
    columns = "(image_hash, name, data)"
    _run(
        f"INSERT INTO {_TABLE} {columns} VALUES (%s, %s, {_bytes()})",
        [image_hash, name, data],
    )


def primary_keys() -> list[int]:
    """Return the primary keys of all rows."""
    return [pk for (pk,) in _fetch(f"SELECT id FROM {_TABLE} ORDER BY id", [])]


def load(pk: int) -> tuple[str, str, bytes | None]:
    """Return the hash, the name and the bytes of a row."""
    columns = "image_hash, name, data"
    rows = _fetch(f"SELECT {columns} FROM {_TABLE} WHERE id = %s", [pk])
    return rows[0]


def update(pk: int, name: str, data: bytes | None) -> None:
    """Set the place of a row's bytes, in its own transaction unless one is open."""
    values = f"name = %s, data = {_bytes()}"
    _run(f"UPDATE {_TABLE} SET {values} WHERE id = %s", [name, data, pk])


def write_file(folder: Path, name: str, data: bytes, *, to_disk: bool) -> None:
    """Write a new file.

    Args:
        folder: Folder of the file.
        name: Name of the file in the folder.
        data: Bytes of the file.
        to_disk: Whether to wait until the bytes are on the disk; Django's
            ``FileSystemStorage`` does not wait.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        if to_disk:
            file.flush()
            os.fsync(file.fileno())


def _bytes() -> str:
    return "%b" if connection.vendor == "postgresql" else "%s"


def _run(statement: str, values: list[Any]) -> None:
    if connection.vendor == "postgresql":
        psycopg.Cursor(connection.connection).execute(statement, values)
    else:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)


def _fetch(statement: str, values: list[Any]) -> list[Any]:
    if connection.vendor == "postgresql":
        raw = psycopg.Cursor(connection.connection)
        return list(raw.execute(statement, values, binary=True).fetchall())
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
