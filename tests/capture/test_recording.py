"""Capture through the front door: every kind of view, every place of an image."""

from __future__ import annotations

import base64
import io
import json
from functools import partial
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from request_images import health
from request_images.capture import search
from request_images.decorators import capture_images
from request_images.mixins import CaptureImagesMixin
from request_images.models import ImageContent, RequestImage, RequestLog
from tests import typed_views, views
from tests.image_files import draw
from tests.traps import trap

pytestmark = pytest.mark.django_db

FUNCTION_VIEWS = ["/upload/", "/async_upload/"]
CLASS_VIEWS = ["/mixed-in/", "/mixed-in-async/", "/dispatch/", "/dispatch-async/"]
DRF_VIEWS = [
    "/drf/view/",
    "/drf/above/",
    "/drf/below/",
    "/drf/both/",
    "/drf/viewset/",
    "/drf/actions/solve/",
]


def as_file(data, name="x.png", content_type="image/png"):
    return SimpleUploadedFile(name, data, content_type)


def only_log():
    return RequestLog.objects.get()


def b64(data):
    return base64.b64encode(data).decode()


class Nothing:
    """A view that is an instance, and returns nothing."""

    def __call__(self, request):
        pass


class AsyncNothing:
    """The same, marked as a coroutine function."""

    def __init__(self):
        markcoroutinefunction(self)

    async def __call__(self, request):
        pass


def nothing_of(number, request):
    """Return nothing, and need an argument more."""


class TestViews:
    """Every kind of view is recorded, once a request, and sees what it would see."""

    @pytest.mark.parametrize("url", [*FUNCTION_VIEWS, *CLASS_VIEWS])
    def test_view(self, client, url):
        """The image is kept byte for byte, and the view saw the same bytes."""
        data = draw()
        response = client.post(url, {"photo": as_file(data), "note": "hi"})
        assert response.json() == {
            "files": {"photo": [["x.png", "image/png", data.hex()]]},
            "fields": {"note": ["hi"]},
        }
        log = only_log()
        assert log.image.image_data == data
        assert log.image.source == "files.photo"
        assert (log.image.width, log.image.height) == (32, 24)
        assert (log.capture_status, log.status_code) == ("stored", 200)
        assert log.image_count == 1

    @trap("WRAP4", "WRAP6")
    @pytest.mark.parametrize("url", DRF_VIEWS)
    def test_rest_framework(self, client, url):
        """WRAP4 and WRAP6: the same for every kind of view of REST framework."""
        data = draw()
        response = client.post(url, {"photo": as_file(data), "note": "hi"})
        assert response.json() == {
            "files": {"photo": data.hex()},
            "data": {"note": "hi"},
        }
        assert only_log().image.image_data == data

    @pytest.mark.parametrize("url", DRF_VIEWS)
    def test_rest_framework_json(self, client, url):
        """JSON that REST framework reads from the stream is seen too."""
        data = draw()
        response = client.post(url, {"image": b64(data)}, "application/json")
        assert response.json()["data"] == {"image": b64(data)}
        assert only_log().image.image_data == data

    @trap("WRAP5")
    @pytest.mark.parametrize("url", ["/ninja/json", "/ninja/async", "/ninja/inside"])
    def test_ninja(self, client, url):
        """WRAP5: Ninja's operations, sync and async, around and inside."""
        data = draw()
        response = client.post(url, {"image": b64(data)}, "application/json")
        assert response.json() == {"length": len(b64(data))}
        assert only_log().image.image_data == data

    def test_ninja_upload(self, client):
        """A file that Ninja parses."""
        data = draw()
        response = client.post("/ninja/upload", {"photo": as_file(data)})
        assert response.json() == {"size": len(data)}
        assert only_log().image.image_data == data

    def test_ninja_refusal(self, client):
        """What Ninja refuses before the operation runs is recorded."""
        response = client.post("/ninja/json", {"imag": "?"}, "application/json")
        assert response.status_code == only_log().status_code == 422

    @trap("R15")
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_put_and_patch(self, client, method):
        """R15: REST framework parses multipart for PUT and PATCH as well."""
        data = draw()
        body = encode_multipart(BOUNDARY, {"p": as_file(data)})
        response = client.generic(method, "/drf/view/", body, MULTIPART_CONTENT)
        assert response.json()["files"] == {"p": data.hex()}
        assert only_log().image.image_data == data

    @trap("R15")
    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_put_and_patch_of_ninja(self, client, method):
        """R15: Ninja's middleware does, and has the files before we see the request."""
        data = draw()
        body = encode_multipart(BOUNDARY, {"photo": as_file(data)})
        response = client.generic(method, "/ninja/upload", body, MULTIPART_CONTENT)
        assert response.json() == {"photo": data.hex()}
        assert only_log().image.image_data == data

    def test_method_of_a_class(self, client):
        """A single method may be decorated, with arguments."""
        one, two = draw(seed=1), draw(seed=2)
        client.post("/method/", {"a": as_file(one), "b": as_file(two)})
        log = only_log()
        assert log.image.image_data == two
        assert log.image_count == 2

    def test_get_is_not_recorded(self, client):
        """A request without a body leaves no trace."""
        client.get("/upload/")
        assert not RequestLog.objects.exists()

    def test_disabled_app_records_nothing(self, client, settings):
        """Switched off, nothing is recorded and the answer is the same."""
        settings.REQUEST_IMAGES_ENABLED = False
        data = draw()
        for url in [*FUNCTION_VIEWS, *CLASS_VIEWS]:
            assert client.post(url, {"photo": as_file(data)}).json()["files"]
        assert not RequestLog.objects.exists()

    @trap("W14")
    def test_nested_decorators_make_one_row(self, client):
        """W14: the outer decorator counts; an error it dealt with is no error."""
        response = client.post("/recovered/", draw(), content_type="image/png")
        assert response.content == b"recovered"
        assert (only_log().status_code, only_log().error_type) == (200, "")

    def test_response_is_unchanged(self, client):
        """Headers, cookies and body are what they are without us."""
        ours = client.post("/upload/", {"photo": as_file(draw())})
        bare = client.post("/off/", {"photo": as_file(draw())})
        assert ours.content == bare.content
        assert ours.headers == bare.headers
        assert ours.cookies == bare.cookies


