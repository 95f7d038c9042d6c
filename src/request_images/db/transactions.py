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

from .limits import seconds_left

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
    lock_seconds, seconds = _limits()
    is_ours = not connection.in_atomic_block
    limits: AbstractContextManager[None] = nullcontext()
    if is_ours and connection.vendor == "mysql":
        limits = _mysql_limits(connection, lock_seconds, seconds)
    with limits, transaction.atomic(using=using):
        if is_ours and connection.vendor == "postgresql":
            limits_of = (lock_seconds, seconds)
            _limit_postgresql(connection, *limits_of, waits_for_disk=waits_for_disk)
        yield


def statement_limits() -> str:
    """Return the limits of a transaction as statements for PostgreSQL."""
    lock_seconds, seconds = _limits()
    return (
        f"SET LOCAL lock_timeout = {round(lock_seconds * 1000)}; "
        f"SET LOCAL statement_timeout = {round(seconds * 1000)}"
    )


def _limits() -> tuple[float, float]:
    """Return the seconds that a statement may wait for a lock, and take as a whole."""
    lock_seconds = conf.LOCK_TIMEOUT_SECONDS
    seconds = lock_seconds * _PATIENCE
    if (left := seconds_left()) < seconds:
        # Less than that: the server's error leaves the connection usable.
        seconds = max(0.01, 0.8 * left)
    return min(lock_seconds, 0.8 * seconds), seconds


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
    connection: BaseDatabaseWrapper,
    lock_seconds: float,
    seconds: float,
    *,
    waits_for_disk: bool,
) -> None:
    wanted = {
        "lock_timeout": f"{round(lock_seconds * 1000)}ms",
        "statement_timeout": f"{round(seconds * 1000)}ms",
    }
    if not waits_for_disk:
        wanted["synchronous_commit"] = "off"
    # "true": for this transaction only, as SET LOCAL; necessary behind a pooler.
    settings = ", ".join(["set_config(%s, %s, true)"] * len(wanted))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {settings}", list(chain(*wanted.items())))


@contextmanager
def _mysql_limits(
    connection: BaseDatabaseWrapper, lock_seconds: float, seconds: float
) -> Iterator[None]:
    whole = max(1, round(lock_seconds))  # in whole seconds
    wanted: dict[str, float] = dict.fromkeys(
        ("lock_wait_timeout", "innodb_lock_wait_timeout"), whole
    )
    if getattr(connection, "mysql_is_mariadb", False):
        wanted["max_statement_time"] = seconds  # takes fractions
    changes = [
        f"@request_images_{name} = @@SESSION.{name}, SESSION {name} = %s"
        for name in wanted
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"SET {', '.join(changes)}", list(wanted.values()))
    try:
        yield
    finally:
        back = [f"SESSION {name} = @request_images_{name}" for name in wanted]
        # A connection that broke meanwhile has lost its limits.
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute(f"SET {', '.join(back)}")
