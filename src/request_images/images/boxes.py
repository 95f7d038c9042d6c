"""Width and height out of images built of ISO boxes, in a bounded number of steps.

AVIF and HEIF are ISO base media files (ISO/IEC 14496-12) of image items (ISO/IEC
23008-12); JPEG 2000 files (ISO/IEC 15444-1, annex I) have the same boxes. None of them
needs a plugin or a decoder to tell its dimensions. As in `headers`, readers take the
whole file's bytes, copy none of them but a few, and raise `ValueError` only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_STEPS = 4000
"""Boxes and items that are looked at in one file. Honest files have some hundreds: a
picture of 200 megapixels has 800 tiles, each an item."""


class _Box(NamedTuple):
    """A box: its kind, and where its content is, in bytes from the file's beginning."""

    kind: bytes
    start: int
    end: int


class _Container:
    """A file of boxes, and how many steps are left for reading it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps_left = MAX_STEPS
        self.whole = _Box(b"", 0, len(data))

    def step(self) -> None:
        """Count one step.

        Raises:
            ValueError: It is one too many.
        """
        self._steps_left -= 1
        if self._steps_left < 0:
            raise ValueError("takes too long to read")

    def number(self, offset: int, length: int) -> int:
        """Read a number of some bytes; what the file has no more of is left out."""
        return int.from_bytes(self._data[offset : offset + length], "big")

    def boxes(self, parent: _Box, skip: int = 0) -> Iterator[_Box]:
        """Walk the boxes in a box, behind ``skip`` bytes of its own.

        Raises:
            ValueError: A box is shorter than its own beginning, or reaches beyond its
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
            yield _Box(self._data[start + 4 : start + 8], body, stop)
            start = stop

    def find(self, kind: bytes, parent: _Box, skip: int = 0) -> _Box | None:
        """Return the first box of a kind in a box, or None."""
        return next((b for b in self.boxes(parent, skip) if b.kind == kind), None)


def _avif(data: bytes) -> Size | None:
    """Read an AVIF; the sides are those before cropping and turning, as in Pillow."""
    return _picture(data, shown=False)


def _heif(data: bytes) -> Size | None:
    """Read a HEIF; the sides are those that are shown, as in Pillow's HEIF plugin."""
    return _picture(data, shown=True)


def _picture(data: bytes, *, shown: bool) -> Size | None:
    """Read the size of the primary image, or of a sequence's first track.

    Args:
        data: The file.
        shown: Whether to crop and turn the image as the file says.

    Returns:
        The size, or None when the file does not say any.
    """
    file = _Container(data)
    size = None
    if meta := file.find(b"meta", file.whole):
        size = _item_size(file, meta, shown=shown)
    if size is None and (movie := file.find(b"moov", file.whole)):
        size = _track_size(file, movie)
    return size


def _item_size(file: _Container, meta: _Box, *, shown: bool) -> Size | None:
    """Read the spatial extents (``ispe``) among the primary item's properties."""
    own = _own_properties(file, meta)
    if (extents := own.get(b"ispe")) is None:
        return None
    size = file.number(extents + 4, 4), file.number(extents + 8, 4)
    return _as_shown(file, own, size) if shown else size


def _own_properties(file: _Container, meta: _Box) -> dict[bytes, int]:
    """Return the primary item's properties: their kinds, and where their content is."""
    # Four bytes of version and flags begin meta, pitm, ipma and ispe.
    primary = file.find(b"pitm", meta, skip=4)
    properties = file.find(b"iprp", meta, skip=4)
    container = properties and file.find(b"ipco", properties)
    if not (primary and properties and container):
        return {}
    item = file.number(primary.start + 4, 4 if file.number(primary.start, 1) else 2)
    indices = _property_indices(file, properties, item)
    return {
        box.kind: box.start
        for index, box in enumerate(file.boxes(container), 1)
        if index in indices
    }


def _as_shown(file: _Container, properties: dict[bytes, int], size: Size) -> Size:
    """Crop a size (``clap``, a fraction for each side) and turn it (``irot``)."""
    width, height = size
    if crop := properties.get(b"clap"):
        width = file.number(crop, 4) // (file.number(crop + 4, 4) or 1)
        height = file.number(crop + 8, 4) // (file.number(crop + 12, 4) or 1)
    turn = properties.get(b"irot")
    quarters = file.number(turn, 1) if turn else 0
    return (height, width) if quarters & 1 else (width, height)


def _property_indices(file: _Container, properties: _Box, item: int) -> set[int]:
    """Return which properties an item has, counted from 1."""
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


