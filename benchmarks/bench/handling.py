"""Django's own handlers in this process, without a server around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponseBase

_BOUNDARY = "bench-boundary"
_START = (
    f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
    'name="photo"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
).encode()
_END = f"\r\n--{_BOUNDARY}--\r\n".encode()
_CONTENT_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"
_HEADERS = {
    "host": "127.0.0.1",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
}
Environ = dict[str, Any]


def environ_of(image: bytes, path: str) -> Environ:
    """Return an upload as a WSGI server passes it."""
    body = _START + image + _END
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": _CONTENT_TYPE,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **{f"HTTP_{k.upper().replace('-', '_')}": v for k, v in _HEADERS.items()},
    }


class Wsgi:
    """Django's WSGI handler."""

    def __init__(self) -> None:
        self._application = get_wsgi_application()

    def answer(self, environ: Environ) -> HttpResponseBase:
        """Return the response, which the caller closes, as a server does."""
        response: Any = self._application(environ, _start_response)
        return response

    def seconds(self, image: bytes, path: str) -> float:
        """Return this thread's processor time until the answer is there.

        Nothing waits until then, and the clock does not see what else is running.
        """
        environ = environ_of(image, path)
        started = time.thread_time()
        response = self.answer(environ)
        took = time.thread_time() - started
        response.close()
        return took


def _start_response(status: str, _headers: Iterable[tuple[str, str]]) -> None:
    if not status.startswith("200"):
        raise RuntimeError(status)


class Asgi:
    """Django's ASGI handler, in a loop of its own."""

    def __init__(self) -> None:
        self._application = get_asgi_application()
        self._loop = asyncio.new_event_loop()

    def seconds(self, image: bytes, path: str) -> float:
        """Return the processor time until the whole answer is handed to the server.

        It is that of the process: a view without `await` runs in a thread of its own.
        """
        return self._loop.run_until_complete(self._seconds(image, path))

    async def _seconds(self, image: bytes, path: str) -> float:
        body = _START + image + _END
        headers = {**_HEADERS, "content-type": _CONTENT_TYPE}
        headers["content-length"] = str(len(body))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "scheme": "http",
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        unread = [{"type": "http.request", "body": body, "more_body": False}]
        ended = 0.0

        async def receive() -> dict[str, Any]:
            if unread:
                return unread.pop()
            return await asyncio.Future()  # a client that stays

        async def send(event: dict[str, Any]) -> None:
            nonlocal ended
            if event["type"] == "http.response.start" and event["status"] != 200:
                raise RuntimeError(str(event["status"]))
            ended = time.process_time()

        application: Callable[..., Any] = self._application
        started = time.process_time()
        await application(scope, receive, send)
        return ended - started


def capture(wsgi: Wsgi, images: list[bytes], path: str = "/captured/") -> None:
    """Let a view handle the images, and wait until they are stored."""
    from request_images.models import RequestImage
    from request_images.testing import flush

    for image in images:
        wsgi.answer(environ_of(image, path)).close()
    flush(30)
    if not RequestImage.objects.exists():
        raise RuntimeError("nothing is written")
