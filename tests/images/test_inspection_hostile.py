"""Hostile files up to 10 MB: inspection takes little time and memory.

Each file keeps a careless reader busy, or makes it reserve memory. Pillow takes up to
50 seconds to open one.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import request_images
from request_images.images import inspection
from request_images.images.inspection import inspect
from tests.image_files import draw
from tests.traps import trap

LIMIT = 10 * 1024 * 1024
"""Bytes: the default size limit of one image."""


def full(head: bytes, unit: bytes, tail: bytes = b"") -> bytes:
    """Return a file of nearly `LIMIT` bytes: the same unit over and over."""
    return head + unit * ((LIMIT - len(head) - len(tail)) // len(unit)) + tail


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def nested(kind: bytes, depth: int) -> bytes:
    """Return boxes within boxes, like Russian dolls."""
    sizes = range(8 * depth, 0, -8)
    return b"".join(struct.pack(">I4s", size, kind) for size in sizes)


def webp(width: int, height: int) -> bytes:
    """Return an animation of one frame that says to be large."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    pixel = b"\x2f\0\0\0\0\x88\x88\x08"  # lossless, one transparent pixel
    image = b"VP8L" + struct.pack("<I", len(pixel)) + pixel
    body = b"\0" * 6 + b"\0" * 6 + b"\1\0\0\0" + image
    frame = b"ANMF" + struct.pack("<I", len(body)) + body
    animation = b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    head = b"WEBPVP8X" + struct.pack("<II", 10, 2) + sides
    return (
        b"RIFF"
        + struct.pack("<I", len(head + animation + frame))
        + (head + animation + frame)
    )


