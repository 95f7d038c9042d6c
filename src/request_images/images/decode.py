"""Decoding of pictures within bounds of pixels, memory and time.

It is slow, so no captured request does it.
"""

from __future__ import annotations

import io
import math
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from PIL import IcoImagePlugin, Image, ImageOps

from request_images.exceptions import InspectionError, PictureRefused

from .footprint import BYTES_PER_PIXEL, footprint, footprint_of_opening
from .formats import HEAD_SIZE, sniff
from .headers import read_header

MAX_SECONDS = 5.0
"""The CPU time that reading one picture may take, in seconds. Honest images take 1."""


@contextmanager
def opened(
    data: bytes, *, max_pixels: int, max_bytes: float = math.inf
) -> Iterator[Image.Image]:
    """Open the first picture of a file, to be decoded within the context.

    Args:
        data: The image's bytes.
        max_pixels: Refuse an image with more (width times height), before decoding.
        max_bytes: Refuse an image that needs more memory, before decoding.

    Raises:
        PictureRefused: It cannot be decoded, is too large, or takes too long; also
            for whatever Pillow raises within the context.
    """
    image_format = sniff(data[:HEAD_SIZE])
    if image_format is None:
        raise PictureRefused("not an image")
    most = min(max_pixels, max_bytes / BYTES_PER_PIXEL[image_format.name])
    # Some of Pillow's readers reserve memory for the whole picture when they open it.
    try:
        _refuse_large(read_header(data, image_format.name).size, most)
        _refuse_memory(footprint_of_opening(data, image_format.name), max_bytes)
    except InspectionError as error:
        raise PictureRefused(str(error)) from error
    opener = find_opener(image_format.name)
    if opener is None:
        raise PictureRefused(f"this Pillow cannot read {image_format.name}")
    try:
        with opener(BudgetedReader(data, seconds=MAX_SECONDS), "") as image:
            _refuse_large(image.size, most)
            _refuse_memory(footprint(image, data, image_format.name), max_bytes)
            yield image
    except PictureRefused:
        raise
    except BudgetExceeded as error:
        # What follows the pixels was not read when the image came.
        raise PictureRefused(f"decoding it takes {error}") from error
    # Pillow raises nearly everything on a crafted file.
    except Exception as error:
        raise PictureRefused(f"{type(error).__name__}: {error}") from error


def _refuse_large(size: tuple[int, int] | None, most: float) -> None:
    if size and size[0] * size[1] > most:
        raise PictureRefused(f"{size[0]} x {size[1]} pixels")


def _refuse_memory(needed: float, max_bytes: float) -> None:
    if needed > max_bytes:
        raise PictureRefused(f"decoding it takes {needed:.0f} bytes of memory")


def rotated(image: Image.Image) -> Image.Image:
    """Return a picture rotated as its Exif orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  # the metadata are damaged, the pixels are not
        return image


def as_8_bit(image: Image.Image) -> Image.Image:
    """Return a picture of 8 bits a channel; the range of a deeper one is scaled to it.

    Pillow would clip samples of 16 bits and more to white instead of scaling.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    # Pillow gives no extremes for the other byte order.
    if image.mode.startswith("I"):
        image = image.convert("I")
    low, high = cast("tuple[float, float]", image.getextrema())
    scale = 255 / ((high - low) or 1)
    return image.point(lambda value: value * scale - low * scale).convert("L")


def is_transparent(image: Image.Image) -> bool:
    """Return whether a picture has transparent pixels, or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


Opener = Callable[[IO[bytes], str], Image.Image]
"""Open a file by its header; a crafted file may raise any exception."""


class BudgetExceeded(ValueError):
    """Reading a file took longer than an honest file needs."""


class BudgetedReader(io.BytesIO):
    """A file object that stops a reader that takes too long.

    It can only stop the reader when it reads; a long decoding is not interrupted.

    Args:
        data: The bytes.
        seconds: The CPU time of this thread from now on.

    Raises:
        BudgetExceeded: Raised by ``read`` when the time is over; the text completes
            "decoding it takes ...".
    """

    def __init__(self, data: bytes, *, seconds: float) -> None:
        super().__init__(data)
        self._deadline = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like any file while there is time."""
        if time.thread_time() > self._deadline:
            raise BudgetExceeded("too long to read")
        return super().read(size)


def find_opener(format_name: str) -> Opener | None:
    """Return Pillow's opener of a format, or None when this Pillow has none."""
    # This loads every plugin once: some load others while they read.
    Image.init()
    if format_name == "ICO":
        return _open_icon
    if format_name not in Image.OPEN:
        return None
    factory, _accept = Image.OPEN[format_name]
    return factory


def _open_icon(file: IO[bytes], name: str) -> Image.Image:
    """Open the largest picture of an icon; Pillow's own opener would also decode it.

    Raises:
        SyntaxError: The bitmap has another size than the icon's directory says. Pillow
            would decode it before any check; the directory's largest size is 256.
    """
    icon = IcoImagePlugin.IcoFile(file)
    entry = icon.entry[0]
    file.seek(entry.offset)
    head = file.read(12)
    if not head.startswith(b"\x89PNG"):
        width, height = struct.unpack("<ii", head[4:])
        if (width, height // 2) != entry.dim:  # the picture, and its mask below it
            raise SyntaxError("its icon holds another size than its directory says")
    return icon.getimage(entry.dim)
