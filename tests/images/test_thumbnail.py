"""Thumbnails: a small WebP, or `PictureRefused` for any other bytes."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from request_images.exceptions import PictureRefused
from request_images.images import decode
from request_images.images.formats import FORMATS
from request_images.images.thumbnail import make_thumbnail
from tests.image_files import draw
from tests.traps import trap


def written(image: Image.Image, fmt: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def thumbnail(data: bytes, size: int = 64, max_pixels: int = 1_000_000) -> Image.Image:
    made = make_thumbnail(data, size=size, max_pixels=max_pixels)
    image = Image.open(io.BytesIO(made))
    assert image.format == "WEBP"
    return image


def near(pixel, expected) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(pixel, expected, strict=True))


@pytest.mark.parametrize(
    "fmt",
    [
        "AVIF",
        "BMP",
        "DDS",
        "GIF",
        "ICO",
        "JPEG",
        "JPEG2000",
        "PNG",
        "PPM",
        "TIFF",
        "WEBP",
    ],
)
def test_every_format(fmt):
    """Each format that Pillow can write is drawn, in its own proportions."""
    picture = Image.new("RGB", (40, 20), (200, 40, 60))
    options = {"sizes": [(40, 20)]} if fmt == "ICO" else {}
    small = thumbnail(written(picture, fmt, **options))
    assert small.size == (64, 32)
    assert near(small.convert("RGB").getpixel((30, 15)), (200, 40, 60))


def grey(mode: str, *values: int) -> Image.Image:
    """Return a picture of vertical bars, one for each value."""
    image = Image.new(mode, (len(values) * 8, 8))
    for index, value in enumerate(values):
        image.paste(value, (index * 8, 0, index * 8 + 8, 8))
    return image


def paletted(*indices: int) -> Image.Image:
    image = grey("P", *indices)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    return image


def rgba(colour=(200, 40, 60), alpha: int = 0) -> Image.Image:
    image = Image.new("RGBA", (16, 8), (*colour, 255))
    image.paste((0, 0, 0, alpha), (8, 0, 16, 8))
    return image


MODES = {
    "1": written(grey("1", 0, 1), "PNG"),
    "L": written(grey("L", 0, 255), "PNG"),
    "P": written(grey("L", 0, 255).convert("P"), "PNG"),
    "RGB": written(grey("L", 0, 255).convert("RGB"), "PNG"),
    "CMYK": written(grey("L", 0, 255).convert("RGB").convert("CMYK"), "JPEG"),
    "YCbCr": written(grey("L", 0, 255).convert("YCbCr"), "JPEG"),
    "I;16": written(grey("I;16", 100, 1000), "PNG"),
    "I;16B": written(grey("I;16B", 100, 1000), "TIFF"),
    "I": written(grey("I", -70_000, 70_000), "TIFF"),
    "F": written(grey("F", -5, 5), "TIFF"),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_grey_mode_is_scaled_to_black_and_white(mode):
    """The darkest becomes black and the lightest white, however deep the samples."""
    small = thumbnail(MODES[mode]).convert("RGB")
    assert small.size == (64, 32)
    assert near(small.getpixel((10, 16)), (0, 0, 0))
    assert near(small.getpixel((54, 16)), (255, 255, 255))


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_deep_picture_of_one_grey(mode):
    """A picture without contrast divides nothing by zero."""
    assert thumbnail(written(grey(mode, 700), "TIFF")).size == (64, 64)


@pytest.mark.parametrize(
    "data",
    [
        written(rgba(), "PNG"),
        written(rgba().convert("LA"), "PNG"),
        written(rgba(), "WEBP", lossless=True),
        written(paletted(3, 1), "PNG", transparency=1),
        written(paletted(3, 1), "GIF", transparency=1),
        written(grey("L", 3, 1), "PNG", transparency=1),
    ],
    ids=["RGBA", "LA", "WebP", "P", "GIF", "L"],
)
def test_transparency_is_kept(data):
    """Transparent parts stay transparent."""
    small = thumbnail(data)
    assert small.mode == "RGBA"
    assert small.getpixel((10, 16))[3] > 240
    assert small.getpixel((54, 16))[3] < 15


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(fmt):
    """A picture taken with a rotated camera is rotated."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 20, 20))
    small = thumbnail(written(picture, fmt, exif=exif)).convert("RGB")
    assert small.size == (32, 64)
    assert near(small.getpixel((16, 10)), (0, 0, 0))
    assert near(small.getpixel((16, 54)), (255, 255, 255))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\5\1\x12\0\3"]
)
def test_broken_exif_data(fmt, exif):
    """A picture with damaged Exif is drawn without rotation."""
    picture = Image.new("RGB", (40, 20), (200, 40, 60))
    small = thumbnail(written(picture, fmt, exif=b"Exif\0\0" + exif))
    assert small.size == (64, 32)
    assert near(small.convert("RGB").getpixel((30, 15)), (200, 40, 60))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_metadata_are_removed(fmt):
    """A thumbnail has no location, camera or profile."""
    exif = Image.Exif()
    exif[0x010E] = "where it was taken " * 50
    options = {"exif": exif, "icc_profile": b"p" * 50_000}
    made = make_thumbnail(
        written(Image.new("RGB", (40, 20)), fmt, **options), size=64, max_pixels=10**6
    )
    assert len(made) < 1000
    assert not {"exif", "icc_profile", "xmp"} & set(Image.open(io.BytesIO(made)).info)


