"""The reason why there is no image is the true one: what ended the body, and who."""

from __future__ import annotations

import errno
import io

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import (
    MemoryFileUploadHandler,
    TemporaryFileUploadHandler,
)
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, RequestFactory
from rest_framework.decorators import api_view
from rest_framework.response import Response

from request_images.decorators import capture_images
from request_images.models import RequestLog
from tests.image_files import draw

pytestmark = pytest.mark.django_db

FULL = OSError(errno.ENOSPC, "No space left on device")


def form(**fields):
    """Return the body of a form with an image, and its content type."""
    photo = SimpleUploadedFile("x.png", draw(), "image/png")
    request = RequestFactory().post("/", {**fields, "photo": photo})
    return request.body, request.META["CONTENT_TYPE"]


def send(url, data, content_type, **extra):
    """Post a body, and return status and detail of its log."""
    client = Client(raise_request_exception=False)
    client.generic("POST", url, data, content_type, **extra)
    return reason()


def reason():
    log = RequestLog.objects.get()
    return log.capture_status, log.capture_detail


class Resetting(io.BytesIO):
    """A connection that is reset after some bytes."""

    def read(self, *args):
        data = super().read(*args)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        return data

    readline = read


URLS = ["/upload/", "/body/", "/stream/", "/async_upload/", "/drf/view/"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("note", ["", "x" * 70_000])
def test_form_without_its_closing_boundary_is_truncated(url, note):
    """A form ends in its file, although all bytes came that were announced."""
    body, content_type = form(note=note)
    body = body[: body.rindex(b"\r\n--")]
    assert send(url, body, content_type) == (
        "truncated",
        "the form ends without its closing boundary",
    )


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("end", [b"\r\n\r\nno im", b"; filename", b"\r\n--"])
def test_file_before_the_end_of_a_broken_form_hides_no_image(url, end):
    """What came whole is no image; what did not come may have been one."""
    first = SimpleUploadedFile("x.txt", b"no image", "text/plain")
    request = RequestFactory().post("/", {"note": "x", "first": first})
    body, content_type = request.body, request.META["CONTENT_TYPE"]
    body = (
        body.removesuffix(b"--\r\n") + b'\r\nContent-Disposition: form-data; name="p"'
    )
    assert send(url, body + end, content_type)[0] == "truncated"


@pytest.mark.parametrize("url", URLS)
def test_form_with_an_epilogue_is_whole(url):
    """What follows the closing boundary is no part of the form."""
    body, content_type = form()
    assert send(url, body + b"the end\r\n", content_type) == ("stored", "")


@pytest.mark.parametrize("url", [*URLS, "/lines/"])
@pytest.mark.parametrize("left", [0, 10, 200, 700])
def test_form_that_the_client_cuts_off_is_truncated(url, left):
    """Wherever it ends: before its file, too, where nothing of an image came."""
    body, content_type = form(note="x" * 500)
    status, detail = send(
        url, body, content_type, **{"wsgi.input": io.BytesIO(body[:left])}
    )
    assert (status, detail) == ("truncated", f"{left} of {len(body)} bytes came")


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "application/json", "application/x-www-form-urlencoded"],
)
@pytest.mark.parametrize("left", [0, 50])
def test_body_that_the_client_cuts_off_is_truncated(content_type, left):
    """The same of other bodies; not a byte of it is no request without an image."""
    assert send(
        "/body/",
        draw(),
        content_type,
        CONTENT_LENGTH="5000",
        **{"wsgi.input": io.BytesIO(draw()[:left])},
    ) == ("truncated", f"{left} of 5000 bytes came")


