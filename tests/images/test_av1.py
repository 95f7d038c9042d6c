"""The size that AV1 codes: what the decoder will allocate, whatever the boxes say."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from request_images.exceptions import PictureRefused
from request_images.images.av1 import coded_pixels
from request_images.images.decode import opened
from tests.images.test_inspection import box

needs_avif = pytest.mark.skipif(
    not features.check("avif"), reason="this Pillow has no AVIF"
)


def saved(size=(300, 200), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size).save(out, "AVIF", speed=10, quality=1, **options)
    return out.getvalue()


def bits(*numbers: tuple[int, int]) -> bytes:
    """Return numbers, each of some bits, in one row."""
    text = "".join(f"{number:0{count}b}" for number, count in numbers)
    return int(text + "1" * (-len(text) % 8), 2).to_bytes((len(text) + 7) // 8, "big")


def unit(kind: int, data: bytes, *, has_size: bool = True, extension=b"") -> bytes:
    """Return a unit (OBU) of AV1."""
    head = kind << 3 | bool(extension) << 2 | has_size << 1
    size = bytes([len(data) & 127 | 128, len(data) >> 7]) if has_size else b""
    return bytes([head]) + extension + size + data


SIDES = ((15, 4), (15, 4), (8191, 16), (4095, 16))
SHORT = bits((0, 3), (1, 1), (1, 1), (4, 5), *SIDES)
LONG = bits((0, 5), (0, 1), (0, 1), (0, 5), (0, 12), (4, 5), *SIDES)
TIMED = bits(
    *((0, 5), (1, 1), (1, 32), (30, 32), (1, 1), (1, 3), (1, 2)),  # timing
    *((1, 1), (9, 5), (1, 32), (9, 5), (9, 5)),  # the decoder's model, of ten bits
    *((1, 1), (1, 5)),  # delays, and two operating points
    *((0, 12), (8, 5), (1, 1), (1, 1), (0, 21), (1, 1), (9, 4)),
    *((0, 12), (4, 5), (0, 1), (0, 1)),
    *SIDES,
)
TIMED_AT_ANY_INTERVAL = bits(
    (0, 5), (1, 1), (1, 32), (30, 32), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (4, 5),
    *SIDES,
)  # fmt: skip


def avif(data: bytes, version: int = 0, *, within: bool = False, parts: int = 1):
    """Return an AVIF of one item, without the boxes that say what it is."""
    ftyp = box(b"ftyp", b"avif\0\0\0\0avif")
    sizes = [len(data) // parts] * (parts - 1)
    sizes.append(len(data) - sum(sizes))

    def location(start: int) -> bytes:
        number = "I" if version == 2 else "H"
        extents, offset = b"", 0
        for size in sizes:
            # An index belongs to an extent from the first version on.
            extents += b"\0" * (version > 0) + struct.pack(">II", start + offset, size)
            offset += size
        return box(
            b"iloc",
            struct.pack(f">B3xBB{number}{number}", version, 0x44, version > 0, 1, 1),
            struct.pack(">H", within) * (version > 0),
            struct.pack(">HH", 0, parts),
            extents,
        )

    idat = box(b"idat", data) if within else b""
    meta = box(b"meta", bytes(4), location(0), idat)
    start = 0 if within else len(ftyp) + len(meta) + 8
    meta = box(b"meta", bytes(4), location(start), idat)
    return ftyp + meta + (b"" if within else box(b"mdat", data))


@pytest.mark.parametrize(
    "header", [SHORT, LONG, TIMED, TIMED_AT_ANY_INTERVAL], ids=["a", "b", "c", "d"]
)
def test_each_form_of_the_header(header):
    """Short, long, and with all that may stand before the size."""
    assert coded_pixels(avif(unit(1, header))) == 8192 * 4096


@pytest.mark.parametrize(
    "data",
    [
        unit(1, SHORT, has_size=False),
        unit(1, SHORT, extension=b"\0"),
        unit(2, b"") + unit(1, SHORT),
        unit(5, bytes(300)) + unit(1, SHORT) + unit(3, b"rest"),
    ],
)
def test_units_before_the_header_are_passed(data):
    """A delimiter, metadata, or none."""
    assert coded_pixels(avif(data)) == 8192 * 4096


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("parts", [1, 3])
def test_each_form_of_a_location(version, parts):
    """The data may be in pieces, or within the header's own box."""
    data = unit(1, SHORT)
    assert coded_pixels(avif(data, version, parts=parts)) == 8192 * 4096
    if version:
        assert coded_pixels(avif(data, version, within=True)) == 8192 * 4096


@pytest.mark.parametrize(
    "data",
    [
        b"",
        box(b"ftyp", b"avif"),
        box(b"ftyp", b"avif") + box(b"meta", bytes(4)),
        box(b"ftyp", b"avif") + box(b"moov", box(b"mvhd"), box(b"trak")),
        avif(b""),
        avif(unit(3, b"picture")),
        avif(unit(2, b"") * 200 + unit(1, SHORT)),
        avif(b"\x0a" + b"\xff" * 8),
        box(b"ftyp", b"avif") + b"\0\0\0\1moov",
    ],
)
def test_picture_without_a_header_counts_as_nothing(data):
    """No decoder reads it, or only the process's limit is left."""
    assert coded_pixels(data) in (0, 1)


def test_too_many_items_are_no_work():
    """A table of locations that has no end costs nothing."""
    table = box(b"iloc", bytes(4) + b"\x44\0\xff\xff" + bytes(400_000))
    assert coded_pixels(box(b"ftyp", b"avif") + box(b"meta", bytes(4), table)) == 0


@needs_avif
@pytest.mark.parametrize(("mode", "planes"), [("RGB", 1), ("L", 1), ("RGBA", 2)])
def test_each_picture_counts(mode, planes):
    """An opacity is a picture of its own."""
    assert coded_pixels(saved(mode=mode)) == 300 * 200 * planes


def animation(kind: bytes, offset: int, data: bytes) -> bytes:
    """Return a track without samples but for its first, at an offset."""
    number = ">I" if kind == b"stco" else ">Q"
    table = box(kind, bytes(4), struct.pack(">I", 1), struct.pack(number, offset))
    media = box(b"mdia", box(b"minf", box(b"stbl", box(b"stts"), table)))
    movie = box(b"moov", box(b"mvhd"), box(b"trak", media))
    return box(b"ftyp", b"avis") + movie + box(b"mdat", data)


@pytest.mark.parametrize("kind", [b"stco", b"co64"])
def test_first_picture_of_a_track_counts(kind):
    """Animations have their pictures outside of all items."""
    data = unit(1, SHORT)
    start = len(animation(kind, 0, b""))
    assert coded_pixels(animation(kind, start, data)) == 8192 * 4096


@needs_avif
def test_animation_counts_once():
    """The first picture is in its track, and is an item as well."""
    frame = Image.new("RGB", (300, 200), "red")
    assert coded_pixels(saved(save_all=True, append_images=[frame])) == 300 * 200


@needs_avif
def test_false_size_is_refused_before_decoding():
    """Kind: a box that says less than what is coded."""
    data = bytearray(saved((2048, 2048)))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 10, 10)
    with pytest.raises(PictureRefused, match=r"^decoding it takes 25165824 bytes"):
        opened(bytes(data), max_pixels=10**8, max_bytes=2048 * 2048 * 6 - 1).__enter__()


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_raise(data, at):
    """Whatever a stranger writes is a number."""
    assert coded_pixels(data) >= 0
    whole = avif(unit(1, SHORT))
    assert coded_pixels(whole[:at] + data + whole[at + len(data) :]) >= 0
