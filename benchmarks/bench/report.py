"""Results in, tables out. Every figure is a ratio within one round; then the median."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from .aims import Aim, aims
from .variants import VARIANTS

_BY_NAME = {variant.name: variant for variant in VARIANTS}


def text(results: dict[str, Any]) -> str:
    """Return everything that is printed."""
    head = [
        f"{results['when']}  {results['machine']}  Python {results['python']}",
        ", ".join(f"{name} {v}" for name, v in results["versions"].items()),
        *(f"Not measured: {why}" for why in results["not_measured"]),
    ]
    parts = ["\n".join(head)]
    scenarios = {(r["server"], r["database"], r["size_kb"]) for r in results["load"]}
    parts += [_scenario(results["load"], *each) for each in sorted(scenarios)]
    parts += [_micro(results["micro"])] if results["micro"] else []
    parts += [_memory(results["memory"])] if results["memory"] else []
    parts += [_cleanup(results["cleanup"])] if results["cleanup"] else []
    parts.append(_aims(aims(results)))
    return "\n\n".join(parts) + "\n"


def _scenario(rows: list[dict[str, Any]], server: str, database: str, size: int) -> str:
    here = [
        row
        for row in rows
        if (row["server"], row["database"], row["size_kb"]) == (server, database, size)
    ]
    lines = []
    for load in dict.fromkeys(row["load"] for row in here):
        these = [row for row in here if row["load"] == load]
        for variant in VARIANTS:
            own = [row for row in these if row["variant"] == variant.name]
            if own:
                lines.append([load, *_line(own, these)])
    title = f"{server}, {database}, {size} KB"
    head = ["load", "variant", "p50 ms", "p50", "p95", "kept/s", "CPU ms", "CPU"]
    return f"{title}\n{table([*head, 'peak MB', 'kept', 'errors'], lines)}"


def _line(own: list[dict[str, Any]], all_rows: list[dict[str, Any]]) -> list[str]:
    variant = _BY_NAME[own[0]["variant"]]
    rows = {(row["variant"], row["round"]): row for row in all_rows}
    pairs = [(row, rows.get((variant.against, row["round"]))) for row in own]

    def ratio(name: str) -> float | None:
        known = [row[name] / base[name] for row, base in pairs if base and base[name]]
        return median(known) if known else None

    asked = sum(row["requests"] for row in own)
    share = sum(row["stored"] for row in own) / max(asked, 1)
    kept = f"{share:.0%}" + ("" if variant.keeps_image else " of rows")
    against = "" if variant.against == "bare" else f" / {variant.against}"
    return [
        variant.name + against,
        f"{median(row['p50_ms'] for row in own):.1f}",
        _times(ratio("p50_ms")),
        _times(ratio("p95_ms")),
        _percent(ratio("per_second")),
        f"{median(row['cpu_ms'] for row in own):.1f}",
        _times(ratio("cpu_ms")),
        f"{max(row['peak_mb'] for row in own):.0f}",
        kept if variant.table else "",
        str(sum(row["errors"] for row in own)),
    ]


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _micro(micro: dict[str, Any]) -> str:
    lines = [
        [database, variant, part, _flat(found)]
        for database, variants in micro.items()
        for variant, parts in variants.items()
        for part, found in parts.items()
    ]
    return "In process\n" + table(["database", "variant", "part", "measured"], lines)


def _flat(found: dict[str, Any], before: str = "") -> str:
    words = []
    for name, value in found.items():
        if isinstance(value, dict):
            words.append(_flat(value, f"{name}: "))
        else:
            words.append(
                f"{name} {value:.3g}" if value < 1000 else f"{name} {value:.0f}"
            )
    return before + ", ".join(words)


def _memory(peaks: list[dict[str, Any]]) -> str:
    head = ["variant", "requests", "of MB", "seconds", "start MB", "peak MB", "kept"]
    lines = [
        [
            peak["variant"],
            str(peak["requests"]),
            f"{peak['size_mb']:.1f}",
            f"{peak['seconds']:.0f}",
            f"{peak['start_mb']:.0f}",
            f"{peak['peak_mb']:.0f}",
            str(peak["stored"]) if _BY_NAME[peak["variant"]].table else "",
        ]
        for peak in peaks
    ]
    return f"Memory, gunicorn, four clients\n{table(head, lines)}"


def _cleanup(rows: list[dict[str, Any]]) -> str:
    head = ["database", "images", "a second", "start MB", "peak MB", "writes"]
    head += ["alone p50 ms", "alone max", "p50 ms", "p99", "max"]
    lines = [
        [
            row["database"],
            str(row["images"]),
            f"{row['images'] / row['seconds']:.0f}",
            f"{row['start_mb']:.0f}",
            f"{row['peak_mb']:.0f}",
            str(row["writes"]),
            *(
                f"{row[name]:.1f}"
                for name in ("alone_p50_ms", "alone_max_ms", "p50_ms", "p99_ms")
            ),
            f"{row['max_ms']:.0f}",
        ]
        for row in rows
    ]
    return f"Cleanup, beside a writer\n{table(head, lines)}"


def _aims(found: Iterable[Aim]) -> str:
    lines = [
        [aim.what, aim.place, aim.limit, aim.measured, aim.verdict] for aim in found
    ]
    return "Aims, 100 KB\n" + table(["what", "where", "aim", "measured", ""], lines)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, its columns as wide as they must be."""
    rows = [list(head), *map(list, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])
