"""Smaller forms: the same bytes back, or a clear word; whatever the bytes are."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import random
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from request_images.conf import Conf
from request_images.exceptions import (
    DecodingFailed,
    EncodingRefused,
    EncodingUnavailable,
    ObjectDamaged,
    StorageError,
)
from request_images.images.formats import MIME_TYPES
from request_images.storage import encodings
from request_images.storage.encodings import ENCODINGS, decode, encode
from tests.image_files import draw
from tests.servers.running import ROOT

HAS_LEPTON = importlib.util.find_spec("lepton_jpeg_python") is not None
needs_lepton = pytest.mark.skipif(not HAS_LEPTON, reason="lepton is not there")
ZLIB, LEPTON = ENCODINGS["zlib"], ENCODINGS["lepton"]
JPEG = draw("JPEG", (64, 48))


def back(stored, name, data):
    digest = hashlib.sha256(data).hexdigest()
    return decode(stored, name, size=len(data), image_hash=digest)


def crc(form):
    return zlib.crc32(form).to_bytes(4, "big")


def swapped(data, old, new):
    assert data.count(old) == 1
    return data.replace(old, new)


# A scan that names a component twice is taken in, and comes back as another one.
OTHERS = swapped(JPEG, b"\x03\x01\x00\x02\x11\x03\x11", b"\x03\x01\x00\x03\x11\x03\x11")


class TestRegistry:
    def test_every_encoding_can_be_set(self):
        assert Conf.ENCODINGS.problem(tuple(ENCODINGS)) == ""

    def test_each_type_has_at_most_one(self):
        types = [t for each in ENCODINGS.values() for t in each.mime_types]
        assert len(types) == len(set(types))
        assert set(types) <= set(MIME_TYPES)

    def test_names_tell_encodings_apart(self):
        assert all(name == each.name for name, each in ENCODINGS.items())
        assert len({each.suffix for each in ENCODINGS.values()}) == len(ENCODINGS)

    @pytest.mark.parametrize(("name", "size"), [("brotli", 3), ("zlib", None)])
    def test_unknown_encoding_is_refused(self, name, size):
        """A later version, or a manual edit, wrote the row."""
        with pytest.raises(EncodingUnavailable, match="no encoding"):
            decode(b"abc", name, size=size, image_hash="")


@pytest.mark.parametrize("fmt", ["BMP", "TIFF", "PPM", "DDS"])
def test_zlib_round_trip(fmt):
    data = draw(fmt)
    stored = encode(data, ZLIB)
    assert len(stored) < len(data) / 2
    assert back(stored, "zlib", data) == data


def test_small_saving_is_refused():
    """A form that saves too little is not used."""
    with pytest.raises(EncodingRefused, match="zlib: it saves less than 5%"):
        encode(random.Random(1).randbytes(1000), ZLIB)


class TestDamage:
    DATA = draw("BMP")
    STORED = encode(DATA, ZLIB)

    @pytest.mark.parametrize(
        "stored",
        [
            b"",
            b"no zlib",
            STORED[:-1],
            STORED[: len(STORED) // 2],
            STORED + b"!",
            STORED[:-1] + bytes([STORED[-1] ^ 1]),
            zlib.compress(DATA + b"!"),
            zlib.compress(DATA[:-1]),
            zlib.compress(b"!" + DATA[1:]),
        ],
    )
    def test_damaged_zlib_is_detected(self, stored):
        with pytest.raises(ObjectDamaged) as caught:
            back(stored, "zlib", self.DATA)
        assert not caught.value.is_passing

    def test_zlib_bomb_is_refused(self, monkeypatch):
        """At most the received number of bytes is unpacked."""
        asked = []
        unpacker = zlib.decompressobj

        class Watched:
            def __init__(self):
                self._real = unpacker()

            def decompress(self, stored, most):
                asked.append(most)
                return self._real.decompress(stored, most)

            def __getattr__(self, name):
                return getattr(self._real, name)

        monkeypatch.setattr(encodings.zlib, "decompressobj", Watched)
        with pytest.raises(ObjectDamaged, match="does not have 2360 bytes"):
            decode(zlib.compress(bytes(10**8)), "zlib", size=2360, image_hash="")
        assert asked == [2361]

    @needs_lepton
    def test_damaged_lepton_is_detected(self):
        """A damaged form never reaches the library."""
        stored = encode(JPEG, LEPTON)
        chosen = random.Random(7)
        for _ in range(300):
            bad = bytearray(stored)
            bad[chosen.randrange(len(bad))] ^= 1 << chosen.randrange(8)
            with pytest.raises(ObjectDamaged, match="checksum"):
                back(bytes(bad), "lepton", JPEG)

    @pytest.mark.parametrize("stored", [b"", b"abc", b"not it", JPEG])
    def test_bytes_that_are_no_lepton_are_refused(self, stored):
        with pytest.raises(ObjectDamaged, match="checksum"):
            back(stored, "lepton", JPEG)


@needs_lepton
class TestLepton:
    @pytest.mark.parametrize(
        "data",
        [
            JPEG,
            draw("JPEG", (64, 48), progressive=True),
            draw("JPEG", (64, 48), restart_marker_blocks=2),
            draw("JPEG", (320, 240)) + b"something behind it" * 100,
            draw("JPEG", (320, 240))[:-20],
        ],
    )
    def test_lepton_round_trip(self, data):
        stored = encode(data, LEPTON)
        assert len(stored) < len(data)
        assert back(stored, "lepton", data) == data

    def test_wrong_result_is_detected(self):
        """The bytes are compared before the original is deleted."""
        with pytest.raises(EncodingRefused, match="other bytes would come back"):
            encode(OTHERS, LEPTON)

    def test_undecodable_result_is_refused(self, monkeypatch):
        """A form that cannot be decoded is not stored."""

        def failing(stored, size):
            raise DecodingFailed("no")

        monkeypatch.setattr(LEPTON, "decode", failing)
        with pytest.raises(EncodingRefused, match="does not come back"):
            encode(JPEG, LEPTON)

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "its header has no frame"),
            (b"\xff\xd8\xff", "its header is cut off"),
            (draw("PNG"), "its header"),
            (JPEG[: JPEG.index(b"\xff\xda")], "UnsupportedJpeg: Jpeg does not contain"),
        ],
    )
    def test_malformed_jpeg_is_refused(self, data, why):
        with pytest.raises(EncodingRefused, match=why):
            encode(data, LEPTON)

    def test_cmyk_is_refused(self):
        out = io.BytesIO()
        Image.new("CMYK", (64, 48)).save(out, "JPEG")
        with pytest.raises(EncodingRefused, match="Unsupported4Colors") as caught:
            encode(out.getvalue(), LEPTON)
        # For people: not where in its code that is.
        assert "\n" not in str(caught.value)
        assert "failed" not in str(caught.value)

    def test_too_many_pixels_are_refused(self):
        """The header shows that a small file needs gigabytes."""
        data = swapped(JPEG, b"\x08\x00\x30\x00\x40", b"\x08\x3e\x80\x3e\x80")
        with pytest.raises(EncodingRefused, match="too many pixels: 16000 x 16000"):
            encode(data, LEPTON)

    def test_too_many_bytes_are_refused(self, monkeypatch):
        monkeypatch.setattr(type(LEPTON), "MAX_BYTES", len(JPEG) - 1)
        with pytest.raises(EncodingRefused, match=f"too many bytes: {len(JPEG)}"):
            encode(JPEG, LEPTON)

    def test_too_many_scans_are_refused(self, monkeypatch):
        """Each scan visits all pixels, so a small file may take hours."""
        data = draw("JPEG", (64, 48), progressive=True)
        scans = data.count(b"\xff\xda")
        assert scans < LEPTON.MAX_SCANS / 2, "honest files have so many"
        last = data[data.rindex(b"\xff\xda") : -2]
        with pytest.raises(EncodingRefused, match="too many scans: 1010"):
            encode(data[:-2] + last * (1010 - scans) + data[-2:], LEPTON)
        monkeypatch.setattr(type(LEPTON), "MAX_SCANS", scans)
        assert back(encode(data, LEPTON), "lepton", data) == data

    def test_mangled_files_round_trip_or_are_refused(self):
        """Any change of a picture gives the same bytes, or a refusal."""
        chosen = random.Random(11)
        refused = 0
        for _ in range(1500):
            data = bytearray(JPEG)
            for _ in range(chosen.choice([1, 2, 9])):
                data[chosen.randrange(len(data))] = chosen.randrange(256)
            try:
                stored = encode(bytes(data), LEPTON)
            except EncodingRefused:
                refused += 1
            else:
                assert back(stored, "lepton", bytes(data)) == data
        assert 0 < refused < 1500

    def test_panic_of_the_library_is_caught(self, capfd):
        """A panic is no `Exception` and would end a thread or a process."""
        form = encode(JPEG, LEPTON)[:-4]
        size = int.from_bytes(form[24:28], "little")
        header = zlib.decompress(form[28 : 28 + size])
        assert header[:3] == b"HDR"
        behind = 7 + int.from_bytes(header[3:7], "little")
        bad = zlib.compress(b"HDR" + bytes(4) + header[behind:])
        form = form[:24] + len(bad).to_bytes(4, "little") + bad + form[28 + size :]
        with pytest.raises(DecodingFailed, match="index out of bounds"):
            back(form + crc(form), "lepton", JPEG)
        assert "panicked" in capfd.readouterr().err

    def test_error_outside_the_library_is_raised(self, monkeypatch):
        """An interrupt of the command is raised."""
        import lepton_jpeg_python

        def interrupted(data):
            raise KeyboardInterrupt

        monkeypatch.setattr(lepton_jpeg_python, "compress_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            encode(JPEG, LEPTON)

    @pytest.mark.parametrize(
        "answer", [b"others", OTHERS], ids=["another size", "the same size"]
    )
    def test_different_result_of_another_version(self, monkeypatch, answer):
        """The stored form is valid, and the version of the library is at fault."""
        import lepton_jpeg_python

        stored = encode(JPEG, LEPTON)
        monkeypatch.setattr(lepton_jpeg_python, "decompress_bytes", lambda form: answer)
        with pytest.raises(DecodingFailed) as caught:
            back(stored, "lepton", JPEG)
        assert not caught.value.is_passing


def test_missing_package_is_named(monkeypatch):
    """A missing package is no fault of the stored bytes."""

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(encodings, "import_module", missing)
    form = b"something"
    with pytest.raises(EncodingUnavailable, match=r"pip install .*\[lepton\]") as error:
        back(form + crc(form), "lepton", JPEG)
    assert isinstance(error.value, StorageError)
    with pytest.raises(EncodingUnavailable):
        encode(JPEG, LEPTON)


FORK = """
import os, warnings
warnings.simplefilter("ignore")
from request_images.storage.encodings import ENCODINGS
from request_images.exceptions import EncodingUnavailable
from tests.image_files import draw
lepton, data = ENCODINGS["lepton"], draw("JPEG", (64, 48))
stored = lepton.encode(data) if {used} else None
pid = os.fork()
if pid == 0:
    try:
        stored = stored or lepton.encode(data)
        print(lepton.decode(stored, len(data)) == data, flush=True)
    except EncodingUnavailable as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


@needs_lepton
def test_decoding_in_another_process(monkeypatch):
    """A child of a fork gets the instructions that the next test needs."""
    monkeypatch.setattr(LEPTON, "_process", 1)
    with pytest.raises(EncodingUnavailable, match="forked"):
        encode(JPEG, LEPTON)


@needs_lepton
@pytest.mark.parametrize(
    ("used", "said"), [(True, "forked from one that had used it"), (False, "True")]
)
def test_forked_child_does_not_hang(used, said):
    """The library's threads do not exist in the child of a fork."""
    done = subprocess.run(
        [sys.executable, "-c", FORK.format(used=used)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert said in done.stdout
