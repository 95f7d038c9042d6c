"""Inspection: facts about any bytes, and never an exception."""

from __future__ import annotations

import hashlib
import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from request_images.images.formats import FORMATS, MIME_TYPES, sniff
from request_images.images.inspection import inspect
from request_images.images.segments import MAX_BLOCKS, MAX_SEGMENTS
from tests.image_files import draw
from tests.traps import trap

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


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


FTYP = box(b"ftyp", b"heic\0\0\0\0mif1heic")
ISPE = box(b"ispe", struct.pack(">III", 0, 33, 21))
THUMBNAIL = box(b"ispe", struct.pack(">III", 0, 3, 2))


def heif(*properties: bytes, wide: bool = False) -> bytes:
    """Return a HEIF of two items; the second is primary, the first its thumbnail.

    Args:
        properties: Boxes of the primary item.
        wide: Whether item numbers and property indices take more bytes.
    """
    item, index = ("I", "H") if wide else ("H", "B")
    own = range(2, 2 + len(properties))
    essential = 0x8000 if wide else 0x80
    ipma = struct.pack(f">B3BI{item}B{index}", wide, 0, 0, wide, 2, 1, 1, 1)
    ipma += struct.pack(f">{item}B", 2, len(own))
    ipma += b"".join(struct.pack(f">{index}", i | essential) for i in own)
    iprp = box(b"iprp", box(b"ipco", THUMBNAIL, *properties), box(b"ipma", ipma))
    pitm = box(b"pitm", struct.pack(f">B3x{item}", wide, 2))
    return FTYP + box(b"mdat", bytes(50)) + box(b"meta", bytes(4), pitm, iprp)


def movie(*tracks: tuple[int, int]) -> bytes:
    """Return a sequence of images, of tracks of these sizes."""
    sizes = (struct.pack(">II", w << 16, h << 16) for w, h in tracks)
    boxes = (box(b"trak", box(b"tkhd", bytes(76) + size)) for size in sizes)
    return FTYP + box(b"moov", box(b"mvhd", bytes(100)), *boxes, box(b"trak"))


def segments(count: int, end: bytes) -> bytes:
    """Return a JPEG of empty segments."""
    return b"\xff\xd8" + b"\xff\xe1\0\2" * count + end


def size_of(data: bytes) -> tuple[int | None, int | None]:
    info = inspect(data)
    assert info.problem == ""
    return info.width, info.height


@pytest.mark.parametrize(("name", "options"), WRITABLE)
def test_valid_file(name, options):
    """Type, size, dimensions and hash of every format that Pillow writes."""
    size = (24, 24) if name == "ICO" else (33, 21)
    data = draw(name, size, **options)
    info = inspect(data)
    assert info.format is FORMATS[name]
    assert (info.width, info.height, info.problem) == (*size, "")
    assert info.file_size == len(data)
    assert info.image_hash == hashlib.sha256(data).hexdigest()


@trap("HOSTILE9")
def test_picture_of_several():
    """HOSTILE9: Pillow has a name of its own for a JPEG of several; it is a JPEG."""
    out = io.BytesIO()
    first, second = (Image.new("RGB", (33, 21), colour) for colour in ("red", "blue"))
    first.save(out, "MPO", save_all=True, append_images=[second])
    assert Image.open(out).format == "MPO"
    assert inspect(out.getvalue()).format is FORMATS["JPEG"]
    assert size_of(out.getvalue()) == (33, 21)


def test_photoshop():
    """A format that Pillow reads and does not write."""
    info = inspect(PSD)
    assert (info.format.name, info.width, info.height) == ("PSD", 32, 24)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([w for w in WRITABLE if w[0] not in ("AVIF", "ICO")]),
    st.sampled_from(["1", "L", "P", "RGB", "RGBA"]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 8),
)
def test_size_equals_that_of_pillow(writable, mode, width, height, orientation):
    """What Pillow writes has the size that Pillow reads, rotated or not."""
    (name, options), out = writable, io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    try:
        Image.new(mode, (width, height)).save(out, name, exif=exif, **options)
    except OSError:
        return  # a format that does not know this mode
    with Image.open(out) as image:
        assert (inspect(out.getvalue()).format.name, *size_of(out.getvalue())) == (
            image.format,
            *image.size,
        )


