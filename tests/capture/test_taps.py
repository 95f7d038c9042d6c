"""The taps: the view sees exactly what it would see, and we see it go by."""

from __future__ import annotations

import io

import pytest
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    SimpleUploadedFile,
    TemporaryUploadedFile,
    UploadedFile,
)
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory

from request_images import health
from request_images.capture import taps
from request_images.capture.payload import Upload
from request_images.capture.upload_buffer import Limits
from request_images.decorators import capture_images
from request_images.images.formats import sniff
from request_images.models import RequestLog
from tests import views
from tests.image_files import draw
from tests.traps import trap

pytestmark = pytest.mark.django_db


def as_file(data, name="x.png"):
    return SimpleUploadedFile(name, data, "image/png")


def only_log():
    return RequestLog.objects.get()


@trap("R1")
@pytest.mark.parametrize("url", ["/own_handlers/", "/inserted_handler/"])
def test_view_sets_its_upload_handlers(client, url):
    """R1: a view may set or insert upload handlers, and its files are found."""
    data = draw()
    response = client.post(url, {"photo": as_file(data)})
    assert response.json()["files"]["photo"][0][2] == data.hex()
    assert only_log().image.image_data == data


@trap("R1")
def test_view_closes_the_files_of_its_upload_handlers(client):
    """R1: the raw body was seen before the view closed them."""
    data = draw()
    client.post("/own_handlers_closed/", {"photo": as_file(data)})
    log = only_log()
    assert (log.image.image_data, log.image.source) == (data, "files.photo")


@trap("R1")
def test_closed_files_of_a_form_that_was_parsed_before(client):
    """R1: what is out of our reach is said to be."""
    request = RequestFactory().post("/", {"photo": as_file(draw())})
    request.FILES["photo"].close()
    capture_images(lambda request: HttpResponse("ok"))(request)
    log = only_log()
    assert (log.capture_status, log.image.file_size) == ("unread", len(draw()))


@trap("R2")
def test_body_then_files(client):
    """R2: a view that reads the body first and the files then."""
    data = draw()
    response = client.post("/body_then_files/", {"photo": as_file(data)})
    assert response.json()["files"]["photo"][0][2] == data.hex()
    assert only_log().image.image_data == data


@trap("R2")
def test_only_the_raw_body_of_a_form(client):
    """R2: a view that parses a form by itself."""
    data = draw()
    client.post("/body/", {"photo": as_file(data), "note": "x"})
    assert only_log().image.image_data == data


@trap("R2")
def test_raw_body_of_a_malformed_form(client):
    """R2: a form that nobody can parse is a row all the same."""
    client.generic("POST", "/body/", b"x", "multipart/form-data; boundary=")
    assert only_log().capture_status == "unreadable"
    assert "boundary" in only_log().capture_detail


@trap("R2")
def test_stream_of_a_form(client):
    """R2: a view that parses a form's stream by itself."""
    data = draw()
    client.post("/stream/", {"photo": as_file(data), "note": "x"})
    log = only_log()
    assert (log.image.image_data, log.image.source) == (data, "files.photo")


@trap("R3")
@pytest.mark.parametrize("url", ["/upload/", "/off/"])
def test_malformed_multipart(url):
    """R3: a malformed form is the same 400 with us and without."""
    client = Client(raise_request_exception=False)
    response = client.generic(
        "POST", url, b"x", content_type="multipart/form-data; boundary="
    )
    assert response.status_code == 400
    if url == "/upload/":
        log = only_log()
        assert log.error_type == "MultiPartParserError"
        assert log.capture_status == "unreadable"
        assert log.capture_detail.startswith("Invalid boundary in multipart")


@trap("R3")
def test_form_beyond_the_limits_of_django(settings):
    """R3: an image that arrived whole before the limit is kept; else it says why."""
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    client = Client(raise_request_exception=False)
    data = draw()
    for first, expected in ((data, "stored"), (b"none", "unreadable")):
        files = {"a": as_file(first), "b": as_file(b"x"), "c": as_file(b"y")}
        assert client.post("/upload/", files).status_code == 400
        log = RequestLog.objects.latest()
        assert log.capture_status == expected
    assert log.capture_detail.startswith("The number of files exceeded")


@trap("R3")
def test_malformed_form_with_a_named_field_has_a_reason():
    """R3: the same is said where no file was looked for."""
    client = Client(raise_request_exception=False)
    kind = "multipart/form-data; boundary="
    client.generic("POST", "/sourced/%22form.photo%22/", b"x", content_type=kind)
    assert only_log().capture_status == "unreadable"


class BrokenPipe(io.BytesIO):
    """A connection that breaks."""

    def read(self, *args):
        raise OSError("connection reset")


