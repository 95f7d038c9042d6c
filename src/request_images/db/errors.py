"""What a failed write says about the next try."""

from __future__ import annotations

from enum import Enum, auto

from django.db import DataError, Error, IntegrityError

from request_images.exceptions import StorageError


class Fault(Enum):
    """Why a write failed, as far as that decides what is worth trying next."""

    ROW = auto()
    """What is in the row: the database takes others."""
    CONFLICT = auto()
    """Two transactions ran into one another; the same again may go well."""
    BUSY = auto()
    """A lock was not to be had in time, or the database is slow."""
    AWAY = auto()
    """The database, or its tables: no row would be taken."""
    STORAGE = auto()
    """The storage of the bytes: the database takes the row without them."""


# Of PostgreSQL the SQLSTATE, of MySQL and MariaDB the number of the error.
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


def fault_of(error: BaseException) -> Fault:
    """Tell what kind of fault an exception is that came out of a write."""
    if isinstance(error, StorageError):
        return Fault.STORAGE
    if not isinstance(error, Error):
        return Fault.ROW  # what cannot even be sent to the database
    known = _CODES.get(_code(error))
    if known is not None:
        return known
    if isinstance(error, DataError | IntegrityError):
        return Fault.ROW
    # SQLite tells its codes from Python 3.11 on only.
    is_busy = any(words in str(error) for words in ("is locked", "interrupted"))
    return Fault.BUSY if is_busy else Fault.AWAY


def _code(error: Error) -> object:
    cause = error.__cause__
    # psycopg 3 and psycopg 2; MySQL's driver puts the number first.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state or next(iter(error.args), None)