CLAP = box(b"clap", struct.pack(">8I", 31, 1, 40, 2, 0, 1, 0, 1))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (heif(ISPE), (33, 21)),
        (heif(box(b"hvcC"), ISPE, wide=True), (33, 21)),
        (heif(ISPE, box(b"irot", b"\1")), (21, 33)),
        (heif(ISPE, box(b"irot", b"\2")), (33, 21)),
        (heif(ISPE, CLAP), (31, 20)),
        (heif(ISPE, CLAP, box(b"irot", b"\3")), (20, 31)),
        (movie((0, 0), (33, 21)), (33, 21)),
        (heif(box(b"hvcC")) + movie((33, 21))[len(FTYP) :], (33, 21)),
        (FTYP + b"\0\0\0\1mdat" + struct.pack(">Q", 16) + heif(ISPE)[24:], (33, 21)),
        (FTYP + heif(ISPE)[82:], (33, 21)),
    ],
    ids=[
        "item",
        "wide numbers",
        "turned",
        "upside down",
        "cropped",
        "cropped and turned",
        "track",
        "track of an item without a size",
        "long box",
        "without data",
    ],
)
def test_heif_without_plugin(data, size):
    """The size of a HEIF, as it is shown, is in its boxes: Pillow needs no plugin."""
    assert size_of(data) == size
    assert inspect(data).format is FORMATS["HEIF"]


def test_avif_size_equals_that_of_pillow():
    """The size of an AVIF is that before cropping and rotation, as in Pillow."""
    data = heif(ISPE, CLAP, box(b"irot", b"\1")).replace(b"heic", b"avif")
    assert size_of(data) == (33, 21)


@pytest.mark.parametrize(
    "data",
    [
        FTYP,
        FTYP + bytes(40),
        FTYP + box(b"meta"),
        FTYP + box(b"meta", bytes(4), box(b"pitm", bytes(6))),
        FTYP + box(b"meta", bytes(4), box(b"pitm"), box(b"iprp", box(b"ipco"))),
        heif(),
        movie((0, 0)),
    ],
)
def test_container_without_a_size(data):
    """A container without a size is not an error; the size is unknown."""
    assert size_of(data) == (None, None)


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_box_of_a_wrong_length(length):
    """A box is not shorter than its header, nor longer than its parent."""
    data = FTYP + struct.pack(">I4sQ", length, b"free", 8)
    assert inspect(data).problem == "its header holds a box of a wrong length"


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
    """Bytes without a known signature are no image."""
    info = inspect(data)
    assert (info.format, info.problem) == (None, "not an image")


def test_no_pixels():
    """An image without pixels is not valid."""
    assert inspect(_canvas(0, 5)).problem


def dib(width: int, height: int) -> bytes:
    return struct.pack("<Iii", 40, width, height) + bytes(28)


def icon(*pictures: tuple[int, int, int, bytes]) -> bytes:
    """Return an icon of pictures: side, colours and bits said, and what it is."""
    place, directory = 6 + 16 * len(pictures), b""
    for side, colours, bits, picture in pictures:
        entry = (side % 256, side % 256, colours, 0, 1, bits, len(picture), place)
        directory += struct.pack("<BBBBHHII", *entry)
        place += len(picture)
    body = b"".join(picture for *_, picture in pictures)
    return struct.pack("<HHH", 0, 1, len(pictures)) + directory + body


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (icon((16, 0, 32, dib(16, 32)), (256, 0, 32, draw(size=(250, 99)))), (250, 99)),
        (icon((16, 0, 32, dib(16, 32)), (16, 0, 8, dib(8, 16))), (8, 8)),
        (icon((16, 0, 0, dib(16, 32)), (16, 16, 0, dib(8, 16))), (8, 8)),
        (icon((16, 1, 0, dib(16, 32)), (16, 2, 0, dib(8, 16))), (8, 8)),
        (icon((16, 0, 32, dib(12_000, 24_000))), (12_000, 12_000)),
    ],
    ids=["large", "fewer bits", "fewer colours", "one colour", "lies"],
)
def test_icon(data, size):
    """An icon is its largest picture, of the fewest colours; what that says counts."""
    assert size_of(data) == size