@trap("R4")
@pytest.mark.parametrize("url", ["/body/", "/stream/", "/off/", "/upload/"])
def test_connection_that_breaks(client, url):
    """R4: the view gets the same UnreadablePostError."""
    with pytest.raises(UnreadablePostError, match="connection reset"):
        client.post(
            url,
            draw() if "upload" not in url and "off" not in url else {"a": "b"},
            **{"content_type": "image/png"} if url in ("/body/", "/stream/") else {},
            **{"wsgi.input": BrokenPipe()},
        )
    if url != "/off/":
        log = only_log()
        assert (log.error_type, log.status_code) == ("UnreadablePostError", 500)


@trap("R6")
def test_view_closes_its_files(client):
    """R6: the bytes were seen before the view closed the file."""
    data = draw()
    assert client.post("/closed/", {"photo": as_file(data)}).content == b"closed"
    assert only_log().image.image_data == data


@trap("R6")
@pytest.mark.parametrize("limit", [2_621_440, 0])
def test_large_files_on_disk(client, settings, limit):
    """R6: it does not matter whether Django kept the upload in memory or on disk."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = limit
    data = draw("BMP", (400, 300))
    response = client.post("/upload/", {"photo": as_file(data)})
    assert response.json()["files"]["photo"][0][2] == data.hex()
    assert only_log().image.image_data == data


@trap("R6")
@pytest.mark.parametrize("limit", [2_621_440, 0])
def test_view_saves_its_file(client, settings, tmp_path, limit):
    """R6: what Django keeps on disk is moved by that, and not there any more."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = limit
    settings.MEDIA_ROOT = tmp_path
    data = draw()
    response = client.post("/saved/", {"photo": as_file(data)})
    assert response.json() == {"saved": data.hex()}
    assert only_log().image.image_data == data


@trap("R6")
def test_view_deletes_its_file(client, settings):
    """R6: nor is it needed there."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    data = draw()
    assert client.post("/deleted/", {"photo": as_file(data)}).content == b"deleted"
    assert only_log().image.image_data == data


@trap("R7")
@pytest.mark.parametrize("limit", [2_621_440, 0])
def test_csrf_parsed_the_form(settings, limit):
    """R7: a form that the CSRF check parsed before us is copied."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = limit
    request = RequestFactory().get("/")
    token = get_token(request)
    client = Client(enforce_csrf_checks=True)
    client.cookies["csrftoken"] = request.META["CSRF_COOKIE"]
    data = draw("BMP", (300, 300))
    fields = {"csrfmiddlewaretoken": token, "a": as_file(data), "b": as_file(draw())}
    response = client.post("/protected/", fields)
    assert response.json()["files"]["a"][0][2] == data.hex()
    log = only_log()
    assert (log.image.image_data, log.image_count) == (data, 2)


@trap("R7")
def test_csrf_parsed_a_form_with_a_large_file(settings):
    """R7: and not copied when it is over our limit."""
    settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.001
    request = RequestFactory().post("/", {"a": as_file(draw("BMP", (300, 300)))})
    request.FILES  # noqa: B018  # as a middleware does
    capture_images(views.upload)(request)
    log = only_log()
    assert (log.capture_status, log.image.mime_type) == ("too_large", "image/bmp")


@trap("R8")
@pytest.mark.parametrize("kind", [InMemoryUploadedFile, TemporaryUploadedFile])
def test_position_of_a_parsed_file_is_restored(kind):
    """R8: a file that was half read stays half read."""
    data = draw()
    request = RequestFactory().post("/", {"a": as_file(data)})
    file = request.FILES["a"]
    assert isinstance(file, InMemoryUploadedFile)
    if kind is TemporaryUploadedFile:
        temporary = TemporaryUploadedFile("x.png", "image/png", len(data), None)
        temporary.write(data)
        request.FILES["a"] = file = temporary
    file.seek(5)
    positions = []
    view = capture_images(lambda request: positions.append(file.tell()))
    view(request)
    assert positions == [5]
    assert only_log().image.image_data == data
    file.close()


@trap("R7")
def test_only_one_parsed_file_is_read_whole():
    """R7: of the others the first bytes, as the client is waiting."""
    sizes = []

    class Watched(SimpleUploadedFile):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    data = draw("BMP", (100, 100))
    request = RequestFactory().post("/", {})
    for name in "abc":
        content = data if name == "b" else b"x" * 50_000
        request.FILES[name] = Watched(name, content)
    capture_images(lambda request: HttpResponse("ok"))(request)
    assert sizes == [64, 64, 64, len(data)]
    log = only_log()
    assert (log.image.image_data, log.image_count) == (data, 1)


class Remote(UploadedFile):
    """A file that went where nobody can fetch it from."""

    def tell(self):
        raise OSError("not here")


class Unreadable(SimpleUploadedFile):
    """A file that is gone when it is read."""

    def read(self, *args):
        raise ZeroDivisionError


