"""A deployment under a fault, and what became of its requests.

`python benchmarks/run.py faults` runs it; see README.md.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .deployments import TIMEOUT, WORKERS, Cell, Deployment, Template
from .fates import Fates, fates_of, wrong_of
from .faults import Fault, kill_one
from .load import Trace

RATE = 30.0
_PEACE_SECONDS = 5.0
_AFTER_SECONDS = 35.0
_RECOVERY_SECONDS = 60.0
_KILL_RATE = 60.0
_KILL_SECONDS = 1.0
_PATIENCE = 3600.0
_SLACK = 0.5
"""A client may read an answer after the kill of the worker that gave it."""


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


def suffer(template: Template, cell: Cell, fault: Fault) -> Outage:
    """Put a deployment under load, inject a fault, and see what becomes of it."""
    outage = Outage(fault.name, *asdict(cell).values())
    # The bare view has no storage, no broker and no spool folder to fail.
    settings = {} if cell.mode == "bare" else dict(fault.settings)
    try:
        with _deployed(template, cell, settings) as deployment:
            _suffer(deployment, fault, outage)
    except Exception as error:  # noqa: BLE001  # the others are measured
        outage.failed = _reason(error)
    return outage


@contextlib.contextmanager
def _deployed(
    template: Template, cell: Cell, settings: dict[str, Any]
) -> Iterator[Deployment]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        deployment = Deployment(template, cell, settings, Path(folder))
        try:
            yield deployment
        finally:
            deployment.remove()


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
        outage.fates = Fates(sent=len(trace), wrong=wrong_of(trace))
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
    outage.fates = fates_of(trace, before, deployment.rows())
    lost = outage.fates.lost + outage.fates.images_lost + outage.fates.metadata_lost
    outage.silent = bool(lost) and not outage.status


def _waits(trace: list[Trace], begun: float, ended: float) -> tuple[float, float]:
    waits = sorted(
        one.milliseconds if one.status else 1000 * TIMEOUT
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
    try:
        with _deployed(template, cell, {}) as deployment:
            _kill(deployment, found)
    except Exception as error:  # noqa: BLE001  # the others are measured
        found.failed = _reason(error)
    return found


def _kill(deployment: Deployment, found: Kills) -> None:
    scene = deployment.start()
    client = deployment.send(_KILL_RATE, _PATIENCE)
    times = []
    try:
        for _time in range(found.kills):
            # All workers serve again: another one always does.
            scene.server.wait_for_workers(WORKERS)
            time.sleep(_KILL_SECONDS)
            times.append(time.time())
            kill_one(scene.server)
        scene.server.wait_for_workers(WORKERS)
        client.send_signal(signal.SIGTERM)
        trace = deployment.trace(client)
    finally:
        client.kill()
    deployment.stop_server()
    before = deployment.rows()
    if deployment.cell.with_spool:
        deployment.manage("write_spooled_requests")
    found.fates = fates_of(trace, before, deployment.rows())
    missing = set(found.fates.missing)
    for one in trace:
        answered = one.begun + one.milliseconds / 1000
        ages = [
            1000 * (killed - answered) for killed in times if killed > answered - _SLACK
        ]
        if one.request_id in missing:
            found.oldest_ms = max(found.oldest_ms, min(ages, default=1e6))


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[-1][:200]
