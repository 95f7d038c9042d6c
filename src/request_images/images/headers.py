"""Width and height out of image headers, in a bounded number of steps.

Pillow could tell them too, but it reads much more on the way: colour profiles, texts,
Exif, palettes, whole WebP and AVIF files. A crafted file of 10 MB keeps it busy for
most of a minute, or has it reserve a gigabyte for a canvas; and a watch on its reads
sees nothing of what happens between them. Where the dimensions stand takes a few lines
for each format; nothing else is read here, and every loop has an end (see `segments`).

Every reader takes the whole file's bytes, copies none of them but a few, and returns
width and height in pixels as the header says them, be it zero. It raises `ValueError`,
and nothing else, when they cannot be found; the text completes "its header ...". The
formats built of ISO boxes (AVIF, HEIF, JPEG 2000) are read by `isobmff`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .segments import (
    ORIENTATION,
    PNG_SIGNATURE,
    gif_pictures,
    ico_picture,
    is_frame,
    jpeg_segments,
    pnm_numbers,
    tiff_directory,
    unpack,
)

Size = tuple[int, int]
"""Width and height in pixels."""


def _bmp(data: bytes) -> Size:
    """Read a Windows bitmap: its information header follows 14 bytes."""
    return _dib(data, 14)


def _dib(data: bytes, offset: int) -> Size:
    """Read a bitmap's information header (BITMAPCOREHEADER, or a later one)."""
    (header_size,) = unpack("<I", data, offset)
    if header_size == 12:
        width, height = unpack("<HH", data, offset + 4)
    else:
        width, height = unpack("<ii", data, offset + 4)
    return width, abs(height)  # below zero when the rows go from top to bottom


def _dds(data: bytes) -> Size:
    """Read a DirectDraw surface: DDS_HEADER has size, flags, height, width."""
    height, width = unpack("<II", data, 12)
    return width, height


def _gif(data: bytes) -> Size:
    """Read a GIF: the logical screen, or its first picture where that is larger.

    Pillow does the same; there are files with a screen of 0 x 0 (GIF89a, sections 18
    and 20). When too much stands before the picture, the screen it is.
    """
    width, height, _flags = unpack("<HHB", data, 6)
    place = None
    with suppress(ValueError):
        place = next(gif_pictures(data), None)
    if place is None:
        return width, height
    left, top, own_width, own_height = unpack("<4H", data, place + 1)
    return max(width, left + own_width), max(height, top + own_height)


def _ico(data: bytes) -> Size:
    """Read an icon: its largest picture says its own size."""
    offset = ico_picture(data)
    if data[offset : offset + 8] == PNG_SIGNATURE:
        return _png(data[offset : offset + 64])
    width, height = _dib(data, offset)
    return width, height // 2  # the picture, and its mask below it


def _jpeg(data: bytes) -> Size:
    """Read a JPEG: its frame header has the size (ITU-T T.81, annex B)."""
    for marker, place in jpeg_segments(data):
        if is_frame(marker):
            height, width = unpack(">HH", data, place + 3)
            return width, height
    raise ValueError("has no frame before the picture")


def _png(data: bytes) -> Size:
    """Read a PNG: IHDR comes first, but Apple's CgBI may stand before it."""
    at = data.find(b"IHDR", 8, 64)
    if at < 0:
        raise ValueError("has no IHDR")
    width, height = unpack(">II", data, at + 4)
    return width, height


def _pnm(data: bytes) -> Size:
    """Read a PBM, PGM, PPM or PFM: its first two numbers."""
    numbers = pnm_numbers(data)
    if len(numbers) < 2:
        raise ValueError("has no width and height")
    return numbers[0], numbers[1]


def _psd(data: bytes) -> Size:
    """Read a Photoshop file, or its large sibling: height and width are at byte 14."""
    height, width = unpack(">II", data, 14)
    return width, height


def _tiff(data: bytes) -> Size:
    """Read a TIFF or BigTIFF: ImageWidth and ImageLength in the first directory.

    As Pillow does, the sides are exchanged when the Orientation says that the picture
    lies on its side (TIFF 6.0, tags 256, 257 and 274).
    """
    found = tiff_directory(data, (256, 257, ORIENTATION)).numbers
    if 256 not in found or 257 not in found:
        raise ValueError("has no width and height")
    turned = found.get(ORIENTATION) in (5, 6, 7, 8)
    return (found[257], found[256]) if turned else (found[256], found[257])


def _webp(data: bytes) -> Size:
    """Read a WebP: lossy (RFC 6386, 9.1), lossless (RFC 9649, 3.4) or with a canvas."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = unpack("<HBHB", data, 24)
        return 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = unpack("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF  # two bits more say how to scale
    raise ValueError("begins with no picture")


SIZE_READERS: dict[str, Callable[[bytes], Size]] = {
    "BMP": _bmp,
    "DDS": _dds,
    "GIF": _gif,
    "ICO": _ico,
    "JPEG": _jpeg,
    "PNG": _png,
    "PPM": _pnm,
    "PSD": _psd,
    "TIFF": _tiff,
    "WEBP": _webp,
}
"""What reads each format, by the names in `formats`."""
