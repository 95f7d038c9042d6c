"""The part with real servers: all variants under the same load, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from .databases import HERE, Database
from .load import Job, Outcome
from .servers import Server, environment_of, refusal, running
from .variants import MODES, VARIANTS, Variant

WARM_UP = 24
"""Requests to each server before the measurement, for its four threads and imports."""
DRAIN_SECONDS = 30.0
PACE = 40.0
"""Rate of the paced load, in requests a second."""


@dataclass(frozen=True)
class Load:
    """A load on the server.

    Attributes:
        name: Name in the results.
        rate: Requests a second; 0 for requests without a pause.
        share: Rate as a share of what the bare view answered without a pause, in the
            same round.
        distinct: Number of distinct images; 0 for a new one each time.
        path: What follows the path of the variant's view.
        only: Variants that it is for; empty for all.
    """

    name: str
    rate: float = 0.0
    share: float = 0.0
    distinct: int = 0
    path: str = ""
    only: tuple[str, ...] = ()


CLIENTS = 8
"""Connections of every load."""
_OURS_AND_NAIVE = ("bare", *MODES, "naive")
LOADS = (
    Load("closed"),
    Load("repeated", distinct=1, only=_OURS_AND_NAIVE),
    Load("paced", rate=PACE),
    Load("half", share=0.5, only=_OURS_AND_NAIVE),
    Load("10 ms", path="work/", only=("bare", *MODES)),
)
"""The loads of a round; the first one gives the bare view's capacity."""


@dataclass(frozen=True)
class Row:
    """The measurements of one variant under one load in one round.

    Attributes:
        asked: Requests a second that the load asked for; 0 for as many as possible.
        per_second: Answers a second, until the last answer.
        stored_per_second: Rows a second, until the last row was seen.
        stored_seconds: Time from the first request to the last row.
        cpu_ms: Processor time of the server for each request, work after the response
            included.
        beside_ms: The same, of the process that writes what is spooled.
        database_ms: The same, of the database; 0 if unknown.
        client_ms: The same, of the client.
        stored: Rows of the variant, counted after waiting for them.
        failed: Why there are no measurements; empty if there are.
    """

    server: str
    database: str
    size_kb: int
    load: str
    round: int
    variant: str
    failed: str = ""
    asked: float = 0.0
    requests: int = 0
    errors: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    seconds: float = 0.0
    per_second: float = 0.0
    stored: int = 0
    stored_seconds: float = 0.0
    stored_per_second: float = 0.0
    cpu_ms: float = 0.0
    beside_ms: float = 0.0
    database_ms: float = 0.0
    client_ms: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Plan:
    """The extent of the measurement."""

    rounds: int
    seconds: float
    sizes_kb: tuple[int, ...]
    servers: tuple[str, ...]
    loads: tuple[Load, ...] = LOADS
    variants: tuple[Variant, ...] = VARIANTS


