"""Small files that make a decoder allocate much more than their header says."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def tiff_of_one_tile(side: int, claimed: int = 10) -> bytes:
    """Return a TIFF of a small picture in one deflated tile of RGBA."""
    packer, row = zlib.compressobj(9), bytes(4 * side)
    tile = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    short, long = 3, 4
    entries = [
        (256, short, 1, claimed),
        (257, short, 1, claimed),
        (258, short, 4, None),
        (259, short, 1, 8),
        (262, short, 1, 2),
        (277, short, 1, 4),
        (322, long, 1, side),
        (323, long, 1, side),
        (324, long, 1, None),
        (325, long, 1, len(tile)),
        (338, short, 1, 2),
    ]
    depths_at = 8 + 2 + 12 * len(entries) + 4
    values = {258: depths_at, 324: depths_at + 8}
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        number = values.get(tag, value)
        packed = (
            struct.pack("<HH", number, 0)
            if (kind, count) == (short, 1)
            else struct.pack("<I", number)
        )
        directory += struct.pack("<HHI", tag, kind, count) + packed
    head = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)
    return head + struct.pack("<4H", 8, 8, 8, 8) + tile


def jpeg2000_of_tiles(side: int) -> bytes:
    """Return a JPEG 2000 in tiles of one pixel."""
    out = io.BytesIO()
    picture = Image.new("RGB", (side, side))
    picture.save(out, "JPEG2000", tile_size=(1, 1), num_resolutions=1)
    return out.getvalue()


def jpeg2000_of_components(count: int, tiles: int = 20) -> bytes:
    """Return a JPEG 2000 with more components in its codestream than in its box."""
    out = io.BytesIO()
    picture = Image.new("RGB", (tiles, 1))
    picture.save(out, "JPEG2000", tile_size=(1, 1), num_resolutions=1)
    data = out.getvalue()
    at = data.index(b"\xff\x4f\xff\x51") + 2
    (length,) = struct.unpack_from(">H", data, at + 2)
    segment = (
        b"\xff\x51"
        + struct.pack(">H", 38 + 3 * count)
        + data[at + 4 : at + 38]
        + struct.pack(">H", count)
        + b"\x07\x01\x01" * count
    )
    return data[:at] + segment + data[at + 2 + length :]
