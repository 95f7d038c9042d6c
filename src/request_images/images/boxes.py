"""Headers of images built of ISO boxes: AVIF, HEIF and JPEG 2000.

AVIF and HEIF are ISO base media files (ISO/IEC 14496-12) of image items (ISO/IEC
23008-12); JPEG 2000 files (ISO/IEC 15444-1, annex I) have the same boxes. No plugin or
decoder is needed to read them. The readers work like those in `headers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .formats import SEQUENCE_BRANDS, HeaderInfo, brands_of
from .segments import unpack

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_STEPS = 4000
"""The most boxes and items that are read in one file. Honest files have some hundreds:
a picture of 200 megapixels has 800 tiles, each an item."""
_ALPHA_NAMES = (b"y:alpha", b"auxid:1")
"""The ends of "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" and
"urn:mpeg:hevc:2015:auxid:1"."""


class Box(NamedTuple):
    """A box: its kind, and the offsets of its content, in bytes."""

    kind: bytes
    start: int
    end: int


class Container:
    """A file of boxes, and the number of steps that are left for reading it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps_left = MAX_STEPS
        self.whole = Box(b"", 0, len(data))

    def step(self) -> None:
        """Count one step.

        Raises:
            ValueError: It is one too many.
        """
        self._steps_left -= 1
        if self._steps_left < 0:
            raise ValueError("takes too long to read")

    def number(self, offset: int, length: int) -> int:
        """Read a number of some bytes; those after the file's end are left out."""
        return int.from_bytes(self._data[offset : offset + length], "big")

    def text(self, start: int, end: int) -> bytes:
        """Return the bytes between two offsets."""
        return self._data[start:end]

    def boxes(self, parent: Box, skip: int = 0) -> Iterator[Box]:
        """Walk the boxes in a box, after the first ``skip`` bytes of its content.

        Raises:
            ValueError: A box is shorter than its own header, or reaches beyond its
                parent; or there are too many.
        """
        start, end = parent.start + skip, parent.end
        while start + 8 <= end:
            self.step()
            length, body = self.number(start, 4), start + 8
            if length == 1:
                length, body = self.number(body, 8), start + 16
            stop = start + length if length else end  # 0 stands for all that is left
            if not body <= stop <= end:
                raise ValueError("holds a box of a wrong length")
            yield Box(self._data[start + 4 : start + 8], body, stop)
            start = stop

    def find(self, kind: bytes, parent: Box, skip: int = 0) -> Box | None:
        """Return the first box of a kind in a box, or None."""
        return next((b for b in self.boxes(parent, skip) if b.kind == kind), None)


def read_heif(data: bytes, header: HeaderInfo, *, is_shown: bool) -> None:
    """Read the primary image of an AVIF or HEIF, or a sequence's first track.

    Args:
        data: The file.
        header: What is filled in; the size stays None when the file gives none.
        is_shown: Whether the size is that after cropping and rotation. Pillow's HEIF
            plugin gives that size, and for an AVIF the size before.
    """
    file = Container(data)
    meta = file.find(b"meta", file.whole)
    is_sequence = not SEQUENCE_BRANDS.isdisjoint(brands_of(data))
    if meta is None and (mini := file.find(b"mini", file.whole)):
        (bits,) = unpack(">Q", data, mini.start)
        _read_minimized(bits, header, is_shown=is_shown)
        return
    own, has_alpha = _item_properties(file, meta) if meta else ({}, False)
    extents, rotation = own.get(b"ispe"), own.get(b"irot")
    quarters = file.number(rotation, 1) & 3 if rotation else 0
    if extents:
        header.size = file.number(extents + 4, 4), file.number(extents + 8, 4)
        if is_shown:
            header.size = _shown_size(file, header.size, own.get(b"clap"), quarters)
    elif movie := file.find(b"moov", file.whole):
        header.size = _track_size(file, movie)
    if not own:
        header.describe("", is_animated=is_sequence, has_orientation=None)
        return
    # Pillow makes colours of an image that is grey and transparent.
    channels = own.get(b"pixi")
    is_grey = channels is not None and file.number(channels + 4, 1) == 1
    header.describe(
        "RGBA" if has_alpha else "L" if is_grey else "RGB",
        is_animated=is_sequence,
        has_orientation=quarters != 0 or b"imir" in own,
    )


def _read_minimized(bits: int, header: HeaderInfo, *, is_shown: bool) -> None:
    """Read the first 64 bits of a MinimizedImageBox, the whole header of a `mif3`."""
    has_alpha, subsampling = bits >> 58 & 1, bits >> 51 & 3
    orientation = (bits >> 48 & 7) + 1
    length = 15 if bits >> 47 & 1 else 7
    sides = [(bits >> 47 - length * n & (1 << length) - 1) + 1 for n in (1, 2)]
    is_turned = is_shown and orientation >= 5
    header.size = (sides[1], sides[0]) if is_turned else (sides[0], sides[1])
    mode = "RGB" if subsampling else "L"
    header.describe("RGBA" if has_alpha else mode, has_orientation=orientation != 1)


