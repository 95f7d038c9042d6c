"""An image in a text that is itself a part of a form, a file, or a string of JSON."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client, RequestFactory

from request_images import health
from request_images.capture import body_text
from request_images.decorators import capture_images
from request_images.models import FurtherImage, RequestLog
from tests.image_files import draw

from .test_sources_any_body import BASE64, FORM, IMAGE, IN_JSON, URI, the_only

pytestmark = pytest.mark.django_db

# With each character of the alphabet: a "+" is another thing in a form.
PLUS = IMAGE + b"\xfb\xef\xbe"
IN_TEXT = json.dumps({"n": "ы \N{GRINNING FACE}", "a": "data:;base64,@"}).replace(
    "@", base64.b64encode(PLUS).decode()
)
TEXTS = {
    "JSON": IN_TEXT,
    "JSON that is not escaped": IN_TEXT.replace("\\u044b", "ы"),
    "JSON after a mark": "\ufeff" + IN_TEXT,
    "JSON of a text": json.dumps(base64.b64encode(PLUS).decode()),
    "JSON in JSON": json.dumps({"body": IN_TEXT}),
    "JSON lines": '{"a": 1}\n' + IN_TEXT + "\n{]",
}
FILES = {
    **{name: text.encode() for name, text in TEXTS.items()},
    "JSON in UTF-16": IN_TEXT.encode("utf-16"),
    "base64": base64.encodebytes(PLUS),
    "base64 in UTF-16": base64.b64encode(PLUS).decode().encode("utf-16"),
    "data URI": b"data:image/png;name=%b;base64,%b"
    % (b"x" * 99, base64.b64encode(PLUS)),
    "urlsafe base64": base64.urlsafe_b64encode(PLUS),
}


@pytest.mark.parametrize("source", [None, "form", "form.payload"])
@pytest.mark.parametrize("name", TEXTS)
def test_image_in_json_in_a_field_is_found(name, source):
    """Kind: a field of a form holds JSON; the source is the field."""
    url = f"/sourced/{quote(json.dumps(source))}/"
    text = TEXTS[name]
    for body in (quote(text), quote(text).replace("%20", "+"), quote(text, safe="+")):
        Client().generic("POST", url, "note=x&payload=" + body, FORM)
        assert the_only() == (("stored", ""), ("form.payload", PLUS))
    Client().post(url, {"note": '{"a": 1}', "payload": text})
    assert the_only() == (("stored", ""), ("form.payload", PLUS))


@pytest.mark.parametrize("url", ["/body/", "/stream/", "/drf/view/", "/async_upload/"])
@pytest.mark.parametrize("name", TEXTS)
def test_image_in_json_in_a_field_is_found_whoever_parses_it(name, url):
    """The view that reads the body itself, REST framework, and an async view."""
    Client().generic("POST", url, "a=b&payload=" + quote(TEXTS[name], "+"), FORM)
    assert the_only() == (("stored", ""), ("form.payload", PLUS))


def sent(name, kind="application/octet-stream"):
    return SimpleUploadedFile("x", FILES[name], kind)


@pytest.mark.parametrize("url", ["/upload/", "/body/", "/async_upload/", "/protected/"])
@pytest.mark.parametrize("name", FILES)
def test_image_in_a_file_of_text_is_found(name, url):
    """Kind: a file part is base64, a data URI or JSON, among other files."""
    note = SimpleUploadedFile("x.txt", b"text", "text/plain")
    Client().post(url, {"note": note, "payload": sent(name), "last": note})
    assert the_only() == (("stored", ""), ("files.payload", PLUS))


@pytest.mark.parametrize("source", ["files", "files.payload"])
def test_image_file_is_preferred_to_one_of_text(source):
    """A text may be anything; the name of a source decides first."""
    photo = SimpleUploadedFile("x.png", IMAGE)
    Client().post(
        f"/sourced/{quote(json.dumps(source))}/",
        {"payload": sent("JSON"), "photo": photo},
    )
    expected = ("files.photo", IMAGE) if source == "files" else ("files.payload", PLUS)
    assert the_only() == (("stored", ""), expected)


@pytest.mark.parametrize("source", [None, "json", "json.body", ["json.body", "json"]])
def test_image_in_json_in_json_is_found(source):
    """Kind: gateways and queues wrap a body as a string."""
    body = json.dumps({"id": 1, "body": json.dumps({"body": IN_JSON.decode()})})
    url = f"/sourced/{quote(json.dumps(source))}/"
    Client().generic("POST", url, body, "application/json")
    assert the_only() == (("stored", ""), ("json.body", IMAGE))


def test_json_is_not_searched_for_ever():
    """JSON in JSON in JSON in JSON is nobody's."""
    text = URI.decode()
    for _ in range(5):
        text = json.dumps({"a": text})
    Client().generic("POST", "/body/", text, "application/json")
    assert the_only()[0] == ("no_image", "")


def test_all_images_in_texts_are_found_once():
    """Several in one text, and the same text at two sources."""
    two = json.dumps([BASE64.decode(), {"b": base64.b64encode(draw("GIF")).decode()}])
    data = {"x": two, "y": [SimpleUploadedFile("y", two.encode()) for _ in range(2)]}
    view = capture_images(images="all", source=["files", "form", "form.x", "files.y"])(
        lambda request: HttpResponse(len(request.FILES))
    )
    view(RequestFactory().post("/", data))
    log = RequestLog.objects.get()
    assert (log.capture_status, log.image_count) == ("stored", 6)
    assert log.image.source == "files.y"
    sources = FurtherImage.objects.order_by("position").values_list("source", flat=True)
    assert list(sources) == ["files.y", "files.y", "files.y", "form.x", "form.x"]


@pytest.mark.parametrize("text", ["{", "{]", '{"a": 1}', "[" * 9_000, '"x"', "[1,\n"])
def test_text_without_an_image_is_none(text):
    """What looks like JSON is a text like any other."""
    Client().post("/upload/", {"payload": text})
    assert the_only() == (("no_image", ""), None)
    Client().post("/upload/", {"payload": SimpleUploadedFile("x", text.encode())})
    assert the_only()[0] == ("unsupported", "not an image")


def test_fault_in_one_text_costs_that_text_alone(monkeypatch):
    """Kind: a bug of ours in JSON is the reason, unless there is another image."""

    def fail(body):
        raise MemoryError

    monkeypatch.setattr(body_text, "load_json", fail)
    payload = {"payload": sent("JSON"), "field": IN_TEXT}
    Client().post("/upload/", payload)
    assert the_only()[0] == ("store_failed", "MemoryError: ")
    photo = SimpleUploadedFile("x.png", IMAGE)
    Client().post("/upload/", {**payload, "payload": sent("JSON"), "photo": photo})
    assert the_only() == (("stored", ""), ("files.photo", IMAGE))
    Client().post("/upload/", {"a": IN_TEXT, "b": URI.decode()})
    assert the_only() == (("stored", ""), ("form.b", IMAGE))
    assert health.faults() == {"search:MemoryError": 4}
    health.reset()