GIF = b"GIF89a" + struct.pack("<HHBBB", 5, 6, 0x80, 0, 0) + bytes(6)
FRAME = b"," + struct.pack("<4H", 3, 4, 30, 10)
COMMENT = b"!\xfe\5hello\0"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (GIF + COMMENT + FRAME, (33, 14)),
        (GIF, (5, 6)),
        (GIF + b";", (5, 6)),
        (GIF + COMMENT[:-1], (5, 6)),
        (GIF + COMMENT * MAX_BLOCKS + FRAME, (5, 6)),
        (GIF + b"!\xfe" + b"\1x" * MAX_BLOCKS + b"\0" + FRAME, (5, 6)),
    ],
    ids=["frame", "screen only", "ends", "cut off", "many comments", "long comment"],
)
def test_gif_size_includes_the_first_frame(data, size):
    """A GIF is as large as its screen, or as its first frame where that is larger."""
    assert size_of(data) == size


SOF = b"\xff\xc2\0\x11\x08" + struct.pack(">HH", 21, 33)


@pytest.mark.parametrize(
    "data",
    [
        segments(3, SOF),
        segments(0, b"\xff\xff\xff" + SOF),
        segments(0, b"\xff\xd0\xff\0junk" + SOF),
        segments(0, b"\xff\xc4\0\4\xff\xc0" + SOF),
        segments(0, b"\xff\xe0\0\0" + SOF),
        segments(MAX_SEGMENTS - 2, SOF),
    ],
    ids=["segments", "fill", "junk", "table", "no length", "just enough"],
)
def test_jpeg_frame_header_is_found(data):
    """The frame header is found after all that may precede it."""
    assert size_of(data) == (33, 21)


FAR = bytes(65_000)


@trap("HOSTILE7")
@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"\xff\xd8" + 9 * (b"\xff\xe1\xfd\xea" + FAR) + draw("JPEG")[2:], (32, 24)),
        (FTYP + box(b"mdat", 9 * FAR) + heif(ISPE)[len(FTYP) :], (33, 21)),
        (draw()[:8] + b"\0\0\0\4CgBI" + bytes(8) + draw()[8:] + 9 * FAR, (32, 24)),
    ],
    ids=["jpeg", "heif", "png"],
)
def test_header_far_after_the_beginning(data, size):
    """HOSTILE7: the whole file is read, not only a first part."""
    assert size_of(data) == size


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (segments(MAX_SEGMENTS, SOF), "takes too long to read"),
        (segments(1, b"\xff\xda\0\2" + SOF), "has no frame before the picture"),
        (segments(1, b"\xff\x02" + SOF), "has no frame before the picture"),
        (segments(1, b"\0"), "has no frame before the picture"),
        (segments(1, SOF[:-1]), "is cut off"),
        (segments(1, b"\xff"), "is cut off"),
        (draw()[:20], "is cut off"),
        (draw()[:8] + bytes(90) + b"IHDR", "has no IHDR"),
        (b"\0\0\1\0\0\0", "lists no picture"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(40), "begins with no picture"),
        (b"P6\n#", "has no width and height"),
        (b"P6\n+5 5 255 ", "has no width and height"),
        (b"P6\n" + b"9" * 5000 + b" 5 255 ", "has no width and height"),
        (b"II*\0\x08\0\0\0\0\0", "has no width and height"),
        (b"II*\0\x08\0\0\0\1\0\0\1\2\0", "has no whole number for width"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, "is cut off"),
        (b"\xff\x4f\xff\x51" + bytes(9), "is cut off"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"jp2h"), "has no width and height"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "has no width and height"),
    ],
)
def test_unreadable_header(data, problem):
    """The problem says what is wrong, and the format is known."""
    info = inspect(data)
    assert info.format
    assert info.problem.startswith(f"its header {problem}")


def test_bitmaps():
    """Old headers have shorter numbers; rows from top to bottom a height below zero."""
    old = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 33, 21, 1, 24)
    assert size_of(old) == (33, 21)
    assert size_of(_canvas(33, -21)) == (33, 21)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "layout"), [(1, "B3x"), (3, "H2x"), (4, "I")])