def _item_properties(file: Container, meta: Box) -> tuple[dict[bytes, int], bool]:
    """Read the properties of the primary item.

    Returns:
        The offset of each property's content by its kind, and whether the file holds
        an opacity for some item.
    """
    # Four bytes of version and flags begin meta, pitm, ipma, ispe and auxC.
    primary = file.find(b"pitm", meta, skip=4)
    properties = file.find(b"iprp", meta, skip=4)
    container = properties and file.find(b"ipco", properties)
    if not (primary and properties and container):
        return {}, False
    item = file.number(primary.start + 4, 4 if file.number(primary.start, 1) else 2)
    indices = _property_indices(file, properties, item)
    own, has_alpha = {}, False
    for index, box in enumerate(file.boxes(container), 1):
        if index in indices:
            own[box.kind] = box.start
        if box.kind == b"auxC":
            name = file.text(box.start + 4, min(box.end, box.start + 60))
            has_alpha = has_alpha or name.rstrip(b"\0").endswith(_ALPHA_NAMES)
    return own, has_alpha


def _property_indices(file: Container, properties: Box, item: int) -> set[int]:
    """Return the indices of an item's properties, counted from 1."""
    for box in file.boxes(properties):
        if box.kind != b"ipma":
            continue
        id_length = 4 if file.number(box.start, 1) else 2
        width = 2 if file.number(box.start + 3, 1) & 1 else 1
        offset = box.start + 8
        for _ in range(file.number(box.start + 4, 4)):
            file.step()
            first = offset + id_length + 1
            end = first + width * file.number(first - 1, 1)
            if file.number(offset, id_length) == item:
                mask = 0x7FFF if width == 2 else 0x7F  # the first bit: is it essential?
                places = range(first, end, width)
                return {file.number(place, width) & mask for place in places}
            offset = end
    return set()


def _shown_size(file: Container, size: Size, crop: int | None, quarters: int) -> Size:
    """Crop a size (``clap``, a fraction for each side), and rotate it (``irot``)."""
    width, height = size
    if crop:
        width = file.number(crop, 4) // (file.number(crop + 4, 4) or 1)
        height = file.number(crop + 8, 4) // (file.number(crop + 12, 4) or 1)
    return (height, width) if quarters & 1 else (width, height)


def _track_size(file: Container, movie: Box) -> Size | None:
    """Read the first track header with a size; that of sound has none."""
    for track in file.boxes(movie):
        if track.kind == b"trak" and (head := file.find(b"tkhd", track)):
            # Its last eight bytes, in 65,536ths of a pixel.
            width = file.number(head.end - 8, 4) >> 16
            height = file.number(head.end - 4, 4) >> 16
            if width and height:
                return width, height
    return None


def read_jpeg2000(data: bytes, header: HeaderInfo) -> None:
    """Read a JPEG 2000 file, or a bare codestream (its SIZ segment)."""
    file = Container(data)
    if data.startswith(b"\xff\x4f\xff\x51"):
        right, bottom, left, top = unpack(">4I", data, 8)
        header.size = right - left, bottom - top
        header.describe(_sample_mode(file.number(40, 2), file.number(42, 1)))
        return
    found: dict[bytes, int] = {}
    if parent := file.find(b"jp2h", file.whole):
        for box in file.boxes(parent):
            found.setdefault(box.kind, box.start)
            if box.kind == b"ihdr" and header.size is None:
                height, width = file.number(box.start, 4), file.number(box.start + 4, 4)
                header.size = width, height
    if header.size is None:
        raise ValueError("has no width and height")
    image, colours = found[b"ihdr"], found.get(b"colr")
    channels = file.number(image + 8, 2)
    mode = _sample_mode(channels, file.number(image + 10, 1))
    if b"pclr" in found:
        mode = {1: "P", 2: "PA"}.get(channels, "")
    elif colours is not None and channels == 4 and file.number(colours, 1) == 1:
        # An enumerated colour space; the 12th is CMYK.
        mode = "CMYK" if file.number(colours + 3, 4) == 12 else mode
    header.describe(mode)


def codestream(data: bytes) -> int:
    """Return the offset of a JPEG 2000's codestream; the file's length without one."""
    if data.startswith(b"\xff\x4f\xff\x51"):
        return 0
    file = Container(data)
    try:
        box = file.find(b"jp2c", file.whole)
    except ValueError:
        box = None
    return len(data) if box is None else box.start


def _sample_mode(channels: int, depth: int) -> str:
    """Return the mode for a number of channels, and the depth byte of the first."""
    one = "I;16" if (depth & 0x7F) + 1 > 8 else "L"
    return {1: one, 2: "LA", 3: "RGB", 4: "RGBA"}.get(channels, "")
