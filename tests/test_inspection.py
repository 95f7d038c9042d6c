"""Inspection: any bytes in, what they are out, never an exception, within a budget."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from request_images.formats import FORMATS, MIME_TYPES, sniff
from request_images.inspection import inspect
from request_images.pillow import BudgetedReader, BudgetExceeded

from .images import draw

WRITABLE = [
    ("AVIF", {}),
    ("BMP", {}),
    ("DDS", {}),
    ("GIF", {}),
    ("ICO", {"sizes": [(24, 24)]}),
    ("JPEG", {}),
    ("JPEG2000", {}),
    ("JPEG2000", {"no_jp2": True}),
    ("PNG", {}),
    ("PPM", {}),
    ("TIFF", {}),
    ("TIFF", {"big_tiff": True}),
    ("WEBP", {}),
]
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 24, 32, 8, 3) + bytes(14)
HEIF = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


@pytest.mark.parametrize(("name", "options"), WRITABLE)
def test_honest_files(name, options):
    """Type, size, dimensions and hash of every format that Pillow writes."""
    size = (24, 24) if name == "ICO" else (33, 21)
    data = draw(name, size, **options)
    info = inspect(data)
    assert info.format is FORMATS[name]
    assert (info.width, info.height, info.problem) == (*size, "")
    assert info.file_size == len(data)
    assert info.image_hash == hashlib.sha256(data).hexdigest()


def test_photoshop():
    """A format that Pillow reads and does not write."""
    info = inspect(PSD)
    assert (info.format.name, info.width, info.height) == ("PSD", 32, 24)


def test_format_without_a_reader():
    """HEIF wants a plugin of Pillow's: that is no fault of the image."""
    info = inspect(HEIF)
    assert info.format is FORMATS["HEIF"]
    assert (info.width, info.height, info.problem) == (None, None, "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"B",
        b"BM but not a bitmap at all, just text that begins so",
        b"P7 is a format of its own",
        b"\0\0\0\x18ftypisom\0\0\0\0isomiso2",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\0\0\0\0WAVE",
    ],
)
def test_no_image(data):
    """What shows no known signature is no image."""
    info = inspect(data)
    assert (info.format, info.problem) == (None, "not an image")


def test_no_pixels():
    """An image without pixels is none."""
    assert inspect(_canvas(0, 5)).problem


def _png_of_profiles(count):
    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    profile = b"p\0\0" + zlib.compress(bytes(1_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0))
        + chunk(b"iCCP", profile) * count
    )


HOSTILE = {
    "png with 2,000 colour profiles": lambda: _png_of_profiles(2000),
    "jpeg of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 4_000_000,
    "jpeg of empty segments": lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000,
    "gif of comments": lambda: draw("GIF")[:13] + b"!\xfe\1x\0" * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_run_out_of_budget(name):
    """Files that keep Pillow busy for seconds are given up."""
    info = inspect(HOSTILE[name]())
    assert "its header takes too" in info.problem
    assert info.width is None


def test_icon_that_lies():
    """An icon is 256 pixels wide at most, whatever the bitmap in it says."""
    bitmap = struct.pack("<IiiHHIIiiII", 40, 12_000, 24_000, 1, 32, 0, 0, 0, 0, 0, 0)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(bitmap), 22)
    info = inspect(b"\0\0\1\0\1\0" + entry + bitmap)
    assert "another size" in info.problem
    honest = draw("ICO", (16, 16), sizes=[(16, 16)], bitmap_format="bmp")
    assert inspect(honest).width == 16


def test_budget_of_bytes():
    """A reader that reads the same bytes over and over is stopped."""
    reader = BudgetedReader(bytes(1000), seconds=10, size=10_000)
    with pytest.raises(BudgetExceeded, match="too many bytes"):
        while True:
            reader.seek(0)
            reader.read()


def test_side_beyond_every_column():
    """A TIFF may say that it is four billion pixels wide."""
    data = bytearray(draw("TIFF", (32, 24)))
    tag = data.index(struct.pack("<HHII", 256, 4, 1, 32))
    data[tag + 8 : tag + 12] = struct.pack("<I", 2**32 - 1)
    assert inspect(bytes(data)).problem


def test_large_canvas_is_no_problem_to_inspect():
    """156 bytes may unfold to gigabytes; no pixel of it is decoded, nothing warns."""
    data = _canvas(40_000, 40_000)
    info = inspect(data)
    assert (info.width, info.height) == (40_000, 40_000)


def _canvas(width, height):
    out = io.BytesIO()
    Image.new("1", (8, 8)).save(out, "BMP")
    data = bytearray(out.getvalue())
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


SEEDS = [draw(name, (24, 24), **options) for name, options in WRITABLE] + [PSD, HEIF]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6
    ),
    length=st.integers(0, 600),
)
def test_no_exception_ever_leaves_inspection(seed, edits, length):
    """Mutated headers of every format: an answer, never an exception."""
    data = bytearray(seed)
    for position, patch in edits:
        data[position : position + len(patch)] = patch
    info = inspect(bytes(data[:length] if length > 500 else data))
    assert (info.width is None) == (info.height is None)


def test_formats_and_mime_types_are_one_to_one():
    """A MIME type leads back to its format."""
    assert len(MIME_TYPES) == len(FORMATS)


def test_brands():
    """The brands of the shared container tell AVIF, HEIF and others apart."""
    box = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"
    assert sniff(box).name == "AVIF"
    assert sniff(HEIF).name == "HEIF"
