"""Pillow's doors to single formats, past ``Image.open``.

We know the format from the signature, so no other plugin needs to be tried; and
``Image.open`` warns of large images in a way that cannot be caught without touching
the warning filters of the whole process. Our own limits take its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from PIL import Image

Opener = Callable[[IO[bytes], str], Image.Image]
"""Reads the header of a file; any exception may come out on a crafted one."""


def find_opener(format_name: str) -> Opener | None:
    """Return what reads a format's header, or None when this Pillow has no reader."""
    # Loads every plugin, once: some load others while they read, which is no fault of
    # the file and must not count against it.
    Image.init()
    if format_name not in Image.OPEN:
        return None
    factory, _accept = Image.OPEN[format_name]
    return factory
