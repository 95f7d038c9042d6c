"""Images drawn in memory, so that no test needs a file."""

from __future__ import annotations

import io

from PIL import Image


def draw(
    fmt: str = "PNG",
    size: tuple[int, int] = (32, 24),
    *,
    seed: int = 0,
    **options: object,
) -> bytes:
    """Return the bytes of a small picture; different seeds give different bytes."""
    image = Image.new("RGB", size, (seed % 256, seed // 256 % 256, 99))
    image.putpixel((0, 0), (255, 255, 255))
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()
