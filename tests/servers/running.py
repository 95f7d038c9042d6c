"""Start real servers, send requests over a socket, and read their rows."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.db.utils import ConnectionHandler

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""How long anything is waited for, at most. Nothing is waited for longer than it is."""
CARELESS = "init_command=PRAGMA%20synchronous%3DOFF"
"""Of an SQLite file's URL: what tests write need not outlive a power failure."""


@dataclass(frozen=True)
class Kind:
    """A server with its configuration.

    Attributes:
        module: Module of the server, for ``python -m``.
        arguments: Arguments of the server; ``{port}`` is replaced.
        is_asgi: Whether the server uses ASGI.
        environment: Additional environment variables of its process.
    """

    module: str
    arguments: str
    is_asgi: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether the server is available for this Python."""
        return importlib.util.find_spec(self.module) is not None


_GUNICORN = "-b 127.0.0.1:{port} tests.servers.app:wsgi"
_UVICORN = "--port {port} --lifespan off tests.servers.app:"
_GRANIAN = "--port {port} --workers 1 tests.servers.app:"
_GTHREAD = Kind("gunicorn", f"-k gthread --threads 4 {_GUNICORN}")
_WAITRESS = Kind("waitress", "--listen 127.0.0.1:{port} tests.servers.app:wsgi")
_UVICORN_WSGI = Kind("uvicorn", f"--interface wsgi {_UVICORN}wsgi")
_UVICORN_ASGI = Kind("uvicorn", f"{_UVICORN}asgi", is_asgi=True)
_GRANIAN_ASGI = Kind("granian", f"--interface asginl {_GRANIAN}asgi", is_asgi=True)
_HYPERCORN = Kind(
    "hypercorn", "-b 127.0.0.1:{port} tests.servers.app:asgi", is_asgi=True
)
_DAPHNE = Kind("daphne", "-b 127.0.0.1 -p {port} tests.servers.app:asgi", is_asgi=True)
# A grace period longer than any test, so that a written row did not wait for it.
_NO_WATCHDOG = {"SERVERS_GRACE_SECONDS": "600"}
_EXIT = {**_NO_WATCHDOG, "SERVERS_EXIT": "1"}
_BACKGROUND = {"SERVERS_WRITE_MODE": "background"}
_KEEPING = {"SERVERS_KEEP_CONNECTIONS": "1"}
_MIDDLEWARE = {**_NO_WATCHDOG, "SERVERS_MIDDLEWARE": "1"}
KINDS = {
    "gunicorn-sync": Kind("gunicorn", f"-k sync {_GUNICORN}"),
    "gunicorn-gthread": _GTHREAD,
    "waitress": _WAITRESS,
    "granian-wsgi": Kind("granian", f"--interface wsgi {_GRANIAN}wsgi"),
    "uvicorn-wsgi": _UVICORN_WSGI,
    "uvicorn": _UVICORN_ASGI,
    "granian-asgi": _GRANIAN_ASGI,
    "hypercorn": _HYPERCORN,
    "daphne": _DAPHNE,
    "gunicorn-preload": replace(
        _GTHREAD,
        arguments=f"--preload {_GTHREAD.arguments}",
        environment={"SERVERS_EARLY_WATCHDOG": "1"},
    ),
    "gunicorn-no-watchdog": replace(_GTHREAD, environment=_NO_WATCHDOG),
    "granian-wsgi-background": Kind(
        "granian", f"--interface wsgi {_GRANIAN}wsgi", environment=_BACKGROUND
    ),
    "waitress-exit": replace(_WAITRESS, environment=_EXIT),
    "uvicorn-wsgi-exit": replace(_UVICORN_WSGI, environment=_EXIT),
    "uvicorn-exit": replace(_UVICORN_ASGI, environment=_EXIT),
    "gunicorn-background": replace(_GTHREAD, environment=_BACKGROUND),
    "gunicorn-preload-background": replace(
        _GTHREAD,
        arguments=f"--preload {_GTHREAD.arguments}",
        environment=_BACKGROUND,
    ),
    "waitress-background": replace(_WAITRESS, environment={**_EXIT, **_BACKGROUND}),
    "uvicorn-background": replace(_UVICORN_ASGI, environment={**_EXIT, **_BACKGROUND}),
    "granian-background": replace(_GRANIAN_ASGI, environment=_BACKGROUND),
    "hypercorn-background": replace(_HYPERCORN, environment=_BACKGROUND),
    "uvicorn-keeping": replace(_UVICORN_ASGI, environment=_KEEPING),
    "uvicorn-middleware": replace(_UVICORN_ASGI, environment=_MIDDLEWARE),
    "hypercorn-middleware": replace(_HYPERCORN, environment=_MIDDLEWARE),
}


def wait_for(ask: Callable[[], T], what: str) -> T:
    """Wait until a function returns true, or fail."""
    until = time.monotonic() + PATIENCE
    while not (answer := ask()):
        if time.monotonic() > until:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.01)
    return answer


class Database:
    """The database of the servers, separate from that of the tests."""

    def __init__(self, folder: Path, purpose: str = "servers") -> None:
        self.folder = folder
        given = os.environ.get("DATABASE_URL", "sqlite://")
        self._name = ""
        if given.startswith("sqlite"):
            self.url = f"sqlite:///{folder}/{purpose}.sqlite3?{CARELESS}"
        else:
            self._name = f"request_images_{purpose}_{os.getpid()}"
            self.url = urlsplit(given)._replace(path=f"/{self._name}").geturl()
        config = environ.Env.db_url_config(self.url)
        self._connections = ConnectionHandler({"default": config})
        self._connection = self._connections["default"]
        self.vendor = self._connection.vendor

    def environment(self, name: str = "") -> dict[str, str]:
        """Return the environment of a process that uses the database under a name."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.servers.settings",
            "DATABASE_URL": self.url,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path])),
            "SERVERS_GRACE_SECONDS": "0.3",
            "SERVERS_NAME": name,
            "SERVERS_SIGNS": str(self.folder),
        }

    def create(self) -> None:
        """Create the database with its tables."""
        self._drop()
        if self._name:
            self._execute_without_database(f"CREATE DATABASE {self._name}")
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0"],
            env=self.environment(),
            cwd=ROOT,
            check=True,
        )

    def remove(self) -> None:
        """Delete the database."""
        self._connection.close()
        self._drop()

    def _drop(self) -> None:
        if self._name:
            self._execute_without_database(f"DROP DATABASE IF EXISTS {self._name}")

    def _execute_without_database(self, sql: str) -> None:
        with self._connection._nodb_cursor() as cursor:
            cursor.execute(sql)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def rows(self, request_id: str) -> list[tuple[Any, ...]]:
        """Return status, capture status and error type of a request's logs."""
        return self.query(
            "SELECT status_code, capture_status, error_type "
            "FROM request_images_requestlog WHERE request_id = %s",
            request_id,
        )

    def connections(self, name: str) -> int:
        """Return the number of a server's open connections, on PostgreSQL."""
        [[number]] = self.query(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", name
        )
        return int(number)

    def row(self, request_id: str) -> tuple[Any, ...]:
        """Wait for the one row of a request."""
        [row] = wait_for(lambda: self.rows(request_id), f"the row of {request_id}")
        return row


