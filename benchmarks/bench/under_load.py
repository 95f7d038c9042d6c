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
from .servers import Server, running
from .variants import VARIANTS, Variant

WARM_UP = 24
"""Requests to each server before the measurement, for its four threads and imports."""
DRAIN_SECONDS = 30.0
PACE = 40.0
"""Rate of the paced load, in requests a second."""


@dataclass(frozen=True)
class Load:
    """The load: ``rate`` requests a second, or (0) requests without a pause."""

    name: str
    clients: int
    rate: float = 0.0


LOADS = (Load("one client", 1), Load("four clients", 4), Load("paced", 8, PACE))


@dataclass(frozen=True)
class Row:
    """The measurements of one variant under one load in one round."""

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
    cpu_ms: float  # of the server, for each request, including work after the response
    peak_mb: float
    stored: int  # rows of the variant, counted after waiting for them


@dataclass(frozen=True)
class Plan:
    """The extent of the measurement."""

    rounds: int
    seconds: float
    sizes_kb: tuple[int, ...]
    servers: tuple[str, ...]
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
        # Each round has another order, because the state of the machine changes.
        variants = self._plan.variants
        first = turn % len(variants)
        for load in LOADS:
            # Not for each variant: deleting rows may take longer than inserting them.
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
