"""The probe tells a refused row from a database that refuses all rows."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    OperationalError,
    connection,
)

from request_images.exceptions import StoreUnavailable
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.writer.probe import is_temporary, try_write

READ_ONLY = {
    "postgresql": ("SET default_transaction_read_only = %s", "on", "off"),
    "mysql": ("SET SESSION TRANSACTION %s", "READ ONLY", "READ WRITE"),
    "sqlite": ("PRAGMA query_only = %s", "on", "off"),
}


@contextmanager
def read_only():
    """A database that can be read and takes no row."""
    statement, on, off = READ_ONLY[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(statement % on)
        try:
            yield
        finally:
            cursor.execute(statement % off)


class DriverError(Exception):
    """An error of a driver that tells a state."""

    def __init__(self, state):
        super().__init__("refused")
        self.sqlstate = state


def error_of(cause, kind=OperationalError):
    error = kind(*cause.args)  # as Django wraps it
    error.__cause__ = cause
    return error


class TestTryWrite:
    @pytest.mark.django_db(transaction=True)
    def test_probe_leaves_no_rows(self):
        """It is rolled back."""
        assert try_write() is None
        for model in (RequestLog, RequestImage, ImageContent):
            assert not model.objects.exists()

    @pytest.mark.django_db
    def test_probe_within_a_transaction(self):
        """The probe leaves the rest of the transaction as it is."""
        content = ImageContent.objects.create(image_hash="0", stored_size=0)
        assert try_write() is None
        assert ImageContent.objects.get() == content

    @pytest.mark.django_db(transaction=True)
    def test_read_only_database_is_reported(self):
        """A database that can only be read is reported."""
        with read_only():
            assert RequestLog.objects.count() == 0
            assert isinstance(try_write(), DatabaseError)
        assert try_write() is None

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.skipif(connection.vendor == "sqlite", reason="nothing to lose there")
    def test_lost_connection(self):
        """A lost connection does not mean that the next one fails."""
        connection.ensure_connection()
        connection.connection.close()
        assert try_write() is None


class TestIsTemporary:
    @pytest.mark.parametrize(
        "error",
        [
            *(error_of(DriverError(state)) for state in ("55P03", "40P01", "53100")),
            *(error_of(Exception(number, "")) for number in (1205, 1213, 1114, 1290)),
            *(
                OperationalError(text)
                for text in (
                    "database is locked",
                    "database or disk is full",
                    "attempt to write a readonly database",
                )
            ),
            *(
                OperationalError(text)
                for text in (
                    "connection failed: FATAL:  sorry, too many clients already",
                    'connection to server at "db", port 5432 failed: refused',
                )
            ),
            error_of(Exception(2003, "Can't connect to server")),
            StoreUnavailable(),
            OSError(),
            ConnectionError(),
        ],
    )
    def test_temporary_errors(self, error):
        """Locks, full disks, read-only databases, and what nobody knows."""
        assert is_temporary(error)

    @pytest.mark.parametrize(
        "error",
        [
            error_of(DriverError("22P05"), DataError),
            error_of(DriverError("54001")),
            error_of(Exception(4038, "")),
            error_of(Exception(1366, "")),
            error_of(Exception(2006, "")),
            IntegrityError("UNIQUE constraint failed"),
            OperationalError(),
            OperationalError("server closed the connection unexpectedly"),
            ValueError(),
            TypeError(),
            OverflowError(),
        ],
    )
    def test_permanent_errors(self, error):
        """What a row holds, and a row that loses the connection each time."""
        assert not is_temporary(error)
