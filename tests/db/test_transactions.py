"""Locks: our writes wait only so long, and leave no limit behind."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from django.db import connection, connections, transaction
from django.test import Client

from request_images import health
from request_images.db.transactions import bounded_transaction
from request_images.models import RequestLog
from tests.factories import make_log
from tests.image_files import draw
from tests.traps import trap

pytestmark = pytest.mark.django_db(transaction=True)

needs_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="elsewhere the server decides"
)
needs_locks = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has its own time-out"
)


@contextmanager
def locked(table):
    """Have another connection hold a table, as a migration does."""
    is_locked, release = threading.Event(), threading.Event()

    def hold():
        other = connections.create_connection("default")
        try:
            with other.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("BEGIN")
                    cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                else:
                    cursor.execute(f"LOCK TABLES {table} WRITE")
                is_locked.set()
                assert release.wait(30)
        finally:
            other.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_locked.wait(60)
    try:
        yield
    finally:
        release.set()
        thread.join()


def limits():
    """The limits of the connection as they are now."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT current_setting('lock_timeout'),"
                " current_setting('statement_timeout')"
            )
        else:
            cursor.execute(
                "SELECT @@SESSION.lock_wait_timeout,"
                " @@SESSION.innodb_lock_wait_timeout, @@SESSION.max_statement_time"
            )
        return cursor.fetchone()


@trap("W7")
@needs_locks
@pytest.mark.parametrize("table", ["requestlog", "imagecontent"])
def test_locked_table_is_waited_for_briefly(settings, table):
    """W7: a table that a migration holds costs its time-out, and the rows."""
    settings.REQUEST_IMAGES_LOCK_TIMEOUT_SECONDS = 0.05
    before = limits()
    with locked(f"request_images_{table}"):
        response = Client().post("/body/", draw(), content_type="image/png")
    assert response.json() == {"body": draw().hex()}
    assert "store:OperationalError" in health.faults()
    health.reset()
    assert limits() == before


@needs_locks
def test_limits_hold_for_our_transaction_only():
    """Inside ours there are limits, behind it the connection's own."""
    before = limits()
    with bounded_transaction("default"):
        inside = limits()
    assert inside != before
    assert limits() == before


@needs_locks
def test_open_transaction_keeps_its_limits():
    """A test's transaction, say, is not ours to limit."""
    with transaction.atomic():
        before = limits()
        with bounded_transaction("default"):
            assert limits() == before


def waits():
    """Whether the end of a transaction waits for the disk, as it is now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('synchronous_commit')")
        return cursor.fetchone() == ("on",)


@needs_postgresql
@pytest.mark.usefixtures("_waiting_for_the_disk")
def test_commit_waits_for_the_disk_by_default():
    """The next transaction of the same connection does."""
    with bounded_transaction("default", waits_for_disk=False):
        assert not waits()
        assert limits()[0] != "0", "it is limited all the same"
    assert waits()
    with bounded_transaction("default"):
        assert waits()


@needs_postgresql
@pytest.mark.usefixtures("_waiting_for_the_disk")
def test_open_transaction_keeps_its_commit():
    """It holds what is not ours."""
    with (
        transaction.atomic(),
        bounded_transaction("default", waits_for_disk=False),
    ):
        assert waits()


def test_other_databases_ignore_waits_for_disk():
    """Where there is no such thing, nothing is said."""
    with bounded_transaction("default", waits_for_disk=False):
        make_log()
    assert RequestLog.objects.count() == 1
