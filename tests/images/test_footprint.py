"""What decoding takes is reckoned by what the decoder allocates, not by the picture."""

from __future__ import annotations

import io

import pytest
from PIL import Image, features

from request_images.exceptions import PictureRefused
from request_images.images.decode import opened
from request_images.images.footprint import _codestream, footprint
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
    with (
        pytest.raises(PictureRefused, match=r"^decoding it takes \d+ bytes of memory$"),
        opened(data, max_pixels=10**8, max_bytes=max_bytes),
    ):
        pass


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
    assert _codestream(jpeg2000_of_components(16_384))[1] > 300 * 1024**2


@needs_jpeg2000
def test_codestream_counts_rather_than_the_box_around_it():
    """The box may say less."""
    data = bytearray(saved("RGB", "JPEG2000"))
    at = data.index(b"ihdr") + 4
    data[at : at + 8] = (10).to_bytes(4, "big") * 2
    assert _codestream(bytes(data))[0] == 200 * 100 * 25


@pytest.mark.parametrize("data", [b"", b"\xff\x4f\xff\x51" + bytes(20)])
def test_missing_codestream_adds_nothing(data):
    assert _codestream(data) == (0, 0)


def test_progressive_cmyk_is_in_memory_whole():
    plain = saved("CMYK", "JPEG")
    progressive = saved("CMYK", "JPEG", progressive=True)
    assert reckoned(plain, "JPEG") == 200 * 100 * 6
    assert reckoned(progressive, "JPEG") == 200 * 100 * 11
    assert reckoned(saved("RGB", "JPEG", progressive=True), "JPEG") == 200 * 100 * 6