def _track_size(file: _Container, movie: _Box) -> Size | None:
    """Read the first track header that says a size: that of sound says none."""
    for track in file.boxes(movie):
        if track.kind == b"trak" and (header := file.find(b"tkhd", track)):
            # Its last eight bytes, in 65,536ths of a pixel.
            width = file.number(header.end - 8, 4) >> 16
            height = file.number(header.end - 4, 4) >> 16
            if width and height:
                return width, height
    return None


class Item(NamedTuple):
    """What the primary image's properties say.

    Attributes:
        is_turned: Whether it is to be turned or mirrored (``irot``, ``imir``).
        has_alpha: Whether the file holds an opacity for some image.
        is_grey: Whether a pixel has one channel (``pixi``).
    """

    is_turned: bool
    has_alpha: bool
    is_grey: bool


def primary_item(data: bytes) -> Item | None:
    """Read what an AVIF or HEIF says of its primary image; None when it says nothing.

    Raises:
        ValueError: A box has a wrong length, or there are too many.
    """
    file = _Container(data)
    meta = file.find(b"meta", file.whole)
    own = _own_properties(file, meta) if meta else {}
    if not (meta and own):
        return None
    turn = own.get(b"irot")
    is_turned = b"imir" in own or bool(turn and file.number(turn, 1) & 3)
    properties = file.find(b"iprp", meta, skip=4)
    container = properties and file.find(b"ipco", properties)
    boxes = file.boxes(container) if container else ()
    has_alpha = any(
        # "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" or "urn:mpeg:hevc:2015:auxid:1"
        box.kind == b"auxC"
        and data[box.start + 4 : min(box.end, box.start + 60)].rstrip(b"\0")[-7:]
        in (b"y:alpha", b"auxid:1")
        for box in boxes
    )
    channels = own.get(b"pixi")
    is_grey = channels is not None and file.number(channels + 4, 1) == 1
    return Item(is_turned, has_alpha, is_grey)


def is_sequence(data: bytes) -> bool:
    """Tell whether an AVIF or HEIF is a sequence of images, by its brands."""
    brands = data[8 : min(int.from_bytes(data[:4], "big"), 64)]
    return any(
        brands[at : at + 4] in (b"avis", b"hevc", b"hevx", b"msf1")
        for at in range(0, len(brands), 4)
        if at != 4  # the minor version
    )


class Samples(NamedTuple):
    """What a pixel of a JPEG 2000 is made of.

    Attributes:
        channels: How many numbers.
        bits: How many bits the first of them has.
        is_cmyk: Whether they are inks.
        has_palette: Whether they stand for colours of a list.
    """

    channels: int
    bits: int
    is_cmyk: bool = False
    has_palette: bool = False


def jpeg2000_samples(data: bytes) -> Samples:
    """Read the SIZ segment, or ``ihdr``, ``colr`` and ``pclr``.

    Raises:
        ValueError: There is no header, or a box of a wrong length.
    """
    file = _Container(data)
    if _is_codestream(data):
        return Samples(file.number(40, 2), (file.number(42, 1) & 0x7F) + 1)
    header = file.find(b"jp2h", file.whole)
    boxes = {box.kind: box.start for box in file.boxes(header)} if header else {}
    image, colours = boxes.get(b"ihdr"), boxes.get(b"colr")
    if image is None:
        raise ValueError("has no width and height")
    return Samples(
        file.number(image + 8, 2),
        (file.number(image + 10, 1) & 0x7F) + 1,
        # Enumerated, and number 12 of the list.
        colours is not None
        and file.number(colours, 1) == 1
        and file.number(colours + 3, 4) == 12,
        b"pclr" in boxes,
    )


def _is_codestream(data: bytes) -> bool:
    return data.startswith(b"\xff\x4f\xff\x51")


def _jpeg2000(data: bytes) -> Size:
    """Read a JPEG 2000 file (``ihdr``), or a bare codestream (its SIZ segment)."""
    if _is_codestream(data):
        if len(data) < 24:
            raise ValueError("is cut off")
        right, bottom, left, top = struct.unpack_from(">4I", data, 8)
        return right - left, bottom - top
    file = _Container(data)
    header = file.find(b"jp2h", file.whole)
    image = file.find(b"ihdr", header) if header else None
    if image is None:
        raise ValueError("has no width and height")
    return file.number(image.start + 4, 4), file.number(image.start, 4)


SIZE_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "AVIF": _avif,
    "HEIF": _heif,
    "JPEG2000": _jpeg2000,
}
"""What reads each format, by the names in `formats`."""
