"""What image files are built of: segments, chunks, blocks and directories, walked once.

`headers` finds the size on these walks, and `traits` what else there is to tell. Each
walk has an end, copies none of the file's bytes but a few, and raises `ValueError`
only; the text completes "its header ...".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

MAX_SEGMENTS = 5000
"""Segments and fill bytes of a JPEG, chunks of a PNG or WebP, parts of a GIF. Honest
files have some hundreds: 10 MB of metadata are 160 segments of a JPEG."""
MAX_BLOCKS = 50_000
"""Blocks of a GIF, of 255 bytes at the most: a picture of 10 MB has 40,000."""
MAX_ENTRIES = 4096
"""Entries of a directory, in a TIFF or an icon. Honest files have less than 200."""
MAX_TEXT = 16_384
"""Bytes of the text that begins a PNM file, comments included."""
ORIENTATION = 274
"""The tag of TIFF and Exif that says how a picture is to be turned."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # markers among those of JPEG's frames that are not
_NO_LENGTH = (0x01, *range(0xD0, 0xDA))  # markers of JPEG that stand alone


def unpack(layout: str, data: bytes, offset: int) -> tuple[Any, ...]:
    """Read numbers at an offset, in bytes from the beginning.

    Raises:
        ValueError: They are not all there.
    """
    try:
        return struct.unpack_from(layout, data, offset)
    except (struct.error, OverflowError):
        raise ValueError("is cut off") from None


def is_frame(marker: int) -> bool:
    """Tell whether a marker of JPEG begins a frame header."""
    return 0xC0 <= marker < 0xD0 and marker not in _NO_FRAMES


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Walk the segments of a JPEG up to the picture (ITU-T T.81, annex B).

    Yields:
        Each one's marker, and where it says its length, in bytes from the beginning;
        its content is two bytes further on.

    Raises:
        ValueError: One is cut off, or there are too many.
    """
    offset = 2
    for _ in range(MAX_SEGMENTS):
        offset = data.find(b"\xff", offset)  # what stands between is skipped by all
        if offset < 0:
            return
        (marker,) = unpack("B", data, offset + 1)
        if marker == 0xFF:
            offset += 1  # a fill byte
        elif marker == 0 or marker in _NO_LENGTH:
            offset += 2
        elif marker == 0xDA or marker < 0xC0:
            return
        else:
            yield marker, offset + 2
            (length,) = unpack(">H", data, offset + 2)
            offset += 2 + max(length, 2)
    raise ValueError("takes too long to read")


def chunks(
    data: bytes, offset: int, *, is_riff: bool = False
) -> Iterator[tuple[bytes, int]]:
    """Walk the chunks of a PNG, or of a RIFF file as WebP is.

    Args:
        data: The file.
        offset: Where the first one begins, in bytes from the beginning.
        is_riff: Whether they are those of RIFF.

    Yields:
        Each one's kind, and where its content begins.

    Raises:
        ValueError: There are too many.
    """
    end = len(data)
    for _ in range(MAX_SEGMENTS):
        if offset + 8 > end:
            return
        if is_riff:
            kind, length = unpack("<4sI", data, offset)
            behind = length & 1  # it is of an even length
        else:
            length, kind = unpack(">I4s", data, offset)
            behind = 4  # its checksum
        yield kind, offset + 8
        offset += 8 + length + behind
    raise ValueError("takes too long to read")


def gif_pictures(data: bytes) -> Iterator[int]:
    """Walk the pictures of a GIF (GIF89a, section 20).

    Yields:
        Where each one's descriptor is, in bytes from the beginning.

    Raises:
        ValueError: There is too much to walk over, or the header is cut off.
    """
    (flags,) = unpack("B", data, 10)
    offset = 13 + gif_palette_length(flags)
    steps = iter(range(MAX_BLOCKS))
    for _ in range(MAX_SEGMENTS):
        kind = data[offset : offset + 1]
        if kind == b",":
            yield offset
            (flags,) = unpack("B", data, offset + 9)
            # Behind the descriptor, its palette, and the number of bits of a code.
            offset += 11 + gif_palette_length(flags)
            offset = _gif_blocks_end(data, offset, steps)
        elif kind == b"!":
            offset = _gif_blocks_end(data, offset + 2, steps)
        else:
            return
    raise ValueError("takes too long to read")


def gif_palette_length(flags: int) -> int:
    """Return how many bytes the palette takes behind a descriptor with these flags."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks_end(data: bytes, offset: int, steps: Iterator[int]) -> int:
    """Return what follows the blocks of a picture or an extension: after an empty one.

    Without a call for each, since there may be many.
    """
    end = len(data)
    for _ in steps:
        length = data[offset] if offset < end else 0
        offset += 1 + length
        if not length:
            return offset
    raise ValueError("takes too long to read")


def ico_picture(data: bytes) -> int:
    """Return where the picture is that an icon's directory says to be the largest.

    Raises:
        ValueError: There is none.
    """
    (count,) = unpack("<H", data, 4)
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
    return offset


def pnm_numbers(data: bytes) -> list[int]:
    """Return up to three numbers that begin a PNM file: width, height, largest value.

    They are text, with comments up to the end of a line.
    """
    text = re.sub(rb"#[^\r\n]*", b"", data[:MAX_TEXT])
    numbers: list[int] = []
    for number in text.split(None, 4)[1:4]:
        # int() takes "1_0" and "+1" as well; of a million digits it takes long.
        if not re.fullmatch(rb"[0-9]{1,10}", number):
            break
        numbers.append(int(number))
    return numbers


class Directory(NamedTuple):
    """The first directory of a TIFF.

    Attributes:
        numbers: The first number of each tag that was asked for.
        following: Where the next directory is; 0 for nowhere.
    """

    numbers: dict[int, int]
    following: int


def tiff_directory(data: bytes, tags: Collection[int], start: int = 0) -> Directory:
    """Read whole numbers out of the first directory of a TIFF, a BigTIFF, or of Exif.

    Args:
        data: Some bytes.
        tags: Which tags are asked for.
        start: Where the TIFF begins among the bytes.

    Raises:
        ValueError: It is cut off, or a tag is no whole number.
    """
    order = "<" if data.startswith(b"II", start) else ">"
    big = data[start + 2 : start + 4] in (b"+\0", b"\0+")
    address, short = ("Q", "Q") if big else ("I", "H")
    (offset,) = unpack(order + address, data, start + (8 if big else 4))
    offset += start
    (count,) = unpack(order + short, data, offset)
    first, step, width = (offset + 8, 20, 8) if big else (offset + 2, 12, 4)
    found: dict[int, int] = {}
    for place in range(first, first + step * min(count, MAX_ENTRIES), step):
        tag, kind = unpack(order + "HH", data, place)
        if tag in tags and tag not in found:
            length, layout = _tiff_number(kind)
            (number,) = unpack(order + address, data, place + 4)
            at = place + step - width
            if length * number > width:  # more than fits in: they are elsewhere
                at = start + unpack(order + address, data, at)[0]
            found[tag] = unpack(order + layout, data, at)[0]
    end = first + step * count
    said = data[end : end + width]
    following = int.from_bytes(said, "little" if order == "<" else "big")
    return Directory(found, following)


def _tiff_number(kind: int) -> tuple[int, str]:
    """Return how many bytes a number of a type has, and how they are read."""
    # BYTE, SHORT, LONG, LONG8
    layouts = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 16: (8, "Q")}
    if kind not in layouts:
        raise ValueError("has no whole number for width or height")
    return layouts[kind]
