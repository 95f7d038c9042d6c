"""The memory that decoding a picture takes, estimated from its header."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from PIL import Image

from .av1 import coded_pixels
from .boxes import codestream
from .segments import TiffDirectory, components_of_first_scan, unpack

BYTES_PER_PIXEL = {
    "AVIF": 12,
    "BMP": 9,
    "DDS": 9,
    "GIF": 9,
    "HEIF": 9,
    "ICO": 13,
    # It is decoded at an eighth of its size, or in grey only.
    "JPEG": 6,
    "JPEG2000": 25,
    "PNG": 13,
    "PPM": 13,
    "PSD": 13,
    "TIFF": 13,
    "WEBP": 17,
}
"""The bytes that Pillow needs for a pixel, in each format's most expensive mode."""

_CMYK = 9
"""The bytes for a pixel of a JPEG of four colours, beside its coefficients."""
_CODED_AVIF = 6
"""The bytes for a pixel of all pictures in an AVIF together."""
_STRIP = 350
"""The bytes for each strip or tile of a TIFF that Pillow lists."""
_STRIP_TAGS = (273, 324)
_SAMPLE = 7
"""The bytes for a sample of JPEG 2000 where there are more than four to a pixel."""
_TILE_COMPONENT = 4_500
"""The bytes that OpenJPEG keeps for each component of each tile."""
_CODE_BLOCK, _PRECINCT = 420, 600
"""The bytes that OpenJPEG keeps for each of them."""


def footprint_of_opening(data: bytes, format_name: str) -> float:
    """Return the bytes of memory that opening a picture takes, without decoding it.

    Args:
        data: The bytes of its file.
        format_name: Pillow's name of the format.

    Raises:
        ValueError: The header cannot be read.
    """
    if format_name != "TIFF":
        return 0
    directory = TiffDirectory(data, _STRIP_TAGS)
    return sum(map(directory.count, _STRIP_TAGS)) * _STRIP


def footprint(image: Image.Image, data: bytes, format_name: str) -> float:
    """Return the bytes of memory that decoding an opened picture takes.

    Args:
        image: The picture, opened but not decoded.
        data: The bytes of its file.
        format_name: Pillow's name of the format.
    """
    needed = float(image.width * image.height * BYTES_PER_PIXEL[format_name])
    of_format = _OF_FORMATS.get(format_name)
    return needed if of_format is None else of_format(image, data, needed)


def _avif(image: Image.Image, data: bytes, needed: float) -> float:
    # Its boxes may say less than what is coded.
    return max(needed, float(coded_pixels(data) * _CODED_AVIF))


def _jpeg(image: Image.Image, data: bytes, needed: float) -> float:
    """Add the coefficients of a picture in several scans: all are in memory."""
    layers = cast("list[tuple[int, int, int, int]]", getattr(image, "layer", []))
    pixels = image.width * image.height
    if len(layers) > 3:
        needed = float(pixels * _CMYK)
    if "progressive" not in image.info and components_of_first_scan(data) == len(
        layers
    ):
        return needed
    largest = max((width * height for _, width, height, _ in layers), default=1)
    samples = sum(width * height for _, width, height, _ in layers) / largest
    of_coefficients = pixels * 2 * samples
    beside = pixels * (4 if len(layers) > 3 else 1)
    return max(needed, of_coefficients + beside)


def _tiff(image: Image.Image, data: bytes, needed: float) -> float:
    """Add the largest tile or strip, which libtiff decodes as a whole.

    A tile may be larger than the picture.
    """
    tags = getattr(image, "tag_v2", {})

    def number(tag: int, default: int) -> int:
        value = tags.get(tag, default)
        values = value if isinstance(value, tuple) else (value,)
        return max((int(each) for each in values), default=default)

    rows = min(number(278, image.height), image.height)
    width, height = number(322, image.width), number(323, rows)
    of_sample = math.ceil(number(258, 1) / 8)
    if number(259, 1) in (6, 7):  # JPEG within, perhaps in several scans
        of_sample += 3
    return needed + width * height * number(277, 1) * of_sample


def _jpeg2000(image: Image.Image, data: bytes, needed: float) -> float:
    # The boxes around the codestream may say something else.
    return max(needed, _codestream(data))


def _codestream(data: bytes) -> float:
    """Return the bytes for a codestream, by SIZ and COD (ISO/IEC 15444-1, A.5, A.6)."""
    start = codestream(data)
    try:
        right, bottom, left, top, *tile, count = unpack(">8IH", data, start + 8)
    except ValueError:
        return 0
    tile_width, tile_height, tile_left, tile_top = tile
    across = math.ceil((right - tile_left) / max(tile_width, 1))
    down = math.ceil((bottom - tile_top) / max(tile_height, 1))
    pixels: int = max(right - left, 0) * max(bottom - top, 0)
    tiles: int = max(across, 0) * max(down, 0)
    of_pixels: int = pixels * max(BYTES_PER_PIXEL["JPEG2000"], count * _SAMPLE)
    of_blocks = pixels * count * _block_cost(data, start + 2)
    return float(of_pixels + of_blocks + tiles * count * _TILE_COMPONENT)


def _block_cost(data: bytes, offset: int) -> float:
    """Return the bytes for a sample's share of its code block and its precinct."""
    for _ in range(100):
        try:
            marker, length = unpack(">HH", data, offset)
            if marker == 0xFF52:
                style, levels, width, height = unpack(">B4xBBB", data, offset + 4)
                sizes = data[offset + 14 : offset + 15 + levels] if style & 1 else b""
                break
        except ValueError:
            return 0
        offset += 2 + length
    else:
        return 0
    block: int = 1 << (width & 15) + (height & 15) + 4
    if not sizes:
        return _CODE_BLOCK / block
    cost, share = 0.0, 1.0
    # From the whole picture down; each smaller one has a quarter of the samples.
    for size in reversed(sizes):
        precinct = 1 << (size & 15) + (size >> 4)
        # A precinct has at least one block in each of three bands.
        blocks = _CODE_BLOCK / min(block, max(precinct // 4, 1))
        cost += share * (blocks + 3 * _PRECINCT / precinct)
        share /= 4
    return cost


_OF_FORMATS: dict[str, Callable[[Image.Image, bytes, float], float]] = {
    "AVIF": _avif,
    "JPEG": _jpeg,
    "JPEG2000": _jpeg2000,
    "TIFF": _tiff,
}