@trap("HOSTILE9")
def test_picture_of_several():
    """HOSTILE9: a JPEG of several pictures, which Pillow calls by another name."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    small = thumbnail(
        written(frames[0], "MPO", save_all=True, append_images=frames[1:])
    )
    assert near(small.convert("RGB").getpixel((30, 30)), (255, 0, 0))


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG"])
def test_animation_is_its_first_frame(fmt):
    """One frame is decoded, and it is the first."""
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = written(frames[0], fmt, save_all=True, append_images=frames[1:])
    small = thumbnail(data)
    assert getattr(small, "n_frames", 1) == 1
    assert near(small.convert("RGB").getpixel((30, 30)), (255, 0, 0))


@pytest.mark.parametrize(("size", "small"), [((2000, 3), (64, 1)), ((1, 999), (1, 64))])
def test_thin_line_keeps_one_pixel(size, small):
    """Narrow crops, such as barcodes, have a thumbnail too."""
    assert thumbnail(draw(size=size)).size == small


@trap("HOSTILE8")
def test_too_many_pixels_are_refused_before_decoding(monkeypatch):
    """HOSTILE8: a small file that unfolds to gigabytes costs nothing."""
    data, loaded = draw(), []
    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded.append)
    with pytest.raises(PictureRefused, match="32 x 24 pixels"):
        make_thumbnail(data, size=64, max_pixels=32 * 24 - 1)
    assert loaded == []


@trap("HOSTILE8")
def test_too_many_pixels_are_refused_unopened(monkeypatch):
    """HOSTILE8: some of Pillow's readers reserve memory for the whole picture."""
    monkeypatch.setattr(decode, "find_opener", lambda name: pytest.fail("opened"))
    data = bytearray(draw("WEBP", lossless=True))
    data[21:25] = struct.pack("<I", 16_382 | 16_382 << 14)
    with pytest.raises(PictureRefused, match="16383 x 16383 pixels"):
        make_thumbnail(bytes(data), size=64, max_pixels=10**6)


def test_size_that_pillow_reads_is_limited_too():
    """A JPEG may have two frame headers; Pillow reads the last."""
    small = b"\xff\xc0\0\x0b\x08\0\5\0\5\1\1\x11\0"
    data = draw("JPEG", (300, 200))
    with pytest.raises(PictureRefused, match="300 x 200 pixels"):
        make_thumbnail(data[:2] + small + data[2:], size=64, max_pixels=1000)


def test_unreadable_header_is_refused():
    """A file without a size is not opened."""
    with pytest.raises(PictureRefused, match="its header is cut off"):
        make_thumbnail(draw()[:20], size=64, max_pixels=10**6)


def test_icon_with_a_false_size_is_refused():
    """An icon is 256 pixels wide at most, whatever the bitmap in it says."""
    bitmap = struct.pack("<IiiHH", 40, 300, 600, 1, 32) + bytes(24)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(bitmap), 22)
    with pytest.raises(PictureRefused, match="holds another size"):
        make_thumbnail(b"\0\0\1\0\1\0" + entry + bitmap, size=64, max_pixels=10**6)
    honest = draw("ICO", (16, 16), sizes=[(16, 16)], bitmap_format="bmp")
    assert thumbnail(honest).size == (64, 64)


