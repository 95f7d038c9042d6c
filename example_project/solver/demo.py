"""Send pictures to a real server, and compare them with the stored images."""

import base64
import hashlib
import http.client
import json
import mimetypes
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import (
    ThreadedWSGIServer,
    WSGIRequestHandler,
    get_internal_wsgi_application,
)
from django.urls import reverse
from django.utils.crypto import get_random_string

from request_images.models import RequestLog

HOST = "127.0.0.1"
KEPT_STATUSES = {"stored", "duplicate"}


@dataclass(frozen=True)
class Sent:
    """One request that was sent, and its response."""

    name: str
    request_id: str
    status: int
    digest: str
    """SHA-256 of the image."""


@dataclass(frozen=True)
class Comparison:
    """The log of one request, compared with the request."""

    sent: Sent
    capture_status: str
    """Empty without a row."""
    kept: bool
    fault: str = ""
    """The difference from the request; empty for none."""


class CannotServe(OSError):
    """The server cannot use the requested port."""


class _QuietHandler(WSGIRequestHandler):
    """A handler that prints no line for each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # Django's
        """Print nothing."""


@contextmanager
def serving(port: int) -> Iterator[str]:
    """Serve this project in a thread, and yield its URL; port 0 selects a free port.

    Raises:
        CannotServe: The port is in use, or is not a valid port.
    """
    try:
        server = ThreadedWSGIServer((HOST, port), _QuietHandler)
    except (OSError, OverflowError) as error:
        raise CannotServe(
            f"Port {port} cannot be served ({error}); choose another with --port."
        ) from error
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reset_admin(username: str) -> str:
    """Create the superuser or reset its password, and return the password."""
    password = get_random_string(16)
    admin, _ = get_user_model().objects.get_or_create(username=username)
    admin.is_active = admin.is_staff = admin.is_superuser = True
    admin.set_password(password)
    admin.save()
    return password


class Sender:
    """Send images to the solver, alternating between the encodings that it accepts.

    Each request has an id of its own. All ids of one sender have a common prefix, so
    rows of earlier runs are not counted.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.prefix = f"demo-{uuid.uuid4().hex[:12]}-"
        self.sent: list[Sent] = []

    def send(self, name: str, content: bytes) -> None:
        """Send one image and record the response."""
        number = len(self.sent)
        encode = (_as_form, _as_body, _as_json)[number % 3]
        body, content_type = encode(name, content)
        request_id = f"{self.prefix}{number}"
        connection = http.client.HTTPConnection(
            urlsplit(self.address).netloc, timeout=120
        )
        try:
            connection.request(
                "POST",
                reverse("solver:solve"),
                body,
                {"Content-Type": content_type, "X-Request-ID": request_id},
            )
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        digest = hashlib.sha256(content).hexdigest()
        self.sent.append(Sent(name, request_id, response.status, digest))

    def wait_for_rows(self, seconds: float) -> None:
        """Wait at most this time until every row exists.

        Rows are written after the response.
        """
        rows = RequestLog.objects.filter(request_id__startswith=self.prefix)
        deadline = time.monotonic() + seconds
        while rows.count() < len(self.sent) and time.monotonic() < deadline:
            time.sleep(0.05)

    def comparisons(self) -> Iterator[Comparison]:
        """Compare each sent image with its log."""
        return map(_compare, self.sent)


def _compare(sent: Sent) -> Comparison:
    log = RequestLog.objects.filter(request_id=sent.request_id).first()
    if log is None:
        return Comparison(sent, "", kept=False, fault="no row")
    status = log.capture_status
    if status not in KEPT_STATUSES:
        fault = "" if status else "no reason"
        return Comparison(sent, status, kept=False, fault=fault)
    kept = hashlib.sha256(log.image.image_data or b"").hexdigest()
    if not log.image.image_hash == kept == sent.digest:
        return Comparison(sent, status, kept=False, fault="other bytes")
    return Comparison(sent, status, kept=True)


def _as_form(name: str, content: bytes) -> tuple[bytes, str]:
    """Encode the image as a file in a form."""
    boundary = uuid.uuid4().hex
    filename = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{filename}"\r\n'
        f"Content-Type: {_image_type(name) or 'application/octet-stream'}\r\n\r\n"
    ).encode("utf-8", "surrogateescape")
    body = head + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _as_body(name: str, content: bytes) -> tuple[bytes, str]:
    """Use the image as the body; a file without an image's name goes into a form."""
    content_type = _image_type(name)
    return (content, content_type) if content_type else _as_form(name, content)


def _as_json(_name: str, content: bytes) -> tuple[bytes, str]:
    """Encode the image as base64 in JSON."""
    text = base64.b64encode(content).decode()
    return json.dumps({"image": text}).encode(), "application/json"


def _image_type(name: str) -> str | None:
    """Return the image type for a file's name."""
    guess, _ = mimetypes.guess_type(name, strict=False)
    return guess if guess and guess.startswith("image/") else None


def fetch_stats(address: str, username: str, password: str) -> Mapping[str, Any]:
    """Log in as a browser does, and return the statistics as JSON."""
    cookies = CookieJar()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # no proxy to this machine
        urllib.request.HTTPCookieProcessor(cookies),
    )
    login = address + reverse("admin:login")
    opener.open(login).close()
    [token] = [c.value for c in cookies if c.name == settings.CSRF_COOKIE_NAME]
    form = {
        "csrfmiddlewaretoken": token,
        "username": username,
        "password": password,
        "next": reverse("request_images:image-performance-stats"),
    }
    with opener.open(login, urlencode(form).encode()) as response:
        stats: Mapping[str, Any] = json.load(response)
    return stats
