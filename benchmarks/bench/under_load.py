"""The part with real servers: every variant under the same load, in turns."""

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
from .servers import Server, running
from .variants import VARIANTS, Variant

WARM_UP = 24
"""Requests that each server gets before it is measured: four threads, and imports."""
DRAIN_SECONDS = 30.0
PACE = 40.0
"""Requests a second of the paced load."""


@dataclass(frozen=True)
class Load:
    """How requests come: ``rate`` a second, or (0) each as soon as the last is done."""

    name: str
    clients: int
    rate: float = 0.0


LOADS = (Load("one client", 1), Load("four clients", 4), Load("paced", 8, PACE))


@dataclass(frozen=True)
class Row:
    """What one variant did under one load in one round."""

    server: str
    database: str
    size_kb: int
    load: str
    round: int
    variant: str
    requests: int
    errors: int
    p50_ms: float
    p95_ms: float
    per_second: float
    cpu_ms: float  # of the server, for each request, with what it did afterwards
    peak_mb: float
    stored: int  # rows by the variant's own count, after waiting for them


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    sizes_kb: tuple[int, ...]
    servers: tuple[str, ...]
    variants: tuple[Variant, ...] = VARIANTS


class Runner:
    """Puts every variant under load in turns.

    Args:
        plan: How much is measured.
        database: What the servers write to.
        images: The file of the drawn image of each size, in KB.
        say: Called with a line about what comes next.
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

    def rows(self) -> Iterator[Row]:
        """Yield a row for each variant, load, round, size and server."""
        variants = self._plan.variants
        for kind in self._plan.servers:
            names = [variant.name for variant in variants]
            with running(kind, names, self._database) as self._servers:
                for variant in variants:
                    size = min(self._images)
                    self._database.clear()
                    send(self._job(variant, size, 20, 4, limit=WARM_UP))
                    self._database.drain(variant, WARM_UP, DRAIN_SECONDS)
                for size in self._plan.sizes_kb:
                    self._say(f"{kind}, {self._database.name}, {size} KB")
                    for turn in range(self._plan.rounds):
                        yield from self._round(kind, size, turn)

    def _round(self, kind: str, size: int, turn: int) -> Iterator[Row]:
        # Each round in another order: the machine is never the same for two of them.
        variants = self._plan.variants
        first = turn % len(variants)
        for load in LOADS:
            # Not for each variant: a database may take longer to forget than to learn.
            self._database.clear()
            for variant in (*variants[first:], *variants[:first]):
                before = self._database.count(variant)
                job = self._job(
                    variant, size, self._plan.seconds, load.clients, rate=load.rate
                )
                with self._servers[variant.name].watched() as usage:
                    outcome = send(job)
                    answered = len(outcome.milliseconds)
                    stored = self._database.drain(
                        variant, before + answered, DRAIN_SECONDS
                    )
                yield Row(
                    server=kind,
                    database=self._database.name,
                    size_kb=size,
                    load=load.name,
                    round=turn,
                    variant=variant.name,
                    requests=answered,
                    errors=outcome.errors,
                    p50_ms=median(outcome.milliseconds or [0.0]),
                    p95_ms=_p95(outcome.milliseconds),
                    per_second=answered / max(outcome.seconds, 0.001),
                    cpu_ms=1000 * usage.cpu_seconds / max(answered, 1),
                    peak_mb=usage.peak_mb,
                    stored=stored - before,
                )

    def _job(
        self,
        variant: Variant,
        size: int,
        seconds: float,
        clients: int,
        **more: Any,
    ) -> Job:
        port, image = self._servers[variant.name].port, str(self._images[size])
        return Job(port, variant.path, image, clients, seconds, **more)


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1] if len(values) > 1 else sum(values)


def send(job: Job) -> Outcome:
    """Run the client in a process of its own."""
    command = [sys.executable, "-m", "bench.load", json.dumps(asdict(job))]
    done = subprocess.run(
        command, cwd=HERE, check=True, timeout=job.seconds + 120, stdout=subprocess.PIPE
    )
    return Outcome(**json.loads(done.stdout))