def tiff(*entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """Return a TIFF of entries (tag, type, count, value)."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + tail


def icon(count: int, picture: bytes) -> bytes:
    offset = 6 + 16 * count
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(picture), offset)
    return struct.pack("<HHH", 0, 1, count) + entry * count + picture


def heif(brand: bytes, *boxes: bytes) -> bytes:
    return b"".join((box(b"ftyp", brand + b"\0\0\0\0mif1"), *boxes))


def associations(count: int) -> bytes:
    """Return the box that ties items to properties, with none for the first item."""
    entries = struct.pack(">HBB", 2, 1, 1) * count
    return box(b"ipma", struct.pack(">II", 0, count) + entries)


def meta(*boxes: bytes) -> bytes:
    return box(
        b"meta", b"\0\0\0\0" + box(b"pitm", bytes(4) + b"\0\1") + b"".join(boxes)
    )


IHDR = b"\x89PNG\r\n\x1a\n" + chunk(
    b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 0, 0)
)
PROFILE = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1_000_000), 9))
TEXT = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9))
SIDES = ((256, 4, 1, 5), (257, 4, 1, 5))
GIF = b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0)
J2K = b"\xff\x4f\xff\x51" + struct.pack(
    ">HHIIIIIIIIHBBB", 41, 0, 5, 5, *[0] * 6, 1, 7, 1, 1
)
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHHI", 3, 24, 32, 8, 3, 0)
BITMAP = struct.pack("<IiiHHIIiiII", 40, 12_000, 24_000, 1, 32, 0, 0, 0, 0, 0, 0)

FILES = {
    "png of colour profiles": lambda: full(IHDR, PROFILE),
    "png of compressed text": lambda: full(IHDR, TEXT),
    "png of empty chunks": lambda: full(IHDR, chunk(b"tEXt")),
    "jpeg of fill bytes": lambda: full(b"\xff\xd8", b"\xff"),
    "jpeg of nothing": lambda: full(b"\xff\xd8\xff\xd0", b"\0"),
    "jpeg of escaped bytes": lambda: full(b"\xff\xd8", b"\xff\0"),
    "jpeg of restarts": lambda: full(b"\xff\xd8", b"\xff\xd0"),
    "jpeg of empty segments": lambda: full(b"\xff\xd8", segment(0xE1)),
    "jpeg of exif": lambda: full(
        b"\xff\xd8", segment(0xE1, b"Exif\0\0" + bytes(65_000))
    ),
    "jpeg of small exif": lambda: full(b"\xff\xd8", segment(0xE1, b"Exif\0\0xx")),
    "jpeg of photoshop resources": lambda: full(
        b"\xff\xd8", segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000)
    ),
    "gif of comments": lambda: full(GIF, b"!\xfe\1x\0"),
    "gif of one comment": lambda: full(GIF + b"!\xfe", b"\1x"),
    "tiff of the same megabytes": lambda: tiff(
        *SIDES,
        *((tag, 7, 5_000_000, 2_000) for tag in range(40_000, 40_100)),
        tail=bytes(5_100_000),
    ),
    "tiff of fractions": lambda: tiff(
        *SIDES, (40_000, 5, 1_200_000, 100), tail=bytes(LIMIT - 1_000)
    ),
    "tiff of many tags": lambda: full(
        tiff(*((tag, 3, 1, 5) for tag in range(65_535))), b"\0"
    ),
    "webp of 88 million pixels": lambda: webp(9_400, 9_400),
    "webp that is large": lambda: full(webp(5, 5), b"\0"),
    "avif of empty boxes": lambda: full(heif(b"avif"), box(b"free")),
    "avif of nested boxes": lambda: heif(b"avif", nested(b"meta", 50_000)),
    "avif of properties": lambda: heif(
        b"avif",
        meta(
            box(b"iprp", associations(1) + full(b"", box(b"ipco", box(b"free")))[:-99])
        ),
    ),
    "heif of associations": lambda: heif(
        b"heic", meta(box(b"iprp", box(b"ipco") + associations(2_500_000)))
    ),
    "heif of property lists": lambda: heif(
        b"heic", meta(box(b"iprp", box(b"ipco") + full(b"", associations(1))[:-99]))
    ),
    "heif of tracks": lambda: heif(
        b"msf1", box(b"moov", full(b"", box(b"trak", box(b"tkhd")))[:-99])
    ),
    "jpeg 2000 of boxes": lambda: full(JP2, box(b"free")),
    "jpeg 2000 of header boxes": lambda: (
        JP2 + box(b"jp2h", full(b"", box(b"free"))[:-99])
    ),
    "jpeg 2000 of palette": lambda: (
        JP2
        + box(
            b"jp2h",
            box(b"ihdr", struct.pack(">IIHBBBB", 5, 5, 1, 7, 7, 0, 0))
            + box(
                b"pclr",
                struct.pack(">HB255s", 65_535, 255, b"\7" * 255) + bytes(10_000_000),
            ),
        )
    ),
    "jpeg 2000 of segments": lambda: full(J2K, segment(0x5C)),
    "psd of resources": lambda: full(
        PSD + struct.pack(">I", 2**31), b"8BIM\4\4\0\0\0\0\0\0"
    ),
    "pnm of a comment": lambda: full(b"P6\n#", b"x"),
    "pnm of comments": lambda: full(b"P6\n", b"#\n"),
    "pnm of spaces": lambda: full(b"P6\n", b" "),
    "pnm of digits": lambda: full(b"P6\n", b"9"),
    "ico of entries": lambda: full(icon(65_535, IHDR), b"\0"),
    "ico of colour profiles": lambda: icon(1, full(IHDR, PROFILE)[:-99]),
    "ico of a large bitmap": lambda: full(icon(1, BITMAP), b"\0"),
    "bmp of palette": lambda: full(
        b"BM"
        + bytes(12)
        + BITMAP[:14]
        + struct.pack("<HIIiiII", 8, 0, 0, 0, 0, 65_536, 0),
        b"\1",
    ),
    "dds of palette": lambda: full(
        b"DDS "
        + struct.pack("<IIII", 124, 0, 5, 5)
        + bytes(56)
        + struct.pack("<II", 32, 32),
        b"\1",
    ),
}


@pytest.fixture
def _no_hash(monkeypatch):
    """Leave the hash out: it grows with the length, whatever stands in the file."""
    empty = SimpleNamespace(sha256=lambda data: hashlib.sha256())
    monkeypatch.setattr(inspection, "hashlib", empty)


@pytest.fixture(params=FILES)
def hostile(request):
    data = FILES[request.param]()
    assert len(data) <= LIMIT
    return data


def calls_of(function, argument) -> int:
    """Count the calls of Python and of C functions that a call leads to."""
    events: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: events.append(event))
    try:
        function(argument)
    finally:
        sys.setprofile(before)
    return events.count("call") + events.count("c_call")


class Watched(bytes):
    """A file that counts the bytes that are copied out of it, or searched."""

    copied = searched = 0

    def __getitem__(self, part):
        found = super().__getitem__(part)
        self.copied += 1 if isinstance(found, int) else len(found)
        return found

    def find(self, what, start=0, end=LIMIT):
        found = super().find(what, start, end)
        self.searched += (min(end, len(self)) if found < 0 else found) - start
        return found


@trap("HOSTILE1", "HOSTILE2", "HOSTILE3", "HOSTILE5")
@pytest.mark.usefixtures("_no_hash")
def test_time_is_bounded(hostile):
    """No file takes many steps, nor long ones: 50 ms of CPU is the promise.

    It is held by counts, which no machine changes: calls, of Python and of C functions,
    and the bytes that these work on: few are copied out of the file, and none is
    searched twice for a JPEG's next marker.
    """
    assert calls_of(inspect, hostile) < 60_000
    watched = Watched(hostile)
    inspect(watched)
    assert watched.copied < 100_000  # an icon's list of 64 kB, once
    assert watched.searched <= len(hostile)


@trap("HOSTILE1", "HOSTILE2", "HOSTILE3", "HOSTILE5")
def test_memory_is_bounded(hostile):
    """No file makes Python reserve a fifth of the promised 20 MB."""
    tracemalloc.start()
    try:
        inspect(hostile)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


@trap("HOSTILE4")
@pytest.mark.usefixtures("_no_hash")
def test_unknown_format_is_not_read():
    """HOSTILE4: PostScript keeps Pillow busy; here it is not an image."""
    data = full(b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%\n")
    assert inspect(data).problem == "not an image"
    assert calls_of(inspect, data) < 100


HONEST = {"JPEG": {"quality": 20}, "PNG": {"compress_level": 1}, "WEBP": {"method": 0}}


@trap("HOSTILE6")
@pytest.mark.usefixtures("_no_hash")
@pytest.mark.parametrize("fmt", HONEST)
def test_large_valid_file_takes_few_steps(fmt):
    """HOSTILE6: twelve megapixels take few steps, and no copy of the file."""
    data = draw(fmt, (4000, 3000), **HONEST[fmt])
    assert calls_of(inspect, data) < 200
    tracemalloc.start()
    try:
        info = inspect(data)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (info.width, info.height) == (4000, 3000)
    assert peak < len(data)


def test_hostile_file_has_a_size_or_a_problem(hostile):
    """The result has the size if it can be found, or a problem."""
    info = inspect(hostile)
    assert info.format
    assert (info.width is None) == info.problem.startswith("its header ")


MEASURE = """
import json, pathlib, resource, sys
from request_images.images.inspection import inspect

def peak():
    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

growth = {}
# From small to large, so that the file itself always is what takes the most so far.
for path in sorted(pathlib.Path(sys.argv[1]).iterdir(), key=lambda p: p.stat().st_size):
    data = path.read_bytes()
    before = peak()
    inspect(data)
    growth[path.name] = peak() - before
    del data
print(json.dumps([growth, sorted(sys.modules)]))
"""


@trap("HOSTILE8", "HOSTILE9")
def test_memory_of_the_process_is_bounded(tmp_path):
    """Memory outside Python's allocator does not grow either: Pillow is not loaded."""
    pytest.importorskip("resource", reason="Windows does not tell")
    for name, make in FILES.items():
        (tmp_path / name).write_bytes(make())
    root = Path(request_images.__file__).parents[1]
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        env={"PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
    )
    growth, modules = json.loads(out.stdout)
    assert len(growth) == len(FILES)
    assert max(growth.values()) < 20_000_000, growth
    assert "PIL" not in modules