class TestDecorator:
    """The decorator leaves the view what it is."""

    @trap("WRAP1")
    def test_decorated_coroutine_functions_stay_coroutine_functions(self):
        """WRAP1: an async view is awaited by Django, a sync one is not."""
        assert iscoroutinefunction(capture_images(views.async_upload))
        assert not iscoroutinefunction(capture_images()(views.upload))

    @trap("WRAP1")
    def test_functions_marked_as_coroutines_stay_marked(self):
        """WRAP1: what is only marked as one, as `as_view` marks it, is one too."""
        view = capture_images(views.BareAsync.as_view())
        assert iscoroutinefunction(view)

        async def call():
            request = AsyncRequestFactory().post("/", {"photo": as_file(draw())})
            return await view(request)

        assert async_to_sync(call)().status_code == 200
        assert (only_log().status_code, only_log().capture_status) == (200, "stored")
        assert only_log().duration_ms >= 1

    @trap("WRAP3")
    def test_decorator_keeps_names(self):
        """WRAP3: a view is known by its name, and by its docstring."""
        view = capture_images(views.told_from_threads)
        assert view.__name__ == "told_from_threads"
        assert view.__doc__ == views.told_from_threads.__doc__

    @trap("WRAP3")
    @pytest.mark.parametrize(
        "view", [Nothing(), partial(nothing_of, 1), AsyncNothing()]
    )
    def test_view_without_a_name_keeps_that_of_djangos_messages(self, view):
        """WRAP3: an instance and a partial are named as if they were not decorated."""

        def message(view):
            request = RequestFactory().get("/")
            with pytest.raises(ValueError, match="returned None instead") as caught:
                handler = WSGIHandler()
                handler.resolve_request = lambda request: (view, (), {})
                handler._get_response(request)
            return str(caught.value)

        assert message(capture_images(view)) == message(view)

    @trap("WRAP3")
    def test_class_based_view_is_known(self):
        """WRAP3: `as_view` hangs the class on what it returns, and others look."""
        view = capture_images(views.BareAsync.as_view())
        assert view.view_class is views.BareAsync
        drf = capture_images(views.DrfActions.as_view({"post": "solve"}))
        assert (drf.cls, drf.actions) == (views.DrfActions, {"post": "solve"})

    @trap("WRAP3")
    def test_decorator_keeps_csrf_exempt(self):
        """WRAP3: attributes that other decorators set on the view stay."""
        view = capture_images(views.csrf_exempt(views.upload))
        assert view.csrf_exempt

    @trap("WRAP7")
    def test_decorator_keeps_types(self):
        """WRAP7: what mypy is told of these views is true; `tox -e types` asks it."""
        request = RequestFactory().post("/")
        assert [r.content for r in typed_views.right(request)] == [b'{"pk": 5}', b"a"]
        with pytest.raises(TypeError, match="slag"):
            typed_views.wrong(request)

    def test_decorator_refuses_a_class(self):
        """Whoever decorates a class is told what to do."""
        with pytest.raises(TypeError, match="CaptureImagesMixin"):
            capture_images(views.View)

    @pytest.mark.parametrize("source", ["file", "files.", "body.x", "json..a", "", 5])
    def test_wrong_source_is_refused_at_import(self, source):
        """A source that is none is an error where it is written."""
        with pytest.raises((ValueError, TypeError)):
            capture_images(source=source)
        with pytest.raises((ValueError, TypeError)):
            type("V", (CaptureImagesMixin,), {"capture_source": source})

    @trap("T4")
    def test_request_factory(self):
        """T4: without a handler nobody closes the request: written at once."""
        data = draw()
        request = RequestFactory().post("/x", {"photo": as_file(data)})
        assert capture_images(views.upload)(request).status_code == 200
        assert only_log().image.image_data == data
        assert only_log().endpoint == "upload"

    @trap("T5")
    def test_not_a_request(self):
        """T5: a mock has every attribute and is no request."""
        from unittest.mock import Mock

        mock = Mock(method="POST")
        assert capture_images(lambda request: HttpResponse("ok"))(mock).content == b"ok"
        assert capture_images(lambda: "no request")() == "no request"
        assert not RequestLog.objects.exists()

    def test_request_as_keyword(self):
        """The request may be a keyword argument."""
        request = RequestFactory().post("/x", draw(), content_type="image/png")
        capture_images(views.body)(request=request)
        assert only_log().capture_status == "stored"


