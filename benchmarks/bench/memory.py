"""The memory of a server that receives large images faster than it can store them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .databases import Database
from .load import Job
from .servers import environment_of, refusal, running
from .under_load import send
from .variants import VARIANTS, Variant

DISTINCT = 40
"""Distinct images among the many: a backlog holds the bytes of each all the same, and
the disk need not hold thousands of large files."""
DRAIN_SECONDS = 120.0
_WARM_UP = 8


@dataclass(frozen=True)
class Peak:
    """The memory of one variant."""

    variant: str
    database: str
    requests: int
    errors: int
    size_mb: float
    seconds: float
    start_mb: float
    peak_mb: float
    stored: int


def measure(
    names: list[str], database: Database, image: Path, requests: int
) -> Iterator[Peak]:
    """Yield the peak of each variant under gunicorn, one after the other."""
    for variant in VARIANTS:
        environment = environment_of("gunicorn", variant, database)
        if variant.name in names and not refusal(environment):
            yield _measure(variant, database, image, requests)


def _measure(variant: Variant, database: Database, image: Path, requests: int) -> Peak:
    database.clear()
    with running("gunicorn", [variant], database) as servers:
        server = servers[variant.name]
        job = Job(server.port, variant.path, str(image), clients=4, seconds=1800)
        # Imports and connections are not part of the measurement.
        send(replace(job, limit=_WARM_UP))
        database.drain(variant, _WARM_UP, DRAIN_SECONDS)
        database.clear()
        with server.watched() as start:
            pass
        with server.watched() as usage:
            outcome = send(replace(job, limit=requests, distinct=DISTINCT))
            answered = len(outcome.milliseconds)
            stored, _ = database.drain(variant, answered, DRAIN_SECONDS)
    return Peak(
        variant.name,
        database.name,
        answered,
        outcome.errors,
        image.stat().st_size / 1024 / 1024,
        outcome.seconds,
        start.peak_mb,
        usage.peak_mb,
        stored,
    )
