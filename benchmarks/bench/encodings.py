"""Compression, in a process of its own: `python -m bench.encodings WHAT`.

``stores FOLDER`` captures images into each store, compresses them and reads them back;
``saved FOLDER`` captures the images of a folder, each as one request, and measures
their size. Both print one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import django
from django.db.models import Sum

from .capturing import STORES, capture, storing
from .images import another, draw

KB = 1024
_IMAGES = 8


@dataclass(frozen=True)
class Round:
    """One store and one encoding: medians of one image, in milliseconds."""

    store: str
    encoding: str
    size_kb: float
    stored: float
    capture_ms: float
    compress_ms: float
    read_raw_ms: float
    read_ms: float


def stores(folder: str) -> list[dict[str, Any]]:
    """Return the costs of each store and encoding, compared with the raw store."""
    jpeg = draw(1000 * KB)
    images: dict[str, Callable[[int], bytes]] = {
        "zlib": _bitmap,
        "lepton": lambda number: another(jpeg),
    }
    found = []
    for store, alias in STORES.items():
        with storing(folder, alias):
            for name, picture in images.items():
                data = [picture(number) for number in range(_IMAGES)]
                found.append(asdict(_round(store, name, data)))
    return found


def _round(store: str, name: str, images: list[bytes]) -> Round:
    from request_images.contents.compress import compress
    from request_images.models import ImageContent

    pks: list[int] = []
    capture_ms = _median_ms(lambda data: pks.append(capture(data)), images)
    by_pk = ImageContent.objects.defer("thumbnail").get

    def read(pk: int) -> None:
        by_pk(pk=pk).read()

    raw_ms = _median_ms(read, pks)
    compress_ms = _median_ms(lambda pk: compress(pk, [name]), pks)
    kept = ImageContent.objects.filter(pk__in=pks, encoding=name)
    if kept.count() != len(pks):
        raise RuntimeError("not all of them were compressed")
    stored = kept.aggregate(total=Sum("stored_size"))["total"]
    received = sum(map(len, images))
    return Round(
        store,
        name,
        received / len(images) / KB,
        stored / received,
        capture_ms,
        compress_ms,
        raw_ms,
        _median_ms(read, pks),
    )


def _median_ms(work: Callable[[Any], object], each_of: list[Any]) -> float:
    took = []
    for each in list(each_of):
        started = time.perf_counter()
        work(each)
        took.append(time.perf_counter() - started)
    return 1000 * median(took)


def _bitmap(number: int) -> bytes:
    """Return a bitmap like a scan: light paper, dark marks, some noise."""
    import io

    from PIL import Image, ImageChops

    size = (700, 500)
    paper = Image.new("RGB", size, (250, 248, 240 - number))
    noise = Image.effect_noise(size, 6).convert("RGB")
    picture = ImageChops.add(paper, noise, offset=-128)
    for x in range(50, 650, 12):
        picture.paste((20, 20, number), (x, 60, x + x % 7, 420))
    out = io.BytesIO()
    picture.save(out, "BMP")
    return out.getvalue()


def saved(folder: str) -> dict[str, Any]:
    """Return the size of a folder's images: received, deduplicated, compressed."""
    from request_images.contents.compress import Run, compress_all
    from request_images.models import ImageContent

    received: list[int] = []
    for data in _images_in(Path(folder)):
        received.append(len(data))
        capture(data)
    total = ImageContent.objects.aggregate
    found: dict[str, Any] = {
        "images": len(received),
        "received": sum(received),
        "distinct": total(total=Sum("stored_size"))["total"] or 0,
        "encodings": {},
    }
    for name in ("zlib", "lepton"):
        started = time.perf_counter()
        done = compress_all([name], Run())
        found["encodings"][name] = {
            "images": done.by_encoding.total(),
            "left": dict(done.reasons),
            "before": done.before,
            "after": done.after,
            "seconds": time.perf_counter() - started,
        }
    found["stored"] = total(total=Sum("stored_size"))["total"] or 0
    return found


def _images_in(folder: Path) -> Iterator[bytes]:
    from request_images.images.formats import HEAD_SIZE, sniff

    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if sniff(data[:HEAD_SIZE]) is not None:
                yield data


if __name__ == "__main__":
    django.setup()
    what, given = sys.argv[1:]
    sys.stdout.write(json.dumps({"stores": stores, "saved": saved}[what](given)))