@pytest.mark.parametrize(("turn", "size"), [(1, (33, 21)), (6, (21, 33))])
def test_tiff(order, kind, layout, turn, size):
    """Both byte orders, each integer type, rotated or not; the first entry counts."""
    entries = ((256, 33), (257, 21), (274, turn), (256, 99))
    data = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 4)
    for tag, value in entries:
        data += struct.pack(f"{order}HHI{layout}", tag, kind, 1, value)
    assert size_of(data) == size


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (1, "B3x"),
        (3, "H2x"),
        (4, "I"),
        (6, "b3x"),
        (8, "h2x"),
        (9, "i"),
        (13, "I"),
    ],
)
def test_tiff_tag_of_each_type_of_whole_numbers(order, kind, layout):
    """A side may have any type of whole number, with a sign or without; not below 1."""
    for height, problem in ((21, ""), (0, "33 x 0 pixels"), (-3, "33 x -3 pixels")):
        if height < 0 and layout[0] not in "bhi":
            continue
        data = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 2)
        data += struct.pack(f"{order}HHIH2x", 256, 3, 1, 33)
        data += struct.pack(f"{order}HHI{layout}", 257, kind, 1, height)
        assert inspect(data).problem == problem


@pytest.mark.parametrize("kind", [16, 17, 18])
def test_big_tiff_tag_of_each_type_of_64_bits(kind):
    """The types that only BigTIFF has."""
    data = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2)
    for tag, value in ((256, 33), (257, 21)):
        data += struct.pack("<HHQQ", tag, kind, 1, value)
    assert size_of(data) == (33, 21)


@pytest.mark.parametrize("kind", [2, 5, 7, 10, 11, 12, 14, 99])
def test_tiff_tag_of_another_type_is_no_side(kind):
    """Text, fractions and unknown types are no whole numbers."""
    data = b"II*\0" + struct.pack("<IHHHII", 8, 1, 256, kind, 1, 33)
    assert inspect(data).problem.startswith("its header has no whole number")


def test_big_tiff():
    """64-bit numbers, in both byte orders."""
    for order, mark in (("<", b"II"), (">", b"MM")):
        data = struct.pack(f"{order}2sHHHQQ", mark, 43, 8, 0, 16, 2)
        for tag, value in ((256, 33), (257, 21)):
            data += struct.pack(f"{order}HHQQ", tag, 16, 1, value)
        assert size_of(data) == (33, 21)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"icc_profile": b"x"}])
def test_webp(mode, options):
    """Lossy, lossless, and with a canvas before the picture."""
    out = io.BytesIO()
    Image.new(mode, (333, 21)).save(out, "WEBP", **options)
    assert size_of(out.getvalue()) == (333, 21)


def test_pnm_with_comments():
    """Comments and any white space, as Netpbm writes them and others do."""
    assert size_of(b"P5 # by\n# hand\r33\t#\n 21\n255\n#\n") == (33, 21)


def test_png_of_apple_with_its_own_chunk():
    """Apple's tools put a chunk of their own before IHDR."""
    data = draw(size=(33, 21))
    assert size_of(data[:8] + b"\0\0\0\4CgBI" + bytes(8) + data[8:]) == (33, 21)


def test_side_beyond_every_column():
    """A TIFF may say that it is four billion pixels wide."""
    data = bytearray(draw("TIFF", (32, 24)))
    tag = data.index(struct.pack("<HHII", 256, 4, 1, 32))
    data[tag + 8 : tag + 12] = struct.pack("<I", 2**32 - 1)
    assert inspect(bytes(data)).problem


@trap("HOSTILE8")
def test_large_canvas_is_no_problem_to_inspect():
    """HOSTILE8: a few bytes may unfold to gigabytes; no pixel of it is decoded."""
    data = _canvas(40_000, 40_000)
    info = inspect(data)
    assert (info.width, info.height) == (40_000, 40_000)


def _canvas(width, height):
    out = io.BytesIO()
    Image.new("1", (8, 8)).save(out, "BMP")
    data = bytearray(out.getvalue())
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


SEEDS = [draw(name, (24, 24), **options) for name, options in WRITABLE] + [
    PSD,
    heif(ISPE, CLAP, box(b"irot", b"\1")),
    heif(ISPE, wide=True),
    movie((0, 0), (33, 21)),
    icon((16, 0, 32, dib(16, 32)), (256, 0, 32, draw())),
    GIF + COMMENT + FRAME,
    segments(3, SOF),
]


