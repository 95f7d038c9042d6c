"""The cleanup of many rows, while another process writes one row at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from .databases import HERE, Database

_ALONE_SECONDS = 5.0
_PATIENCE = 3600.0


@dataclass(frozen=True)
class Cleanup:
    """One cleanup; ``alone`` is the writer before it, the rest the writer during it."""

    database: str
    images: int
    seconds: float
    start_mb: float
    peak_mb: float
    writes: int
    alone_p50_ms: float
    alone_max_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


def measure(database: Database, rows: int) -> Cleanup:
    """Fill the tables, and clean them while a writer runs."""
    database.clear()
    _run(database, "fill", str(rows))
    alone = _writing(database)
    time.sleep(_ALONE_SECONDS)
    before = sorted(_ended(alone))
    writer = _writing(database)
    time.sleep(1)  # until the writer has started
    found: dict[str, Any] = json.loads(_run(database, "clean"))
    waits = sorted(_ended(writer))
    return Cleanup(
        database.name,
        found["images"],
        found["seconds"],
        found["start_mb"],
        found["peak_mb"],
        len(waits),
        before[len(before) // 2],
        before[-1],
        waits[len(waits) // 2],
        waits[len(waits) * 99 // 100],
        waits[-1],
    )


def _command(what: str, *given: str) -> list[str]:
    return [sys.executable, "-m", "bench.cleaning", what, *given]


def _run(database: Database, what: str, *given: str) -> str:
    return subprocess.run(
        _command(what, *given),
        env=database.environment("after_response"),
        cwd=HERE,
        check=True,
        timeout=_PATIENCE,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def _writing(database: Database) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command("write"),
        env=database.environment("after_response"),
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ended(writer: subprocess.Popen[str]) -> list[float]:
    output, _ = writer.communicate("", timeout=_PATIENCE)
    if writer.returncode:
        raise RuntimeError("the writer failed")
    took = list(json.loads(output))
    if not took:
        raise RuntimeError("the writer wrote nothing: the machine is too busy")
    return took
