"""The kinds of errors of a write, by which the next step is chosen."""

from __future__ import annotations

from enum import Enum, auto

from django.db import DataError, Error, IntegrityError

from request_images.exceptions import StorageError


class Fault(Enum):
    """The kind of an error, as far as it decides what to try next."""

    ROW = auto()
    """The values of the row: the database accepts other rows."""
    CONFLICT = auto()
    """Two transactions met; a second try may succeed."""
    BUSY = auto()
    """A lock could not be taken in time, or the database is slow."""
    AWAY = auto()
    """The database or a table is missing: it accepts no row."""
    STORAGE = auto()
    """The storage of the bytes: the database accepts the row without them."""


# PostgreSQL's SQLSTATEs, and error numbers of MySQL and MariaDB.
_CODES: dict[object, Fault] = {
    "40001": Fault.CONFLICT,  # serialization_failure
    "40P01": Fault.CONFLICT,  # deadlock_detected
    1020: Fault.CONFLICT,  # ER_CHECKREAD: changed since it was read
    1213: Fault.CONFLICT,  # ER_LOCK_DEADLOCK
    "55P03": Fault.BUSY,  # lock_not_available
    "57014": Fault.BUSY,  # query_canceled, by our own limit
    1205: Fault.BUSY,  # ER_LOCK_WAIT_TIMEOUT
    1969: Fault.BUSY,  # ER_STATEMENT_TIMEOUT
    1366: Fault.ROW,  # ER_TRUNCATED_WRONG_VALUE_FOR_FIELD: not in this charset
    3157: Fault.ROW,  # ER_JSON_DOCUMENT_TOO_DEEP
    4025: Fault.ROW,  # ER_CONSTRAINT_FAILED: of a JSON column, not valid
}


# Undefined table, column or schema of PostgreSQL; table or column of MySQL.
_NOT_MIGRATED = frozenset({"42P01", "42703", "3F000", 1146, 1054})
_NOT_MIGRATED_WORDS = ("no such table", "no such column", "has no column named")


def is_not_migrated(error: Error) -> bool:
    """Tell whether a table or a column is missing that a migration creates."""
    is_known = _code(error) in _NOT_MIGRATED
    return is_known or any(words in str(error) for words in _NOT_MIGRATED_WORDS)


def fault_of(error: BaseException) -> Fault:
    """Classify an exception that a write has raised."""
    if isinstance(error, StorageError):
        return Fault.STORAGE
    if not isinstance(error, Error):
        return Fault.ROW  # a value that cannot even be sent
    known = _CODES.get(_code(error))
    if known is not None:
        return known
    if isinstance(error, DataError | IntegrityError):
        return Fault.ROW
    # SQLite has error codes only from Python 3.11 on.
    is_busy = any(words in str(error) for words in ("is locked", "interrupted"))
    return Fault.BUSY if is_busy else Fault.AWAY


def _code(error: Error) -> object:
    cause = error.__cause__
    # psycopg 3, psycopg 2; the number is the first argument of MySQL's drivers.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state or next(iter(error.args), None)
