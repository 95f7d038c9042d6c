"""What psycopg 3 does better than Django's cursor: bytes, COPY and few round trips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    from .insert import Table

# A prepared statement is unknown, or known already: a pooler has changed the session.
_FORGOTTEN = frozenset({"26000", "42P05"})


def driver_of(connection: BaseDatabaseWrapper) -> Any:
    """Return the open connection of psycopg 3; None for any other driver."""
    if _module(connection).__name__ != "psycopg":
        return None
    connection.ensure_connection()
    return connection.connection


def _module(connection: BaseDatabaseWrapper) -> Any:
    return connection.Database  # type: ignore[attr-defined]  # each backend has one


def knows(types: Sequence[str], connection: BaseDatabaseWrapper) -> bool:
    """Tell whether values of these types can be sent in binary form."""
    driver = driver_of(connection)
    return bool(driver) and all(driver.adapters.types.get(name) for name in types)


def may_prepare(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the server keeps prepared statements.

    Django's documentation asks for the same setting behind a pooler that gives each
    transaction another connection.
    """
    settings = connection.settings_dict
    return _prepares and not settings.get("DISABLE_SERVER_SIDE_CURSORS")


def fetch(
    driver: Any,
    statement: str,
    parameters: Sequence[Any],
    connection: BaseDatabaseWrapper,
) -> list[Any]:
    """Execute a statement, prepared if possible; return the first column.

    Raises:
        django.db.Error: The database refused it.
    """
    with reported(connection):
        cursor = _module(connection).Cursor(driver)
        with _prepared(connection):
            cursor.execute(statement, parameters)
        return [first for first, *_ in cursor.fetchall()]


def begin(limits: str, ask: str, connection: BaseDatabaseWrapper) -> Any:
    """Begin a transaction, limit it and ask a question, in one message.

    Returns:
        The first value of the answer; None for no answer.

    Raises:
        django.db.Error: The database refused it. The transaction may be open.
    """
    with connection.cursor():  # some backends choose a schema here
        driver = driver_of(connection)
    with reported(connection):
        cursor = _module(connection).Cursor(driver)
        # Without parameters, several statements are one message.
        cursor.execute(f"BEGIN; {limits}; {ask}" if ask else f"BEGIN; {limits}")
        while cursor.nextset():
            pass
        row = cursor.fetchone() if ask else None
    return None if row is None else row[0]


def fetch_and_commit(
    statement: str, parameters: Sequence[Any], connection: BaseDatabaseWrapper
) -> Sequence[Any]:
    """Execute a statement, commit, and return its row: all in one round trip.

    Raises:
        django.db.Error: Nothing was committed. The transaction may be open.
    """
    driver, psycopg = driver_of(connection), _module(connection)
    can_pipeline = psycopg.Pipeline.is_supported()
    with reported(connection):
        cursor = psycopg.Cursor(driver)
        with driver.pipeline() if can_pipeline else nullcontext():
            with _prepared(connection):
                cursor.execute(statement, parameters)
            driver.execute("COMMIT")
        row: Sequence[Any] = cursor.fetchone()
    return row


def rollback(connection: BaseDatabaseWrapper) -> None:
    """Roll back what is open, if there is a connection that still works."""
    driver: Any = connection.connection
    with suppress(AttributeError, _module(connection).Error):
        driver.rollback()


def copy(
    table: Table, rows: Sequence[Sequence[Any]], connection: BaseDatabaseWrapper
) -> list[int]:
    """Insert rows by COPY in binary form, and return their primary keys.

    Raises:
        django.db.Error: A row was refused.
    """
    driver = driver_of(connection)
    keys = fetch(
        driver,
        # The quoted name of the table, as text; the column's without its quotes.
        f"SELECT nextval(pg_get_serial_sequence('{table.name}', '{table.pk[1:-1]}')) "  # noqa: S608  # names of ours
        "FROM generate_series(1, %s)",
        [len(rows)],
        connection,
    )
    columns = ", ".join((table.pk, *table.columns))
    statement = f"COPY {table.name} ({columns}) FROM STDIN (FORMAT BINARY)"
    cursor = _module(connection).Cursor(driver)
    with reported(connection), cursor.copy(statement) as copying:
        copying.set_types(table.types)
        for key, row in zip(keys, rows, strict=True):
            copying.write_row((key, *row))
    return keys


def literal(value: object) -> str:
    """Return a value as a part of a statement."""
    return str(import_module("psycopg.sql").quote(value))  # not every project has it


@contextmanager
def _prepared(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Prepare what is executed within. Django's connections prepare nothing."""
    driver: Any = connection.connection
    before = driver.prepare_threshold
    driver.prepare_threshold = 0 if may_prepare(connection) else None
    try:
        yield
    finally:
        driver.prepare_threshold = before


@contextmanager
def reported(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Raise Django's exceptions, and prepare nothing more where that was forgotten."""
    global _prepares  # noqa: PLW0603  # one answer for the process
    try:
        with connection.wrap_database_errors:
            yield
    except Error as error:
        if getattr(error.__cause__, "sqlstate", None) in _FORGOTTEN:
            _prepares = False
        raise


_prepares = True
