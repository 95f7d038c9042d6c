"""The run that breaks things: `python benchmarks/run.py faults`. See README.md."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .databases import HERE
from .deployments import Cell, Template
from .faults import FAULTS, Fault
from .outages import kill, suffer
from .report import table
from .servers import SERVERS
from .variants import MODES

_FAULTS = {fault.name: fault for fault in FAULTS}


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"not one of {known}: {unknown}")
        return names

    return parse


def arguments(given: list[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="run.py faults", description=__doc__)
    add = parser.add_argument
    every = tuple(_FAULTS)
    add("--faults", type=_names(every), default=list(every), help=", ".join(every))
    add("--servers", type=_names(SERVERS), default=list(SERVERS))
    add("--modes", type=_names(MODES), default=["auto", "background", "spool"])
    add("--spool", choices=("with", "without", "both"), default="both")
    add("--kill", type=int, default=0, help="kill workers that often, and nothing else")
    add("--parallel", type=int, default=1, help="deployments at once; waits get longer")
    return parser.parse_args(given)


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """Yield each deployment, the bare one of a server first."""
    for server in options.servers:
        yield Cell(server, "bare", with_spool=False)
        for mode in options.modes:
            for with_spool in (False, True):
                if mode == "spool" and not with_spool:
                    continue
                named = "with" if with_spool else "without"
                if mode == "spool" or options.spool in {named, "both"}:
                    yield Cell(server, mode, with_spool)


def run(given: list[str]) -> int:
    """Run the deployments, print the table and write the results."""
    options = arguments(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = list(cells(options))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        template = Template(Path(folder))
        if options.kill:
            those = [cell for cell in chosen if cell.mode != "bare"]
            jobs = [
                lambda cell=cell: kill(template, cell, options.kill) for cell in those
            ]
        else:
            faults = [_FAULTS[name] for name in options.faults]
            jobs = [
                lambda cell=cell, fault=fault: suffer(template, cell, fault)
                for fault in faults
                for cell in chosen
                if _fits(cell, fault)
            ]
        file = HERE / "results" / f"faults-{time.strftime('%Y%m%d-%H%M%S')}.json"
        file.parent.mkdir(exist_ok=True)
        found: list[Any] = []
        with ThreadPoolExecutor(options.parallel) as pool:
            try:
                for result in pool.map(lambda job: job(), jobs):
                    found.append(asdict(result))
                    file.write_text(json.dumps(found, indent=1))
                    place = " ".join(map(str, list(found[-1].values())[:4]))
                    sys.stderr.write(f"{len(found)} of {len(jobs)}: {place}\n")
            except KeyboardInterrupt:
                # Those that run are waited for: they take their servers along.
                pool.shutdown(cancel_futures=True)
    sys.stdout.write(kills_table(found) if options.kill else faults_table(found))
    sys.stdout.write(f"\nWritten to {file.relative_to(HERE.parent)}\n")
    return 0


def _fits(cell: Cell, fault: Fault) -> bool:
    return cell.with_spool or cell.mode == "bare" or not fault.needs_spool


def faults_table(found: list[dict[str, Any]]) -> str:
    """Return what became of the requests under each fault."""
    head = ["fault", "server", "mode", "sent", "wrong", "kept", "image", "left", "said"]
    head += ["lost", "images lost", "metadata lost", "doubled", "p50 ms", "p99 ms"]
    head += ["bare", "recovery s", "health", "silent"]
    bare = {
        (row["fault"], row["server"]): row["p99_ms"]
        for row in found
        if row["mode"] == "bare" and not row["failed"]
    }
    lines = []
    for row in found:
        start = [row["fault"], row["server"], _mode(row)]
        if row["failed"]:
            lines.append([*start, "failed", *[""] * (len(head) - 4)])
            continue
        own = row["fates"]
        least = bare.get((row["fault"], row["server"]))
        names = ("sent", "wrong", "kept", "images", "left")
        line = [*start, *(str(own[name]) for name in names), str(row["said"])]
        names = ("lost", "images_lost", "metadata_lost", "doubled")
        line += [str(own[name]) for name in names]
        if row["mode"] == "bare":
            line[5:] = [""] * (len(line) - 5)
        line += [f"{row['p50_ms']:.0f}", f"{row['p99_ms']:.0f}"]
        line += [f"{row['p99_ms'] / least:.1f}x" if least else ""]
        line += [f"{row['recovery_seconds']:.0f}"]
        line += ["" if row["status"] is None else str(row["status"])]
        lines.append([*line, "SILENT" if row["silent"] else ""])
    return _text("What became of the requests", head, lines, found)


def kills_table(found: list[dict[str, Any]]) -> str:
    """Return what became of the requests when workers were killed."""
    head = ["server", "mode", "kills", "sent", "unanswered", "kept", "left", "lost"]
    head += ["oldest ms", "images lost", "metadata lost", "doubled"]
    names = ("sent", "wrong", "kept", "left", "lost")
    more = ("images_lost", "metadata_lost", "doubled")
    lines = []
    for row in found:
        start, own = [row["server"], _mode(row), str(row["kills"])], row["fates"]
        if row["failed"]:
            lines.append([*start, "failed", *[""] * (len(head) - 4)])
            continue
        line = [*start, *(str(own[name]) for name in names), f"{row['oldest_ms']:.0f}"]
        lines.append([*line, *(str(own[name]) for name in more)])
    return _text("Workers killed by SIGKILL", head, lines, found)


def _mode(row: dict[str, Any]) -> str:
    is_said = row["mode"] == "spool" or not row["with_spool"]
    return row["mode"] + ("" if is_said else ", spool folder")


def _text(
    title: str, head: list[str], lines: list[list[str]], found: list[dict[str, Any]]
) -> str:
    reasons = dict.fromkeys(
        f"{_mode(row)} failed: {row['failed']}" for row in found if row["failed"]
    )
    return "\n".join([title, table(head, lines), *reasons]) + "\n"
