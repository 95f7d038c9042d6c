"""The aims, compared with the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

SIZE_KB = 100


@dataclass(frozen=True)
class Aim:
    """One aim in one place: its limit, the measured value, and whether it is met."""

    what: str
    place: str
    limit: str
    measured: str
    verdict: str


@dataclass(frozen=True)
class _Ratio:
    """An aim about a ratio to the bare view, under a load."""

    what: str
    variant: str
    load: str
    figure: str
    limit: float
    at_least: bool = False
    servers: tuple[str, ...] = ("gunicorn", "uvicorn")
    databases: tuple[str, ...] = ("sqlite", "postgresql")


_RATIOS = (
    _Ratio("disabled, one client, p50", "disabled", "one client", "p50_ms", 1.01),
    _Ratio("after_response, paced, p50", "after_response", "paced", "p50_ms", 1.1),
    _Ratio(
        "after_response, four clients, requests kept",
        "after_response",
        "four clients",
        "per_second",
        0.4,
        at_least=True,
        databases=("postgresql",),
    ),
    _Ratio(
        "background, four clients, requests kept",
        "background",
        "four clients",
        "per_second",
        0.75,
        at_least=True,
    ),
    _Ratio("background, one client, p50", "background", "one client", "p50_ms", 1.15),
    _Ratio(
        "background, paced, p50",
        "background",
        "paced",
        "p50_ms",
        1.15,
        servers=("uvicorn",),
        databases=("postgresql",),
    ),
)


def aims(results: dict[str, Any]) -> Iterator[Aim]:
    """Yield every aim, including aims without a measurement."""
    for ratio in _RATIOS:
        yield from _judge_ratio(ratio, results["load"])
    for variant in ("after_response", "background"):
        yield from _all_stored(variant, results["load"])
    yield from _micro_aims(results["micro"])
    yield from _memory(results["memory"])
    yield from _statistics(results["statistics"])


def _judge(
    what: str,
    values: dict[str, float],
    limit: float,
    show: Callable[[float], str],
    *,
    at_least: bool = False,
) -> Iterator[Aim]:
    aim = f"at {'least' if at_least else 'most'} {show(limit)}"
    if not values:
        yield Aim(what, "", aim, "", "not measured")
    for place, value in values.items():
        met = value >= limit if at_least else value <= limit
        verdict = "met" if met else f"missed by {show(abs(value - limit))}"
        yield Aim(what, place, aim, show(value), verdict)


def _judge_ratio(ratio: _Ratio, rows: list[dict[str, Any]]) -> Iterator[Aim]:
    values = {}
    for server in ratio.servers:
        for database in ratio.databases:
            own = _rounds(rows, server, database, ratio.load, ratio.variant)
            bare = _rounds(rows, server, database, ratio.load, "bare")
            both = [
                own[turn][ratio.figure] / bare[turn][ratio.figure]
                for turn in own.keys() & bare.keys()
                if bare[turn][ratio.figure]
            ]
            if both:
                values[f"{server}/{database}"] = median(both)
    yield from _judge(
        ratio.what,
        values,
        ratio.limit,
        "{:.0%}".format if ratio.at_least else "{:.2f}x".format,
        at_least=ratio.at_least,
    )


def _rounds(
    rows: list[dict[str, Any]], server: str, database: str, load: str, variant: str
) -> dict[int, dict[str, Any]]:
    wanted = (server, database, SIZE_KB, load, variant)
    names = ("server", "database", "size_kb", "load", "variant")
    return {
        row["round"]: row
        for row in rows
        if tuple(row[name] for name in names) == wanted
    }


def _all_stored(variant: str, rows: list[dict[str, Any]]) -> Iterator[Aim]:
    values = {}
    own = [row for row in rows if row["variant"] == variant]
    for place in sorted({f"{row['server']}/{row['database']}" for row in own}):
        here = [row for row in own if f"{row['server']}/{row['database']}" == place]
        asked = sum(row["requests"] for row in here)
        values[place] = sum(row["stored"] for row in here) / max(asked, 1)
    show = "{:.1%}".format
    yield from _judge(f"{variant}, stored, all loads", values, 1, show, at_least=True)


def _micro_aims(micro: dict[str, Any]) -> Iterator[Aim]:
    found = {
        f"{variant}/{database}": parts
        for database, variants in micro.items()
        for variant, parts in variants.items()
    }
    yield from _judge(
        "before the response, less one copy of the bytes",
        {k: p["handover"]["extra_less_a_copy_ms"] for k, p in found.items()},
        0.1,
        "{:.3f} ms".format,
    )
    for figure, what in (
        ("content_ms", "an image kept already, its own statements, 100 KB to 8 MB"),
        ("capture_ms", "an image kept already, with its log's rows"),
    ):
        values = {
            f"{where} {size}": each[figure]
            for where, parts in found.items()
            for size, each in parts["kept_already"].items()
        }
        yield from _judge(what, values, 0.3, "{:.2f} ms".format)
    for what, of in (
        ("CPU of one capture, this process", ("process_ms",)),
        ("CPU of one capture, with the database's", ("process_ms", "database_ms")),
    ):
        values = {
            where: sum(parts["cpu"][f"capture_{part}"] for part in of)
            / sum(parts["cpu"][f"floor_{part}"] for part in of)
            for where, parts in found.items()
            if "cpu" in parts
        }
        yield from _judge(f"{what}, to the floor", values, 1.5, "{:.2f}x".format)


def _statistics(rows: list[dict[str, Any]]) -> Iterator[Aim]:
    for part, limit in (("the dashboard's page", 300), ("the stats JSON", 150)):
        values = {
            f"{row['database']}, {row['requests']} requests": row["parts"][part]["ms"]
            for row in rows
        }
        yield from _judge(part, values, limit, "{:.0f} ms".format)


def _memory(peaks: list[dict[str, Any]]) -> Iterator[Aim]:
    # The setting defines the bound, so the figures are shown but not judged.
    for peak in peaks:
        grown = f"{peak['start_mb']:.0f} to {peak['peak_mb']:.0f} MB"
        what = f"memory under {peak['requests']} requests of 10 MB"
        yield Aim(what, peak["variant"], "bounded by the setting", grown, "shown")