@pytest.mark.parametrize("url", [*URLS, "/lines/"])
@pytest.mark.parametrize("is_form", [True, False])
@pytest.mark.parametrize("left", [0, 70_000])
def test_connection_that_is_reset_is_truncated(url, is_form, left):
    """With the first read or a later one: the client has gone, and that is said."""
    body, content_type = form(note="x" * 90_000)
    if not is_form:
        body, content_type = draw().ljust(90_000, b"0"), "image/png"
    status, detail = send(
        url, body, content_type, **{"wsgi.input": Resetting(body[:left])}
    )
    if not is_form and url in ("/upload/", "/async_upload/", "/drf/view/"):
        assert status == "unread"  # such a view looks for a form only
        return
    assert status == "truncated"
    # A single read gets what had come, without an error.
    assert detail == (
        f"{left} of {len(body)} bytes came"
        if left and url == "/body/"
        else "UnreadablePostError: [Errno 104] Connection reset by peer"
    )


class FullDisk(TemporaryFileUploadHandler):
    """An upload handler whose disk is full."""

    def receive_data_chunk(self, raw_data, start):
        raise FULL


class NoFolder(TemporaryFileUploadHandler):
    """An upload handler that cannot make its file."""

    def new_file(self, *args, **kwargs):
        raise FULL


class FullAtTheEnd(MemoryFileUploadHandler):
    """An upload handler that cannot finish its file."""

    def file_complete(self, file_size):
        raise FULL


@pytest.mark.parametrize("handler", [FullDisk, NoFolder])
@pytest.mark.parametrize("url", ["/upload/", "/drf/view/", "/drf/above/"])
@pytest.mark.parametrize("size", [100, 300_000])
def test_full_disk_is_named_as_the_reason(settings, handler, url, size):
    """The view could not take the upload, and its error says why."""
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.{handler.__name__}"]
    photo = SimpleUploadedFile("x.png", draw().ljust(size, b"0"), "image/png")
    Client(raise_request_exception=False).post(url, {"photo": photo})
    assert reason() == ("unread", f"OSError: {FULL}")


def test_full_disk_that_the_view_handles_is_named_as_the_reason(settings):
    """A view may answer 507; the reason is the same."""
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.FullDisk"]

    @capture_images
    def view(request):
        try:
            return HttpResponse(len(request.FILES))
        except OSError:
            return HttpResponse(status=507)

    photo = SimpleUploadedFile("x.png", draw(), "image/png")
    view(RequestFactory().post("/", {"photo": photo}))
    assert reason() == ("unread", f"OSError: {FULL}")


def test_file_that_came_before_the_disk_was_full_is_kept(settings):
    """Whatever becomes of it then: we have seen all of it."""
    settings.FILE_UPLOAD_HANDLERS = [f"{__name__}.FullAtTheEnd"]
    photo = SimpleUploadedFile("x.png", draw(), "image/png")
    Client(raise_request_exception=False).post("/upload/", {"photo": photo})
    assert reason() == ("stored", "")


def chunked(url, data, content_type="image/png"):
    """Post a chunked body as a WSGI server hands it on: without its length."""
    return send(
        url, data, content_type, CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked"
    )


@pytest.mark.parametrize("url", [*URLS, "/nothing/"])
@pytest.mark.parametrize("is_form", [True, False])
def test_chunked_body_under_wsgi_is_unread(url, is_form):
    """Django reads none, whatever the view does."""
    body, content_type = form() if is_form else (draw(), "image/png")
    status, detail = chunked(url, body, content_type)
    assert status == "unread"
    assert detail == "a chunked body, which Django does not read under WSGI"


def ask(url, *parts, headers=(), content_type=b"image/png"):
    """Send a body in parts to Django's ASGI handler, without a length."""

    async def send():
        scope = {
            "type": "http",
            "method": "POST",
            "path": url,
            "query_string": b"",
            "headers": [(b"content-type", content_type), *headers],
        }
        communicator = ApplicationCommunicator(ASGIHandler(), scope)
        for part in parts:
            message = {"type": "http.request", "body": part, "more_body": True}
            await communicator.send_input(message)
        await communicator.send_input({"type": "http.request"})
        start = await communicator.receive_output(60)
        await communicator.receive_output(60)
        await communicator.wait(60)
        return start["status"]

    return async_to_sync(send)()