RAW_URLS = ["/body/", "/stream/", "/lines/"]
PATHS = {
    "json.image": {"image": "?"},
    "json.input.image": {"input": {"image": "?", "other": 3}},
    "json.images.1": {"images": ["x", "?"]},
    "json:/a.b/c~1d": {"a.b": {"c/d": "?"}},
    "json": {"deep": [{"down": ["?"]}]},
}


class TestSources:
    """Every place where an image can be."""

    @trap("R2", "R13")
    @pytest.mark.parametrize("url", RAW_URLS)
    @pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream"])
    def test_raw_body(self, client, url, content_type):
        """R2: a raw body, however the view reads it."""
        data = draw("JPEG", (640, 480))
        response = client.post(url, data, content_type=content_type)
        assert response.json() == {"body": data.hex()}
        image = only_log().image
        assert (image.image_data, image.source) == (data, "body")
        assert image.log.image_count == 1
        assert image.mime_type == "image/jpeg"  # R13: told from the bytes

    @trap("R14")
    @pytest.mark.parametrize(("source", "document"), PATHS.items())
    @pytest.mark.parametrize("explicit", [True, False])
    @pytest.mark.parametrize(
        "encode",
        [
            b64,
            lambda data: "data:image/png;base64," + b64(data),
            lambda data: base64.urlsafe_b64encode(data).decode(),
            lambda data: base64.encodebytes(data).decode(),
            lambda data: b64(data).rstrip("="),
            lambda data: "data:image/png," + quote(data),
            lambda data: "\n data:image/png;base64," + b64(data),
        ],
        ids=["plain", "data-uri", "urlsafe", "newlines", "unpadded", "percent", "led"],
    )
    def test_json(self, client, source, document, explicit, encode):
        """R14: base64 in JSON in every spelling, at a path or found by search."""
        data = draw(size=(31, 17), seed=0xFBFF)
        text = json.dumps(document).replace('"?"', json.dumps(encode(data)))
        spec = quote(json.dumps(source if explicit else None))
        client.post(f"/sourced/{spec}/", text, content_type="application/json")
        log = only_log()
        assert log.capture_status == "stored"
        assert log.image.image_data == data
        # What is recorded leads there again.
        assert log.image.source == (
            "json.deep.0.down.0" if source == "json" else source
        )
        assert log.image_count == 1

    @pytest.mark.parametrize(
        "document", ["[" * 40 + '"?"' + "]" * 40, '{"a": [' + "0," * 12_000 + '"?"]}']
    )
    def test_search_is_bounded(self, client, document):
        """An image too deep, or behind too much else, is found by its path only."""
        text = document.replace("?", b64(draw()))
        log = post_json(client, text)
        assert log.capture_status == "no_image"

    @pytest.mark.parametrize("source", [None, "form", "form.photo", ["files", "form"]])
    @pytest.mark.parametrize("multipart", [True, False])
    def test_form_field(self, client, source, multipart):
        """Base64 in a text field of either kind of form."""
        data = draw()
        fields = {"photo": b64(data), "note": "no image"}
        url = f"/sourced/{quote(json.dumps(source))}/"
        if multipart:
            client.post(url, fields)
        else:
            body = "&".join(f"{k}={quote(v, safe='')}" for k, v in fields.items())
            client.post(url, body, content_type="application/x-www-form-urlencoded")
        image = only_log().image
        assert (image.image_data, image.source) == (data, "form.photo")

    def test_named_field(self, client):
        """The named field is kept, not the first; the others are counted."""
        one, two, three = (draw(seed=i) for i in range(3))
        files = {"a": as_file(one), "b": as_file(two), "c": as_file(three)}
        client.post(f"/sourced/{quote(json.dumps('files.c'))}/", files)
        log = only_log()
        assert (log.image.image_data, log.image.source) == (three, "files.c")
        assert log.image_count == 3

    @pytest.mark.parametrize("order", [["b", "a"], ["a", "b"], ["x", "b"]])
    def test_several_named_fields(self, client, order):
        """Of several sources the first that holds an image wins."""
        images = {"a": draw(seed=1), "b": draw(seed=2)}
        files = {name: as_file(data) for name, data in images.items()}
        spec = json.dumps([f"files.{name}" for name in order])
        client.post(f"/sourced/{quote(spec)}/", files)
        wanted = "b" if order[0] == "x" else order[0]
        assert only_log().image.image_data == images[wanted]

    def test_named_field_before_any(self, client):
        """A named file is preferred to one that merely is there."""
        files = {"x": as_file(draw(seed=1)), "a": as_file(draw(seed=2))}
        spec = json.dumps(["files.a", "files"])
        client.post(f"/sourced/{quote(spec)}/", files)
        assert only_log().image.source == "files.a"

    def test_images_of_every_kind_are_counted(self, client):
        """Files and base64 in fields of one form."""
        fields = {"a": as_file(draw()), "b": b64(draw()), "c": b64(draw(seed=3))}
        client.post("/upload/", fields)
        assert only_log().image_count == 3

    def test_unescaped_plus_is_restored(self, client):
        """In a form a "+" arrives as a space; the image is the one that was sent."""
        data = draw("BMP", (40, 30), seed=0xFBEFBE)
        assert "+" in b64(data)
        body = "photo=" + b64(data).replace("=", "%3D")
        url = f"/sourced/{quote(json.dumps('form.photo'))}/"
        client.post(url, body, content_type="application/x-www-form-urlencoded")
        assert only_log().image.image_data == data

    def test_form_with_too_many_fields_is_not_searched(self, client):
        """A form that Django would refuse is not taken apart by us either."""
        body = "&".join(["a=1"] * 1001)
        client.post("/body/", body, content_type="application/x-www-form-urlencoded")
        assert only_log().capture_status == "unreadable"
        assert "fields" in only_log().capture_detail

    @trap("R13")
    def test_first_image_is_chosen_over_an_earlier_file(self, client):
        """R13: several files, the first of which is none and lies about it."""
        data = draw("GIF")
        files = {
            "a": as_file(b"text", "a.png", "image/png"),
            "b": as_file(data, "b.txt", "text/plain"),
            "c": as_file(draw(), "c.png"),
        }
        client.post("/upload/", files)
        log = only_log()
        assert log.image.image_data == data
        assert (log.image.mime_type, log.image_count) == ("image/gif", 2)

    def test_same_picture_twice_is_stored_once(self, client):
        """The second request refers to the bytes of the first, and says so."""
        for _ in range(2):
            client.post("/body/", draw(), content_type="image/png")
        assert ImageContent.objects.count() == 1
        assert RequestImage.objects.count() == 2
        statuses = RequestLog.objects.order_by("pk").values_list("capture_status")
        assert [status for (status,) in statuses] == ["stored", "duplicate"]


