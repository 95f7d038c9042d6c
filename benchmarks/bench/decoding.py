"""Thumbnails in a process of their own, compared with the same process; and bombs.

``python -m bench.decoding`` prints one JSON object. It needs Linux.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from request_images.exceptions import PictureRefused
from request_images.images.decoder import Decoder
from request_images.images.thumbnail import make_thumbnail

MB = 1024 * 1024
_ROUNDS = 15
_SIZES = ((640, 480), (2000, 1500), (4000, 3000))
_BOUNDS = {"size": 160, "max_pixels": 40_000_000, "max_bytes": 256 * MB}
_INLINE = """
import sys
from bench.decoding import inline
inline(sys.stdin.buffer.read())
"""


def pictures() -> dict[str, bytes]:
    """Return pictures of several formats and sizes, by name."""
    found = {}
    for size in _SIZES:
        noise = Image.effect_noise((size[0] // 4, size[1] // 4), 40)
        picture = noise.resize(size).convert("RGB")
        for image_format in ("JPEG", "PNG", "WEBP"):
            out = io.BytesIO()
            picture.save(out, image_format, quality=85, method=0)
            found[f"{image_format} {size[0]} x {size[1]}"] = out.getvalue()
    return found


def peak(pid: int | str = "self") -> int:
    """Return the most bytes that a process has had in memory."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def compare() -> dict[str, dict[str, float]]:
    """Return the milliseconds for each picture: with the process, and without."""
    decoder, found, drawn = Decoder(), {}, pictures()
    first = next(iter(drawn.values()))
    make_thumbnail(first, **_BOUNDS)  # loads what Pillow loads once
    began = time.perf_counter()
    decoder.run("thumbnail", first, _BOUNDS, max_bytes=256 * MB)
    start = time.perf_counter() - began
    for name, data in drawn.items():
        timings: dict[str, list[float]] = {"process": [], "inline": []}
        for _round in range(_ROUNDS):
            for where, seconds in timings.items():
                began = time.perf_counter()
                if where == "inline":
                    make_thumbnail(data, **_BOUNDS)
                else:
                    decoder.run("thumbnail", data, _BOUNDS, max_bytes=256 * MB)
                seconds.append(time.perf_counter() - began)
        found[name] = {each: median(times) * 1000 for each, times in timings.items()}
        found[name]["ratio"] = found[name]["process"] / found[name]["inline"]
    decoder.close()
    found["the first picture, with the start"] = {"process": start * 1000}
    return found


def inline(data: bytes) -> None:
    """Print what a picture takes in this process, in bytes."""
    Image.init()
    before = peak()
    try:
        make_thumbnail(data, **_BOUNDS)
    except PictureRefused as error:
        answer = str(error)
    else:
        answer = "drawn"
    sys.stdout.write(json.dumps({"answer": answer, "peak_mb": (peak() - before) / MB}))


def measure_file(path: Path) -> dict[str, Any]:
    """Return what one file takes inline, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _INLINE],
        input=path.read_bytes(),
        capture_output=True,
        check=True,
    )
    words: dict[str, Any] = json.loads(done.stdout)
    return words | {"lines_on_stderr": len(done.stderr.splitlines())}


if __name__ == "__main__":
    results: dict[str, Any] = {"thumbnails": compare()}
    for given in sys.argv[1:]:
        results[given] = measure_file(Path(given))
    sys.stdout.write(json.dumps(results, indent=2) + "\n")
