"""A duplicate compared with a new image: `python -m bench.dedup FOLDER`.

Captures each image twice, into the database and into files, and prints one JSON object.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import django
from django.db import connection, transaction

from . import bare
from .capturing import STORES, request_with, storing
from .images import another, draw

if TYPE_CHECKING:
    from request_images.models import RequestImage, RequestLog

KB = 1024
_SIZES_KB = (100, 1000)
_IMAGES = 40
_WARM = 5


@dataclass(frozen=True)
class Round:
    """One store and one size: medians of one capture, in milliseconds.

    The floor writes the same rows by bare statements: a query for the hash, the bytes
    if they are new, and the two rows of the request.
    """

    store: str
    size_kb: int
    inspect_ms: float
    new_ms: float
    kept_ms: float
    floor_new_ms: float
    floor_kept_ms: float


def measure(folder: str) -> list[dict[str, Any]]:
    """Return the costs of a new image and of a duplicate."""
    connection.ensure_connection()
    found = []
    for store, alias in STORES.items():
        for size in _SIZES_KB:
            bare.make_table()
            files = Path(folder) / f"bare-{size}" if alias else None
            with storing(folder, alias):
                found.append(asdict(_round(store, size, files)))
    return found


def _round(store: str, size_kb: int, files: Path | None) -> Round:
    drawn = draw(size_kb * KB)
    took: dict[str, list[float]] = {
        name: [] for name in ("inspect", "new", "kept", "floor_new", "floor_kept")
    }
    work = {"": _ours, "floor_": lambda *given: _floor(*given, files)}
    for number in range(_WARM + _IMAGES):
        data = another(drawn)
        for turn in ("new", "kept"):
            # Not alternating: SQLite's checkpoints would fall into one of the two only.
            for name in random.sample(sorted(work), k=len(work)):
                started = time.perf_counter()
                log, image = request_with(data)
                inspected = time.perf_counter()
                work[name](log, image, data)
                if number >= _WARM:
                    took["inspect"].append(inspected - started)
                    took[name + turn].append(time.perf_counter() - inspected)
                _check(log, turn, is_ours=not name)
    return Round(
        store,
        size_kb,
        **{f"{name}_ms": 1000 * median(each) for name, each in took.items()},
    )


def _ours(log: RequestLog, image: RequestImage, data: bytes) -> None:
    from request_images.db.destination import Destination
    from request_images.writer.record import Record
    from request_images.writer.rows import save_many

    record = Record(log, Destination())
    record.add(image, data)
    save_many([record])


def _floor(
    log: RequestLog, image: RequestImage, data: bytes, files: Path | None
) -> None:
    known = image.image_hash
    with transaction.atomic():
        if not bare.is_kept(known):
            name = f"{known[:2]}/{known}.jpg"
            if files:
                bare.write_file(files, name, data, to_disk=False)
            bare.insert(known, None if files else data, name if files else "")
        type(log).objects.bulk_create([log])
        image.log, image.created_at = log, log.created_at
        type(image).objects.bulk_create([image])


def _check(log: RequestLog, turn: str, *, is_ours: bool) -> None:
    expected = {"new": "stored", "kept": "duplicate"}[turn]
    if is_ours and log.capture_status != expected:
        raise RuntimeError(f"an image that is {turn} was {log.capture_status}")


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(measure(sys.argv[1])))
