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
from django.http import HttpRequest, HttpResponseBase
from django.test import RequestFactory
from django.test.utils import override_settings
from django.urls import resolve

from .images import another, draw

View = Callable[[HttpRequest], HttpResponseBase]

KB = 1024
_ROUNDS = 200
_CAPTURES = 200  # enough for a clock of a hundred ticks a second
_KEPT = 12
_REPEATS = 5
_BOUNDARY = "bench-boundary"
_DRAIN_SECONDS = 30.0


def request_of(image: bytes, path: str) -> HttpRequest:
    """Return an upload as a server would: resolved, and closed by its handler."""
    start = (
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
        'name="photo"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    body = b"%b%b\r\n--%b--\r\n" % (start.encode(), image, _BOUNDARY.encode())
    content_type = f"multipart/form-data; boundary={_BOUNDARY}"
    request = RequestFactory().post(path, data=body, content_type=content_type)
    request.resolver_match = resolve(path)
    return request


def views() -> tuple[View, View]:
    """Return the bare view and the decorated one."""
    from .site.views import bare, captured

    return bare, captured


def rows_with_image() -> int:
    """Return the number of images that are stored so far."""
    from request_images.models import RequestImage

    return int(RequestImage.objects.filter(content__isnull=False).count())


def wait_for(expected: int) -> None:
    """Wait for a limited time until this number of images is stored."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while rows_with_image() < expected and time.monotonic() < deadline:
        time.sleep(0.1)


def capture(images: list[bytes]) -> None:
    """Let the decorated view handle the images, and wait until they are stored."""
    view, expected = views()[1], rows_with_image() + len(images)
    # Created before: this would compete with the background thread.
    for request in [request_of(image, "/captured/") for image in images]:
        view(request)
        request.close()
    wait_for(expected)


def handover() -> dict[str, float]:
    """Return the client's extra wait: the decorated view less the bare one."""
    view, decorated = views()
    image = draw(100 * KB)
    plain: list[float] = []
    ours: list[float] = []
    copies: list[float] = []
    for _round in range(_ROUNDS):
        fresh = another(image)
        for timings, path, call in (
            (plain, "/bare/", view),
            (ours, "/captured/", decorated),
        ):
            request = request_of(fresh, path)
            started = time.perf_counter()
            call(request)
            timings.append(time.perf_counter() - started)
            request.close()  # work after the response is not timed
        started = time.perf_counter()
        bytearray(fresh)
        copies.append(time.perf_counter() - started)
    extra, copy = median(ours) - median(plain), median(copies)
    return {
        "bare_ms": 1000 * median(plain),
        "decorated_ms": 1000 * median(ours),
        "extra_ms": 1000 * extra,
        "copy_ms": 1000 * copy,
        "extra_less_a_copy_ms": 1000 * (extra - copy),
        "extra_in_copies": extra / copy,
    }


def disabled() -> dict[str, float]:
    """Return the cost of a decorator that is switched off."""
    from request_images.decorators import capture_images

    def view(request: HttpRequest) -> None:
        """Do nothing, so that only the decorator is measured."""

    decorated: Callable[..., Any] = capture_images(view)
    request = request_of(b"", "/captured/")
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


def kept_already() -> dict[str, dict[str, float]]:
    """Return the database's time for a duplicate, by size of the image."""
    from .statements import Statements

    result = {}
    for name, size in (("100 KB", 100), ("1 MB", 1000), ("8 MB", 8000)):
        image = another(draw(size * KB))
        capture([image])
        content, total = [], []
        for _repeat in range(_REPEATS):
            with Statements() as statements:
                capture([image] * _KEPT)
            content.append(statements.seconds("request_images_imagecontent") / _KEPT)
            total.append(statements.seconds() / _KEPT)
        result[name] = {
            "content_ms": 1000 * median(content),
            "capture_ms": 1000 * median(total),
        }
    return result


def cpu() -> dict[str, float]:
    """Return the processor time of one capture, and of its lower bound."""
    from . import floor

    view = views()[0]
    image = draw(100 * KB)

    def plain(images: list[bytes]) -> None:
        for request in [request_of(each, "/bare/") for each in images]:
            view(request)
            request.close()

    capture([another(image) for _ in range(_CAPTURES)])  # warm-up
    floor.make_table()
    results: dict[str, list[floor.Cpu]] = {"bare": [], "capture": [], "floor": []}
    for _repeat in range(_REPEATS):
        for name, work in (("bare", plain), ("capture", capture), ("floor", floor.run)):
            images = [another(image) for _ in range(_CAPTURES)]
            results[name].append(floor.cpu_of(work, images))
    answer: dict[str, float] = {}
    for part in ("process_ms", "database_ms"):
        bare, ours, least = (
            median(getattr(cpu, part) for cpu in results[name])
            for name in ("bare", "capture", "floor")
        )
        answer |= {f"capture_{part}": ours - bare, f"floor_{part}": least}
    return answer


PARTS: dict[str, Callable[[], object]] = {
    "handover": handover,
    "disabled": disabled,
    "kept_already": kept_already,
    "cpu": cpu,
}

if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(PARTS[sys.argv[1]]()))
