"""Pillow's doors to single formats, past ``Image.open``, and a file with a time limit.

We know the format from the signature, so no other plugin needs to be tried; and
``Image.open`` warns of large images in a way that cannot be caught without touching
the warning filters of the whole process. Our own limits take its place.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from typing import IO

from PIL import IcoImagePlugin, Image

Opener = Callable[[IO[bytes], str], Image.Image]
"""Reads the header of a file; any exception may come out on a crafted one."""


class BudgetExceeded(ValueError):
    """Reading a file took longer than an honest one needs."""


class BudgetedReader(io.BytesIO):
    """A file object over some bytes that stops a reader that takes too long.

    It can do so when it is read from only: a long decoding is not interrupted.

    Args:
        data: The bytes.
        seconds: CPU time of this thread, from now on.

    Raises:
        BudgetExceeded: From ``read``, when the time is over; the text goes on after
            "takes".
    """

    def __init__(self, data: bytes, *, seconds: float) -> None:
        super().__init__(data)
        self._deadline = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does, while there is time."""
        if time.thread_time() > self._deadline:
            raise BudgetExceeded("too long to read")
        return super().read(size)


def find_opener(format_name: str) -> Opener | None:
    """Return what reads a format's header, or None when this Pillow has no reader."""
    # Loads every plugin, once: some load others while they read.
    Image.init()
    if format_name == "ICO":
        return _open_icon
    if format_name not in Image.OPEN:
        return None
    factory, _accept = Image.OPEN[format_name]
    return factory


def _open_icon(file: IO[bytes], name: str) -> Image.Image:
    """Open the largest picture of an icon; Pillow's own opener decodes it as well.

    Raises:
        SyntaxError: A bitmap of another size than the icon's directory says. Pillow
            would decode it on the way, and the directory cannot say more than 256.
    """
    icon = IcoImagePlugin.IcoFile(file)
    entry = icon.entry[0]
    file.seek(entry.offset)
    head = file.read(12)
    if not head.startswith(b"\x89PNG"):
        width, height = struct.unpack("<ii", head[4:])
        if (width, height // 2) != entry.dim:  # the picture, and its mask below it
            raise SyntaxError("an icon that holds another size than it says")
    return icon.getimage(entry.dim)