def test_too_much_memory_is_refused_unopened(monkeypatch):
    """A WebP takes 17 bytes a pixel, a JPEG a third of that."""
    monkeypatch.setattr(decode, "find_opener", lambda name: pytest.fail("opened"))
    with pytest.raises(PictureRefused, match="32 x 24 pixels"):
        make_thumbnail(
            draw("WEBP"), size=64, max_pixels=10**6, max_bytes=32 * 24 * 17 - 1
        )
    monkeypatch.undo()
    for fmt, number in (("WEBP", 17), ("JPEG", 6)):
        data, enough = draw(fmt), 32 * 24 * number
        assert make_thumbnail(data, size=64, max_pixels=10**6, max_bytes=enough)


def test_each_format_has_a_memory_estimate():
    """Each format has a number."""
    assert set(decode.BYTES_PER_PIXEL) == set(FORMATS)


MEASURE = """
import io, resource, sys
from PIL import Image
from request_images.images.thumbnail import make_thumbnail

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

fmt, mode = sys.argv[1:]
data = sys.stdin.buffer.read()
small = io.BytesIO()
Image.new(mode, (40, 40)).save(small, fmt)
make_thumbnail(small.getvalue(), size=160, max_pixels=10**9)  # loads what it needs
before = most()
make_thumbnail(data, size=160, max_pixels=10**9)
print((most() - before) / 3000**2)
"""


@pytest.mark.parametrize(
    ("fmt", "mode", "options"),
    [
        ("AVIF", "RGBA", {"speed": 10}),
        ("BMP", "RGB", {}),
        ("GIF", "P", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG2000", "RGBA", {}),
        ("PNG", "LA", {"compress_level": 1}),
        ("PNG", "I;16", {"compress_level": 1}),
        ("TIFF", "I", {}),
        ("WEBP", "RGBA", {"lossless": True, "method": 0}),
    ],
)
def test_memory_stays_within_the_estimate(fmt, mode, options):
    """Measured in a process of its own, with a picture of nine megapixels."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, fmt, mode],
        input=written(Image.new(mode, (3000, 3000)), fmt, **options),
        capture_output=True,
        check=True,
        timeout=120,
    )
    # A little for what the allocator keeps.
    assert float(done.stdout) < decode.BYTES_PER_PIXEL[fmt] + 1


def test_largest_allowed_number_of_pixels():
    """The limit itself is allowed."""
    assert thumbnail(draw(), max_pixels=32 * 24).size == (64, 48)


def test_bytes_of_no_image_are_refused():
    """Text, and nothing at all, are no images."""
    for data in (b"", b"<html>", b"P6"):
        with pytest.raises(PictureRefused, match="not an image"):
            make_thumbnail(data, size=64, max_pixels=10**6)


def test_format_without_a_reader_is_refused(monkeypatch):
    """HEIF needs a plugin; without it the text says so."""
    heif = struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1")
    Image.init()
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(PictureRefused, match="this Pillow cannot read HEIF"):
        make_thumbnail(heif, size=64, max_pixels=10**6)


@trap("HOSTILE1")
def test_chunks_after_the_pixels_are_limited(monkeypatch):
    """HOSTILE1: a thousand chunks after the image are not read to the end."""
    profile = b"x\0\0" + zlib.compress(b"\0" * 100)
    checksum = zlib.crc32(b"iCCP" + profile)
    chunk = struct.pack(">I4s", len(profile), b"iCCP") + profile
    crafted = draw()[:-12] + (chunk + struct.pack(">I", checksum)) * 1000 + draw()[-12:]
    clock = itertools.count()
    monkeypatch.setattr(decode.time, "thread_time", lambda: next(clock) / 100)
    with pytest.raises(PictureRefused, match="decoding it takes too long"):
        thumbnail(crafted)
    assert next(clock) < 1100  # of a clock that goes a hundredth on at each look
    assert thumbnail(draw()).size == (64, 48)


SAMPLES = [
    draw(fmt)
    for fmt in (
        "AVIF",
        "BMP",
        "GIF",
        "ICO",
        "JPEG",
        "JPEG2000",
        "PNG",
        "PPM",
        "TIFF",
        "WEBP",
    )
]


@trap("HOSTILE10")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    st.floats(0.05, 1),
)
def test_hostile_bytes(data, changes, share):
    """HOSTILE10: damaged files give a thumbnail or `PictureRefused`, nothing else."""
    damaged = bytearray(data[: int(len(data) * share)])
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    try:
        thumbnail(bytes(damaged))
    except PictureRefused as error:
        assert str(error)  # noqa: PT017  # either way is right
