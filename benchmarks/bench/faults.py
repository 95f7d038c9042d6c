"""The faults that are injected into a running deployment."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from .cluster import USER, Cluster
from .servers import Server

DBNAME = "bench"
MAX_CONNECTIONS = 40
_TABLES = "request_images_requestlog, request_images_requestimage"
_HOG = "hog"


@dataclass(frozen=True)
class Scene:
    """A deployment under load.

    Attributes:
        cluster: Its PostgreSQL server.
        server: Its web server.
        flag: File that tells the storage and the broker what to do.
    """

    cluster: Cluster
    server: Server
    flag: Path


Inject = Callable[[Scene, float], None]


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: Name in options and results.
        inject: Injects the fault for a number of seconds, and repairs it.
        seconds: Duration.
        settings: Django's settings that it needs.
        needs_spool: Whether it is about the spool folder.
    """

    name: str
    inject: Inject
    seconds: float = 20.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs_spool: bool = False


def _nothing(_scene: Scene, seconds: float) -> None:
    time.sleep(seconds)


def _restart(scene: Scene, _seconds: float) -> None:
    scene.cluster.stop()
    scene.cluster.start()


def _down(scene: Scene, seconds: float) -> None:
    scene.cluster.stop()
    time.sleep(seconds)
    scene.cluster.start()


def _frozen(scene: Scene, seconds: float) -> None:
    scene.cluster.freeze()
    time.sleep(seconds)
    scene.cluster.thaw()


def _terminate(scene: Scene) -> None:
    scene.cluster.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE usename = '{USER}' AND application_name <> '{_HOG}'"
    )


def _connections(scene: Scene, seconds: float) -> None:
    deadline, held = time.monotonic() + seconds, []
    url = scene.cluster.url(DBNAME) + f" application_name={_HOG}"
    while time.monotonic() < deadline:
        _terminate(scene)
        with contextlib.suppress(psycopg.OperationalError):
            while len(held) < MAX_CONNECTIONS:
                held.append(psycopg.connect(url))
        time.sleep(0.5)
    for connection in held:
        connection.close()


def _lock(scene: Scene, seconds: float) -> None:
    with psycopg.connect(scene.cluster.url(DBNAME)) as connection:
        connection.execute(f"LOCK TABLE {_TABLES} IN ACCESS EXCLUSIVE MODE")
        time.sleep(seconds)


def _read_only(scene: Scene, seconds: float) -> None:
    alter = f"ALTER DATABASE {DBNAME}"
    scene.cluster.execute(f"{alter} SET default_transaction_read_only = on")
    _terminate(scene)
    time.sleep(seconds)
    scene.cluster.execute(f"{alter} RESET default_transaction_read_only")
    _terminate(scene)


def _not_null(scene: Scene, seconds: float) -> None:
    # What a migration of a newer release leaves, while the old code serves on.
    alter = "ALTER TABLE request_images_requestlog"
    scene.cluster.execute(f"{alter} ADD newer int NOT NULL DEFAULT 0", DBNAME)
    scene.cluster.execute(f"{alter} ALTER newer DROP DEFAULT", DBNAME)
    time.sleep(seconds)
    scene.cluster.execute(f"{alter} DROP newer", DBNAME)


def _flagged(name: str) -> Inject:
    def inject(scene: Scene, seconds: float) -> None:
        scene.flag.write_text(name)
        time.sleep(seconds)
        scene.flag.unlink()

    return inject


def _term(scene: Scene, seconds: float) -> None:
    for worker in scene.server.workers:
        _send(worker, signal.SIGTERM)
        time.sleep(seconds / 4)
    scene.server.signal(signal.SIGHUP)
    time.sleep(seconds / 2)


def _kill(scene: Scene, seconds: float) -> None:
    for _time in range(2):
        kill_one(scene.server)
        time.sleep(seconds / 2)


def kill_one(server: Server) -> None:
    """Kill a worker at random, as the system does when memory is short."""
    if workers := server.workers:
        _send(random.choice(workers), signal.SIGKILL)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


_FILES = "django.core.files.storage.FileSystemStorage"
_STORAGE = {
    "REQUEST_IMAGES_STORAGE": "broken",
    "STORAGES": {
        "default": {"BACKEND": _FILES},
        "staticfiles": {
            "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        },
        "broken": {"BACKEND": "bench.site.broken.Storage"},
    },
}
_TASKS = {
    "TASKS": {"default": {"BACKEND": "bench.site.broken.Broker"}},
    "REQUEST_IMAGES_THUMBNAILS": "task",
    "REQUEST_IMAGES_ANALYSIS": "task",
    "REQUEST_IMAGES_COMPRESSION": "task",
    "REQUEST_IMAGES_ENCODINGS": ["zlib", "lepton"],
}
FAULTS = (
    Fault("none", _nothing),
    Fault("restart", _restart, 3),
    Fault("down", _down, 30),
    Fault("frozen", _frozen),
    Fault("connections", _connections),
    Fault("lock", _lock),
    Fault("read-only", _read_only),
    Fault("not-null", _not_null),
    Fault("storage-slow", _flagged("storage-slow"), settings=_STORAGE),
    Fault("storage-full", _flagged("storage-full"), settings=_STORAGE),
    Fault(
        "spool-full",
        _down,
        settings={"REQUEST_IMAGES_SPOOL_MAX_MB": 5},
        needs_spool=True,
    ),
    Fault(
        "spool-unwritable",
        _down,
        # Not even root can make a folder there.
        settings={"REQUEST_IMAGES_SPOOL_DIR": "/proc/request-images-spool"},
        needs_spool=True,
    ),
    Fault("broker", _flagged("broker"), settings=_TASKS),
    Fault("term", _term),
    Fault("kill", _kill),
)
"""All faults, in the order of the table."""
