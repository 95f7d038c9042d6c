"""Walks over the parts of image files: segments, chunks, blocks and directories.

Each walk has an end, copies only a few of the file's bytes, and raises only
`ValueError`; the text completes "its header ...".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from typing import Any

MAX_SEGMENTS = 5000
"""The most segments and fill bytes of a JPEG, chunks of a PNG or WebP, or parts of a
GIF. Honest files have some hundreds: 10 MB of metadata are 160 segments of a JPEG."""
MAX_BLOCKS = 50_000
"""The most blocks of a GIF. One has up to 255 bytes: a picture of 10 MB has 40,000."""
MAX_ENTRIES = 4096
"""The most entries of a directory in a TIFF or icon. Honest files have under 200."""
MAX_TEXT = 16_384
"""The most bytes of the text that begins a PNM file, comments included."""
ORIENTATION = 274
"""The tag of TIFF and Exif that says how to rotate a picture."""

_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # markers among those of JPEG's frames that are not
_NO_LENGTH = (0x01, *range(0xD0, 0xDA))  # markers of JPEG that stand alone
# The types of whole numbers in TIFF and BigTIFF: length in bytes, and form.
_WHOLE_NUMBERS = {
    1: (1, "B"),  # BYTE
    3: (2, "H"),  # SHORT
    4: (4, "I"),  # LONG
    6: (1, "b"),  # SBYTE
    8: (2, "h"),  # SSHORT
    9: (4, "i"),  # SLONG
    13: (4, "I"),  # IFD
    16: (8, "Q"),  # LONG8
    17: (8, "q"),  # SLONG8
    18: (8, "Q"),  # IFD8
}


def unpack(form: str, data: bytes, offset: int) -> Any:
    """Return the tuple of numbers at an offset, in bytes from the beginning.

    Raises:
        ValueError: The data end before.
    """
    try:
        return struct.unpack_from(form, data, offset)
    except (struct.error, OverflowError):
        raise ValueError("is cut off") from None


def is_frame(marker: int) -> bool:
    """Return whether a marker of JPEG begins a frame header."""
    return 0xC0 <= marker < 0xD0 and marker not in _NO_FRAMES


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Walk the segments of a JPEG up to the picture (ITU-T T.81, annex B).

    Yields:
        Each segment's marker, and the offset of its length in bytes; its content is two
        bytes further on.

    Raises:
        ValueError: A segment is truncated, or there are too many.
    """
    offset, end = 2, len(data)
    for _ in range(MAX_SEGMENTS):
        offset = data.find(b"\xff", offset)  # what stands between is skipped by all
        if offset < 0:
            return
        if offset + 1 == end:
            raise ValueError("is cut off")
        marker = data[offset + 1]
        if marker == 0xFF:
            offset += 1  # a fill byte
        elif marker == 0 or marker in _NO_LENGTH:
            offset += 2
        elif marker == 0xDA or marker < 0xC0:
            return
        else:
            yield marker, offset + 2
            if offset + 4 > end:
                raise ValueError("is cut off")
            length = (data[offset + 2] << 8) + data[offset + 3]
            offset += 2 + max(length, 2)
    raise ValueError("takes too long to read")


def components_of_first_scan(data: bytes) -> int:
    """Return the number of colours that the first scan of a JPEG has; 0 without one."""
    end = 2
    for _marker, place in jpeg_segments(data):
        end = place + max(unpack(">H", data, place)[0], 2)
    scan = data.find(b"\xff\xda", end)
    return data[scan + 4] if 0 <= scan < len(data) - 4 else 0


def chunks(
    data: bytes, offset: int, *, is_riff: bool = False
) -> Iterator[tuple[bytes, int]]:
    """Walk the chunks of a PNG, or of a RIFF file such as WebP.

    Args:
        data: The file.
        offset: Where the first chunk begins, in bytes from the beginning.
        is_riff: Whether they are chunks of RIFF.

    Yields:
        Each chunk's kind, and where its content begins.

    Raises:
        ValueError: There are too many.
    """
    end = len(data)
    for _ in range(MAX_SEGMENTS):
        if offset + 8 > end:
            return
        if is_riff:
            kind, length = unpack("<4sI", data, offset)
            trailer = length & 1  # padding to an even length
        else:
            length, kind = unpack(">I4s", data, offset)
            trailer = 4  # the checksum
        yield kind, offset + 8
        offset += 8 + length + trailer
    raise ValueError("takes too long to read")


