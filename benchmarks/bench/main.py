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
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from . import cleanup, floor, images, memory, report, statistics, under_load
from .databases import HERE, Database, Postgresql, Sqlite, UnavailableError, made
from .servers import SERVERS
from .variants import MODES, VARIANTS

PARTS = (
    *("load", "cpu", "micro", "memory", "cleanup", "encodings", "dedup", "moving"),
    "statistics",
)
_PATIENCE = 3600.0
_STARTS = 7
_START_UP = """
import json, resource, time, django
before = time.process_time()
django.setup()
took = time.process_time() - before
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"cpu_ms": 1000 * took, "mb": peak}))
"""
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
    loads = [load.name for load in under_load.LOADS]
    add("--loads", nargs="+", choices=loads, default=loads, help="beside the first one")
    add("--sizes-kb", nargs="+", type=int, default=None, help="100")
    add("--rounds", type=int, default=None, help="3; medians are taken over these")
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
        "rounds": 3,
        "seconds": 5.0,
        "sizes_kb": [100],
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
        "cpu": {},
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
                    run = Run(options, database, Path(folder), results, say)
                    for part in (p for p in PARTS if p in options.only):
                        run.measure(part)
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


@dataclass
class Run:
    """The parts of a run on one database.

    Attributes:
        options: The command line.
        database: The database.
        folder: Folder for files.
        results: All results; each part adds its own.
        say: Function that is called with a line about the next step.
    """

    options: argparse.Namespace
    database: Database
    folder: Path
    results: dict[str, Any]
    say: Callable[[str], None]

    def measure(self, part: str) -> None:
        """Measure a part; one that fails costs no other."""
        name = self.database.name
        self.say(f"{part}, {name}")
        try:
            getattr(self, f"_{part}")()
        except Exception as error:  # noqa: BLE001  # the other parts are measured
            traceback.print_exc()
            self.results["not_measured"].append(f"{part}, {name}: {error}")

    @property
    def _wanted(self) -> list[str]:
        return self.options.variants or [variant.name for variant in VARIANTS]

    def _load(self) -> None:
        drawn = {size: self.folder / f"{size}.jpg" for size in self.options.sizes_kb}
        for size, file in drawn.items():
            file.write_bytes(images.draw(size * 1024))
        plan = under_load.Plan(
            rounds=self.options.rounds,
            seconds=self.options.seconds,
            sizes_kb=tuple(self.options.sizes_kb),
            servers=tuple(self.options.servers),
            loads=tuple(
                load
                for load in under_load.LOADS
                if load is under_load.LOADS[0] or load.name in self.options.loads
            ),
            variants=tuple(v for v in VARIANTS if v.name in {"bare", *self._wanted}),
        )
        runner = under_load.Runner(plan, self.database, drawn, self.say)
        for row in runner.rows():
            self.results["load"].append(asdict(row))

    def _cpu(self) -> None:
        if self.database.name == "postgresql":
            for part, mode in floor.MODES.items():
                found = self._python(mode, "-m", "bench.floor", part)
                self.results["cpu"][part] = json.loads(found)

    def _micro(self) -> None:
        found = self.results["micro"].setdefault(self.database.name, {})
        for variant in ("after_response", "background"):
            parts = ["handover"]
            if variant == "after_response":
                parts.append("disabled")
            for part in parts if variant in self._wanted else ():
                output = self._python(variant, "-m", "bench.micro", part)
                found.setdefault(variant, {})[part] = json.loads(output)
        starts = {
            variant: [
                json.loads(self._python(variant, "-c", _START_UP, clear=False))
                for _time in range(_STARTS)
            ]
            for variant in ("bare", "disabled")
        }
        found["disabled"] = {
            "start_up": {
                f"extra_{figure}": median(s[figure] for s in starts["disabled"])
                - median(s[figure] for s in starts["bare"])
                for figure in ("cpu_ms", "mb")
            }
        }

    def _memory(self) -> None:
        if self.database.name != self.options.databases[-1]:
            return
        image = self.folder / "large.jpg"
        image.write_bytes(images.draw(9_900_000))
        names = [n for n in ("bare", *MODES) if n in self._wanted]
        requests = self.options.memory_requests
        for peak in memory.measure(names, self.database, image, requests):
            self.results["memory"].append(asdict(peak))

    def _cleanup(self) -> None:
        cleaned = cleanup.measure(self.database, self.options.cleanup_rows)
        self.results["cleanup"].append(asdict(cleaned))

    def _statistics(self) -> None:
        for rows in self.options.statistics_rows:
            self.say(f"statistics of {rows} requests")
            found = statistics.measure(self.database, rows)
            self.results["statistics"].append(asdict(found))

    def _encodings(self) -> None:
        asked = {"stores": str(self.folder / "objects")}
        if self.options.folder:
            asked["saved"] = str(Path(self.options.folder).resolve())
        found: dict[str, Any] = {}
        for part, where in asked.items():
            output = self._python(
                "after_response", "-m", "bench.encodings", part, where
            )
            found[part] = json.loads(output)
        self.results["encodings"][self.database.name] = found

    def _dedup(self) -> None:
        where = str(self.folder / f"dedup-{self.database.name}")
        output = self._python("after_response", "-m", "bench.dedup", where)
        self.results["dedup"][self.database.name] = json.loads(output)

    def _moving(self) -> None:
        self._python(
            *("after_response", "-m", "bench.moving", "fill"),
            str(self.options.moving_contents),
        )
        where = str(self.folder / f"moving-{self.database.name}")
        output = self._python(
            "after_response", "-m", "bench.moving", "move", where, clear=False
        )
        self.results["moving"][self.database.name] = json.loads(output)

    def _python(self, variant: str, *command: str, clear: bool = True) -> str:
        if clear:
            self.database.clear()
        return subprocess.run(
            [sys.executable, *command],
            # The queue holds everything. A full one is measured under load.
            env={
                **self.database.environment(variant),
                "BENCH_SETTINGS": '{"REQUEST_IMAGES_BACKLOG_MAX_MB": 512}',
            },
            cwd=HERE,
            check=True,
            timeout=_PATIENCE,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