@trap("R7")
@pytest.mark.parametrize(
    ("file", "size", "faults"),
    [
        (Remote(io.BytesIO(), "x.png", size=1234), 1234, {}),
        (Remote(io.BytesIO(), "x.png"), None, {}),
        (Unreadable("x.png", b"x" * 99), 99, {"tap:ZeroDivisionError": 1}),
    ],
)
def test_parsed_file_that_cannot_be_read(file, size, faults):
    """R7: such a file is not an empty one."""
    request = RequestFactory().post("/", {})
    request.FILES["a"] = file
    capture_images(lambda request: HttpResponse("ok"))(request)
    log = only_log()
    assert (log.capture_status, log.image.file_size) == ("unread", size)
    assert health.faults() == faults
    health.reset()


@trap("R7")
@pytest.mark.parametrize("limit", [1, 0.00005])
def test_parsed_file_of_unknown_size(settings, limit):
    """R7: an upload handler need not know the size of the file that it made."""
    settings.REQUEST_IMAGES_MAX_SIZE_MB = limit
    data = draw()
    request = RequestFactory().post("/", {})
    request.FILES["a"] = UploadedFile(io.BytesIO(data), "x.png")
    capture_images(lambda request: HttpResponse("ok"))(request)
    log = only_log()
    if limit == 1:
        assert (log.image.image_data, log.image.file_size) == (data, len(data))
    else:
        assert log.capture_status == "too_large"


@trap("R10")
@pytest.mark.parametrize("how", ["skip", "stop", "reset"])
@pytest.mark.parametrize("size", [1_000, 300_000])
@pytest.mark.parametrize("behind", [True, False])
def test_upload_that_the_view_stops_is_unread(client, how, size, behind):
    """R10: the client sent everything; it was the view that did not want it."""
    data = draw().ljust(size, b"\0")
    files = {"a": as_file(data), "b": as_file(b"none")} if behind else {"a": data}
    files["a"] = as_file(data)
    client.post(f"/giving_up/{how}/", files)
    log = only_log()
    assert (log.capture_status, log.image.file_size) == ("unread", None)
    assert log.image.mime_type == "image/png"


@trap("R10")
def test_connection_that_breaks_in_a_file(client):
    """R10: then it was the client."""

    class Breaking(io.BytesIO):
        def read(self, *args):
            data = super().read(*args)
            if not data:
                raise OSError("connection reset")
            return data

    whole = RequestFactory().post("/", {"photo": as_file(draw().ljust(90_000, b"0"))})
    with pytest.raises(UnreadablePostError):
        client.generic(
            "POST",
            "/upload/",
            whole.body,
            content_type=whole.META["CONTENT_TYPE"],
            **{"wsgi.input": Breaking(whole.body[:70_000])},
        )
    assert only_log().capture_status == "truncated"


@pytest.mark.parametrize("sizes", [(1,), (1, 1, 5), (6, 20), (63, 1), (70,)])
def test_short_first_read_still_finds_the_format(sizes):
    """A view may read a few bytes to tell what comes."""

    def view(request):
        for size in sizes:
            request.read(size)
        request.read()
        return HttpResponse("ok")

    data = draw()
    request = RequestFactory().post("/", data, content_type="image/png")
    capture_images(view)(request)
    log = only_log()
    assert (log.image.image_data, log.image_count) == (data, 1)
    assert log.image.mime_type == "image/png"


def test_upload_in_single_bytes_still_finds_the_format():
    """The same of a file: its rank is known when its first bytes are."""
    data = draw()
    bounds = Limits(10_000, 20_000, 1, 10_000, running_size=99_999)
    tap = taps.Tap(HttpRequest(), bounds, lambda up: (sniff(up.head) is not None,))
    for content in (b"x" * 200, data, b"y" * 200):
        upload = Upload("a")
        tap.payload.uploads.append(upload)
        for at in range(len(content)):
            tap.receive(upload, content[at : at + 1])
        upload.complete = True
    kept = [tap._with_data(upload) for upload in tap.payload.uploads]
    assert [upload.data for upload in kept] == [None, data, None]
    assert [upload.size for upload in kept] == [200, len(data), 200]
    assert kept[1].head == data[:64]


@trap("R11")
def test_tap_that_raises(client, monkeypatch):
    """R11: a fault in a tap leaves the view what it had."""

    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(taps.Tap, "receive", broken)
    monkeypatch.setattr(taps.Tap, "_feed", broken)
    data = draw()
    response = client.post("/upload/", {"photo": as_file(data)})
    assert response.json()["files"]["photo"][0][2] == data.hex()
    response = client.post("/body/", data, content_type="image/png")
    assert response.json() == {"body": data.hex()}
    assert set(health.faults()) == {"tap:ZeroDivisionError"}
    health.reset()
    assert RequestLog.objects.count() == 2


