"""The process that decodes pictures: what it answers, and how it ends."""

from __future__ import annotations

import io
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import AvifImagePlugin, Image

from request_images.exceptions import DecoderUnavailable, PictureRefused
from request_images.images import decoder as module
from request_images.images import decoder_child
from request_images.images.decoder import Decoder
from request_images.images.measures import measure
from request_images.images.thumbnail import make_thumbnail
from tests.image_files import draw
from tests.images.bombs import jpeg2000_of_tiles, tiff_of_one_tile

MB = 1024 * 1024
THUMBNAIL = {"size": 160, "max_pixels": 10**7, "max_bytes": 256 * MB}
PICTURE = draw()


@pytest.fixture
def decoder():
    decoder = Decoder()
    yield decoder
    decoder.close()


def thumbnail(decoder, data=PICTURE, **options):
    return decoder.run("thumbnail", data, THUMBNAIL | options, max_bytes=256 * MB)[1]


def pid_of(decoder):
    return decoder._process.pid


def test_thumbnail_equals_the_inline_one(decoder):
    assert thumbnail(decoder) == make_thumbnail(PICTURE, **THUMBNAIL)


def test_measures_equal_the_inline_ones(decoder):
    found, _ = decoder.run("measures", PICTURE, {"max_pixels": 10**7}, max_bytes=MB)
    assert found == asdict(measure(PICTURE, max_pixels=10**7))


def test_refusal_equals_the_inline_one(decoder):
    with pytest.raises(PictureRefused, match=r"^32 x 24 pixels$"):
        thumbnail(decoder, max_pixels=9)
    with pytest.raises(PictureRefused, match="broken PNG file"):
        thumbnail(decoder, PICTURE[:40])


def test_one_process_decodes_all_pictures(decoder):
    thumbnail(decoder)
    first = pid_of(decoder)
    with pytest.raises(PictureRefused):
        thumbnail(decoder, b"no picture")
    thumbnail(decoder)
    assert pid_of(decoder) == first


def test_other_limits_start_another_process(decoder):
    thumbnail(decoder)
    first = pid_of(decoder)
    decoder.run("thumbnail", PICTURE, THUMBNAIL, max_bytes=MB)
    assert pid_of(decoder) != first


def test_process_ends_with_its_input(decoder):
    """It does not outlive the process that started it."""
    thumbnail(decoder)
    process = decoder._process
    decoder.close()
    assert process.returncode == 0
    decoder.close()  # a second time changes nothing


@pytest.fixture
def change(monkeypatch):
    """Return a function that changes the process before it decodes."""

    def change(*statements):
        popen = module.subprocess.Popen
        modules = "import os, signal, time\nfrom request_images.images import "
        modules += "decode, decoder_child"
        code = "\n".join((modules, *statements, "decoder_child.main()"))

        def start(arguments, **options):
            return popen([sys.executable, "-c", code, arguments[-1]], **options)

        monkeypatch.setattr(module.subprocess, "Popen", start)

    return change


def test_process_is_started_again_if_it_has_ended(decoder, change):
    """It had no work for a minute, say."""
    change("decoder_child.IDLE_SECONDS = 0.05")
    thumbnail(decoder)
    decoder._process.wait()
    assert thumbnail(decoder) == make_thumbnail(PICTURE, **THUMBNAIL)


def test_idle_process_leaves_no_zombie(decoder, change):
    """It is gone when it has ended without work, although nobody waits for it."""
    change("decoder_child.IDLE_SECONDS = 0.05")
    thumbnail(decoder)
    wait_until_gone(pid_of(decoder))


def wait_until_gone(pid):
    """Wait until a process has ended and its parent has noticed."""
    status, deadline = Path(f"/proc/{pid}"), time.monotonic() + 60
    while status.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not status.exists()


def test_process_returns_the_memory_of_each_picture(decoder):
    """What a large picture took does not count for the next one."""
    data = draw("WEBP", (2000, 2000), lossless=True)
    thumbnail(decoder)
    before = size_of(pid_of(decoder))
    thumbnail(decoder, data)
    assert size_of(pid_of(decoder)) < before + 8 * MB


def size_of(pid):
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_system_ends_the_process_before_others(decoder):
    """When the system lacks memory."""
    thumbnail(decoder)
    score = Path(f"/proc/{pid_of(decoder)}/oom_score_adj")
    assert score.read_text(encoding="ascii") == "1000\n"