@pytest.mark.parametrize("headers", [(), [(b"transfer-encoding", b"chunked")]])
@pytest.mark.parametrize(
    ("url", "status"), [("/body/", "stored"), ("/nothing/", "unread")]
)
@pytest.mark.django_db(transaction=True)
def test_body_without_a_length_under_asgi_is_stored_or_unread(url, status, headers):
    """The server has received it: what the view leaves is known to be there."""
    data = draw()
    assert ask(url, data[:20], data[20:], headers=headers) < 500
    assert reason() == (status, "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/body/", ("stored", "")),
        (
            "/upload/",
            ("unread", "a form without a length, which Django does not parse"),
        ),
    ],
)
def test_form_without_a_length_under_asgi_is_found_only_in_its_body(url, expected):
    """Django's parser takes it for an empty form, but the body has its image."""
    body, content_type = form()
    ask(url, body, content_type=content_type.encode())
    assert reason() == expected


@pytest.mark.django_db(transaction=True)
def test_large_body_without_a_length_under_asgi_is_too_large(settings):
    """Its size is known as well, and is the reason."""
    settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.00001
    assert ask("/nothing/", draw()) == 401
    assert reason()[0] == "too_large"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", ["/body/", "/nothing/"])
def test_no_body_under_asgi_has_no_image(url):
    """Where none came, none is missed."""
    ask(url)
    assert reason() == ("no_image", "")


@pytest.mark.parametrize("url", ["/body/", "/nothing/"])
def test_no_body_of_the_async_client_has_no_image(url):
    """Its body has no length either, but is no file."""

    async def post():
        await AsyncClient().generic("POST", url)

    async_to_sync(post)()
    assert reason() == ("no_image", "")


def test_exception_before_the_body_is_read_is_the_reason():
    """The view had no chance to read it."""

    @capture_images
    def view(request):
        raise PermissionError("not today")

    request = RequestFactory().post("/", draw(), content_type="image/png")
    with pytest.raises(PermissionError):
        view(request)
    assert reason() == ("unread", "PermissionError: not today")


def test_limit_of_django_is_the_reason(settings):
    """Django refuses a body that the view wants to read."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    status, detail = send("/body/", draw(), "image/png")
    assert status == "unread"
    assert detail.startswith("RequestDataTooBig: Request body exceeded")


def test_error_that_rest_framework_handles_is_the_reason():
    """Its responses do not hand out the exception, but its code and text."""

    @capture_images
    @api_view(["POST"])
    def view(request):
        return Response(len(request.data))

    view(RequestFactory().post("/", draw(), content_type="image/x-strange"))
    status, detail = reason()
    assert status == "unread"
    assert detail.startswith("unsupported_media_type: Unsupported media type")


def test_form_with_put_that_django_does_not_parse_is_unread():
    """Django leaves such a body to the view, which did not read it."""
    body, content_type = form()
    Client().generic("PUT", "/off/", body, content_type)
    view = capture_images(lambda request: HttpResponse(len(request.POST)))
    view(RequestFactory().generic("PUT", "/", body, content_type))
    assert reason() == ("unread", "")


@pytest.mark.parametrize(("left", "status"), [(0, "stored"), (60, "truncated")])
def test_form_that_the_csrf_check_has_read_is_truncated(left, status):
    """Also before the capture begins, and so that Django hands out no file at all."""
    token_request = RequestFactory().get("/")
    token = get_token(token_request)
    body, content_type = form(csrfmiddlewaretoken=token)
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = token_request.META["CSRF_COOKIE"]
    response = client.generic(
        "POST",
        "/protected/",
        body,
        content_type,
        CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": io.BytesIO(body[: len(body) - left])},
    )
    assert response.status_code == 200
    assert reason()[0] == status
