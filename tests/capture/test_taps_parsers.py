"""The images of forms that were parsed by other parsers than Django's."""

from __future__ import annotations

import base64
import io
import json
from unittest.mock import Mock

import pytest
from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse, QueryDict
from django.test import RequestFactory
from django.utils.datastructures import MultiValueDict
from rest_framework.parsers import (
    BaseParser,
    DataAndFiles,
    FileUploadParser,
    MultiPartParser,
)
from rest_framework.response import Response
from rest_framework.views import APIView

from request_images import health
from request_images.capture import parsed_form, search, taps
from request_images.capture.body_end import BodyEnd
from request_images.decorators import capture_images
from request_images.mixins import CaptureImagesMixin
from request_images.models import RequestLog
from tests.image_files import draw

pytestmark = pytest.mark.django_db


class PlainDict(MultiPartParser):
    """Returns a dict of the fields, as many projects' parsers do."""

    def parse(self, *args, **kwargs):
        data, files = vars(super().parse(*args, **kwargs)).values()
        return DataAndFiles(data.dict(), files)


class PlainFiles(MultiPartParser):
    """Returns the files in a dict of lists, too."""

    def parse(self, *args, **kwargs):
        data, files = vars(super().parse(*args, **kwargs)).values()
        return DataAndFiles(dict(data.lists()), dict(files.lists()))


class Merged(MultiPartParser):
    """Merges the files into the data, as nested-multipart-parser does."""

    def parse(self, *args, **kwargs):
        data, files = vars(super().parse(*args, **kwargs)).values()
        return {"item": {**data.dict(), "pictures": [*files.values()]}}


class Listed(MultiPartParser):
    """Returns a list of dicts."""

    def parse(self, *args, **kwargs):
        data, files = vars(super().parse(*args, **kwargs)).values()
        return [{**data.dict()}, {**files.dict()}, None, 7]


class JsonField(MultiPartParser):
    """Reads a field as JSON, and returns whatever is in it."""

    def parse(self, *args, **kwargs):
        data, files = vars(super().parse(*args, **kwargs)).values()
        return DataAndFiles(json.loads(data["meta"]), files)


class FromStream(BaseParser):
    """Reads the stream itself, and makes files that are no uploaded files."""

    media_type = "multipart/form-data"

    def parse(self, stream, media_type=None, parser_context=None):
        body = stream.read()
        begin = body.index(b"\x89PNG")
        end = body.index(b"\r\n--", begin)
        return DataAndFiles({}, {"photo": ContentFile(body[begin:end])})


class View(CaptureImagesMixin, APIView):
    parser_classes = (PlainDict,)

    def post(self, request, **kwargs):
        return Response({"fields": len(request.data)})

    put = post


def send(parser, data=None, method="post", **extra):
    """Send a form to a view with this parser, and return the log."""
    photo = SimpleUploadedFile("x.png", draw(), "image/png")
    given = {"photo": photo, "note": "a note", "meta": '{"a": 1, "b": [null]}'}
    request = RequestFactory().post("/", given, **extra)
    if data is not None:
        request = RequestFactory().generic(method.upper(), "/", data, **extra)
    request.method = method.upper()
    response = View.as_view(parser_classes=[parser])(request, filename="photo.png")
    assert response.status_code == 200
    return RequestLog.objects.get()


@pytest.mark.parametrize(
    "parser",
    [PlainDict, PlainFiles, Merged, Listed, JsonField, FromStream, FileUploadParser],
)
@pytest.mark.parametrize("method", ["post", "put"])
def test_file_is_kept_whatever_the_parser_returns(parser, method):
    """What becomes of the fields does not cost the file that was seen."""
    log = send(parser, method=method)
    assert (log.capture_status, log.capture_detail) == ("stored", "")
    assert log.image.image_data == draw()
    assert log.image.source == "files.photo"


