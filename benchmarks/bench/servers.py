"""Real servers for the project under load, and their use of the machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from .databases import HERE, Database

SERVERS = ("gunicorn", "uvicorn")
_SAMPLE_SECONDS = 0.1
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_MB = 1024 * 1024


@dataclass
class Usage:
    """The resources that a server used while it was watched.

    Attributes:
        cpu_seconds: Processor time of all its processes.
        peak_mb: Peak memory of all its processes together.
    """

    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


class Server:
    """One variant in one server, on a port of its own."""

    def __init__(
        self, kind: str, variant: str, database: Database, **extra: str
    ) -> None:
        self.port = _free_port()
        # A thread of gunicorn keeps its connection. Under ASGI each request has its own
        # thread, where Django's documentation advises against persistent connections.
        age = 60 if kind == "gunicorn" else 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", *_arguments(kind, self.port)],
            env={**database.environment(variant, age), **extra},
            cwd=HERE,
        )
        self._root = psutil.Process(self._process.pid)

    def wait(self) -> None:
        """Wait until the server listens."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.1)
        raise RuntimeError("a server did not start")

    def stop(self) -> None:
        """Stop the server, by force if necessary."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for process in self._tree():
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def _cpu(self) -> float:
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _memory(self) -> float:
        total = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss / _MB
        return total

    @contextlib.contextmanager
    def watched(self) -> Iterator[Usage]:
        """Measure the resources that the server uses within this block."""
        usage = Usage()
        done = threading.Event()

        def sample() -> None:
            while True:
                usage.peak_mb = max(usage.peak_mb, self._memory())
                if done.wait(_SAMPLE_SECONDS):
                    return

        thread = threading.Thread(target=sample, daemon=True)
        before = self._cpu()
        thread.start()
        try:
            yield usage
        finally:
            done.set()
            thread.join()
            usage.cpu_seconds = self._cpu() - before


def _arguments(kind: str, port: int) -> list[str]:
    if kind == "gunicorn":
        listen = f"--bind=127.0.0.1:{port}"
        work = ["--worker-class=gthread", "--workers=1", "--threads=4"]
        return [kind, "bench.site.wsgi", listen, *work, "--log-level=warning"]
    where = ["--host=127.0.0.1", f"--port={port}", "--lifespan=off"]
    return [kind, "bench.site.asgi:application", *where, "--log-level=warning"]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address: tuple[str, Any] = listener.getsockname()
    return int(address[1])


@contextlib.contextmanager
def running(
    kind: str, variants: list[str], database: Database, **extra: str
) -> Iterator[dict[str, Server]]:
    """Run a server for each variant; a server without load uses no resources."""
    servers: dict[str, Server] = {}
    try:
        for variant in variants:
            servers[variant] = Server(kind, variant, database, **extra)
        for server in servers.values():
            server.wait()
        yield servers
    finally:
        for server in servers.values():
            server.stop()