@trap("R11")
def test_tap_that_cannot_be_installed(client, monkeypatch):
    """R11: the view runs as if it were not decorated, and the row says why."""

    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(taps.Tap, "__init__", broken)
    data = draw()
    for url in ("/upload/", "/async_upload/", "/mixed-in/"):
        response = client.post(url, {"photo": as_file(data)})
        assert response.json()["files"]["photo"][0][2] == data.hex()
    assert health.faults() == {"tap:ZeroDivisionError": 3}
    health.reset()
    statuses = RequestLog.objects.values_list("capture_status", flat=True)
    assert list(statuses) == ["store_failed"] * 3


@trap("R11")
def test_tap_that_cannot_be_collected(client, monkeypatch):
    """R11: nor does a fault at the end cost the row."""

    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(taps.Tap, "_collect_body", broken)
    assert client.post("/body/", draw(), content_type="image/png").status_code == 200
    assert only_log().capture_status == "store_failed"
    assert health.faults() == {"tap:ZeroDivisionError": 1}
    health.reset()


@trap("R16")
def test_plain_request():
    """R16: a plain HttpRequest has neither a stream nor a content type."""
    request = HttpRequest()
    request.method = "POST"
    assert capture_images(lambda request: HttpResponse("ok"))(request).content == b"ok"
    assert only_log().capture_status == "no_image"


def test_later_image_replaces_an_earlier_other_file(client):
    """Only one file's bytes are held: the image's, not those of a file before it."""
    data = draw()
    files = {"a": as_file(b"x" * 200_000), "b": as_file(data), "c": as_file(b"y")}
    client.post("/upload/", files)
    assert only_log().image.image_data == data


@trap("W21")
def test_unknown_length_of_a_body(async_client_post):
    """W21: ASGI bodies may come without a Content-Length."""
    data = draw()
    async_client_post("/body/", data)
    assert only_log().image.image_data == data
    request = RequestFactory().post("/", data, content_type="image/png")
    del request.META["CONTENT_LENGTH"]
    capture_images(views.stream)(request)
    assert RequestLog.objects.latest().image.image_data == data
    request = RequestFactory().post("/", data, content_type="image/png")
    del request.META["CONTENT_LENGTH"]
    capture_images(views.first_bytes)(request)
    assert RequestLog.objects.latest().capture_status == "unread"


def replace_first(request):
    request.upload_handlers.pop(0)  # the file is always on the disk
    return request.FILES["image"].temporary_file_path()[:1]


def cut_first(request):
    request.upload_handlers = request.upload_handlers[1:]
    return type(request.FILES["image"]).__name__


def delete_first(request):
    del request.upload_handlers[0]
    return type(request.FILES["image"]).__name__


def look_at_them(request):
    chunks = min(handler.chunk_size for handler in request.upload_handlers)
    before = [type(handler).__name__ for handler in request.upload_handlers]
    assert request.FILES["image"].size
    after = [type(handler).__name__ for handler in request.upload_handlers]
    return chunks, before, after


def put_one_first(request):
    class Counting(TemporaryFileUploadHandler):
        def receive_data_chunk(self, raw_data, start):
            self.seen = getattr(self, "seen", 0) + len(raw_data)
            return super().receive_data_chunk(raw_data, start)

    request.upload_handlers.insert(0, Counting(request))
    counting = request.upload_handlers[0]
    name = type(request.FILES["image"]).__name__
    return name, counting.seen


def reverse(request):
    request.upload_handlers.reverse()
    return type(request.FILES["image"]).__name__


@pytest.mark.django_db
@pytest.mark.parametrize(
    "use",
    [replace_first, cut_first, delete_first, look_at_them, put_one_first, reverse],
)
def test_list_of_upload_handlers_is_the_views(use):
    """Kind: what the view sees of its request is what it sees without us.

    Views remove the first handler, which is Django's for small files, or look at all.
    """
    data = draw()

    def view(request):
        return HttpResponse(repr(use(request)))

    def answer(view):
        image = SimpleUploadedFile("a.png", data, "image/png")
        request = RequestFactory().post("/", {"image": image})
        content = view(request).content
        request.close()
        return content

    assert answer(capture_images(view)) == answer(view)
    assert only_log().capture_status == "stored"
    assert only_log().image.image_data == data


@pytest.mark.django_db
def test_tap_that_raises_at_the_end_costs_the_image(monkeypatch):
    """The row says so, and the answer is the view's."""

    def collect(*arguments):
        raise RuntimeError("ours")

    monkeypatch.setattr(taps.Tap, "collect", collect)
    request = RequestFactory().post("/", draw(), content_type="image/png")
    assert capture_images(views.body)(request).status_code == 200
    assert only_log().capture_status == "store_failed"
    assert health.faults() == {"tap:RuntimeError": 1}
    health.reset()
