"""The process that decodes pictures; `decoder.Decoder` starts it and talks to it.

It imports Pillow and no Django, keeps to limits of memory and time that the system
enforces, and prints nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import select
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from PIL import Image

from request_images.exceptions import PictureRefused

from .measures import measure
from .thumbnail import make_thumbnail

IDLE_SECONDS = 60.0
"""The time without work after which the process ends, in seconds."""
MARGIN = 64 * 1024 * 1024
"""Bytes for the file, the thumbnail and Python, beside those for decoding."""
STATM = Path("/proc/self/statm")
"""Linux's file of a process's memory, in pages. Other systems get no limits."""
OOM_SCORE = Path("/proc/self/oom_score_adj")
"""Linux's file of how readily it ends a process for lack of memory."""
HEAD = struct.Struct(">II")
"""The sizes of the JSON and of the bytes that follow it, in each direction."""

Answer = tuple[dict[str, Any], bytes]


def _thumbnail(data: bytes, **options: Any) -> Answer:
    return {}, make_thumbnail(data, **options)


def _measures(data: bytes, **options: Any) -> Answer:
    return asdict(measure(data, **options)), b""


WORK: Mapping[str, Callable[..., Answer]] = {
    "thumbnail": _thumbnail,
    "measures": _measures,
}
"""What can be asked for, by its name; the values raise `PictureRefused`."""


def send(stream: IO[bytes], words: Mapping[str, Any], data: bytes) -> None:
    """Write one message: a JSON object and some bytes."""
    text = json.dumps(words).encode()
    stream.write(HEAD.pack(len(text), len(data)) + text)
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Read one message; None at the end of the stream."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    text, data = (stream.read(size) for size in HEAD.unpack(head))
    return json.loads(text), data


def answer(question: Mapping[str, Any], data: bytes) -> Answer:
    """Do the work of one message.

    Args:
        question: ``work``, a name in `WORK`; ``options``, its keyword arguments.
        data: The image's bytes.

    Returns:
        The answer to send: ``found``, or ``refused`` with the reason.
    """
    try:
        found, made = WORK[question["work"]](data, **question["options"])
    except PictureRefused as error:
        is_full = isinstance(error.__cause__, MemoryError)
        return {"refused": str(error), "is_full": is_full}, b""
    except MemoryError:
        return {"refused": "", "is_full": True}, b""
    return {"found": found}, made


def load(plugins: Mapping[str, tuple[str, str, str]]) -> None:
    """Prepare Pillow: its own plugins, and those that the project has registered.

    Args:
        plugins: For each format its module, its opener, and the function that accepts
            the first bytes, empty for none.
    """
    Image.init()
    for name, (module_name, factory, accept) in plugins.items():
        module = importlib.import_module(module_name)
        accepts = getattr(module, accept) if accept else None
        Image.register_open(name, getattr(module, factory), accepts)
    avif = sys.modules.get("PIL.AvifImagePlugin")
    if avif is not None:
        # The stack of each thread takes eight megabytes of the limit.
        # mypy: a module found by its name has no known attributes.
        avif.DEFAULT_MAX_THREADS = 1  # type: ignore[attr-defined]


def limit_memory(max_bytes: int) -> None:  # pragma: no cover  # in the child
    """Let the system limit the memory that is taken from now on to `max_bytes`."""
    if not STATM.exists():
        return
    import resource  # it is not on every system

    pages = int(STATM.read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + max_bytes + MARGIN
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        # If the machine has too little memory, this process ends before any other.
        OOM_SCORE.write_text("1000", encoding="ascii")


def limit_seconds(seconds: int) -> None:  # pragma: no cover  # in the child
    """Let the system end the process after some seconds of CPU time from now on."""
    if not STATM.exists():
        return
    import resource  # it is not on every system

    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(usage.ru_utime + usage.ru_stime) + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def main() -> None:  # pragma: no cover  # in the child
    """Answer questions from standard input until it ends or nothing comes."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Libraries write warnings to both; they would end up among the answers.
    silence = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silence, number)
    settings = json.loads(sys.argv[1])
    load(settings["plugins"])
    limit_memory(settings["max_bytes"])
    while select.select([questions], [], [], IDLE_SECONDS)[0]:
        question = receive(questions)
        if question is None:
            return
        limit_seconds(settings["seconds"])
        send(answers, *answer(*question))


if __name__ == "__main__":  # pragma: no cover  # in the child
    main()
