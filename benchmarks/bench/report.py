"""Results in, tables out. Figures are medians of the ratios within each round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from .aims import Aim, aims, keeps_up
from .variants import VARIANTS

_BY_NAME = {variant.name: variant for variant in VARIANTS}


def text(results: dict[str, Any]) -> str:
    """Return the whole report."""
    start, end = results["load_average"]
    head = [
        f"{results['when']}  {results['machine']}  Python {results['python']}",
        f"Load average {start:.1f} at the start, {end:.1f} at the end",
        ", ".join(f"{name} {v}" for name, v in results["versions"].items()),
        *(f"Not measured: {why}" for why in results["not_measured"]),
    ]
    parts = ["\n".join(head)]
    scenarios = {(r["server"], r["database"], r["size_kb"]) for r in results["load"]}
    parts += [_scenario(results["load"], *each) for each in sorted(scenarios)]
    parts += [_micro(results["micro"])] if results["micro"] else []
    parts += [_cpu(results["cpu"])] if results["cpu"] else []
    parts += [_memory(results["memory"])] if results["memory"] else []
    parts += [_cleanup(results["cleanup"])] if results["cleanup"] else []
    parts += [_encodings(results["encodings"])] if results["encodings"] else []
    parts += _saved(results["encodings"])
    parts += [_statistics(results["statistics"])] if results["statistics"] else []
    parts += [_dedup(results["dedup"])] if results["dedup"] else []
    parts += [_moving(results["moving"])] if results["moving"] else []
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
    head = ["load", "variant", "p50 ms", "p50", "p95", "answered", "stored"]
    head += ["CPU ms", "beside", "database", "peak MB", "kept", "errors", ""]
    reasons = dict.fromkeys(
        f"{row['variant']} failed: {row['failed']}" for row in here if row["failed"]
    )
    return "\n".join([title, table(head, lines), *reasons])


def _line(own: list[dict[str, Any]], all_rows: list[dict[str, Any]]) -> list[str]:
    variant = _BY_NAME[own[0]["variant"]]
    against = "" if variant.against == "bare" else f" / {variant.against}"
    name = variant.name + against
    good = [row for row in own if not row["failed"]]
    if not good:
        return [name, "failed", *[""] * 11]
    rows = {(row["variant"], row["round"]): row for row in all_rows}
    pairs = [(row, rows.get((variant.against, row["round"]))) for row in good]

    def ratio(name: str, of: str = "") -> float | None:
        known = [
            row[name] / base[of or name]
            for row, base in pairs
            if base and base[of or name]
        ]
        return median(known) if known else None

    def typical(name: str) -> float:
        return median(row[name] for row in good)

    share = sum(row["stored"] for row in good) / sum(row["requests"] for row in good)
    kept = f"{share:.1%}" + ("" if variant.keeps_image else " of rows")
    return [
        name,
        f"{typical('p50_ms'):.1f}",
        _times(ratio("p50_ms")),
        _times(ratio("p95_ms")),
        f"{typical('per_second'):.0f}/s, {_percent(ratio('per_second'))}",
        _percent(ratio("stored_per_second", "per_second")) if variant.table else "",
        f"{typical('cpu_ms'):.2f}",
        f"{typical('beside_ms'):.2f}" if variant.beside else "",
        f"{typical('database_ms'):.2f}",
        f"{max(row['peak_mb'] for row in good):.0f}",
        kept if variant.table else "",
        str(sum(row["errors"] for row in good)),
        _remark(own, good),
    ]


def _remark(own: list[dict[str, Any]], good: list[dict[str, Any]]) -> str:
    remarks = []
    asked = [row for row in good if row["asked"]]
    late = [row for row in asked if not keeps_up(row)]
    if asked:
        rate = median(row["asked"] for row in asked)
        can = f"cannot, {len(late)} of {len(asked)}" if late else "keeps up"
        remarks.append(f"{rate:.0f}/s: {can}")
    if len(good) < len(own):
        remarks.append(f"{len(own) - len(good)} of {len(own)} rounds failed")
    return "; ".join(remarks)


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


def _cpu(found: dict[str, Any]) -> str:
    head = ["what", "process ms", "floor", "of it", "database ms", "floor", "of it"]
    lines = []
    for what, row in found.items():
        line = [what]
        for part in ("process_ms", "database_ms"):
            ours, least = row[part], row[f"floor_{part}"]
            line += [
                f"{ours:.3f}",
                f"{least:.3f}",
                _times(ours / least if least else None),
            ]
        lines.append(line)
    return f"Processor time of a capture, PostgreSQL, 100 KB\n{table(head, lines)}"


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


def _encodings(databases: dict[str, Any]) -> str:
    head = ["database", "store", "encoding", "KB", "stored", "capture ms", "compress"]
    lines = [
        [
            database,
            row["store"],
            row["encoding"],
            f"{row['size_kb']:.0f}",
            f"{row['stored']:.0%}",
            f"{row['capture_ms']:.1f}",
            _times(row["compress_ms"] / row["capture_ms"]),
            f"{row['read_raw_ms']:.1f}",
            _times(row["read_ms"] / row["read_raw_ms"]),
        ]
        for database, parts in databases.items()
        for row in parts["stores"]
    ]
    title = "Compression; times in captures, and in reads of the raw image"
    return f"{title}\n{table([*head, 'read raw ms', 'read back'], lines)}"


def _saved(databases: dict[str, Any]) -> list[str]:
    found = [parts["saved"] for parts in databases.values() if "saved" in parts]
    if not found:
        return []
    one = found[-1]  # equal in each database
    received = one["received"]
    lines = [
        ["received", str(one["images"]), str(received), "", ""],
        ["once each", "", str(one["distinct"]), _percent(one["distinct"] / received)],
    ]
    lines[-1].append("")
    for name, done in one["encodings"].items():
        line = [f"those by {name}", str(done["images"])]
        line += [f"{done['before']} to {done['after']}"]
        line += [_percent(done["after"] / done["before"] if done["before"] else None)]
        lines.append([*line, f"{done['seconds']:.1f}"])
    lines.append(["stored", "", str(one["stored"]), _percent(one["stored"] / received)])
    lines[-1].append("")
    head = ["what", "images", "bytes", "of those before", "seconds"]
    return [f"Saved over a folder\n{table(head, lines)}"]


def _statistics(rows: list[dict[str, Any]]) -> str:
    head = ["database", "requests", "asked for", "ms", "our CPU ms", "queries"]
    lines = []
    for row in rows:
        place = [row["database"], str(row["requests"])]
        seconds = [f"{1000 * row[f'build{name}_seconds']:.0f}" for name in ("", "_cpu")]
        lines.append([*place, f"summing up {row['hours']} hours", *seconds, ""])
        for what, part in row["parts"].items():
            figures = [f"{part['ms']:.1f}", f"{part['cpu_ms']:.1f}"]
            lines.append([*place, what, *figures, str(part["queries"])])
    return f"Statistics of 30 days\n{table(head, lines)}"


def _dedup(databases: dict[str, Any]) -> str:
    head = ["database", "store", "KB", "hash and header ms", "new ms", "kept ms"]
    head += ["kept / new", "new / floor", "kept / floor", "floor new ms", "floor kept"]
    lines = [
        [
            database,
            row["store"],
            str(row["size_kb"]),
            f"{row['inspect_ms']:.1f}",
            f"{row['new_ms']:.1f}",
            f"{row['kept_ms']:.1f}",
            _times(row["kept_ms"] / row["new_ms"]),
            _times(row["new_ms"] / row["floor_new_ms"]),
            _times(row["kept_ms"] / row["floor_kept_ms"]),
            f"{row['floor_new_ms']:.1f}",
            f"{row['floor_kept_ms']:.1f}",
        ]
        for database, rows in databases.items()
        for row in rows
    ]
    title = "Writing a request with a new image, and with a duplicate"
    return f"{title}\n{table(head, lines)}"


def _moving(databases: dict[str, Any]) -> str:
    head = ["database", "to", "contents", "a second", "statements", "commits"]
    head += ["in the database", "start MB", "peak MB", "bare a second", "ours / bare"]
    head += ["to disk a second", "ours / to disk"]
    lines = [
        [
            database,
            row["to"],
            str(row["contents"]),
            *_rate(row["contents"], row["seconds"], None),
            f"{row['statements']:.1f}",
            f"{row['commits']:.1f}",
            _percent(row["database_share"]),
            f"{row['start_mb']:.0f}",
            f"{row['peak_mb']:.0f}",
            *_rate(row["contents"], row["bare_seconds"], row["seconds"]),
            *_rate(row["contents"], row["to_disk_seconds"], row["seconds"]),
        ]
        for database, rows in databases.items()
        for row in rows
    ]
    return f"Moving contents\n{table(head, lines)}"


def _rate(number: int, seconds: float | None, ours: float | None) -> list[str]:
    if seconds is None:
        return ["", ""]
    rate = f"{number / seconds:.0f}"
    return [rate] if ours is None else [rate, _times(ours / seconds)]


def _aims(found: Iterable[Aim]) -> str:
    lines = [
        [aim.what, aim.place, aim.limit, aim.measured, aim.verdict] for aim in found
    ]
    return "Aims, 100 KB\n" + table(["what", "where", "aim", "measured", ""], lines)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown with aligned columns."""
    rows = [list(head), *map(list, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])
