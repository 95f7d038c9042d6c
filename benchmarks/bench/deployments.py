"""A deployment that is to be broken: web server, PostgreSQL server, client."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import images
from .cluster import USER, Cluster
from .databases import HERE, environment
from .faults import DBNAME, MAX_CONNECTIONS, Scene
from .load import Job, Trace
from .servers import Server, refusal
from .variants import BY_NAME

WORKERS = 2
TIMEOUT = 15.0
"""Seconds after which a client gives up."""
_CONNECTIONS = 500
_ROWS = """
SELECT log.request_id, log.error_type, log.error_message, log.metadata,
    image.content_id IS NOT NULL
FROM request_images_requestlog log
LEFT JOIN request_images_requestimage image ON image.log_id = log.id
"""


@dataclass(frozen=True)
class Cell:
    """One deployment.

    Attributes:
        server: ``"gunicorn"`` or ``"uvicorn"``.
        mode: Write mode, or ``"bare"`` for a view without the app.
        with_spool: Whether it has a spool folder.
    """

    server: str
    mode: str
    with_spool: bool


class Template:
    """A stopped PostgreSQL server with the app's tables; each deployment copies it."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "100.jpg"
        self.image.write_bytes(images.draw(100 * 1024))
        options = (f"max_connections={MAX_CONNECTIONS}", "fsync=off")
        self.cluster = Cluster(folder / "template", *options)
        try:
            self.cluster.execute(f"CREATE DATABASE {DBNAME} OWNER {USER}")
            settings = database_settings(self.cluster)
            subprocess.run(
                [sys.executable, "-m", "django", "migrate", "--verbosity=0"],
                env=environment("background", settings, folder, folder / "spool"),
                check=True,
                cwd=HERE,
            )
        finally:
            self.cluster.stop()


def database_settings(cluster: Cluster, max_age: int = 0) -> dict[str, Any]:
    """Return Django's settings of the deployment's database."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": DBNAME,
        "USER": USER,
        "HOST": "127.0.0.1",
        "PORT": str(cluster.port),
        "CONN_MAX_AGE": max_age,
    }


class Deployment:
    """A web server with two workers, and a PostgreSQL server of its own.

    Args:
        template: The server to copy.
        cell: The deployment.
        settings: Further settings of Django.
        folder: Folder for its files.
    """

    def __init__(
        self, template: Template, cell: Cell, settings: dict[str, Any], folder: Path
    ) -> None:
        self.cell, self._image = cell, template.image
        self.cluster = Cluster(folder, copied=template.cluster)
        self.server: Server | None = None
        self._folder, self._traces = folder, folder / "traces.json"
        age = 60 if cell.server == "gunicorn" else 0
        database = database_settings(self.cluster, age)
        spool = folder / "spool"
        if cell.with_spool:
            settings = {"REQUEST_IMAGES_SPOOL_DIR": str(spool), **settings}
        self._environment = {
            **environment(cell.mode, database, folder / "media", spool),
            "BENCH_SETTINGS": json.dumps(settings),
            "BENCH_FAULT": str(folder / "fault"),
        }

    @property
    def is_ours(self) -> bool:
        """Whether the app is installed."""
        return self.cell.mode != "bare"

    def start(self) -> Scene:
        """Start the web server.

        Raises:
            RuntimeError: The settings are refused, or the server does not start.
        """
        if reason := refusal(self._environment):
            raise RuntimeError(reason)
        beside = BY_NAME[self.cell.mode].beside
        log = self._folder / "server.log"
        self.server = Server(
            self.cell.server, self._environment, beside, workers=WORKERS, log=log
        )
        self.server.wait()
        self.server.wait_for_workers(WORKERS)
        if self.server.beside_ended:
            raise RuntimeError(log.read_text())
        return Scene(self.cluster, self.server, self._folder / "fault")

    def send(self, rate: float, seconds: float) -> subprocess.Popen[bytes]:
        """Begin to send requests, in a process of its own."""
        assert self.server
        path = "/captured/fault/" if self.is_ours else "/bare/fault/"
        job = Job(
            self.server.port,
            path,
            str(self._image),
            _CONNECTIONS,
            seconds,
            rate=rate,
            traced=True,
            timeout=TIMEOUT,
        )
        command = [sys.executable, "-m", "bench.load", json.dumps(asdict(job))]
        with self._traces.open("w") as file:  # a pipe would hold too little of it
            return subprocess.Popen(command, cwd=HERE, stdout=file)

    def trace(self, client: subprocess.Popen[bytes]) -> list[Trace]:
        """Wait until the client has ended, and return its requests."""
        client.wait(TIMEOUT + 300)
        found = json.loads(self._traces.read_text())["trace"]
        return [Trace(**each) for each in found]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `manage.py`."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=self._environment,
            cwd=HERE,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    @contextlib.contextmanager
    def asking(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """Give a function that asks for the health."""
        command = [sys.executable, "-m", "bench.asking"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=HERE, env=self._environment, stdin=pipe, stdout=pipe, text=True
        ) as process:

            def ask() -> dict[str, Any]:
                assert process.stdin
                assert process.stdout
                process.stdin.write("\n")
                process.stdin.flush()
                found: dict[str, Any] = json.loads(process.stdout.readline())
                return found

            yield ask
            process.kill()

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows that are written."""
        return self.cluster.execute(_ROWS, DBNAME) if self.is_ours else []

    def stop_server(self) -> None:
        """Stop the web server as an operator does."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def remove(self) -> None:
        """Stop everything."""
        self.stop_server()
        self.cluster.remove()