@pytest.mark.parametrize(
    "declared",
    ["multipart/form-data", "application/x-www-form-urlencoded", "image/png"],
)
@pytest.mark.parametrize("method", ["post", "put"])
def test_whole_body_is_one_file_whatever_its_type(declared, method):
    """A parser that takes the body for a file ignores the type; so does the capture."""
    log = send(FileUploadParser, draw(), method, content_type=declared)
    assert log.capture_status == "stored"
    assert log.image.image_data == draw()


def test_whole_body_of_a_form_is_found_although_it_was_read_before():
    """The same where another part of the project has read the body first."""
    photo = SimpleUploadedFile("x.png", draw(), "image/png")
    request = RequestFactory().post("/", {"photo": photo})
    assert request.body
    View.as_view(parser_classes=[FileUploadParser])(request, filename="a")
    assert RequestLog.objects.get().image.image_data == draw()


def test_whole_form_that_is_too_large_has_its_reason(settings):
    """The boundaries of a form count as part of a file that they are taken for."""
    settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.0001
    assert send(FileUploadParser).capture_status == "too_large"


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({"a": ContentFile(draw())}, "a"),
        ({"a": [ContentFile(draw())]}, "a"),
        ({"a": {"b": (ContentFile(draw()),)}}, "a.b"),
        ({"a": io.BytesIO(draw())}, "a"),
        ([{"a": ContentFile(draw())}], "a"),
        (MultiValueDict({"a": [ContentFile(b"x"), ContentFile(draw())]}), "a"),
    ],
)
@pytest.mark.parametrize("attribute", ["_files", "_post"])
def test_files_that_were_parsed_before_are_found(files, field, attribute):
    """A middleware may leave any objects; the files among them are found."""
    request = RequestFactory().post("/", {})
    request._post, request._files = {}, {}
    setattr(request, attribute, files)
    capture_images(lambda request: HttpResponse("ok"))(request)
    log = RequestLog.objects.get()
    assert (log.capture_status, log.image.source) == ("stored", f"files.{field}")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("note", [{}, {"note": ContentFile(b"text")}])
@pytest.mark.parametrize(
    ("files", "fields", "source"),
    [
        ({"photo": ContentFile(draw())}, {}, "files.photo"),
        ({}, {"photo": base64.b64encode(draw()).decode()}, "form.photo"),
    ],
)
def test_request_that_was_made_by_hand(files, fields, note, source, is_async):
    """Kind: plain code calls the view, and has set the files or fields itself."""
    request = HttpRequest()
    request.method = "POST"
    for name, file in {**note, **files}.items():
        file.seek(1)
        request.FILES[name] = file
    request.POST.update(fields)

    def view(request):
        return HttpResponse([file.tell() for file in request.FILES.values()])

    async def async_view(request):
        return view(request)

    if is_async:
        response = async_to_sync(capture_images(async_view))(request)
    else:
        response = capture_images(view)(request)
    assert response.content == b"1" * len({**note, **files})
    log = RequestLog.objects.get()
    assert (log.capture_status, log.image.source) == ("stored", source)
    assert log.image.image_data == draw()


def test_file_that_is_among_the_fields_too_counts_once():
    """A parser may give the same file in both places."""
    request = RequestFactory().post("/", {})
    file = ContentFile(draw())
    request._post, request._files = {"a": file}, {"a": file}
    capture_images(lambda request: HttpResponse("ok"))(request)
    assert RequestLog.objects.get().image_count == 1


def test_texts_of_nested_fields_are_found():
    """A text in base64 is found in whatever object a parser put it."""
    request = HttpRequest()
    request._post = {"a": {"b": ["x", 3]}, "c": "y", "d": QueryDict("e=1&e=2")}
    assert parsed_form.texts(request) == {"a.b": ["x"], "c": ["y"], "d.e": ["1", "2"]}


