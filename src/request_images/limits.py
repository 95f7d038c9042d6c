"""How long our statements wait for others' locks, and how long they may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .conf import conf

_PATIENCE = 10
"""A statement may take so many times as long as it may wait for a lock."""


@contextmanager
def bounded_transaction(using: str) -> Iterator[None]:
    """Open a transaction whose statements wait for locks only so long.

    A table that a migration has locked would hold the server's worker for as long as
    that takes. A transaction that is open already (a test's) keeps its own limits.
    """
    connection = connections[using]
    seconds = conf.LOCK_TIMEOUT_SECONDS
    if connection.in_atomic_block:
        limits: AbstractContextManager[None] = nullcontext()
    elif connection.vendor == "mysql":
        limits = _mysql_limits(connection, seconds)
    else:
        limits = nullcontext()
    is_ours = not connection.in_atomic_block
    with limits, transaction.atomic(using=using):
        if is_ours and connection.vendor == "postgresql":
            _limit_postgresql(connection, seconds)
        yield


def _limit_postgresql(connection: BaseDatabaseWrapper, seconds: float) -> None:
    # "true": for this transaction only, as SET LOCAL, which behind a pooler matters.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true),"
            " set_config('statement_timeout', %s, true)",
            [f"{round(seconds * 1000)}ms", f"{round(seconds * 1000 * _PATIENCE)}ms"],
        )


@contextmanager
def _mysql_limits(connection: BaseDatabaseWrapper, seconds: float) -> Iterator[None]:
    whole = max(1, round(seconds))  # these know whole seconds only
    wanted: dict[str, float] = dict.fromkeys(
        ("lock_wait_timeout", "innodb_lock_wait_timeout"), whole
    )
    if getattr(connection, "mysql_is_mariadb", False):
        wanted["max_statement_time"] = seconds * _PATIENCE  # this one knows fractions
    with connection.cursor() as cursor:
        for name, value in wanted.items():
            cursor.execute(
                f"SET @request_images_{name} = @@SESSION.{name}, SESSION {name} = %s",
                [value],
            )
    try:
        yield
    finally:
        # A connection that broke meanwhile takes its limits with it.
        with suppress(DatabaseError), connection.cursor() as cursor:
            for name in wanted:
                cursor.execute(f"SET SESSION {name} = @request_images_{name}")