def test_memory_is_limited_whatever_the_header_says(decoder, change):
    """Kind: a header that lies about what is allocated ends nothing but its decoding.

    The tile is of 400 MB, the picture of 10 x 10; the process has 64 MB.
    """
    change("decode.footprint = lambda *arguments: 0")
    data = tiff_of_one_tile(10_000)
    with pytest.raises(PictureRefused):
        decoder.run("thumbnail", data, THUMBNAIL, max_bytes=64 * MB)
    assert peak_of(pid_of(decoder)) < 200 * MB
    process = pid_of(decoder)
    decoder.run("thumbnail", PICTURE, THUMBNAIL, max_bytes=64 * MB)
    assert pid_of(decoder) == process


def peak_of(pid):
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_what_a_decoder_prints_is_not_seen(decoder, capfd):
    """Kind: no text of a stranger's file comes into the log of the server."""
    out = io.BytesIO()
    Image.new("L", (10, 10)).save(out, "TIFF", compression="tiff_deflate")
    data = out.getvalue()
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    bad = b"".join(
        (60_000 + number).to_bytes(2, "little") + b"\x63\0\1\0\0\0\0\0\0\0"
        for number in range(99)
    )
    tags = (count + 99).to_bytes(2, "little") + data[at + 2 : at + 2 + 12 * count] + bad
    data = data[:4] + len(data).to_bytes(4, "little") + data[8:] + tags + bytes(4)
    assert thumbnail(decoder, data)
    assert capfd.readouterr() == ("", "")
    make_thumbnail(data, **THUMBNAIL)
    assert "TIFF" in capfd.readouterr().err


ENDINGS = {
    "signal.SIGXCPU": (PictureRefused, "takes more than 20 seconds"),
    "signal.SIGSEGV": (PictureRefused, r"ends the decoder \(SIGSEGV\)"),
    "signal.SIGABRT": (PictureRefused, r"ends the decoder \(SIGABRT\)"),
    "signal.SIGKILL": (DecoderUnavailable, "was killed"),
    "40": (PictureRefused, r"ends the decoder \(signal 40\)"),
}


@pytest.fixture
def ends_with(change):
    """Return a function that lets the process do something instead of its work."""
    return lambda action: change(f"decoder_child.answer = lambda *a: {action}")


@pytest.mark.parametrize("number", ENDINGS)
def test_end_by_a_signal_has_its_reason(decoder, ends_with, number):
    ends_with(f"os.kill(os.getpid(), {number})")
    error, text = ENDINGS[number]
    with pytest.raises(error, match=text):
        thumbnail(decoder)


def test_end_by_itself_has_its_reason(decoder, ends_with):
    ends_with("os._exit(3)")
    with pytest.raises(PictureRefused, match=r"ends the decoder \(status 3\)"):
        thumbnail(decoder)


def test_end_without_a_reason_is_tried_twice(decoder, ends_with):
    ends_with("os._exit(0)")
    with pytest.raises(DecoderUnavailable, match="ends at once"):
        thumbnail(decoder)


def test_time_on_the_clock_is_limited(decoder, monkeypatch, ends_with):
    """Even if it needs no CPU."""
    monkeypatch.setattr(module, "WALL_SECONDS", 0.1)
    ends_with("time.sleep(60)")
    with pytest.raises(PictureRefused, match="takes more than 20 seconds"):
        thumbnail(decoder)


def test_answer_that_does_not_fit_is_no_answer(decoder, ends_with):
    ends_with("({'refused': '', 'is_full': True}, b'')")
    with pytest.raises(PictureRefused, match="takes more than 268435456 bytes"):
        thumbnail(decoder)


def test_interruption_leaves_no_answer_behind(decoder, monkeypatch):
    """The next picture does not get the thumbnail of the one before."""

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_exchange", stop)
        with pytest.raises(KeyboardInterrupt):
            thumbnail(decoder)
    assert decoder._process is None
    other = draw(seed=7)
    assert thumbnail(decoder, other) == make_thumbnail(other, **THUMBNAIL)


