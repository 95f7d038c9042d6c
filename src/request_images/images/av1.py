"""The coded sizes of the pictures in an AVIF, which may exceed those in its boxes.

A decoder reserves memory by the sequence header of AV1 (AV1 Bitstream & Decoding
Process Specification, 5.5). Each picture of the file has one in its data.
"""

from __future__ import annotations

from collections.abc import Iterator

from .boxes import Box, Container, Size

MAX_HEAD = 65_536
"""The most bytes of a picture's data in which its sequence header is searched."""
MAX_UNITS = 100
"""The most units of a picture's data before its sequence header."""
_SEQUENCE_HEADER = 1


def coded_pixels(data: bytes) -> int:
    """Return the total number of pixels of the pictures in an AVIF.

    These are the picture, its opacity, its thumbnail and the tiles of a grid; or, if
    they are more, the first pictures of all tracks, which make up an animation. A
    picture without a sequence header has none.
    """
    file = Container(data)
    try:
        return max(map(_pixels, (_items(file), _tracks(file))))
    except ValueError:
        return 0  # no decoder reads it either


def _pixels(heads: Iterator[bytes]) -> int:
    sizes = filter(None, map(_find_size, heads))
    return sum(width * height for width, height in sizes)


def _items(file: Container) -> Iterator[bytes]:
    """Yield the first bytes of each item, by ``iloc`` (ISO/IEC 14496-12, 8.11.3)."""
    meta = file.find(b"meta", file.whole)
    box = meta and file.find(b"iloc", meta, skip=4)
    if not (meta and box):
        return
    inner = file.find(b"idat", meta, skip=4)
    reader = _Numbers(file, box.start)
    version = reader.next(4) >> 24
    lengths = reader.next(2)
    of_offset, of_length, of_base, of_index = (lengths >> n & 15 for n in (12, 8, 4, 0))
    for _ in range(reader.next(4 if version == 2 else 2)):
        reader.next(4 if version == 2 else 2)
        method = reader.next(2) & 15 if version else 0
        reader.next(2)
        base = reader.next(of_base)
        if method == 1 and inner is not None:
            base += inner.start
        head = b""
        for _ in range(reader.next(2)):
            reader.next(of_index if version else 0)
            start, length = base + reader.next(of_offset), reader.next(of_length)
            # A length of 0 stands for all that is left.
            end = min(length or MAX_HEAD, MAX_HEAD - len(head))
            head += file.text(start, start + end)
        yield head


def _tracks(file: Container) -> Iterator[bytes]:
    """Yield the first bytes of each track's first chunk."""
    movie = file.find(b"moov", file.whole)
    for track in file.boxes(movie) if movie else ():
        table: Box | None = track if track.kind == b"trak" else None
        for kind in (b"mdia", b"minf", b"stbl"):
            table = table and file.find(kind, table)
        for box in file.boxes(table) if table else ():
            if box.kind in (b"stco", b"co64"):
                width = 4 if box.kind == b"stco" else 8
                start = file.number(box.start + 8, width)
                yield file.text(start, start + MAX_HEAD)


class _Numbers:
    """Numbers that follow one another in a box."""

    def __init__(self, file: Container, offset: int) -> None:
        self._file, self._offset = file, offset

    def next(self, length: int) -> int:
        """Return the next number, which is `length` bytes long."""
        self._file.step()
        self._offset += length
        return self._file.number(self._offset - length, length)


def _find_size(data: bytes) -> Size | None:
    """Return the size in the first sequence header of a picture's data (5.3)."""
    offset = 0
    for _ in range(MAX_UNITS):
        head = data[offset : offset + 1]
        if not head:
            return None
        kind, has_extension, has_size = (
            head[0] >> 3 & 15,
            head[0] >> 2 & 1,
            head[0] >> 1 & 1,
        )
        offset += 1 + has_extension
        length = len(data) - offset
        if has_size:
            length, offset = _leb128(data, offset)
        if kind == _SEQUENCE_HEADER:
            return _sequence_size(data[offset : offset + min(length, 256)])
        offset += length
    return None


def _leb128(data: bytes, offset: int) -> tuple[int, int]:
    """Return a number of up to eight bytes (4.10.5), and the offset after it."""
    number = 0
    for index, byte in enumerate(data[offset : offset + 8]):
        number |= (byte & 127) << 7 * index
        if not byte & 128:
            return number, offset + index + 1
    return number, offset + 8


class _Bits:
    """Bits that follow one another; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data, "big"), len(data) * 8

    def next(self, count: int) -> int:
        """Return the next bits as a number."""
        self._left -= count
        shifted = self._bits >> self._left if self._left >= 0 else 0
        return shifted & ((1 << count) - 1)


def _sequence_size(data: bytes) -> Size:
    """Return the largest size of a frame (``sequence_header_obu``, 5.5.1)."""
    bits = _Bits(data)
    bits.next(3 + 1)  # profile, still picture
    if bits.next(1):  # the short form
        bits.next(5)
    else:
        _skip_operating_points(bits)
    widths = bits.next(4) + 1
    heights = bits.next(4) + 1
    return bits.next(widths) + 1, bits.next(heights) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_length = 0
    if bits.next(1):  # timing information
        bits.next(32 + 32)
        if bits.next(1):  # pictures at equal intervals: a number in Golomb's code
            zeros = 0
            while zeros < 32 and not bits.next(1):
                zeros += 1
            bits.next(zeros)
        if bits.next(1):  # the decoder's model
            delay_length = bits.next(5) + 1
            bits.next(32 + 5 + 5)
    has_delays = bits.next(1)
    for _ in range(bits.next(5) + 1):
        bits.next(12)
        if bits.next(5) > 7:  # the level; above 7 it has a tier
            bits.next(1)
        if delay_length and bits.next(1):
            bits.next(2 * delay_length + 1)
        if has_delays and bits.next(1):
            bits.next(4)