def test_nested_fields_are_bounded():
    """Neither depth, nor number, nor a cycle has the search run for long."""
    request = HttpRequest()
    cycle = {"a": "x"}
    cycle["b"] = cycle
    request._post = cycle
    assert len(parsed_form.texts(request)) < parsed_form.MAX_DEPTH
    request._post = {"a" * 300: {"b": ["x"] * 3 * parsed_form.MAX_VALUES}}
    [(name, values)] = parsed_form.texts(request).items()
    assert (len(name), len(values)) == (200, parsed_form.MAX_VALUES - 3)


class Unreadable(dict):
    """Fields that cannot be looked at."""

    def items(self):
        raise ZeroDivisionError


@pytest.mark.parametrize("has_image", [True, False])
def test_fault_in_the_fields_costs_the_fields(has_image):
    """Nothing but what could not be looked at is lost, and the row says so."""

    def view(request):
        assert request.FILES
        request._post = Unreadable()
        return HttpResponse("ok")

    data = draw() if has_image else b"no image"
    photo = SimpleUploadedFile("x.png", data, "image/png")
    capture_images(view)(RequestFactory().post("/", {"photo": photo}))
    log = RequestLog.objects.get()
    assert log.capture_status == ("stored" if has_image else "store_failed")
    assert ("ZeroDivisionError" in log.capture_detail) is not has_image
    assert health.faults() == {"tap:ZeroDivisionError": 1}
    health.reset()


def test_fault_in_the_files_costs_no_file_that_was_seen(monkeypatch):
    """The bytes that the upload handler saw need nothing that comes later."""

    def broken(*args):
        raise ZeroDivisionError

    for place, name in ((BodyEnd, "describe"), (taps.Tap, "_collect_files")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, broken)
            photo = SimpleUploadedFile("x.png", draw(), "image/png")
            view = capture_images(lambda request: HttpResponse(len(request.FILES)))
            view(RequestFactory().post("/", {"photo": photo}))
        assert RequestLog.objects.latest().image.image_data == draw()
    health.reset()


@pytest.mark.parametrize("source", ["json", "form"])
@pytest.mark.parametrize("limit", [None, 3])
def test_fault_at_one_source_costs_that_source(client, monkeypatch, source, limit):
    """An image that is found elsewhere is kept."""

    def broken(*args):
        raise MemoryError

    monkeypatch.setattr(search.Search, f"_{source}", broken)
    view = capture_images(
        source=[source, "files"], images="all" if limit else "first", limit=limit
    )(lambda request: HttpResponse(len(request.FILES)))
    photo = SimpleUploadedFile("x.png", draw(), "image/png")
    view(RequestFactory().post("/", {"photo": photo}))
    assert RequestLog.objects.get().image.image_data == draw()
    view(RequestFactory().post("/", {"note": "x"}))
    log = RequestLog.objects.latest()
    assert (log.capture_status, log.capture_detail) == ("store_failed", "MemoryError: ")
    assert health.faults() == {"search:MemoryError": 2}
    health.reset()


def test_fault_in_the_headers_costs_the_headers(client):
    """A middleware may have replaced them by anything."""
    request = RequestFactory().post("/", draw(), content_type="image/png")
    request.META["HTTP_X_REQUEST_ID"] = Mock(__str__=Mock(side_effect=AttributeError))
    request.META["HTTP_TRANSFER_ENCODING"] = 3
    del request.META["CONTENT_LENGTH"]
    capture_images(lambda request: HttpResponse(request.read()))(request)
    log = RequestLog.objects.get()
    assert log.image.image_data == draw()
    assert set(health.faults()) == {"request id:AttributeError", "tap:AttributeError"}
    health.reset()


def test_fault_in_the_url_costs_the_endpoint(client):
    """What is not Django's own ``ResolverMatch`` has no name."""
    request = RequestFactory().post("/", draw(), content_type="image/png")
    request.resolver_match = object()
    request._dont_enforce_csrf_checks = True
    capture_images(lambda request: HttpResponse(request.body))(request)
    request.close()
    log = RequestLog.objects.get()
    assert (log.endpoint, log.image.image_data) == ("", draw())
    assert health.faults() == {"endpoint:AttributeError": 1}
    health.reset()