def test_process_that_cannot_be_started_is_an_error(decoder, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(DecoderUnavailable, match="cannot be started"):
        thumbnail(decoder)


def test_child_of_a_fork_leaves_the_process_to_its_parent(decoder):
    thumbnail(decoder)
    child = os.fork()
    if not child:  # pragma: no cover  # in the child
        decoder.forget()
        decoder.forget()  # a second time changes nothing
        os._exit(decoder._process is not None)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert thumbnail(decoder)


def test_forgotten_process_is_not_waited_for(decoder):
    thumbnail(decoder)
    process = decoder._process
    decoder.forget()
    decoder.forget()  # a second time changes nothing
    assert decoder._process is None
    assert (process.stdin.closed, process.stdout.closed) == (True, True)
    wait_until_gone(process.pid)  # its input is closed, so it ends


class TestPlugins:
    def test_plugins_of_pillow_are_not_listed(self):
        assert module.plugins() == {}

    @pytest.mark.parametrize(
        ("factory", "accept"),
        [
            (lambda file, name: None, None),
            (decoder_child.load, lambda head: True),
            (type("X", (), {}), None),
        ],
    )
    def test_plugin_that_cannot_be_named_prevents_a_process(
        self, monkeypatch, factory, accept
    ):
        monkeypatch.setitem(Image.OPEN, "OURS", (factory, accept))
        assert module.plugins() is None
        assert "another process cannot load a plugin" in module.why_unavailable()

    def test_registered_plugin_is_registered_in_the_process(self, decoder, monkeypatch):
        """As pillow-heif does it, from the project's settings or apps."""
        monkeypatch.setitem(Image.OPEN, "OURS", (tiff_of_one_tile, None))
        monkeypatch.setitem(Image.OPEN, "THEIRS", (jpeg2000_of_tiles, tiff_of_one_tile))
        name = tiff_of_one_tile.__module__
        known = {
            "OURS": (name, "tiff_of_one_tile", ""),
            "THEIRS": (name, "jpeg2000_of_tiles", "tiff_of_one_tile"),
        }
        assert module.plugins() == known
        assert thumbnail(decoder)
        # What it does there, here, with and without a Pillow that reads AVIF:
        monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", 0)
        decoder_child.load({})
        assert AvifImagePlugin.DEFAULT_MAX_THREADS == 1
        monkeypatch.setattr(Image, "ID", [])
        monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
        monkeypatch.delitem(sys.modules, "PIL.AvifImagePlugin", raising=False)
        decoder_child.load(known)
        assert Image.OPEN["OURS"] == (tiff_of_one_tile, None)
        assert Image.OPEN["THEIRS"] == (jpeg2000_of_tiles, tiff_of_one_tile)


class TestChild:
    """The code of the process, run in this one."""

    def test_message_arrives_as_it_was_sent(self):
        stream = io.BytesIO()
        decoder_child.send(stream, {"a": [1, "é"]}, b"\0\xff")
        stream.seek(0)
        assert decoder_child.receive(stream) == ({"a": [1, "é"]}, b"\0\xff")
        assert decoder_child.receive(stream) is None

    def test_child_does_each_work(self):
        question = {"work": "measures", "options": {"max_pixels": 10**7}}
        words, made = decoder_child.answer(question, PICTURE)
        assert words == {"found": asdict(measure(PICTURE, max_pixels=10**7))}
        assert made == b""
        question = {"work": "thumbnail", "options": THUMBNAIL}
        words, made = decoder_child.answer(question, PICTURE)
        assert (words, made) == ({"found": {}}, make_thumbnail(PICTURE, **THUMBNAIL))

    def test_child_answers_a_refusal(self):
        question = {"work": "thumbnail", "options": THUMBNAIL}
        words, made = decoder_child.answer(question, b"text")
        assert words == {"refused": "not an image", "is_full": False}
        assert made == b""

    @pytest.mark.parametrize("place", ["within Pillow", "elsewhere"])
    def test_child_answers_a_lack_of_memory(self, monkeypatch, place):
        def full(data, **options):
            if place == "elsewhere":
                raise MemoryError
            try:
                raise MemoryError
            except MemoryError as error:
                raise PictureRefused("MemoryError: ") from error

        monkeypatch.setitem(decoder_child.WORK, "thumbnail", full)
        words, _ = decoder_child.answer({"work": "thumbnail", "options": {}}, b"")
        assert words["is_full"]


class TestAvailability:
    def test_process_is_available_here(self):
        assert module.why_unavailable() == module.why_unlimited() == ""

    @pytest.mark.parametrize("name", ["", "/usr/sbin/uwsgi", "/usr/sbin/apache2"])
    def test_server_that_embeds_python_is_not_started_again(self, monkeypatch, name):
        monkeypatch.setattr(sys, "executable", name)
        assert "is not Python" in module.why_unavailable()
        assert module.why_unlimited() == module.why_unavailable()

    def test_system_without_limits_is_reported(self, monkeypatch, tmp_path):
        monkeypatch.setattr(decoder_child, "STATM", tmp_path / "statm")
        assert "cannot limit the memory" in module.why_unlimited()
