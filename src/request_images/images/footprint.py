"""The memory that decoding a picture takes, reckoned from what its header says."""

from __future__ import annotations

import math
import struct

from PIL import Image

BYTES_PER_PIXEL = {
    "AVIF": 12,
    "BMP": 9,
    "DDS": 9,
    "GIF": 9,
    "HEIF": 9,
    "ICO": 13,
    # It is decoded small, or in grey alone; but a progressive one is in memory whole.
    "JPEG": 6,
    "JPEG2000": 25,
    "PNG": 13,
    "PPM": 13,
    "PSD": 13,
    "TIFF": 13,
    "WEBP": 17,
}
"""The bytes of memory that Pillow needs for a pixel, in each format's dearest mode."""

_PROGRESSIVE_CMYK = 11
_TILE_COMPONENT = 4_500
"""The bytes that OpenJPEG keeps for each component of each tile."""
_SIZ = b"\xff\x4f\xff\x51"  # the first two markers of a JPEG 2000 codestream


def footprint(image: Image.Image, data: bytes, format_name: str) -> float:
    """Return the bytes of memory that decoding an opened picture takes.

    Args:
        image: The picture, opened but not decoded.
        data: The bytes of its file.
        format_name: Pillow's name of the format.
    """
    pixels, per_pixel = image.width * image.height, BYTES_PER_PIXEL[format_name]
    if format_name == "JPEG" and image.mode == "CMYK" and "progressive" in image.info:
        per_pixel = _PROGRESSIVE_CMYK
    needed = float(pixels * per_pixel)
    if format_name == "TIFF":
        return needed + _tiff_block(image)
    if format_name == "JPEG2000":
        return max(needed, *_codestream(data))
    return needed


def _tiff_block(image: Image.Image) -> float:
    """Return the bytes of the largest tile or strip, which libtiff decodes as a whole.

    A tile may be larger than the picture.
    """
    tags = getattr(image, "tag_v2", {})

    def number(tag: int, default: int) -> int:
        value = tags.get(tag, default)
        values = value if isinstance(value, tuple) else (value,)
        return max((int(each) for each in values), default=default)

    width, height = number(322, image.width), number(323, image.height)
    return width * height * number(277, 1) * math.ceil(number(258, 1) / 8)


def _codestream(data: bytes) -> tuple[float, float]:
    """Return the bytes for the pixels and for the tiles of a JPEG 2000 codestream.

    The sizes are in its SIZ segment (ISO/IEC 15444-1, A.5.1). The boxes around it may
    say something else.
    """
    at = data.find(_SIZ)
    if at < 0 or len(data) < at + 42:
        return 0, 0
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, count = (
        struct.unpack_from(">8IH", data, at + 8)
    )
    across = math.ceil((right - tile_left) / max(tile_width, 1))
    down = math.ceil((bottom - tile_top) / max(tile_height, 1))
    pixels = max(right - left, 0) * max(bottom - top, 0)
    tiles = max(across, 0) * max(down, 0)
    of_pixels = float(pixels * BYTES_PER_PIXEL["JPEG2000"])
    return of_pixels, of_pixels + float(tiles * count * _TILE_COMPONENT)
