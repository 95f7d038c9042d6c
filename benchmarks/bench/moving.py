"""Moving contents from the database to files and back: `python -m bench.moving WHAT`.

``fill COUNT`` inserts contents of about 20 KB. ``move FOLDER`` moves all of them as
`move_image_contents` does, then as many by a bare loop. It prints one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import django
from django.db import connection, transaction

from . import bare
from .capturing import ALIAS, storing
from .statements import Statements

KB = 1024
_BYTES = 20 * KB
_AT_ONCE = 200


@dataclass(frozen=True)
class Move:
    """One direction: of the contents, and of as many rows of a bare table.

    Attributes:
        to: Target store.
        contents: Number of contents.
        seconds: Duration.
        statements: Statements for each content.
        commits: Commits of its own transactions for each content.
        database_share: Share of the time that the database took.
        start_mb: Peak memory of the process before.
        peak_mb: Peak memory of the process after.
        bare_seconds: Duration of a bare loop over the same bytes: read a row, write
            its file, change the row; or the reverse. It does not wait for the disk,
            as Django's ``FileSystemStorage`` does not.
        to_disk_seconds: Duration of that loop if it waits until each file is on the
            disk; None for the way back.
    """

    to: str
    contents: int
    seconds: float
    statements: float
    commits: float
    database_share: float
    start_mb: float
    peak_mb: float
    bare_seconds: float
    to_disk_seconds: float | None


def fill(count: int) -> None:
    """Insert contents in bulk."""
    from request_images.models import ImageContent

    for first in range(0, count, _AT_ONCE):
        data = [_some_bytes() for _ in range(first, min(first + _AT_ONCE, count))]
        ImageContent.objects.bulk_create(
            ImageContent.holding(hashlib.sha256(each).hexdigest(), each, "image/jpeg")
            for each in data
        )


def _some_bytes() -> bytes:
    return os.urandom(_BYTES)


def move(folder: str) -> list[dict[str, Any]]:
    """Move all contents to files and back, and do the same by bare loops."""
    from request_images.models import ImageContent

    count = ImageContent.objects.count()
    with storing(folder, None):
        ours = [_moved(ALIAS, count), _moved("", count)]
    there, back = _bare_loops(Path(folder) / "bare", count, to_disk=False)
    to_disk, _ = _bare_loops(Path(folder) / "disk", count, to_disk=True)
    return [
        asdict(Move("files", **ours[0], bare_seconds=there, to_disk_seconds=to_disk)),
        asdict(Move("database", **ours[1], bare_seconds=back, to_disk_seconds=None)),
    ]


def _moved(alias: str, count: int) -> dict[str, Any]:
    from request_images.contents.move import move
    from request_images.models.job_locks import lease

    before = _peak_mb()
    with Statements() as statements:
        started = time.perf_counter()
        with lease("move") as held:
            moved = move(alias, batch_size=500, on_progress=lambda _: held.renew())
        seconds = time.perf_counter() - started
    if moved.contents != count:
        raise RuntimeError(f"not all of them were moved: {moved}")
    sent, commits = statements.numbers()
    return {
        "contents": count,
        "seconds": seconds,
        "statements": sent / count,
        "commits": commits / count,
        "database_share": statements.all_seconds() / seconds,
        "start_mb": before,
        "peak_mb": _peak_mb(),
    }


def _bare_loops(folder: Path, count: int, *, to_disk: bool) -> tuple[float, float]:
    bare.make_table()
    for first in range(0, count, _AT_ONCE):
        with transaction.atomic():
            for _ in range(first, min(first + _AT_ONCE, count)):
                data = _some_bytes()
                bare.insert(hashlib.sha256(data).hexdigest(), data)

    def there(pk: int) -> None:
        image_hash, _, data = bare.load(pk)
        name = f"{image_hash[:2]}/{image_hash}.jpg"
        bare.write_file(folder, name, data or b"", to_disk=to_disk)
        bare.update(pk, name, None)

    def back(pk: int) -> None:
        _, name, _ = bare.load(pk)
        bare.update(pk, "", (folder / name).read_bytes())

    return _timed(there), _timed(back)


def _timed(work: Callable[[int], None]) -> float:
    started = time.perf_counter()
    for pk in bare.primary_keys():
        work(pk)
    return time.perf_counter() - started


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KB


if __name__ == "__main__":
    django.setup()
    what, given = sys.argv[1:]
    connection.ensure_connection()
    if what == "fill":
        fill(int(given))
    else:
        sys.stdout.write(json.dumps(move(given)))
