"""Decoding in a separate process, which a hostile picture may exhaust or crash.

Limits that are computed from a header fail for a file that nobody has foreseen. The
limits of a process hold for every file.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from PIL import Image

from request_images.exceptions import (
    DecoderKilled,
    DecoderUnavailable,
    PictureRefused,
)

from . import decoder_child
from .decode import find_opener

SECONDS = 20
"""The CPU time that decoding one picture may take, in seconds."""
WALL_SECONDS = 60.0
"""The time that it may take on a busy machine, in seconds."""

_MODULE = decoder_child.__name__
_PYTHON = re.compile(r"(python|pypy)[\d.]*(\.exe)?", re.IGNORECASE)


class Decoder:
    """One process that decodes one picture at a time.

    The first picture starts the process. It ends after a minute without work, or when a
    picture exhausts or crashes it. The next picture then starts another one.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = ""
        self._lock = threading.Lock()

    def run(
        self, work: str, data: bytes, options: Mapping[str, Any], *, max_bytes: int
    ) -> decoder_child.Answer:
        """Decode a picture.

        Args:
            work: A name in `decoder_child.WORK`.
            data: The image's bytes.
            options: The keyword arguments of that work.
            max_bytes: The memory that it may take, in bytes.

        Returns:
            What was found, and what was made.

        Raises:
            PictureRefused: It cannot be decoded within the limits; the text says why.
            DecoderUnavailable: The process cannot be started, or was killed.
        """
        with self._lock:
            reply = self._ask(work, data, options, max_bytes)
            if reply is None:  # it ended just before, because it had no work
                reply = self._ask(work, data, options, max_bytes)
            if reply is None:
                raise DecoderUnavailable("the process that decodes ends at once")
        words, made = reply
        if "found" in words:
            return words["found"], made
        if words["is_full"]:
            raise PictureRefused(f"decoding it takes more than {max_bytes} bytes")
        raise PictureRefused(words["refused"])

    def _ask(
        self, work: str, data: bytes, options: Mapping[str, Any], max_bytes: int
    ) -> decoder_child.Answer | None:
        process = self._started(max_bytes)
        try:
            with _ended_after(process, WALL_SECONDS) as is_late:
                reply = _exchange(process, {"work": work, "options": options}, data)
        except BaseException:  # such as KeyboardInterrupt: its answer may still come
            self.close(kill=True)
            raise
        if reply is not None:
            return reply
        self.close()
        code = process.returncode
        if is_late or code == -getattr(signal, "SIGXCPU", 0):
            raise PictureRefused(f"decoding it takes more than {SECONDS} seconds")
        if code == -signal.SIGKILL:
            raise DecoderKilled("the process that decodes was killed")
        if code:
            raise PictureRefused(f"decoding it ends the decoder ({_ending(code)})")
        return None

    def _started(self, max_bytes: int) -> subprocess.Popen[bytes]:
        settings = json.dumps(
            {"plugins": plugins(), "max_bytes": max_bytes, "seconds": SECONDS}
        )
        if settings != self._settings:
            self.close()
        if self._process is None:
            self._settings = settings
            self._process = _start(settings)
        return self._process

    def close(self, *, kill: bool = False) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        # This closes its input, and it ends. What it has not read yet is dropped.
        with contextlib.suppress(OSError), process:
            pass

    def forget(self) -> None:
        """Forget the process of a parent, after a fork, and leave it to the parent."""
        process, self._process = self._process, None
        self._lock = threading.Lock()
        if process is not None:
            process.returncode = 0  # not ours to wait for
            for stream in _pipes(process):
                stream.close()


def why_unavailable() -> str:
    """Return why no process can be started to decode; empty if one can."""
    # Servers that embed Python name themselves as the executable.
    if not _PYTHON.fullmatch(Path(sys.executable or "").name):
        return f"{sys.executable or 'the executable'} is not Python"
    if plugins() is None:
        return "another process cannot load a plugin of Pillow that is registered here"
    return ""


def why_unlimited() -> str:
    """Return why a decoder has no limits of memory and time; empty if it has."""
    if not decoder_child.STATM.exists():
        return "this system cannot limit the memory of a process"
    return why_unavailable()


def plugins() -> Mapping[str, tuple[str, str, str]] | None:
    """Return the openers that the project has registered with Pillow, by format.

    Returns:
        For each format its module, its opener, and the function that accepts the first
        bytes, empty for none; None if another process could not find one of them.
    """
    find_opener("PNG")  # loads Pillow's own
    found = {}
    for name, (factory, accept) in Image.OPEN.items():
        module = getattr(factory, "__module__", "")
        if module.startswith("PIL."):
            continue
        names = [getattr(each, "__qualname__", "") for each in (factory, accept)]
        loaded = vars(sys.modules.get(module, object))
        if loaded.get(names[0]) is not factory or loaded.get(names[1]) is not accept:
            return None
        found[name] = (module, names[0], names[1])
    return found


def _start(settings: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        # Each arena would take 64 megabytes of the limit, whether used or not.
        "MALLOC_ARENA_MAX": "1",
        # By default freed memory is kept, and would count for the next picture.
        "MALLOC_MMAP_THRESHOLD_": "131072",
    }
    try:
        process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", _MODULE, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            # The terminal's Ctrl-C is for us.
            start_new_session=True,
        )
    except OSError as error:
        text = f"the process that decodes cannot be started: {error}"
        raise DecoderUnavailable(text) from error
    # Without a waiting thread, a process that has ended would stay a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


@contextlib.contextmanager
def _ended_after(
    process: subprocess.Popen[bytes], seconds: float
) -> Iterator[list[bool]]:
    """Kill a process after some time; the list is not empty if that happened."""
    is_late: list[bool] = []

    def end() -> None:
        is_late.append(True)
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _exchange(
    process: subprocess.Popen[bytes], question: Mapping[str, Any], data: bytes
) -> decoder_child.Answer | None:
    """Send a question and return the answer; None if the process has ended."""
    questions, answers = _pipes(process)
    try:
        decoder_child.send(questions, question, data)
        return decoder_child.receive(answers)
    except OSError:  # a pipe without its other end
        return None


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Return its standard input and output, which are pipes."""
    return cast("tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout))


def _ending(code: int) -> str:
    if code > 0:
        return f"status {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


decoder = Decoder()
"""The decoder of this process."""
atexit.register(decoder.close)
os.register_at_fork(after_in_child=decoder.forget)
