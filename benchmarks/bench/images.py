"""JPEGs drawn in memory, a distinct one for each request."""

from __future__ import annotations

import os
from io import BytesIO

MARK = b"{" + b"-" * 30 + b"}"
"""Stands in the comment of a drawn JPEG; another text of the same length makes it
another image, as valid as before."""

_TRIES = 6


def draw(size: int) -> bytes:
    """Return a noisy JPEG of about ``size`` bytes, with the mark in its comment."""
    from PIL import Image  # not at the top: the client only needs the mark

    side = max(16, int((size / 1.2) ** 0.5))
    data = b""
    for _try in range(_TRIES):
        image = Image.frombytes("RGB", (side, side), os.urandom(3 * side * side))
        file = BytesIO()
        image.save(file, "JPEG", quality=80, comment=MARK)
        data = file.getvalue()
        if abs(len(data) - size) < 0.02 * size:
            break
        side = max(16, int(side * (size / len(data)) ** 0.5))
    if data.count(MARK) != 1:
        raise ValueError("the comment is not in the drawn image")
    return data


def another(data: bytes) -> bytes:
    """Return a distinct image: the drawn one with another comment."""
    return data.replace(MARK, os.urandom(16).hex().encode(), 1)
