"""Print the results of the demo as tables, on a terminal or to a file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.urls import reverse
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from solver.demo import Comparison

MOST_ROWS = 10
"""The limit of rows in a table: a folder may have hundreds of dimensions."""


def stats(out: Console, answer: Mapping[str, Any]) -> None:
    """Print the statistics, section by section."""
    overall = _flat(answer["overall"])
    out.print(_table("All requests logged so far", ["", ""], list(overall.items())))
    for name, groups in answer.items():
        if name.startswith("by_") and groups:
            # The newest hours matter, and they are the last ones.
            end, most = "first", slice(MOST_ROWS)
            if name == "by_hour":
                end, most = "last", slice(-MOST_ROWS, None)
            rows = [_flat(group) for group in groups[most]]
            title = name.replace("_", " ").capitalize()
            if len(groups) > MOST_ROWS:
                title += f" ({end} {MOST_ROWS} of {len(groups)})"
            # Not "megapixels from": the title says it, and the table gets too wide.
            own = name.removeprefix("by_") + "_"
            values = [list(row.values()) for row in rows]
            out.print(_table(title, [key.removeprefix(own) for key in rows[0]], values))


def _flat(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group's figures with short names: ``duration_ms.p50`` as ``p50 ms``."""
    flat: dict[str, Any] = {}
    for name, value in group.items():
        if isinstance(value, Mapping):
            unit = name.rpartition("_")[2]
            flat |= {f"{part} {unit}": amount for part, amount in value.items()}
        else:
            flat[name.replace("request_count", "requests").removesuffix("_count")] = (
                value
            )
    return flat


def outcomes(out: Console, comparisons: Sequence[Comparison]) -> None:
    """Print the number of requests for each HTTP status and capture status."""
    counts = Counter((f.sent.status, f.capture_status or "no row") for f in comparisons)
    rows = [[*pair, count] for pair, count in sorted(counts.items())]
    columns = ["HTTP status", "Capture status", "Requests"]
    out.print(_table("Responses and capture status", columns, rows))


def verification(out: Console, comparisons: Sequence[Comparison]) -> None:
    """Print the numbers of images that are kept, not kept with a reason, and lost."""
    kept = sum(comparison.kept for comparison in comparisons)
    lost = [comparison for comparison in comparisons if comparison.fault]
    reasons = Counter(
        f.capture_status for f in comparisons if not (f.kept or f.fault)
    ).most_common()
    why = ", ".join(f"{count} {reason}" for reason, count in reasons)
    not_kept = sum(count for _, count in reasons)
    out.print(f"[bold]{len(comparisons)} images sent[/bold]")
    out.print(f"  {kept} kept byte for byte (compared by SHA-256)")
    out.print(f"  {not_kept} not kept, each with its reason" + (why and f": {why}"))
    out.print(f"  {len(lost)} lost")
    for comparison in lost:
        out.print(f"    {escape(comparison.sent.name)}: {comparison.fault}")


def where_to_look(out: Console, address: str, username: str, password: str) -> None:
    """Print the URLs, and the login of the admin."""
    places = {
        "Dashboard": "admin:request_images_requestlog_dashboard",
        "Gallery": "admin:request_images_requestimage_gallery",
        "Images": "admin:request_images_requestimage_changelist",
        "Requests": "admin:request_images_requestlog_changelist",
        "Statistics": "request_images:image-performance-stats",
        "Upload page": "solver:upload-page",
    }
    rows = [[name, address + reverse(view)] for name, view in places.items()]
    rows += [["User", username], ["Password", password]]
    out.print(_table("Where to look", ["", ""], rows), soft_wrap=True)


def how_to_serve(out: Console) -> None:
    """Print how to start a server, because the server of this run stops."""
    out.print("Start the server with:")
    out.print(
        "  SAVE_REQUEST_IMAGES=true "
        ".venv/bin/python example_project/manage.py runserver",
        soft_wrap=True,
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Return a table with numbers aligned to the right."""
    table = Table(
        title=title,
        title_justify="left",
        show_header=any(columns),
        pad_edge=False,
        box=box.SIMPLE_HEAD,  # frames would need the room of eight columns
    )
    for number, column in enumerate(columns):
        numeric = all(isinstance(row[number], int | float | None) for row in rows)
        heading = column.replace("_", " ")
        # A narrow terminal breaks headings between words and truncates no text.
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            no_wrap=not numeric,
            min_width=max(map(len, heading.split()), default=0),
        )
    for row in rows:
        table.add_row(*(escape(_text(cell)) for cell in row))
    return table


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)
