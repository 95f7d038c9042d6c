"""A deployment under a fault, and what became of its requests.

`python benchmarks/run.py faults` runs it; see README.md.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import images
from .cluster import USER, Cluster
from .databases import HERE, environment
from .faults import DBNAME, MAX_CONNECTIONS, Fault, Scene, kill_one
from .load import Job, Trace
from .servers import Server, refusal
from .site import ERROR, METADATA
from .variants import BY_NAME

RATE = 30.0
WORKERS = 2
_PEACE_SECONDS = 5.0
_AFTER_SECONDS = 35.0
_RECOVERY_SECONDS = 60.0
_TIMEOUT = 15.0
_CONNECTIONS = 500
_KILL_RATE = 60.0
_KILL_SECONDS = 1.5
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


@dataclass
class Fates:
    """What became of the requests.

    Attributes:
        sent: Requests that were sent.
        wrong: Requests without an answer, or with a wrong one.
        kept: Rows of answered requests when the watch ended.
        images: Those with their image.
        left: Rows that `write_spooled_requests` then wrote.
        lost: Answered requests without a row after that.
        images_lost: Rows without their image.
        metadata_lost: Rows that differ from what the view has said.
        doubled: Requests with more than one row, counted by their further rows.
        missing: Ids of the lost requests.
    """

    sent: int = 0
    wrong: int = 0
    kept: int = 0
    images: int = 0
    left: int = 0
    lost: int = 0
    images_lost: int = 0
    metadata_lost: int = 0
    doubled: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass
class Outage:
    """One deployment under one fault.

    Attributes:
        p50_ms: Median wait of the requests from the fault's begin to its end.
        p99_ms: Their 99th percentile; a request without an answer waited 15 seconds.
        recovery_seconds: Time from the fault's end until the last request that was lost
            and until the spool was seen empty.
        said: Requests in the spool, as the health said before they were written.
        status: Exit status of `request_images_health`.
        problems: What it said.
        silent: Whether something was lost and the health did not tell.
        failed: Why there are no measurements; empty if there are.
    """

    fault: str
    server: str
    mode: str
    with_spool: bool
    failed: str = ""
    fates: Fates = field(default_factory=Fates)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    recovery_seconds: float = 0.0
    said: int = 0
    status: int | None = None
    problems: list[str] = field(default_factory=list)
    silent: bool = False


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
        time.sleep(1)  # until the second worker serves
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
            timeout=_TIMEOUT,
        )
        command = [sys.executable, "-m", "bench.load", json.dumps(asdict(job))]
        with self._traces.open("w") as file:  # a pipe would hold too little of it
            return subprocess.Popen(command, cwd=HERE, stdout=file)

    def trace(self, client: subprocess.Popen[bytes]) -> list[Trace]:
        """Wait until the client has ended, and return its requests."""
        client.wait(_TIMEOUT + 300)
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


def suffer(template: Template, cell: Cell, fault: Fault) -> Outage:
    """Put a deployment under load, inject a fault, and see what becomes of it."""
    outage = Outage(fault.name, *asdict(cell).values())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            settings = dict(fault.settings)
            deployment = Deployment(template, cell, settings, Path(folder))
        except Exception as error:  # noqa: BLE001  # the others are measured
            outage.failed = _reason(error)
            return outage
        try:
            _suffer(deployment, fault, outage)
        except Exception as error:  # noqa: BLE001  # the others are measured
            outage.failed = _reason(error)
        finally:
            deployment.remove()
    return outage


def _suffer(deployment: Deployment, fault: Fault, outage: Outage) -> None:
    scene = deployment.start()
    after = _AFTER_SECONDS
    client = deployment.send(RATE, _PEACE_SECONDS + fault.seconds + after)
    try:
        time.sleep(_PEACE_SECONDS)
        begun = time.time()
        fault.inject(scene, fault.seconds)
        ended = time.time()
        emptied = _watch(deployment, client, ended) if deployment.is_ours else ended
        trace = deployment.trace(client)
    finally:
        client.kill()
    deployment.stop_server()
    if deployment.is_ours:
        _conclude(deployment, outage, trace)
    else:
        wrong = sum(one.status != _expected(one.request_id) for one in trace)
        outage.fates = Fates(sent=len(trace), wrong=wrong)
    outage.p50_ms, outage.p99_ms = _waits(trace, begun, ended)
    missing = set(outage.fates.missing)
    late = [one.begun for one in trace if one.request_id in missing]
    outage.recovery_seconds = max(0.0, max([emptied, *late]) - ended)


def _watch(
    deployment: Deployment, client: subprocess.Popen[bytes], ended: float
) -> float:
    """Wait until the load has ended and the spool is empty; return since when it is."""
    if not deployment.cell.with_spool:
        return ended
    emptied = 0.0
    with deployment.asking() as ask:
        while time.time() < ended + _RECOVERY_SECONDS:
            if ask().get("spooled"):
                emptied = 0.0
            elif not emptied:
                emptied = time.time()
            if emptied and client.poll() is not None:
                break
            time.sleep(1)
    return emptied or time.time()


def _conclude(deployment: Deployment, outage: Outage, trace: list[Trace]) -> None:
    health = deployment.manage("request_images_health", "--json")
    outage.status = health.returncode
    with contextlib.suppress(ValueError):
        said = json.loads(health.stdout)
        outage.said, outage.problems = said["spooled"], said["problems"]
    before = deployment.rows()
    if deployment.cell.with_spool:
        deployment.manage("write_spooled_requests")
    outage.fates = fates(trace, before, deployment.rows())
    lost = outage.fates.lost + outage.fates.images_lost + outage.fates.metadata_lost
    outage.silent = bool(lost) and not outage.status


def fates(
    trace: list[Trace], before: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]
) -> Fates:
    """Compare what was sent with the rows, before and after the spool was written."""
    number = Counter(row[0] for row in rows)
    answered = {one.request_id for one in trace if one.status}
    kept = [row for row in before if row[0] in answered]
    missing = sorted(answered - number.keys())
    return Fates(
        sent=len(trace),
        wrong=sum(one.status != _expected(one.request_id) for one in trace),
        kept=len({row[0] for row in kept}),
        images=sum(row[4] for row in kept),
        left=len({row[0] for row in rows} - {row[0] for row in before}),
        lost=len(missing),
        images_lost=sum(not row[4] for row in rows),
        metadata_lost=sum(not _is_whole(row) for row in rows),
        doubled=number.total() - len(number),
        missing=missing,
    )


def _expected(request_id: str) -> int:
    return 422 if request_id.endswith("0") else 200


def _is_whole(row: tuple[Any, ...]) -> bool:
    error = ERROR if _expected(row[0]) == 422 else ("", "")
    return row[3] == METADATA and (row[1], row[2]) == error


def _waits(trace: list[Trace], begun: float, ended: float) -> tuple[float, float]:
    waits = sorted(
        one.milliseconds if one.status else 1000 * _TIMEOUT
        for one in trace
        if begun <= one.begun <= ended + 1
    )
    if not waits:
        return 0.0, 0.0
    return waits[len(waits) // 2], waits[min(len(waits) - 1, len(waits) * 99 // 100)]


@dataclass
class Kills:
    """One deployment whose workers were killed.

    Attributes:
        kills: How many workers were killed.
        oldest_ms: The longest time from the answer of a lost request to the next kill.
        failed: Why there are no measurements; empty if there are.
    """

    server: str
    mode: str
    with_spool: bool
    kills: int
    failed: str = ""
    fates: Fates = field(default_factory=Fates)
    oldest_ms: float = 0.0


def kill(template: Template, cell: Cell, kills: int) -> Kills:
    """Kill workers under load, and compare the answered requests with the rows."""
    found = Kills(*asdict(cell).values(), kills)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        deployment = Deployment(template, cell, {}, Path(folder))
        try:
            scene = deployment.start()
            client = deployment.send(_KILL_RATE, (kills + 2) * _KILL_SECONDS)
            times = []
            for _time in range(kills):
                time.sleep(_KILL_SECONDS)
                times.append(time.time())
                kill_one(scene.server)
            trace = deployment.trace(client)
            deployment.stop_server()
            before = deployment.rows()
            if cell.with_spool:
                deployment.manage("write_spooled_requests")
            found.fates = fates(trace, before, deployment.rows())
            missing = set(found.fates.missing)
            for one in trace:
                answered = one.begun + one.milliseconds / 1000
                ages = [1000 * (t - answered) for t in times if t > answered]
                if one.request_id in missing:
                    found.oldest_ms = max(found.oldest_ms, min(ages, default=1e6))
        except Exception as error:  # noqa: BLE001  # the others are measured
            found.failed = _reason(error)
        finally:
            deployment.remove()
    return found


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[-1][:200]