class Server:
    """A server in a process of its own, started on demand."""

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self.kind = KINDS[name]
        self._folder = database.folder
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None
        self._is_terminated = False
        self.port = 0

    def launch(self) -> None:
        """Start the process without waiting until it answers."""
        if self._process is not None:
            return
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._is_terminated = False
        arguments = self.kind.arguments.format(port=self.port).split()
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.kind.module, *arguments],
                env={
                    **self._database.environment(self.name),
                    **self.kind.environment,
                },
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ensure(self) -> None:
        """Make sure that the server answers."""
        self.launch()
        try:
            wait_for(self._answers, f"{self.name} to listen")
        except AssertionError:
            # Another process may have taken the port in the meantime.
            self.stop()
            self.launch()
            wait_for(self._answers, f"{self.name} to listen")

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"{self.name} is gone: {self.output()}")
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE
        )
        try:
            connection.request("GET", "/name/", headers={"Connection": "close"})
            answer = connection.getresponse().read().decode()
        except OSError:
            return False
        except http.client.HTTPException as error:
            answer = str(error)
        finally:
            connection.close()
        # Servers that start at the same time may have got the same free port.
        if answer != f"{self.name} {self._folder}":
            raise AssertionError(f"another has the port of {self.name}: {answer!r}")
        return True

    def output(self) -> str:
        """Return the output of the server."""
        log = self._folder / f"{self.name}.log"
        return log.read_text() if log.exists() else ""

    def terminate(self) -> None:
        """Send SIGTERM, as an init system does."""
        if self._process is not None and not self._is_terminated:
            self._process.send_signal(signal.SIGTERM)
            self._is_terminated = True  # a second signal would mean "immediately"

    def stop(self) -> None:
        """Send SIGTERM, and wait until the server has ended."""
        self.terminate()
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(PATIENCE)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def post(self, path: str, body: bytes) -> tuple[str, int, bytes]:
        """Post an image; return the request's id, and the response so far."""
        request_id = uuid.uuid4().hex
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE
        )
        headers = {"Content-Type": "image/png", "X-Request-ID": request_id}
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            try:
                content = response.read()
            except http.client.IncompleteRead as error:
                content = error.partial
            return request_id, response.status, content
        finally:
            connection.close()

    def begin(
        self, path: str, body: bytes, *, chunked: bool = False
    ) -> tuple[str, http.client.HTTPResponse]:
        """Post an image, with or without a length; return the id and the response."""
        request_id = uuid.uuid4().hex
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=PATIENCE
        )
        headers = {"Content-Type": "image/png", "X-Request-ID": request_id}
        headers["Connection"] = "close"  # so that the socket ends with the response
        # A server that does not read the body may have answered and closed already.
        with suppress(BrokenPipeError):
            connection.request("POST", path, iter([body]) if chunked else body, headers)
        return request_id, connection.getresponse()

    @contextmanager
    def posting(
        self, path: str, body: bytes, *, size: int | None = None
    ) -> Iterator[str]:
        """Post an image with an announced size, and disconnect at the end."""
        request_id = uuid.uuid4().hex
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            f"X-Request-ID: {request_id}\r\nContent-Length: {size or len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(head.encode() + body)
            yield request_id

    @contextmanager
    def answering(
        self, path: str, body: bytes, version: str
    ) -> Iterator[tuple[str, threading.Thread]]:
        """Post an image; a thread reads until the client has the whole response."""
        request_id = uuid.uuid4().hex
        head = (
            f"POST {path} HTTP/{version}\r\nHost: localhost\r\n"
            f"Content-Type: image/png\r\nX-Request-ID: {request_id}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(head.encode() + body)
            response = http.client.HTTPResponse(client, method="POST")
            response.begin()
            reader = threading.Thread(target=response.read)
            reader.start()
            try:
                yield request_id, reader
            finally:
                self.sign(request_id, "signalled").touch()
                reader.join(PATIENCE)

    def sign(self, request_id: str, name: str) -> Path:
        """Return the file by which a view and a test signal to each other."""
        return self._folder / f"{request_id}.{name}"
