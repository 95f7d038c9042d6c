"""The aims, compared with the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from .variants import MODES

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
    """An aim about a ratio to the bare view of the same round, under a load.

    Attributes:
        figure: The variant's measurement.
        of: The bare view's measurement that it is divided by; empty for the same.
        of_itself: Whether it is divided by the variant's own measurement instead.
    """

    what: str
    variant: str
    load: str
    figure: str
    limit: float
    of: str = ""
    of_itself: bool = False
    at_least: bool = False
    servers: tuple[str, ...] = ("gunicorn",)


_STORED = {"figure": "stored_per_second", "of": "per_second", "at_least": True}
_BOTH = ("gunicorn", "uvicorn")
_RATIOS = (
    _Ratio("stored, distinct", "background", "closed", limit=0.65, **_STORED),
    _Ratio("answered", "spool", "closed", "per_second", 0.8, at_least=True),
    _Ratio(
        "time until all is stored, in times of the load",
        "spool",
        "closed",
        "stored_seconds",
        2.0,
        of="seconds",
        of_itself=True,
    ),
    _Ratio("stored, repeated", "background", "repeated", limit=0.75, **_STORED),
    _Ratio(
        "stored, distinct", "auto", "closed", limit=0.9, servers=("uvicorn",), **_STORED
    ),
    _Ratio("p50", "background", "half", "p50_ms", 1.15),
    _Ratio("p50", "auto", "paced", "p50_ms", 1.08, servers=_BOTH),
    _Ratio(
        "answered", "auto", "10 ms", "per_second", 0.95, at_least=True, servers=_BOTH
    ),
)
_DATABASE = "postgresql"
_LAG_SECONDS = 1.0


def keeps_up(row: dict[str, Any]) -> bool:
    """Return whether a paced load was answered at its rate, and stored in time."""
    is_behind = row["stored_seconds"] - row["seconds"] > _LAG_SECONDS
    return row["per_second"] >= 0.95 * row["asked"] and not is_behind


def aims(results: dict[str, Any]) -> Iterator[Aim]:
    """Yield every aim, including aims without a measurement."""
    rows = [row for row in results["load"] if not row["failed"]]
    for ratio in _RATIOS:
        yield from _judge_ratio(ratio, rows)
    yield from _keeping_up(rows)
    for variant in MODES:
        yield from _all_stored(variant, rows)
    yield from _cpu(results["cpu"])
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
        own = _rounds(rows, server, ratio.load, ratio.variant)
        base = own if ratio.of_itself else _rounds(rows, server, ratio.load, "bare")
        of = ratio.of or ratio.figure
        both = [
            own[turn][ratio.figure] / base[turn][of]
            for turn in own.keys() & base.keys()
            if base[turn][of]
        ]
        if both:
            values[server] = median(both)
    yield from _judge(
        f"{ratio.variant}, {ratio.load}: {ratio.what}",
        values,
        ratio.limit,
        "{:.0%}".format if ratio.at_least else "{:.2f}x".format,
        at_least=ratio.at_least,
    )


def _keeping_up(rows: list[dict[str, Any]]) -> Iterator[Aim]:
    own = _rounds(rows, "gunicorn", "half", "background").values()
    values = {"gunicorn": sum(map(keeps_up, own)) / len(own)} if own else {}
    what = "background, half: rounds in which it keeps up"
    yield from _judge(what, values, 1, "{:.0%}".format, at_least=True)


def _cpu(found: dict[str, Any]) -> Iterator[Aim]:
    for what, limit in (("batch", 1.6), ("alone", 2.0)):
        row = found.get(what)
        ratio = {what: row["process_ms"] / row["floor_process_ms"]} if row else {}
        name = f"CPU of our process, {what}, to the floor"
        yield from _judge(name, ratio, limit, "{:.2f}x".format)


def _rounds(
    rows: list[dict[str, Any]], server: str, load: str, variant: str
) -> dict[int, dict[str, Any]]:
    wanted = (server, _DATABASE, SIZE_KB, load, variant)
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
        {
            f"{where} {handler}": each["extra_less_a_copy_ms"]
            for where, parts in found.items()
            for handler, each in parts.get("handover", {}).items()
        },
        0.1,
        "{:.3f} ms".format,
    )
    starts = {k: p["start_up"] for k, p in found.items() if "start_up" in p}
    for figure, limit, show in (("cpu_ms", 50, "{:.0f} ms"), ("mb", 3, "{:.1f} MB")):
        values = {where: start[f"extra_{figure}"] for where, start in starts.items()}
        what = "start-up with the app switched off, more than without it"
        yield from _judge(what, values, limit, show.format)


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
