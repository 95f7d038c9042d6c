"""Width and height out of image headers, in a bounded number of steps.

Pillow could tell them too, but it reads much more on the way: colour profiles, texts,
Exif, palettes, whole WebP and AVIF files. A crafted file of 10 MB keeps it busy for
most of a minute, or has it reserve a gigabyte for a canvas; and a watch on its reads
sees nothing of what happens between them. Where the dimensions stand takes a few lines
for each format; nothing else is read here, and every loop has an end.

Every reader takes the whole file's bytes, copies none of them but a few, and returns
width and height in pixels as the header says them, be it zero. It raises `ValueError`,
and nothing else, when they cannot be found; the text completes "its header ...". The
formats built of ISO boxes (AVIF, HEIF, JPEG 2000) are read by `isobmff`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_SEGMENTS = 5000
"""Segments and fill bytes of a JPEG, blocks of a GIF. Honest files have some hundreds:
10 MB of metadata are 160 segments of a JPEG."""
MAX_ENTRIES = 4096
"""Entries of a directory, in a TIFF or an icon. Honest files have less than 200."""
MAX_TEXT = 16_384
"""Bytes of the text that begins a PNM file, comments included."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # markers among those of JPEG's frames that are not
_NO_LENGTH = (0x01, *range(0xD0, 0xDA))  # markers of JPEG that stand alone


def _unpack(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    """Read numbers at an offset, in bytes from the beginning.

    Raises:
        ValueError: They are not all there.
    """
    try:
        return struct.unpack_from(layout, data, offset)
    except (struct.error, OverflowError):
        raise ValueError("is cut off") from None


def _bmp(data: bytes) -> Size:
    """Read a Windows bitmap: its information header follows 14 bytes."""
    return _dib(data, 14)


def _dib(data: bytes, offset: int) -> Size:
    """Read a bitmap's information header (BITMAPCOREHEADER, or a later one)."""
    (header_size,) = _unpack("<I", data, offset)
    if header_size == 12:
        width, height = _unpack("<HH", data, offset + 4)
    else:
        width, height = _unpack("<ii", data, offset + 4)
    return width, abs(height)  # below zero when the rows go from top to bottom


def _dds(data: bytes) -> Size:
    """Read a DirectDraw surface: DDS_HEADER has size, flags, height, width."""
    height, width = _unpack("<II", data, 12)
    return width, height


def _gif(data: bytes) -> Size:
    """Read a GIF: the logical screen, or its first picture where that is larger.

    Pillow does the same; there are files with a screen of 0 x 0 (GIF89a, sections 18
    and 20). When too much stands before the picture, the screen it is.
    """
    width, height, flags = _unpack("<HHB", data, 6)
    offset = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)  # behind the palette
    steps = iter(range(MAX_SEGMENTS))
    for _ in steps:
        kind = data[offset : offset + 1]
        if kind == b",":
            left, top, own_width, own_height = _unpack("<4H", data, offset + 1)
            return max(width, left + own_width), max(height, top + own_height)
        if kind != b"!":
            break
        offset = _gif_blocks_end(data, offset + 2, steps)
    return width, height


def _gif_blocks_end(data: bytes, offset: int, steps: Iterator[int]) -> int:
    """Return what follows the blocks of an extension: an empty one ends them."""
    for _ in steps:
        length = int.from_bytes(data[offset : offset + 1], "big")
        offset += 1 + length
        if not length:
            break
    return offset


