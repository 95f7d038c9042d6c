"""The statistics of many requests: summing them up, and reading them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from .databases import HERE, Database

_PATIENCE = 7200.0


@dataclass(frozen=True)
class Statistics:
    """The statistics of a number of requests of 30 days.

    Attributes:
        parts: Measurements for each page: the median time of an answer in ms, the
            processor time of our process, and the number of queries.
    """

    database: str
    requests: int
    first_read_seconds: float
    build_seconds: float
    build_cpu_seconds: float
    hours: int
    parts: dict[str, dict[str, float]]


def measure(database: Database, rows: int) -> Statistics:
    """Fill the tables, sum up all hours, and read the statistics."""
    database.clear()
    _run(database, "fill", str(rows))
    found: dict[str, Any] = json.loads(_run(database, "measure"))
    return Statistics(database.name, rows, **found)


def _run(database: Database, what: str, *given: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "bench.summing", what, *given],
        env=database.environment("after_response"),
        cwd=HERE,
        check=True,
        timeout=_PATIENCE,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
