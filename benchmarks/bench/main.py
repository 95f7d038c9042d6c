"""The whole run: measure the requested parts one by one, then print the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from . import cleanup, images, memory, report, statistics, under_load
from .databases import HERE, Database, Postgresql, Sqlite, UnavailableError, made
from .servers import SERVERS
from .variants import VARIANTS

PARTS = (
    *("load", "micro", "memory", "cleanup", "encodings", "dedup", "moving"),
    "statistics",
)
_PATIENCE = 3600.0
MEASURED = (
    "Django",
    "django-silk",
    "djangorestframework",
    "drf-api-logger",
    "gunicorn",
    "Pillow",
    "psycopg",
    "uvicorn",
)
Databases = dict[str, type[Database]]
DATABASES: Databases = {"sqlite": Sqlite, "postgresql": Postgresql}


def arguments(given: list[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a short trial of about two minutes")
    add("--only", nargs="+", choices=PARTS, default=PARTS, help="the parts to measure")
    add("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    add("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))
    add("--variants", nargs="+", choices=[v.name for v in VARIANTS], default=None)
    add("--sizes-kb", nargs="+", type=int, default=None, help="100 and 1000")
    add("--rounds", type=int, default=None, help="5; medians are taken over these")
    add("--seconds", type=float, default=None, help="5; of each load in each round")
    add("--memory-requests", type=int, default=None, help="1000, of 10 MB each")
    add("--cleanup-rows", type=int, default=None, help="400,000 old requests")
    add("--moving-contents", type=int, default=None, help="10,000 of 20 KB")
    add("--folder", default=os.environ.get("BENCH_FOLDER"), help="images to compress")
    add("--statistics-rows", nargs="+", type=int, default=None, help="100,000 and 10^6")
    options = parser.parse_args(given)
    quick: dict[str, Any] = {
        "rounds": 1,
        "seconds": 1.0,
        "sizes_kb": [100],
        "memory_requests": 60,
        "cleanup_rows": 10_000,
        "moving_contents": 500,
        "statistics_rows": [10_000],
    }
    whole: dict[str, Any] = {
        "rounds": 5,
        "seconds": 5.0,
        "sizes_kb": [100, 1000],
        "memory_requests": 1000,
        "cleanup_rows": 400_000,
        "moving_contents": 10_000,
        "statistics_rows": [100_000, 1_000_000],
    }
    for name, value in (quick if options.quick else whole).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.quick and "postgresql" in options.databases:
        options.databases = ["postgresql"]
    return options


def run(given: list[str]) -> int:
    """Measure the requested parts, print the tables and write the results."""
    options = arguments(given)
    # A run that is terminated must take its servers and its database along.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: dict[str, Any] = {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": [psutil.getloadavg()[0]],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in MEASURED},
        "options": vars(options),
        "not_measured": [],
        "load": [],
        "micro": {},
        "memory": [],
        "cleanup": [],
        "encodings": {},
        "dedup": {},
        "moving": {},
        "statistics": [],
    }
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:6.0f} s  {text}\n")

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name in options.databases:
            try:
                with made(DATABASES[name], Path(folder)) as database:
                    _measure(options, database, Path(folder), results, say)
                    _measure_stores(options, database, Path(folder), results, say)
            except UnavailableError as error:
                results["not_measured"].append(f"{name}: {error}")
            except KeyboardInterrupt:
                results["not_measured"].append(f"the rest of {name}: interrupted")
                break
    results["load_average"].append(psutil.getloadavg()[0])
    file = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1))
    sys.stdout.write(report.text(results))
    sys.stdout.write(f"\nWritten to {file.relative_to(HERE.parent)}\n")
    return 0


def _measure(
    options: argparse.Namespace,
    database: Database,
    folder: Path,
    results: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    wanted = options.variants or [variant.name for variant in VARIANTS]
    if "background" in wanted and not _has_background(database):
        wanted = [name for name in wanted if name != "background"]
        missing = "background: this version has no REQUEST_IMAGES_WRITE_MODE"
        if missing not in results["not_measured"]:
            results["not_measured"].append(missing)
    if "load" in options.only:
        drawn = {size: folder / f"{size}.jpg" for size in options.sizes_kb}
        for size, file in drawn.items():
            file.write_bytes(images.draw(size * 1024))
        plan = under_load.Plan(
            rounds=options.rounds,
            seconds=options.seconds,
            sizes_kb=tuple(options.sizes_kb),
            servers=tuple(options.servers),
            variants=tuple(v for v in VARIANTS if v.name in {"bare", *wanted}),
        )
        for row in under_load.Runner(plan, database, drawn, say).rows():
            results["load"].append(asdict(row))
    if "micro" in options.only:
        results["micro"][database.name] = _micro(database, wanted, say)
    is_last = database.name == options.databases[-1]
    if "memory" in options.only and is_last:
        say("memory")
        image = folder / "large.jpg"
        image.write_bytes(images.draw(9_900_000))
        names = [n for n in ("bare", "after_response", "background") if n in wanted]
        for peak in memory.measure(names, database, image, options.memory_requests):
            results["memory"].append(asdict(peak))
    if "cleanup" in options.only:
        say(f"cleanup, {database.name}")
        cleaned = cleanup.measure(database, options.cleanup_rows)
        results["cleanup"].append(asdict(cleaned))
    _statistics(options, database, results, say)


def _statistics(
    options: argparse.Namespace,
    database: Database,
    results: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    for rows in options.statistics_rows if "statistics" in options.only else ():
        say(f"statistics of {rows} requests, {database.name}")
        results["statistics"].append(asdict(statistics.measure(database, rows)))


def _measure_stores(
    options: argparse.Namespace,
    database: Database,
    folder: Path,
    results: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    if "encodings" in options.only:
        found = _encodings(options, database, folder, say)
        results["encodings"][database.name] = found
    if "dedup" in options.only:
        say(f"dedup, {database.name}")
        database.clear()
        where = str(folder / f"dedup-{database.name}")
        output = _python(database, "after_response", "-m", "bench.dedup", where)
        results["dedup"][database.name] = json.loads(output)
    if "moving" in options.only:
        say(f"moving, {database.name}")
        database.clear()
        where = str(folder / f"moving-{database.name}")
        for step in (("fill", str(options.moving_contents)), ("move", where)):
            output = _python(database, "after_response", "-m", "bench.moving", *step)
        results["moving"][database.name] = json.loads(output)


def _encodings(
    options: argparse.Namespace,
    database: Database,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    asked = {"stores": str(folder / "objects")}
    if options.folder:
        asked["saved"] = str(Path(options.folder).resolve())
    found: dict[str, Any] = {}
    for part, where in asked.items():
        say(f"encodings: {part}, {database.name}")
        database.clear()
        command = ("-m", "bench.encodings", part, where)
        found[part] = json.loads(_python(database, "after_response", *command))
    return found


def _micro(
    database: Database, wanted: list[str], say: Callable[[str], None]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variant in ("after_response", "background"):
        if variant not in wanted:
            continue
        parts = ["handover", "kept_already"]
        if variant == "after_response":
            parts.append("disabled")
        if database.name == "postgresql":
            parts.append("cpu")
        for part in parts:
            say(f"in process: {part}, {variant}, {database.name}")
            database.clear()
            output = _python(database, variant, "-m", "bench.micro", part)
            found.setdefault(variant, {})[part] = json.loads(output)
    return found


def _has_background(database: Database) -> bool:
    probe = "from request_images.conf import Conf; print(hasattr(Conf, 'WRITE_MODE'))"
    return _python(database, "bare", "-c", probe).strip() == "True"


def _python(database: Database, variant: str, *command: str) -> str:
    return subprocess.run(
        [sys.executable, *command],
        # The queue holds everything that is sent. A full queue is measured under load.
        env={**database.environment(variant), "BENCH_BACKLOG_MB": "512"},
        cwd=HERE,
        check=True,
        timeout=_PATIENCE,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