def _ico(data: bytes) -> Size:
    """Read an icon: the picture in it that its directory says to be the largest."""
    (count,) = _unpack("<H", data, 4)
    directory = data[6 : 6 + 16 * min(count, MAX_ENTRIES)]
    best, offset = (0, 0), 0
    for entry in struct.iter_unpack("<4B2H2I", directory[: len(directory) // 16 * 16]):
        width, height, colours, _, _, bits, _, place = entry
        # 0 stands for 256. Of equals, Pillow takes the one of the fewest colours.
        depth = bits or (colours and (colours - 1).bit_length()) or 256
        rank = ((width or 256) * (height or 256), -depth)
        if rank > best:
            best, offset = rank, place
    if not offset:
        raise ValueError("lists no picture")
    if data[offset : offset + 8] == _PNG_SIGNATURE:
        return _png(data[offset : offset + 64])
    width, height = _dib(data, offset)
    return width, height // 2  # the picture, and its mask below it


def _jpeg(data: bytes) -> Size:
    """Read a JPEG: walk its segments up to the frame header (ITU-T T.81, annex B)."""
    offset = 2
    for _ in range(MAX_SEGMENTS):
        offset = data.find(b"\xff", offset)  # what stands between is skipped by all
        if offset < 0:
            break
        (marker,) = _unpack("B", data, offset + 1)
        if marker == 0xFF:
            offset += 1  # a fill byte
        elif marker == 0 or marker in _NO_LENGTH:
            offset += 2
        elif marker == 0xDA or marker < 0xC0:
            break
        elif marker < 0xD0 and marker not in _NO_FRAMES:
            height, width = _unpack(">HH", data, offset + 5)
            return width, height
        else:
            (length,) = _unpack(">H", data, offset + 2)
            offset += 2 + max(length, 2)
    else:
        raise ValueError("takes too long to read")
    raise ValueError("has no frame before the picture")


def _png(data: bytes) -> Size:
    """Read a PNG: IHDR comes first, but Apple's CgBI may stand before it."""
    at = data.find(b"IHDR", 8, 64)
    if at < 0:
        raise ValueError("has no IHDR")
    width, height = _unpack(">II", data, at + 4)
    return width, height


def _pnm(data: bytes) -> Size:
    """Read a PBM, PGM, PPM or PFM: text, with comments up to the end of a line."""
    text = re.sub(rb"#[^\r\n]*", b"", data[:MAX_TEXT])
    numbers = text.split(None, 3)[1:3]
    # int() takes "1_0" and "+1" as well; of a million digits it takes long.
    if len(numbers) < 2 or not all(re.fullmatch(rb"[0-9]{1,10}", n) for n in numbers):
        raise ValueError("has no width and height")
    return int(numbers[0]), int(numbers[1])


def _psd(data: bytes) -> Size:
    """Read a Photoshop file, or its large sibling: height and width are at byte 14."""
    height, width = _unpack(">II", data, 14)
    return width, height


def _tiff(data: bytes) -> Size:
    """Read a TIFF or BigTIFF: ImageWidth and ImageLength in the first directory.

    As Pillow does, the sides are exchanged when the Orientation says that the picture
    lies on its side (TIFF 6.0, tags 256, 257 and 274).
    """
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    (offset,) = _unpack(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = _unpack(order + ("Q" if big else "H"), data, offset)
    offset += 8 if big else 2
    step = 20 if big else 12
    found: dict[int, int] = {}
    for place in range(offset, offset + step * min(count, MAX_ENTRIES), step):
        tag, kind = _unpack(order + "HH", data, place)
        if tag in (256, 257, 274) and tag not in found:
            found[tag] = _tiff_number(order, kind, data, place + step // 2 + 2)
    if 256 not in found or 257 not in found:
        raise ValueError("has no width and height")
    turned = found.get(274) in (5, 6, 7, 8)
    return (found[257], found[256]) if turned else (found[256], found[257])


def _tiff_number(order: str, kind: int, data: bytes, offset: int) -> int:
    layout = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)  # BYTE, SHORT, LONG, LONG8
    if layout is None:
        raise ValueError("has no whole number for width or height")
    (number,) = _unpack(order + layout, data, offset)
    return int(number)


def _webp(data: bytes) -> Size:
    """Read a WebP: lossy (RFC 6386, 9.1), lossless (RFC 9649, 3.4) or with a canvas."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = _unpack("<HBHB", data, 24)
        return 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = _unpack("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = _unpack("<HH", data, 26)
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