def post_json(client, text, source=None):
    url = f"/sourced/{quote(json.dumps(source))}/"
    client.post(url, text, content_type="application/json")
    return only_log()


def cut_off(client, url, data, length, content_type):
    """Send a body that is shorter than it says; the test client refuses to."""
    environ = {"wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": str(length)}
    return client.generic("POST", url, data, content_type=content_type, **environ)


class TestReasons:
    """An image that is not kept is a row with the reason."""

    @trap("R9")
    @pytest.mark.parametrize("url", ["/upload/", "/async_upload/"])
    def test_too_large_upload(self, client, url, settings):
        """R9: over our limit we know type and size, and the view gets everything."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.001
        data = draw("BMP", (200, 200))
        response = client.post(url, {"photo": as_file(data)})
        assert response.json()["files"]["photo"][0][2] == data.hex()
        log = only_log()
        assert log.capture_status == "too_large"
        assert (log.image.file_size, log.image.mime_type) == (len(data), "image/bmp")
        assert (log.image.content, log.image.image_data) == (None, None)

    @trap("R9")
    @pytest.mark.parametrize("url", RAW_URLS)
    def test_too_large_body(self, client, url, settings):
        """R9: the same for a raw body, read in one go or in pieces."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.001
        data = draw("BMP", (200, 200))
        response = client.post(url, data, content_type="image/bmp")
        assert response.json() == {"body": data.hex()}
        log = only_log()
        assert log.capture_status == "too_large"
        assert (log.image.file_size, log.image.mime_type) == (len(data), "image/bmp")

    @trap("R9")
    def test_too_large_in_json(self, client, settings):
        """R9: text that is twice our limit is not even decoded."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.001
        log = post_json(client, json.dumps({"image": b64(draw("BMP", (200, 200)))}))
        assert log.capture_status == "too_large"

    @trap("R9")
    def test_just_too_large_in_json(self, client, settings):
        """R9: an image that turns out too large behind base64 keeps its hash."""
        data = draw("BMP", (20, 20))
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.001
        log = post_json(client, json.dumps({"image": b64(data)}))
        assert log.capture_status == "too_large"
        assert log.image.file_size == len(data)
        assert len(log.image.image_hash) == 64

    @trap("R5")
    def test_body_beyond_djangos_limit_is_refused_as_without_us(self, client, settings):
        """R5: a body that Django refuses is still refused, and recorded."""
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.001
        response = client.post("/body/", b"x" * 5000, content_type="image/png")
        assert response.status_code == 400
        log = only_log()
        assert (log.status_code, log.error_type) == (400, "RequestDataTooBig")
        assert log.capture_status == "too_large"

    @trap("R5")
    @pytest.mark.parametrize("url", ["/stream/", "/lines/", "/upload/"])
    def test_limit_of_django_that_the_view_avoids(self, client, settings, url):
        """R5: a limit that the view does not meet is not met by us either."""
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
        data = draw("BMP")
        if url == "/upload/":
            response = client.post(url, {"photo": as_file(data)})
        else:
            response = client.post(url, data, content_type="image/bmp")
        assert data.hex() in response.content.decode()
        assert only_log().image.image_data == data

    def test_not_an_image(self, client):
        """A text file is unsupported; its size and hash are known."""
        client.post("/upload/", {"photo": as_file(b"just text")})
        log = only_log()
        assert (log.capture_status, log.capture_detail) == (
            "unsupported",
            "not an image",
        )
        assert log.image.file_size == 9
        assert len(log.image.image_hash) == 64
        assert (log.image.mime_type, log.image_count) == ("", 0)

    def test_format_that_is_not_allowed(self, client, settings):
        """A format outside the setting is unsupported, by name."""
        settings.REQUEST_IMAGES_ALLOWED_FORMATS = ["JPEG"]
        client.post("/body/", draw(), content_type="image/png")
        assert only_log().capture_status == "unsupported"
        assert "PNG" in only_log().capture_detail
        assert only_log().image.mime_type == "image/png"

    def test_empty_file(self, client):
        """An empty file is no image."""
        client.post("/upload/", {"photo": as_file(b"")})
        assert only_log().capture_status == "unsupported"
        assert only_log().capture_detail == "an empty file"

    def test_unreadable(self, client):
        """A header that cannot be read is unreadable, with Pillow's reason."""
        client.post("/body/", draw()[:20], content_type="image/png")
        log = only_log()
        assert log.capture_status == "unreadable"
        assert log.capture_detail
        assert log.image.mime_type == "image/png"

    @pytest.mark.parametrize("source", [None, "json.image", "files", "form.x"])
    def test_no_image(self, client, source):
        """Nothing where an image could be."""
        text = json.dumps({"other": "text, and more of it than the smallest image has"})
        log = post_json(client, text, source)
        assert log.capture_status == "no_image"
        assert not RequestImage.objects.exists()

    @trap("W21")
    def test_empty_body(self, client):
        """W21: a request without a body and without a Content-Length."""
        client.post("/body/", b"", content_type="image/png")
        assert only_log().capture_status == "no_image"

    @trap("R14")
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ('{"image": "not base64!"}', "not base64"),
            ('{"image": "data:image/png;base64"}', "not base64"),
            ('{"image": 5}', "int where base64 text was expected"),
            ("{", "not JSON"),
            ("[" * 99_000, "not JSON"),
            ("[" * 200_000, "more than 100000 commas"),
        ],
    )
    def test_text_that_is_not_base64_is_unreadable(self, client, text, reason):
        """R14: text that is no image says what is wrong with it."""
        log = post_json(client, text, "json.image")
        assert log.capture_status == "unreadable"
        assert reason in log.capture_detail

    def test_json_path_through_a_text_finds_nothing(self, client):
        """A path that leads nowhere finds nothing."""
        log = post_json(client, '{"images": ["a"]}', "json.images.7.x")
        assert log.capture_status == "no_image"

    @trap("R12")
    def test_view_that_never_reads(self, client):
        """R12: what the view does not read is not read, and the row says so."""
        response = client.post("/nothing/", draw(), content_type="image/png")
        assert response.status_code == 401
        log = only_log()
        assert (log.status_code, log.capture_status) == (401, "unread")

    def test_half_read_body_is_unread(self, client):
        """A view that reads only the beginning leaves no whole image."""
        client.post("/first_bytes/", draw(), content_type="image/png")
        log = only_log()
        assert log.capture_status == "unread"
        assert log.capture_detail == "the view stopped before the end"
        assert (log.image.file_size, log.image.image_hash) == (len(draw()), "")
        assert log.image.mime_type == "image/png"

    @trap("R10")
    @pytest.mark.parametrize(
        ("url", "content_type"),
        [
            ("/body/", "image/png"),
            ("/stream/", "image/png"),
            ("/body/", "application/json"),
            ("/body/", "application/x-www-form-urlencoded"),
        ],
    )
    def test_truncated_body(self, client, url, content_type):
        """R10: a body that is shorter than it said comes without any error."""
        cut_off(client, url, draw(), 5000, content_type)
        assert only_log().capture_status == "truncated"

    @trap("R10")
    def test_truncated_upload(self, client):
        """R10: a multipart body that ends in the middle of its file."""
        whole = RequestFactory().post("/", {"photo": as_file(draw(size=(90, 90)))})
        content_type = whole.META["CONTENT_TYPE"]
        cut_off(client, "/upload/", whole.body[:250], len(whole.body), content_type)
        log = only_log()
        assert log.capture_status == "truncated"
        assert 0 < log.image.file_size < 250

    @trap("HOSTILE11")
    def test_no_thumbnail_is_drawn(self, client):
        """HOSTILE11: to decode an image is nothing that a request has to pay for."""
        client.post("/body/", draw(), content_type="image/png")
        content = ImageContent.objects.get()
        assert (content.thumbnail, content.thumbnail_error) == (None, "")

    @trap("HOSTILE9")
    def test_truncated_image_file_is_kept(self, client):
        """HOSTILE9: a file that arrived whole but shows half a picture is kept."""
        data = draw("JPEG", (300, 300))
        client.post("/body/", data[: len(data) // 2], content_type="image/jpeg")
        assert only_log().capture_status == "stored"


class Guarded:
    """A view's class that answers no question about itself."""

    def __getattr__(self, name):
        raise KeyError(name)

    @capture_images
    def post(self, request):
        return HttpResponse(str(len(request.FILES)))


class NotYet:
    @property
    def _request(self):
        raise RuntimeError("not yet")

    @capture_images
    def post(self, request):
        return HttpResponse(str(len(request.FILES)))


@pytest.mark.parametrize("view", [Guarded, NotYet])
def test_argument_that_raises_hides_no_request(view):
    """Kind: a fault at one part of what we are given costs that part."""
    request = RequestFactory().post("/", {"image": as_file(draw())})
    assert view().post(request).content == b"1"
    assert RequestLog.objects.get().capture_status == "stored"


class Answer:
    """Something that can be awaited, and is no coroutine."""

    def __await__(self):
        raise ValueError("it went")
        yield  # pragma: no cover


@pytest.mark.django_db(transaction=True)
def test_view_may_return_anything_that_can_be_awaited():
    """A sync view hands it on; what it raises reaches the caller."""
    request = RequestFactory().post("/", draw(), content_type="image/png")

    async def call():
        return await capture_images(lambda request: Answer())(request)

    with pytest.raises(ValueError, match="it went"):
        async_to_sync(call)()
    assert RequestLog.objects.get().error_type == "ValueError"


def test_fault_while_a_text_is_decoded_costs_the_image(monkeypatch):
    """Texts are decoded one by one, after the sources have been looked at."""

    def decoded(*arguments):
        raise RuntimeError("ours")

    monkeypatch.setattr(search, "_decoded", decoded)
    text = json.dumps({"image": base64.b64encode(draw()).decode()})
    request = RequestFactory().post("/", text, content_type="application/json")
    assert capture_images(views.body)(request).status_code == 200
    assert RequestLog.objects.get().capture_status == "store_failed"
    assert set(health.faults()) == {"search:RuntimeError"}
    health.reset()
