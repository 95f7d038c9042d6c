"""The kinds of errors of a write, by which the next step is chosen."""

from __future__ import annotations

from enum import Enum

from django.db import DataError, Error, IntegrityError

from request_images.exceptions import StorageError, StoreUnavailable


class Fault(Enum):
    """The kind of an error, as far as it decides what to try next.

    The value describes it in the documentation.
    """

    ROW = "the database refuses the values of this row"
    CONFLICT = "two transactions ran into one another, each time"
    BUSY = "a lock was not available in time, or the database is slow"
    AWAY = (
        "the database does not answer, or has other tables or columns than this "
        "version of the app"
    )
    STORAGE = "the storage of the bytes does not answer"
    REFUSED = "the storage refuses the bytes"


# PostgreSQL's SQLSTATEs, and error numbers of MySQL and MariaDB.
_CODES: dict[object, Fault] = {
    "40001": Fault.CONFLICT,  # serialization_failure
    "40P01": Fault.CONFLICT,  # deadlock_detected
    # A pooler has given us another session: the next try prepares nothing.
    "26000": Fault.CONFLICT,  # invalid_sql_statement_name
    "42P05": Fault.CONFLICT,  # duplicate_prepared_statement
    1020: Fault.CONFLICT,  # ER_CHECKREAD: changed since it was read
    1213: Fault.CONFLICT,  # ER_LOCK_DEADLOCK
    "55P03": Fault.BUSY,  # lock_not_available
    "57014": Fault.BUSY,  # query_canceled, by our own limit
    1205: Fault.BUSY,  # ER_LOCK_WAIT_TIMEOUT
    1969: Fault.BUSY,  # ER_STATEMENT_TIMEOUT
    1366: Fault.ROW,  # ER_TRUNCATED_WRONG_VALUE_FOR_FIELD: not in this charset
    3157: Fault.ROW,  # ER_JSON_DOCUMENT_TOO_DEEP
    4025: Fault.ROW,  # ER_CONSTRAINT_FAILED: of a JSON column, not valid
    # A column that a newer version has: this one knows nothing to write there.
    "23502": Fault.AWAY,  # not_null_violation
    1048: Fault.AWAY,  # ER_BAD_NULL_ERROR
    1364: Fault.AWAY,  # ER_NO_DEFAULT_FOR_FIELD
}
# A CHECK fails for the values of this one row, whatever other transactions do.
_CHECKS = frozenset({"23514", 3819, 4025})


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
        return Fault.STORAGE if error.is_passing else Fault.REFUSED
    if isinstance(error, StoreUnavailable):
        return Fault.AWAY
    if not isinstance(error, Error):
        return Fault.ROW  # a value that cannot even be sent
    return _CODES.get(_code(error)) or _fault_without_code(error)


def _fault_without_code(error: Error) -> Fault:
    # SQLite has error codes only from Python 3.11 on.
    text = str(error)
    if "NOT NULL constraint failed" in text:
        return Fault.AWAY
    if isinstance(error, DataError | IntegrityError):
        return Fault.ROW
    is_busy = any(words in text for words in ("is locked", "interrupted"))
    return Fault.BUSY if is_busy else Fault.AWAY


def met_other_rows(error: BaseException) -> bool:
    """Tell whether a row collided with another: it exists, or what it refers to not."""
    return (
        isinstance(error, IntegrityError)
        and fault_of(error) is Fault.ROW
        and _code(error) not in _CHECKS
        and "CHECK constraint failed" not in str(error)
    )


def _code(error: Error) -> object:
    cause = error.__cause__
    # psycopg 3, psycopg 2; the number is the first argument of MySQL's drivers.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state or next(iter(error.args), None)