@trap("HOSTILE10")
@settings(max_examples=600, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.binary(min_size=1, max_size=8)
            | st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0" * 4, b"\0\0\0\1"]),
        ),
        max_size=6,
    ),
    length=st.floats(0, 3),
)
def test_no_exception_ever_leaves_inspection(seed, edits, length):
    """HOSTILE10: mutated headers of every format: an answer, never an exception."""
    data = bytearray(seed)
    for share, patch in edits:
        position = int(share * min(len(seed), 500))
        data[position : position + len(patch)] = patch
    info = inspect(bytes(data[: int(length * len(data))]))
    assert (info.width is None) == (info.height is None)
    assert info.width is None or (info.width > 0 < info.height and not info.problem)


@trap("HOSTILE10")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from([seed[:16] for seed in SEEDS]), st.binary(max_size=300))
def test_no_exception_for_bytes_after_a_signature(beginning, rest):
    """HOSTILE10: any bytes after a signature: an answer, never an exception."""
    inspect(beginning + rest)


def test_formats_and_mime_types_are_one_to_one():
    """A MIME type leads back to its format."""
    assert len(MIME_TYPES) == len(FORMATS)


@pytest.mark.parametrize(
    ("brand", "is_sequence"),
    [
        *((brand, False) for brand in ("mif1", "mif2", "miaf", "heic", "heix", "heim")),
        *((brand, False) for brand in ("heis", "avci", "vvic", "evbi", "jpeg", "j2ki")),
        *((brand, True) for brand in ("msf1", "hevc", "hevx", "hevm", "hevs", "avcs")),
        *((brand, True) for brand in ("vvis", "evbs", "evms", "jpgs", "j2is")),
    ],
)
def test_each_registered_brand_of_heif(brand, is_sequence):
    """HEIF is a family: one brand for each coding, of images and of sequences."""
    data = box(b"ftyp", brand.encode(), bytes(4)) + heif(ISPE)[len(FTYP) :]
    info = inspect(data)
    assert (info.format.name, info.width, info.problem) == ("HEIF", 33, "")
    assert info.is_animated is is_sequence


def minimized(coding: bytes, bits: str) -> bytes:
    """Return a `mif3` by the bits of its header."""
    payload = int(bits.ljust(64, "0"), 2).to_bytes(8, "big")
    return box(b"ftyp", b"mif3", coding) + box(b"mini", payload)


SHORT = "0" * 11 + "01" + "000" + "0" + f"{32:07b}{20:07b}"
LONG = "00000" + "1" + "0" * 5 + "01" + "101" + "1" + f"{3999:015b}{20:015b}"
GREY = "0" * 11 + "00" + "010" + "0" + f"{32:07b}{20:07b}"


@pytest.mark.parametrize(
    ("coding", "bits", "expected"),
    [
        (b"heic", SHORT, ("HEIF", 33, 21, "RGB", False)),
        (b"\0\0\0\0", SHORT, ("HEIF", 33, 21, "RGB", False)),
        (b"avif", SHORT, ("AVIF", 33, 21, "RGB", False)),
        (b"heic", LONG, ("HEIF", 21, 4000, "RGBA", True)),
        (b"avif", LONG, ("AVIF", 4000, 21, "RGBA", True)),
        (b"heic", GREY, ("HEIF", 33, 21, "L", True)),
    ],
)
def test_minimized_header(coding, bits, expected):
    """A `mif3` names its coding in place of a version, and has one short header."""
    info = inspect(minimized(coding, bits))
    assert info.problem == ""
    assert expected == (
        info.format.name, info.width, info.height, info.color_mode, info.has_orientation
    )  # fmt: skip


def test_minimized_header_that_is_cut_off():
    """Its size is in the first eight bytes."""
    data = box(b"ftyp", b"mif3heic") + box(b"mini", bytes(3))
    assert inspect(data).problem == "its header is cut off"


def test_mif3_with_the_long_header():
    """The brand may stand before boxes as in any other HEIF."""
    data = box(b"ftyp", b"mif3heicmif1") + heif(ISPE)[len(FTYP) :]
    assert size_of(data) == (33, 21)


def test_brands_tell_avif_and_heif_apart():
    """The brands of the shared container tell AVIF, HEIF and others apart."""
    box = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"
    assert sniff(box).name == "AVIF"
    assert sniff(FTYP).name == "HEIF"
