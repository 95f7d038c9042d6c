"""The memory for decoding is what the decoder allocates, not what the picture needs."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image, features

from request_images.exceptions import PictureRefused
from request_images.images.decode import opened
from request_images.images.footprint import (
    _codestream,
    footprint,
    footprint_of_opening,
)
from request_images.images.segments import components_of_first_scan
from tests.images.bombs import (
    jpeg2000_of_components,
    jpeg2000_of_tiles,
    tiff_of_one_tile,
)

needs_jpeg2000 = pytest.mark.skipif(
    not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000"
)


def saved(mode, image_format, size=(200, 100), **options):
    out = io.BytesIO()
    Image.new(mode, size).save(out, image_format, **options)
    return out.getvalue()


def reckoned(data, image_format):
    with Image.open(io.BytesIO(data)) as image:
        return footprint(image, data, image_format)


def refuse(data, max_bytes):
    with pytest.raises(
        PictureRefused, match=r"^decoding it takes \d+ bytes of memory$"
    ):
        opened(data, max_pixels=10**8, max_bytes=max_bytes).__enter__()


def test_tile_larger_than_the_picture_counts():
    """Kind: a header that says less than what is allocated."""
    data = tiff_of_one_tile(2000)
    assert reckoned(data, "TIFF") >= 4 * 2000 * 2000
    refuse(data, 4 * 2000 * 2000)


def test_strip_counts():
    data = saved("RGB", "TIFF", compression="tiff_deflate")
    assert reckoned(data, "TIFF") == 200 * 100 * (13 + 3)


@needs_jpeg2000
def test_each_tile_costs_more_than_its_pixels():
    data = jpeg2000_of_tiles(100)
    assert reckoned(data, "JPEG2000") > 10_000 * 12_000
    refuse(data, 10**8)


@needs_jpeg2000
def test_each_component_costs_more_than_its_pixels():
    assert _codestream(jpeg2000_of_components(16_384)) > 300 * 1024**2


@needs_jpeg2000
def test_codestream_counts_rather_than_the_box_around_it():
    """The box may say less."""
    data = bytearray(saved("RGB", "JPEG2000"))
    at = data.index(b"ihdr") + 4
    data[at : at + 8] = (10).to_bytes(4, "big") * 2
    assert _codestream(bytes(data)) > 200 * 100 * 25
    assert _codestream(bytes(data)) == _codestream(saved("RGB", "JPEG2000"))


@needs_jpeg2000
def test_codestream_is_found_by_its_box():
    """A copy of its first bytes in another box is no codestream."""
    data = saved("RGB", "JPEG2000")
    small = saved("RGB", "JPEG2000", (1, 1), no_jp2=True)
    at = data.index(b"jp2h") - 4
    decoy = struct.pack(">I4s", len(small) + 8, b"xml ") + small
    assert _codestream(data[:at] + decoy + data[at:]) == _codestream(data)
    assert _codestream(small) < _codestream(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x4f\xff\x51" + bytes(20),
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\1jp2c",
    ],
)
def test_missing_codestream_adds_nothing(data):
    assert _codestream(data) == 0


@needs_jpeg2000
@pytest.mark.parametrize(
    "options", [{"codeblock_size": (4, 4)}, {"precinct_size": (8, 8)}]
)
def test_small_blocks_cost_more_than_their_pixels(options):
    """The decoder keeps some hundred bytes for each, however small it is."""
    plain = saved("RGB", "JPEG2000", (512, 512))
    small = saved("RGB", "JPEG2000", (512, 512), **options)
    assert _codestream(small) > 1.8 * _codestream(plain)
    large = saved("RGB", "JPEG2000", (512, 512), precinct_size=(256, 256))
    assert _codestream(large) < 1.1 * _codestream(plain)


@needs_jpeg2000
@pytest.mark.parametrize("rest", [b"", b"\xff\x64\0\2" * 100, b"\xff\x52\0\x0c\1"])
def test_codestream_without_a_coding_style(rest):
    """The blocks are unknown; the pixels still count."""
    data = saved("RGB", "JPEG2000", no_jp2=True)
    head = data[: data.index(b"\xff\x52")]
    assert head.startswith(b"\xff\x4f")
    pixels = 200 * 100 * 25
    assert pixels < _codestream(head + rest) < pixels + 20_000


@needs_jpeg2000
def test_each_component_has_samples():
    """Thousands of components in one tile are as many pictures."""
    sizes = struct.pack(">HHIIIIIIIIH", 47, 0, 100, 100, 0, 0, 100, 100, 0, 0, 1000)
    assert _codestream(b"\xff\x4f\xff\x51" + sizes) > 100 * 100 * 1000 * 4


@pytest.mark.parametrize("kind", [3, 4])
def test_list_of_strips_costs_before_anything_is_decoded(kind):
    """Millions of strips of one pixel make Pillow list them when it opens the file."""
    count = 100_000
    tags = [(256, 4, 1, 1), (257, 4, 1, count), (273, kind, count, 38)]
    data = b"II*\0" + struct.pack("<IH", 8, len(tags))
    data += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    data += bytes(count * (2 if kind == 3 else 4))
    assert footprint_of_opening(data, "TIFF") > count * 300
    refuse(data, 20 * 1024**2)


def test_other_formats_are_opened_for_nothing():
    assert footprint_of_opening(saved("RGB", "PNG"), "PNG") == 0
    assert footprint_of_opening(saved("RGB", "TIFF"), "TIFF") < 10_000


def test_strips_are_not_larger_than_they_are():
    """A strip of few rows is small, whatever the picture is."""
    data = saved("RGB", "TIFF", (1000, 1000), compression="tiff_deflate")
    assert reckoned(data, "TIFF") < 1000 * 1000 * 13 + 100_000


def test_jpeg_within_a_tiff_may_have_several_scans():
    """Its coefficients are in memory besides the samples."""
    data = saved("RGB", "TIFF", compression="jpeg")
    assert reckoned(data, "TIFF") == 200 * 100 * (13 + 3 * 4)


def test_progressive_jpeg_is_in_memory_whole():
    """Its coefficients are, by the sampling of its colours; analysis needs most."""
    pixels = 200 * 100
    plain = saved("CMYK", "JPEG")
    progressive = saved("CMYK", "JPEG", progressive=True)
    assert reckoned(plain, "JPEG") == pixels * 9
    assert reckoned(progressive, "JPEG") == pixels * 12
    assert reckoned(saved("RGB", "JPEG", progressive=True), "JPEG") == pixels * 6
    full = saved("RGB", "JPEG", progressive=True, subsampling=0)
    assert reckoned(full, "JPEG") == pixels * 7


def test_jpeg_of_several_scans_is_in_memory_whole():
    """Also if it does not call itself progressive: each colour has its own scan."""
    data = saved("RGB", "JPEG", subsampling=0)
    assert reckoned(data, "JPEG") == 200 * 100 * 6
    scan = data.index(b"\xff\xda")
    one = b"\xff\xda" + struct.pack(">HB", 8, 1) + data[scan + 5 : scan + 7] + b"\0?\0"
    assert reckoned(data[:scan] + one + data[scan:], "JPEG") == 200 * 100 * 7
    assert components_of_first_scan(data[:scan]) == 0