def gif_pictures(data: bytes) -> Iterator[int]:
    """Walk the pictures of a GIF (GIF89a, section 20).

    Yields:
        The offset of each picture's descriptor, in bytes.

    Raises:
        ValueError: There are too many parts, or the header is truncated.
    """
    (flags,) = unpack("B", data, 10)
    offset = 13 + gif_palette_length(flags)
    steps = iter(range(MAX_BLOCKS))
    for _ in range(MAX_SEGMENTS):
        kind = data[offset : offset + 1]
        if kind == b",":
            yield offset
            (flags,) = unpack("B", data, offset + 9)
            # After the descriptor, its palette, and the number of bits of a code.
            offset += 11 + gif_palette_length(flags)
            offset = _gif_blocks_end(data, offset, steps)
        elif kind == b"!":
            offset = _gif_blocks_end(data, offset + 2, steps)
        else:
            return
    raise ValueError("takes too long to read")


def gif_palette_length(flags: int) -> int:
    """Return the length in bytes of the palette after a descriptor with these flags."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks_end(data: bytes, offset: int, steps: Iterator[int]) -> int:
    """Return the offset after the empty block that ends a picture or an extension."""
    end = len(data)
    for _ in steps:
        length = data[offset] if offset < end else 0
        offset += 1 + length
        if not length:
            return offset
    raise ValueError("takes too long to read")


def ico_picture(data: bytes) -> int:
    """Return the offset of an icon's largest picture, by the sizes in its directory.

    Raises:
        ValueError: The directory lists no picture.
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

    They are text; a comment reaches to the end of its line.
    """
    text = re.sub(rb"#[^\r\n]*", b"", data[:MAX_TEXT])
    numbers: list[int] = []
    for number in text.split(None, 4)[1:4]:
        # int() takes "1_0" and "+1" as well; a million digits take long.
        if not re.fullmatch(rb"[0-9]{1,10}", number):
            break
        numbers.append(int(number))
    return numbers


class TiffDirectory:
    """The first directory of a TIFF, a BigTIFF, or of Exif.

    Args:
        data: The file.
        tags: The tags to find; the first entry of each counts.
        start: Where the TIFF begins in the file, in bytes.

    Attributes:
        following: The offset of the next directory; 0 for none.

    Raises:
        ValueError: It is truncated.
    """

    def __init__(self, data: bytes, tags: Collection[int], start: int = 0) -> None:
        self._data, self._start = data, start
        self._order = "<" if data.startswith(b"II", start) else ">"
        big = data[start + 2 : start + 4] in (b"+\0", b"\0+")
        self._address, short = ("Q", "Q") if big else ("I", "H")
        offset = start + self._unpack(self._address, start + (8 if big else 4))
        count = self._unpack(short, offset)
        first, step, width = (offset + 8, 20, 8) if big else (offset + 2, 12, 4)
        self._width = width
        self._entries: dict[int, tuple[int, int]] = {}  # type, and place
        for place in range(first, first + step * min(count, MAX_ENTRIES), step):
            tag, kind = unpack(self._order + "HH", data, place)
            if tag in tags:
                self._entries.setdefault(tag, (kind, place))
        end = first + step * count
        following = data[end : end + width]
        self.following = int.from_bytes(
            following, "little" if self._order == "<" else "big"
        )

    def _unpack(self, form: str, offset: int) -> int:
        number: int = unpack(self._order + form, self._data, offset)[0]
        return number

    def count(self, tag: int) -> int:
        """Return how many numbers a tag has; 0 when it is missing."""
        if tag not in self._entries:
            return 0
        return self._unpack(self._address, self._entries[tag][1] + 4)

    def number(self, tag: int, default: int | None = None) -> int:
        """Return the first number of a tag, or the default when it is missing.

        Raises:
            ValueError: It is truncated or no whole number, or missing without default.
        """
        if tag not in self._entries:
            if default is None:
                raise ValueError("has no width and height")
            return default
        kind, place = self._entries[tag]
        if kind not in _WHOLE_NUMBERS:
            raise ValueError("has no whole number for width or height")
        length, form = _WHOLE_NUMBERS[kind]
        count = self._unpack(self._address, place + 4)
        at = place + 4 + self._width
        if length * count > self._width:  # more than fits in: they are elsewhere
            at = self._start + self._unpack(self._address, at)
        return self._unpack(form, at)