class Runner:
    """Put all variants under load, one after the other.

    Args:
        plan: Extent of the measurement.
        database: Database that the servers write to.
        images: File of the drawn image for each size in KB.
        say: Function that is called with a line about the next step.
    """

    def __init__(
        self,
        plan: Plan,
        database: Database,
        images: dict[int, Path],
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._database = database
        self._images = images
        self._say = say
        self._servers: dict[str, Server] = {}
        self._refused: dict[str, str] = {}

    def rows(self) -> Iterator[Row]:
        """Yield a row for each variant, load, round, size and server."""
        for kind in self._plan.servers:
            self._refused = {
                variant.name: reason
                for variant in self._plan.variants
                if (reason := refusal(environment_of(kind, variant, self._database)))
            }
            able = [v for v in self._plan.variants if v.name not in self._refused]
            with running(kind, able, self._database) as self._servers:
                for variant in able:
                    self._warm_up(variant)
                for size in self._plan.sizes_kb:
                    for turn in range(self._plan.rounds):
                        self._say(
                            f"{kind}, {self._database.name}, {size} KB, round {turn}"
                        )
                        yield from self._round(kind, size, turn)

    def _warm_up(self, variant: Variant) -> None:
        try:
            self._database.clear()
            for load in (LOADS[0], LOADS[-1]):
                path = variant.path
                if not load.only or variant.name in load.only:
                    path += load.path
                send(self._job(variant, path, min(self._images), 20, limit=WARM_UP))
            self._database.drain(variant, 2 * WARM_UP, DRAIN_SECONDS)
        except Exception as error:  # noqa: BLE001  # the others are measured
            self._refused[variant.name] = _reason(error)

    def _round(self, kind: str, size: int, turn: int) -> Iterator[Row]:
        # Each round has another order, because the state of the machine changes.
        variants = self._plan.variants
        first = turn % len(variants)
        capacity = 0.0
        for load in self._plan.loads:
            # Not for each variant: deleting rows may take longer than inserting them.
            self._database.clear()
            for variant in (*variants[first:], *variants[:first]):
                if load.only and variant.name not in load.only:
                    continue
                place = (kind, self._database.name, size, load.name, turn, variant.name)
                try:
                    figures = self._measure(variant, load, size, capacity)
                except Exception as error:  # noqa: BLE001  # the others are measured
                    yield Row(*place, failed=_reason(error))
                else:
                    yield Row(*place, **figures)
                    if variant.name == "bare" and load is LOADS[0]:
                        capacity = figures["per_second"]

    def _measure(
        self, variant: Variant, load: Load, size: int, capacity: float
    ) -> dict[str, Any]:
        if variant.name in self._refused:
            raise RuntimeError(self._refused[variant.name])
        if variant.name not in self._servers:
            raise RuntimeError("the server did not start")
        if load.share and not capacity:
            raise RuntimeError("the bare view's capacity is not known")
        rate = load.rate or load.share * capacity
        path = variant.path + load.path
        more = {"rate": rate, "distinct": load.distinct}
        job = self._job(variant, path, size, self._plan.seconds, **more)
        before, database = self._database.count(variant), self._database.cpu_seconds()
        with self._servers[variant.name].watched() as usage:
            outcome = send(job)
            answered = len(outcome.milliseconds)
            stored, last = self._database.drain(
                variant, before + answered, DRAIN_SECONDS
            )
        if not answered:
            raise RuntimeError(f"no answer to {outcome.errors} requests")
        each = 1000 / answered
        took = max(last - outcome.started, outcome.seconds) if variant.table else 0.0
        return {
            "asked": rate,
            "requests": answered,
            "errors": outcome.errors,
            "p50_ms": median(outcome.milliseconds),
            "p95_ms": _p95(outcome.milliseconds),
            "seconds": outcome.seconds,
            "per_second": answered / max(outcome.seconds, 0.001),
            "stored": stored - before,
            "stored_seconds": took,
            "stored_per_second": (stored - before) / took if took else 0.0,
            "cpu_ms": each * usage.cpu_seconds,
            "beside_ms": each * usage.beside_seconds,
            "database_ms": each * (self._database.cpu_seconds() - database),
            "client_ms": each * outcome.cpu_seconds,
            "peak_mb": usage.peak_mb,
        }

    def _job(
        self, variant: Variant, path: str, size: int, seconds: float, **more: Any
    ) -> Job:
        port, image = self._servers[variant.name].port, str(self._images[size])
        return Job(port, path, image, CLIENTS, seconds, **more)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[-1][:200]


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else sum(values)


def send(job: Job) -> Outcome:
    """Run the client in a process of its own."""
    command = [sys.executable, "-m", "bench.load", json.dumps(asdict(job))]
    done = subprocess.run(
        command, cwd=HERE, check=True, timeout=job.seconds + 120, stdout=subprocess.PIPE
    )
    return Outcome(**json.loads(done.stdout))
