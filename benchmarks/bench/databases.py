"""The databases of a run: created for it, emptied between parts, dropped after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from .cluster import USER, Cluster, programs
from .variants import CLEARED, EVERYTHING, Variant

HERE = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.05
_TRIES = 5
_STILL_SECONDS = 4.0


class UnavailableError(Exception):
    """The database is not available; other parts can still be measured."""


def environment(
    variant: str, settings: dict[str, Any], media: Path, spool: Path
) -> dict[str, str]:
    """Return the environment of a process of the project under load."""
    return {
        **os.environ,
        "BENCH_VARIANT": variant,
        "BENCH_DATABASE": json.dumps(settings),
        "BENCH_MEDIA": str(media),
        "BENCH_SPOOL": str(spool),
        "DJANGO_SETTINGS_MODULE": "bench.site.settings",
        "PYTHONPATH": str(HERE),
    }


class Database(ABC):
    """One database that the servers write to.

    Args:
        folder: Folder for files that are written outside of the database.
    """

    name: str

    def __init__(self, folder: Path) -> None:
        self.media = folder / f"media-{self.name}"
        self._spool = folder / f"spool-{self.name}"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return Django's settings of the database."""

    @abstractmethod
    def execute(self, statement: str) -> int:
        """Run a statement of ours; return the number it selects, or 0."""

    @abstractmethod
    def drop(self) -> None:
        """Delete the database."""

    def cpu_seconds(self) -> float:
        """Return the processor time of the database's own processes so far."""
        return 0.0

    def environment(self, variant: str, max_age: int = 60) -> dict[str, str]:
        """Return the environment of a variant's process that uses this database."""
        settings = {**self.settings(), "CONN_MAX_AGE": max_age}
        return environment(variant, settings, self.media, self._spool)

    def migrate(self) -> None:
        """Create the tables of all variants."""
        command = [sys.executable, "-m", "django", "migrate", "--verbosity=0"]
        subprocess.run(
            command, env=self.environment(EVERYTHING.name), check=True, timeout=300
        )

    def count(self, variant: Variant) -> int:
        """Count the rows of a variant; for variants that keep images, rows with one."""
        if not variant.table:
            return 0
        where = f" WHERE {variant.having}" if variant.having else ""
        return self.execute(f"SELECT count(*) FROM {variant.table}{where}")

    def drain(
        self, variant: Variant, expected: int, seconds: float
    ) -> tuple[int, float]:
        """Wait until all expected rows exist, as long as their number still grows.

        Returns:
            The number of rows, and when the last of them was seen (`time.time`); 0 if
            all were there at once.
        """
        deadline = time.time() + seconds
        found, moved = self.count(variant), time.time()
        if not variant.table or found >= expected:
            return found, 0.0
        while found < expected and time.time() < deadline:
            if time.time() - moved > _STILL_SECONDS:
                break
            time.sleep(_POLL_SECONDS)
            now = self.count(variant)
            if now > found:
                found, moved = now, time.time()
        return found, moved

    def clear(self) -> None:
        """Empty the tables, and the folder of the naive variant."""
        self.empty_tables()
        shutil.rmtree(self.media, ignore_errors=True)

    @abstractmethod
    def empty_tables(self) -> None:
        """Empty all tables that variants write to."""


class Sqlite(Database):
    """A file with a write-ahead log."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "bench.sqlite3"

    def settings(self) -> dict[str, Any]:
        """Return Django's settings, as Django's documentation advises for SQLite."""
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self._path),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": pragmas,
            },
        }

    def execute(self, statement: str) -> int:
        """Run a statement of ours; return the number it selects, or 0."""
        connection = sqlite3.connect(self._path, timeout=20)
        with contextlib.closing(connection), connection:
            row = connection.execute(statement).fetchone()
        return row[0] if row else 0

    def empty_tables(self) -> None:
        """Empty all tables that variants write to."""
        for table in CLEARED:
            self.execute(f"DELETE FROM {table}")
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def drop(self) -> None:
        """Do nothing: the folder is temporary."""


class Postgresql(Database):
    """A new database: on the server that ``PGHOST`` names, or on one of our own."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._name = f"request_images_bench_{os.getpid()}"
        self._cluster: Cluster | None = None
        self._server: dict[str, Any] = {
            "host": os.environ.get("PGHOST", "127.0.0.1"),
            "port": os.environ.get("PGPORT", "5432"),
        }
        if "PGHOST" not in os.environ and programs() is not None:
            self._cluster = Cluster(folder / "postgresql")
            self._server["port"] = str(self._cluster.port)
            self._server["user"] = USER
        try:
            self._administer("CREATE DATABASE {}")
        except psycopg.OperationalError as error:
            raise UnavailableError(str(error)) from error

    def cpu_seconds(self) -> float:
        """Return the server's processor time; 0 if others use the server too."""
        return self._cluster.cpu_seconds() if self._cluster else 0.0

    def _administer(self, statement: str) -> None:
        dbname = os.environ.get("PGDATABASE", "postgres")
        with psycopg.connect(dbname=dbname, autocommit=True, **self._server) as own:
            own.execute(sql.SQL(statement).format(sql.Identifier(self._name)))

    def settings(self) -> dict[str, Any]:
        """Return Django's settings; the user is libpq's default or ``PGUSER``."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self._name,
            "HOST": self._server["host"],
            "PORT": self._server["port"],
            "USER": self._server.get("user", ""),
        }

    def execute(self, statement: str) -> int:
        """Run a statement of ours; return the number it selects, or 0."""
        with psycopg.connect(
            dbname=self._name, autocommit=True, **self._server
        ) as connection:
            cursor = connection.execute(sql.SQL(statement))
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else 0

    def empty_tables(self) -> None:
        """Empty all tables that variants write to."""
        for _try in range(_TRIES):
            try:
                self.execute(f"TRUNCATE {', '.join(CLEARED)} CASCADE")
            except psycopg.errors.DeadlockDetected:
                continue  # a server still writes its last rows
            return
        raise RuntimeError("the tables cannot be emptied")

    def drop(self) -> None:
        """Delete the database."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        if self._cluster:
            self._cluster.remove()


@contextlib.contextmanager
def made(kind: type[Database], folder: Path) -> Iterator[Database]:
    """Create a database with the tables of all variants, and drop it at the end."""
    database = kind(folder)
    try:
        database.migrate()
        yield database
    finally:
        database.drop()
        shutil.rmtree(database.media, ignore_errors=True)
