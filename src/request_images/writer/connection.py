"""The database connection of a write: make it usable, and leave none open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from request_images.db.deadline import write_deadline
from request_images.db.destination import database_of
from request_images.models import RequestLog

_shared_connection = threading.RLock()


@contextmanager
def usable_connection(
    using: str, *, is_handled: bool, is_last_use: bool
) -> Iterator[None]:
    """Make a database connection usable, and leave none open that nobody closes.

    Args:
        using: The alias of the database.
        is_handled: Whether Django's handler has called the view, and is done with the
            connection. After a direct call, the caller goes on using it.
        is_last_use: Whether this thread will never use it again. A connection that was
            opened here is closed then, whatever ``CONN_MAX_AGE`` is: nobody else would.
    """
    connection = connections[using]
    if connection.allow_thread_sharing:
        # Tests with a live server share it, on a database in memory. Another thread may
        # have an open transaction, and two of ours must not be nested.
        with _shared_connection:
            yield
        return
    if connection.in_atomic_block:  # a test's transaction is not ours to end
        yield
        return
    was_closed = connection.connection is None
    if is_handled:
        with write_deadline(using):
            _make_autocommit(connection)
    try:
        yield
    finally:
        if was_closed and is_last_use:
            connection.close()


def _make_autocommit(connection: BaseDatabaseWrapper) -> None:
    if connection.connection is not None:
        _end_open_transaction(connection)
    if not connection.settings_dict["AUTOCOMMIT"]:
        with suppress(DatabaseError):  # the write meets it again
            connection.set_autocommit(True)


def _end_open_transaction(connection: BaseDatabaseWrapper) -> None:
    # Of the view. Django rolls it back in a moment, and would our rows with it; begun
    # by hand, it would be committed with them.
    if not connection.get_autocommit():
        connection.close()
    else:
        with suppress(Exception):  # a lost connection has nothing open
            connection.rollback()  # the backend may keep what the driver loses


def open_connection() -> object:
    """Return the driver's open connection; None if there is none."""
    return connections[database_of(RequestLog)].connection


def has_lost(driver_connection: object) -> bool:
    """Tell whether an open connection is lost; then the next use opens a new one."""
    connection = connections[database_of(RequestLog)]
    if driver_connection is None or connection.in_atomic_block:
        return False
    if connection.connection is driver_connection:
        with write_deadline(connection.alias):
            is_usable = connection.is_usable()
        if is_usable:
            return False
        with suppress(Exception):  # to close what is closed is an error to some
            connection.close()  # to a pool it must be given back
        connection.connection = None
    return True  # Django may have opened another one
