"""Time limits of our statements: for locks, for the disk, and for the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain
from typing import Any, TypeVar

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from request_images.conf import conf

_PATIENCE = 10
"""A statement may take this many times as long as it may wait for a lock."""

View = TypeVar("View", bound=Callable[..., Any])


def without_transaction(view: View) -> View:
    """Run a view outside of a transaction, also with ``ATOMIC_REQUESTS``.

    The rows it writes in passing would otherwise be locked until it ends, and rolled
    back if it fails.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


@contextmanager
def bounded_transaction(using: str, *, waits_for_disk: bool = True) -> Iterator[None]:
    """Open a transaction whose statements wait for locks for a limited time.

    A table that a migration has locked would otherwise block the server's worker for as
    long as that takes. A transaction that is open already (a test's) keeps its limits.

    A commit that does not wait for the disk may be lost when PostgreSQL's server
    crashes soon after: as a whole, with all later ones. The next commit that waits
    makes it durable. Other databases only have a setting of the server.
    """
    connection = connections[using]
    seconds = conf.LOCK_TIMEOUT_SECONDS
    is_ours = not connection.in_atomic_block
    limits: AbstractContextManager[None] = nullcontext()
    if is_ours and connection.vendor == "mysql":
        limits = _mysql_limits(connection, seconds)
    with limits, transaction.atomic(using=using):
        if is_ours and connection.vendor == "postgresql":
            _limit_postgresql(connection, seconds, waits_for_disk=waits_for_disk)
        yield


@contextmanager
def bounded_reading(using: str, seconds: float) -> Iterator[None]:
    """Limit the time of each query within; a longer one raises a `DatabaseError`."""
    connection = connections[using]
    # A savepoint, or on PostgreSQL a time-out would break the outer transaction.
    with transaction.atomic(using=using):
        if connection.vendor == "sqlite":
            ends = time.monotonic() + seconds
            driver: Any = connection.connection
            driver.set_progress_handler(lambda: time.monotonic() > ends, 10_000)
            try:
                yield
            finally:
                driver.set_progress_handler(None, 0)
            return
        if connection.vendor == "postgresql":
            ask = "SELECT current_setting('statement_timeout')"
            change = "SELECT set_config('statement_timeout', %s, true)"
            value: float | str = f"{round(seconds * 1000)}ms"
        else:
            ask = "SELECT @@SESSION.max_statement_time"
            change, value = "SET SESSION max_statement_time = %s", float(seconds)
        with connection.cursor() as cursor:
            cursor.execute(ask)
            before = type(value)(cursor.fetchone()[0])  # MariaDB returns a Decimal
            cursor.execute(change, [value])
        try:
            yield
        finally:
            # After a time-out, PostgreSQL accepts no command, and resets it by itself.
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute(change, [before])


def _limit_postgresql(
    connection: BaseDatabaseWrapper, seconds: float, *, waits_for_disk: bool
) -> None:
    wanted = {
        "lock_timeout": f"{round(seconds * 1000)}ms",
        "statement_timeout": f"{round(seconds * 1000 * _PATIENCE)}ms",
    }
    if not waits_for_disk:
        wanted["synchronous_commit"] = "off"
    # "true": for this transaction only, as SET LOCAL; necessary behind a pooler.
    settings = ", ".join(["set_config(%s, %s, true)"] * len(wanted))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {settings}", list(chain(*wanted.items())))


@contextmanager
def _mysql_limits(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    whole = max(1, round(seconds))  # in whole seconds
    wanted: dict[str, float] = dict.fromkeys(
        ("lock_wait_timeout", "innodb_lock_wait_timeout"), whole
    )
    if getattr(connection, "mysql_is_mariadb", False):
        wanted["max_statement_time"] = seconds * _PATIENCE  # takes fractions
    with connection.cursor() as cursor:
        for name, value in wanted.items():
            cursor.execute(
                f"SET @request_images_{name} = @@SESSION.{name}, SESSION {name} = %s",
                [value],
            )
    try:
        yield
    finally:
        # A connection that broke meanwhile has lost its limits.
        with suppress(DatabaseError), connection.cursor() as cursor:
            for name in wanted:
                cursor.execute(f"SET SESSION {name} = @request_images_{name}")
