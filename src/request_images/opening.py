"""Bytes in, an opened picture out, within bounds of pixels, memory and time.

Never called in a captured request: decoding is slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from PIL import Image, ImageOps

from . import headers, isobmff
from .exceptions import PictureRefused
from .formats import HEAD_SIZE, ImageFormat, sniff
from .pillow import BudgetedReader, BudgetExceeded, find_opener

MAX_SECONDS = 5.0
"""CPU time of one picture, in seconds, while Pillow reads. Honest images take 1."""

BYTES_PER_PIXEL = {
    "AVIF": 12,
    "BMP": 9,
    "DDS": 9,
    "GIF": 6,
    "HEIF": 9,
    "ICO": 13,
    # Decoded small, or in grey alone; but a progressive one is held in memory whole.
    "JPEG": 6,
    "JPEG2000": 25,
    "PNG": 13,
    "PPM": 13,
    "PSD": 13,
    "TIFF": 13,
    "WEBP": 17,
}
"""What memory Pillow takes for a pixel: measured, of each format's dearest mode."""

_SIZE_READERS = {**headers.SIZE_READERS, **isobmff.SIZE_READERS}


@contextmanager
def opened(
    data: bytes, *, max_pixels: int, max_bytes: float = math.inf
) -> Iterator[Image.Image]:
    """Open a picture, to be decoded within: the first one of several.

    Args:
        data: The image's bytes.
        max_pixels: Refuse an image with more (width times height), before decoding.
        max_bytes: Refuse an image that takes more memory to decode, beforehand too.

    Raises:
        PictureRefused: It cannot be decoded, is too large, or takes too long; also
            for whatever Pillow raises within.
    """
    image_format = sniff(data[:HEAD_SIZE])
    if image_format is None:
        raise PictureRefused("not an image")
    most = min(max_pixels, max_bytes / BYTES_PER_PIXEL[image_format.name])
    _refuse_large(_size_said(data, image_format), most)
    opener = find_opener(image_format.name)
    if opener is None:
        raise PictureRefused(f"this Pillow cannot read {image_format.name}")
    try:
        with opener(BudgetedReader(data, seconds=MAX_SECONDS), "") as image:
            _refuse_large(image.size, most)
            yield image
    except PictureRefused:
        raise
    except BudgetExceeded as error:
        # What stands behind the pixels was not read when the image came.
        raise PictureRefused(f"decoding it takes {error}") from error
    # Pillow raises nearly everything on a crafted file.
    except Exception as error:
        raise PictureRefused(f"{type(error).__name__}: {error}") from error


def _size_said(data: bytes, image_format: ImageFormat) -> tuple[int, int] | None:
    """Read width and height in pixels before Pillow opens the file.

    Some of its readers reserve memory for the whole picture when they are opened.
    """
    try:
        return _SIZE_READERS[image_format.name](data)
    except ValueError as error:
        raise PictureRefused(f"its header {error}") from error


def _refuse_large(size: tuple[int, int] | None, most: float) -> None:
    if size and size[0] * size[1] > most:
        raise PictureRefused(f"{size[0]} x {size[1]} pixels")


def upright(image: Image.Image) -> Image.Image:
    """Return a picture turned as its Exif orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    # What stands beside the pixels is broken, or odd. They are not.
    except Exception:  # noqa: BLE001
        return image


def narrowed(image: Image.Image) -> Image.Image:
    """Return a picture of 8 bits a channel: a deeper one from its darkest to white.

    Pillow would clip those of 16 bits and more to white instead of scaling.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    # Of those of the other byte order Pillow tells no extremes.
    if image.mode.startswith("I"):
        image = image.convert("I")
    low, high = cast("tuple[float, float]", image.getextrema())
    scale = 255 / ((high - low) or 1)
    return image.point(lambda value: value * scale - low * scale).convert("L")


def is_transparent(image: Image.Image) -> bool:
    """Tell whether a picture has pixels, or a colour, that one can see through."""
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
