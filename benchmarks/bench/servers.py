"""Real servers for the project under load, and their use of the machine."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from .cluster import free_port
from .databases import HERE, Database
from .variants import Variant

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
        beside_seconds: Processor time of the process that runs beside it.
        peak_mb: Peak memory of all its processes together.
    """

    cpu_seconds: float = 0.0
    beside_seconds: float = 0.0
    peak_mb: float = 0.0


class Server:
    """One variant in one server, on a port of its own.

    Args:
        kind: ``"gunicorn"`` or ``"uvicorn"``.
        environment: Environment of its processes.
        beside: Arguments of a `manage.py` that runs beside it; empty for none.
        workers: Number of worker processes.
        log: File for what the processes say; None for our own standard error.
    """

    def __init__(
        self,
        kind: str,
        environment: dict[str, str],
        beside: tuple[str, ...] = (),
        *,
        workers: int = 1,
        log: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._said = None if log is None else log.open("ab")
        self._process = self._begin(environment, *_arguments(kind, self.port, workers))
        self._root = psutil.Process(self._process.pid)
        self._beside: psutil.Process | None = None
        self._follower: subprocess.Popen[bytes] | None = None
        if beside:
            self._follower = self._begin(environment, "django", *beside)
            self._beside = psutil.Process(self._follower.pid)

    def _begin(
        self, environment: dict[str, str], *arguments: str
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment,
            cwd=HERE,
            stdout=self._said,
            stderr=self._said,
        )

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
        for process in (self._process, self._follower):
            if process is not None:
                process.terminate()
        for process in (self._process, self._follower):
            if process is None:
                continue
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                for each in (*self._tree(), process):
                    with contextlib.suppress(psutil.Error, ProcessLookupError):
                        each.kill()
        if self._said is not None:
            self._said.close()

    @property
    def beside_ended(self) -> bool:
        """Whether there is a process beside it that has ended."""
        return self._follower is not None and self._follower.poll() is not None

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes, each of which handles requests."""
        found = []
        for process in self._root.children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "resource_tracker" not in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def wait_for_workers(self, number: int) -> None:
        """Wait for a limited time until all workers have answered a request."""
        deadline, seen = time.monotonic() + _START_SECONDS, set[int]()
        while time.monotonic() < deadline:
            alive = {process.pid for process in self.workers}
            if len(alive & seen) >= number:
                return
            with contextlib.suppress(OSError, ValueError):
                url = f"http://127.0.0.1:{self.port}/pid/"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    seen.add(json.load(answer)["pid"])
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to the process that started the workers."""
        self._process.send_signal(number)

    def _tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [self._root, *self._root.children(recursive=True)]
        return []

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
        before, beside = _cpu(self._tree()), self._beside_cpu()
        thread.start()
        try:
            yield usage
        finally:
            done.set()
            thread.join()
            usage.cpu_seconds = _cpu(self._tree()) - before
            usage.beside_seconds = self._beside_cpu() - beside

    def _beside_cpu(self) -> float:
        return _cpu([self._beside]) if self._beside else 0.0


def _cpu(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _arguments(kind: str, port: int, workers: int) -> list[str]:
    number = f"--workers={workers}"
    if kind == "gunicorn":
        listen = f"--bind=127.0.0.1:{port}"
        work = ["--worker-class=gthread", number, "--threads=4"]
        return [kind, "bench.site.wsgi", listen, *work, "--log-level=warning"]
    where = ["--host=127.0.0.1", f"--port={port}", "--lifespan=off", number]
    return [kind, "bench.site.asgi:application", *where, "--log-level=warning"]


def environment_of(kind: str, variant: Variant, database: Database) -> dict[str, str]:
    """Return the environment of a variant's processes in a kind of server."""
    # A thread of gunicorn keeps its connection. Under ASGI each request has its own
    # thread, where Django's documentation advises against persistent connections.
    return database.environment(variant.name, 60 if kind == "gunicorn" else 0)


def refusal(environment: dict[str, str]) -> str:
    """Return why a variant cannot run here; an empty string if it can."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "check"],
        check=False,
        env=environment,
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
    )
    if not done.returncode:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return next((line for line in lines if "(request_images." in line), lines[-1])


@contextlib.contextmanager
def running(
    kind: str, variants: list[Variant], database: Database
) -> Iterator[dict[str, Server]]:
    """Run a server for each variant; a server without load uses no resources.

    One that does not start is missing from the result.
    """
    servers: dict[str, Server] = {}
    try:
        for variant in variants:
            environment = environment_of(kind, variant, database)
            servers[variant.name] = Server(kind, environment, variant.beside)
        for name, server in list(servers.items()):
            try:
                server.wait()
            except RuntimeError:
                server.stop()
                del servers[name]
        yield servers
    finally:
        for server in servers.values():
            server.stop()
