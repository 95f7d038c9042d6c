"""Sends pictures through the real server and looks at what was kept of them."""

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
    """One request that was sent, and how it was answered."""

    name: str
    request_id: str
    status: int
    digest: str
    """SHA-256 of the image."""


@dataclass(frozen=True)
class Finding:
    """What the log says about one request."""

    sent: Sent
    capture_status: str
    """Empty when there is no row."""
    kept: bool
    fault: str = ""
    """Why this should not have happened; empty when all is well."""


class CannotServe(OSError):
    """There is no server at the port that was asked for."""


class _QuietHandler(WSGIRequestHandler):
    """Serves without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - Django's
        """Say nothing."""


@contextmanager
def serving(port: int) -> Iterator[str]:
    """Serve this project in a thread, and yield its address; port 0 is any free one.

    Raises:
        CannotServe: if the port is in use, or is none.
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
    """Make the superuser, or give it a new password; return the password."""
    password = get_random_string(16)
    admin, _ = get_user_model().objects.get_or_create(username=username)
    admin.is_active = admin.is_staff = admin.is_superuser = True
    admin.set_password(password)
    admin.save()
    return password


class Sender:
    """Sends images to the solver, in turn in each way that it accepts.

    Every request carries an id of its own, and all ids of one sender begin alike, so
    that rows of earlier runs do not disturb.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.prefix = f"demo-{uuid.uuid4().hex[:12]}-"
        self.sent: list[Sent] = []

    def send(self, name: str, content: bytes) -> None:
        """Send one image and remember how it was answered."""
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
        """Wait until every row is there, for so long at most.

        They are written when the answer is already with us.
        """
        rows = RequestLog.objects.filter(request_id__startswith=self.prefix)
        deadline = time.monotonic() + seconds
        while rows.count() < len(self.sent) and time.monotonic() < deadline:
            time.sleep(0.05)

    def findings(self) -> Iterator[Finding]:
        """Compare each image that was sent with what was kept of it."""
        return map(_finding, self.sent)


def _finding(sent: Sent) -> Finding:
    log = RequestLog.objects.filter(request_id=sent.request_id).first()
    if log is None:
        return Finding(sent, "", kept=False, fault="no row")
    status = log.capture_status
    if status not in KEPT_STATUSES:
        fault = "" if status else "no reason"
        return Finding(sent, status, kept=False, fault=fault)
    kept = hashlib.sha256(log.image.image_data or b"").hexdigest()
    if not log.image.image_hash == kept == sent.digest:
        return Finding(sent, status, kept=False, fault="other bytes")
    return Finding(sent, status, kept=True)


def _as_form(name: str, content: bytes) -> tuple[bytes, str]:
    """Encode the image as a file of a form."""
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
    """Send the image as it is; what is not called an image goes in a form."""
    content_type = _image_type(name)
    return (content, content_type) if content_type else _as_form(name, content)


def _as_json(_name: str, content: bytes) -> tuple[bytes, str]:
    """Encode the image as base64 in JSON."""
    text = base64.b64encode(content).decode()
    return json.dumps({"image": text}).encode(), "application/json"


def _image_type(name: str) -> str | None:
    """Return the image type that a file's name promises."""
    guess, _ = mimetypes.guess_type(name, strict=False)
    return guess if guess and guess.startswith("image/") else None


def fetch_stats(address: str, username: str, password: str) -> Mapping[str, Any]:
    """Log in as a browser does, and return what the stats endpoint answers."""
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
