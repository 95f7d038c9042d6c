"""Bytes in, a small WebP out. Never called in a captured request: decoding is slow."""

from __future__ import annotations

import io
import math
from typing import cast

from PIL import Image, ImageOps

from . import headers, isobmff
from .exceptions import ThumbnailError
from .formats import HEAD_SIZE, ImageFormat, sniff
from .pillow import BudgetedReader, BudgetExceeded, find_opener

MIME_TYPE = "image/webp"
MAX_SECONDS = 5.0
"""CPU time of one thumbnail, in seconds, while Pillow reads. Honest images take 1."""

BYTES_PER_PIXEL = {
    "AVIF": 12,
    "BMP": 9,
    "DDS": 9,
    "GIF": 6,
    "HEIF": 9,
    "ICO": 13,
    # Decoded at an eighth of its size; but a progressive one is held in memory whole.
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


def make_thumbnail(
    data: bytes, *, size: int, max_pixels: int, max_bytes: float = math.inf
) -> bytes:
    """Draw an image small.

    Args:
        data: The image's bytes.
        size: The longer side, in pixels.
        max_pixels: Refuse an image with more (width times height), before decoding.
        max_bytes: Refuse an image that takes more memory to decode, beforehand too.

    Returns:
        The bytes of a WebP, turned upright as its Exif orientation says.

    Raises:
        ThumbnailError: It cannot be decoded, is too large, or takes too long.
    """
    image_format = sniff(data[:HEAD_SIZE])
    if image_format is None:
        raise ThumbnailError("not an image")
    most = min(max_pixels, max_bytes / BYTES_PER_PIXEL[image_format.name])
    _refuse_large(_size_said(data, image_format), most)
    opener = find_opener(image_format.name)
    if opener is None:
        raise ThumbnailError(f"this Pillow cannot read {image_format.name}")
    try:
        with opener(BudgetedReader(data, seconds=MAX_SECONDS), "") as image:
            _refuse_large(image.size, most)
            # A JPEG can be decoded at a fraction of its size; others ignore this.
            image.draft("RGB", (size * 2, size * 2))
            scale = size / max(image.size)
            # A thin line must not shrink to nothing.
            width, height = (max(1, round(side * scale)) for side in image.size)
            small = _shown(image).resize((width, height))
            out = io.BytesIO()
            _upright(small).save(out, "WEBP", quality=80)
            return out.getvalue()
    except ThumbnailError:
        raise
    except BudgetExceeded as error:
        # What stands behind the pixels was not read when the image came.
        raise ThumbnailError(f"drawing it takes {error}") from error
    # Pillow raises nearly everything on a crafted file.
    except Exception as error:
        raise ThumbnailError(f"{type(error).__name__}: {error}") from error


def _size_said(data: bytes, image_format: ImageFormat) -> tuple[int, int] | None:
    """Read width and height in pixels before Pillow opens the file.

    Some of its readers reserve memory for the whole picture when they are opened.
    """
    try:
        return _SIZE_READERS[image_format.name](data)
    except ValueError as error:
        raise ThumbnailError(f"its header {error}") from error


def _refuse_large(size: tuple[int, int] | None, most: float) -> None:
    if size and size[0] * size[1] > most:
        raise ThumbnailError(f"{size[0]} x {size[1]} pixels")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    # What stands beside the pixels is broken, or odd. They are not.
    except Exception:  # noqa: BLE001
        return image


def _shown(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # 16 bits and more: Pillow would clip them to white instead of scaling. Of
        # those of the other byte order it tells no extremes.
        if image.mode.startswith("I"):
            image = image.convert("I")
        low, high = cast("tuple[float, float]", image.getextrema())
        scale = 255 / ((high - low) or 1)
        return image.point(lambda value: value * scale - low * scale).convert("L")
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    wanted = "RGBA" if transparent else "RGB"
    # Pillow would copy all pixels also when there is nothing to convert.
    return image if image.mode == wanted else image.convert(wanted)
