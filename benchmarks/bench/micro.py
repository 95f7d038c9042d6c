"""The part without a server: `python -m bench.micro PART`, with a variant's settings.

Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
import timeit
from collections.abc import Callable
from statistics import median
from typing import Any

import django
from django.http import HttpRequest
from django.test.utils import override_settings

from .handling import Asgi, Wsgi
from .images import another, draw

KB = 1024
_ROUNDS = 40
_BLOCK = 10
_REPEATS = 5


def handover() -> dict[str, dict[str, float]]:
    """Return the processor time before the response: captured less bare."""
    image = draw(100 * KB)
    found = {}
    for name, handler in (("wsgi", Wsgi()), ("asgi", Asgi())):
        plain: list[float] = []
        ours: list[float] = []
        copies: list[float] = []
        for _round in range(_ROUNDS):
            some = [another(image) for _ in range(_BLOCK)]
            plain += [handler.seconds(each, "/bare/") for each in some]
            # So few that the writer's thread still waits for more of its batch.
            ours += [handler.seconds(each, "/captured/") for each in some]
            flush(30)
            for each in some:
                started = time.thread_time()
                bytearray(each)
                copies.append(time.thread_time() - started)
        extra, copy = median(ours) - median(plain), median(copies)
        found[name] = {
            "bare_ms": 1000 * median(plain),
            "captured_ms": 1000 * median(ours),
            "extra_ms": 1000 * extra,
            "copy_ms": 1000 * copy,
            "extra_less_a_copy_ms": 1000 * (extra - copy),
        }
    return found


def disabled() -> dict[str, float]:
    """Return the cost of a decorator that is switched off."""
    from request_images.decorators import capture_images

    def view(request: HttpRequest) -> None:
        """Do nothing, so that only the decorator is measured."""

    decorated: Callable[..., Any] = capture_images(view)
    request = HttpRequest()
    number = 20_000
    plain, ours = [], []
    with override_settings(REQUEST_IMAGES_ENABLED=False):
        for _repeat in range(2 * _REPEATS):
            plain.append(timeit.timeit(lambda: view(request), number=number))
            ours.append(timeit.timeit(lambda: decorated(request), number=number))
    bare_ns, decorated_ns = (1e9 * min(t) / number for t in (plain, ours))
    return {
        "bare_ns": bare_ns,
        "decorated_ns": decorated_ns,
        "extra_ns": decorated_ns - bare_ns,
    }


PARTS: dict[str, Callable[[], object]] = {
    "handover": handover,
    "disabled": disabled,
}

if __name__ == "__main__":
    django.setup()
    from request_images.testing import flush

    sys.stdout.write(json.dumps(PARTS[sys.argv[1]]()))
