"""An image that came by is found: whatever the client declares, and however it is sent.

Tools declare types of their own (curl's ``--data-binary`` a form, ``wget --post-file``
as well), and views read the body all the same.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from functools import partial
from urllib.parse import quote, urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client, RequestFactory

from request_images.capture.content_encoding import decompressed
from request_images.decorators import capture_images
from request_images.models import FurtherImage, ImageContent, RequestLog
from tests.image_files import draw

pytestmark = pytest.mark.django_db

IMAGE = draw()
BASE64 = base64.b64encode(IMAGE)
URI = b"data:image/png;base64," + BASE64
IN_JSON = json.dumps({"a": [{"image": URI.decode()}]}).encode()
FIRST_LINE = b'{"a": 1}\n'
FORM = "application/x-www-form-urlencoded"
TYPES = [
    FORM,
    "application/json",
    "application/octet-stream",
    "text/plain",
    "text/plain; charset=utf-16",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "image/jpeg",
    "application/vnd.api+json",
    "application/x-ndjson",
    "application/json-seq",
    "text/xml",
    "nonsense",
    "",
]
BODIES = {
    "raw": (IMAGE, "body"),
    "raw jpeg": (draw("JPEG"), "body"),
    "raw webp": (draw("WEBP"), "body"),
    "raw gif": (draw("GIF"), "body"),
    "base64": (BASE64, "body"),
    "base64 in lines": (base64.encodebytes(IMAGE), "body"),
    "urlsafe base64": (base64.urlsafe_b64encode(IMAGE).rstrip(b"="), "body"),
    "base64 after a byte order mark": (b"\xef\xbb\xbf" + BASE64, "body"),
    "data URI": (URI, "body"),
    "data URI in white space": (b" \r\n" + URI + b"\n", "body"),
    "data URI after a byte order mark": (b"\xef\xbb\xbf" + URI, "body"),
    "escaped data URI": (b"data:image/png," + quote(IMAGE).encode(), "body"),
    "base64 that is escaped": (quote(BASE64, safe="").encode(), "body"),
    "data URI all of which is escaped": (quote(URI, safe="").encode(), "body"),
    "JSON in UTF-16": (IN_JSON.decode().encode("utf-16"), "json.a.0.image"),
    "JSON in UTF-16 without a mark": (
        IN_JSON.decode().encode("utf-16-be"),
        "json.a.0.image",
    ),
    "JSON": (IN_JSON, "json.a.0.image"),
    "JSON after white space": (b"\r\n" * 99 + IN_JSON, "json.a.0.image"),
    "a list in JSON": (json.dumps([BASE64.decode()]).encode(), "json.0"),
    "JSON lines": (FIRST_LINE + IN_JSON + b"\n", "json.1.a.0.image"),
    "JSON lines of Windows": (
        b"\xef\xbb\xbf" + FIRST_LINE + b" \r\n" + IN_JSON,
        "json.1.a.0.image",
    ),
    "JSON lines in UTF-16": (
        (FIRST_LINE + IN_JSON).decode().encode("utf-16"),
        "json.1.a.0.image",
    ),
    "a JSON sequence": (
        b'\x1e{"a":\n1}\n\x1e' + IN_JSON + b"\n",
        "json.1.a.0.image",
    ),
    "a byte order mark in JSON": (
        json.dumps(["\ufeff" + BASE64.decode()], ensure_ascii=False).encode(),
        "json.0",
    ),
    "an escaped byte order mark in JSON": (
        json.dumps(["\ufeff" + URI.decode()]).encode(),
        "json.0",
    ),
    "base64 in UTF-16": (BASE64.decode().encode("utf-16"), "body"),
    "data URI in UTF-16": (b"\xfe\xff" + URI.decode().encode("utf-16-be"), "body"),
    "a text in JSON": (json.dumps(URI.decode()).encode(), "json"),
    "a form": (urlencode({"note": "x", "image": URI}).encode(), "form.image"),
    "a form that is not escaped": (b"image=" + URI, "form.image"),
    "a byte order mark in a form": (
        urlencode({"image": b"\xef\xbb\xbf" + BASE64}).encode(),
        "form.image",
    ),
}


def original_of(body):
    return body if body.startswith((b"\xff\xd8", b"RIFF", b"GIF")) else IMAGE


def the_only():
    """Delete the only log; return its reason, and the source and bytes of its image."""
    log = RequestLog.objects.get()
    image = getattr(log, "image", None)
    found = image and (image.source, image.image_data)
    RequestLog.objects.all().delete()
    ImageContent.objects.all().delete()
    return (log.capture_status, log.capture_detail), found


@pytest.mark.parametrize("url", ["/body/", "/stream/", "/lines/", "/drf/raw/"])
@pytest.mark.parametrize("name", BODIES)
def test_image_is_found_under_any_type(url, name):
    """Kind: the bytes decide where an image is looked for, the declared type does not.

    That of `lines` is read in lines, that of `stream` in pieces.
    """
    body, source = BODIES[name]
    for declared in TYPES:
        Client().generic("POST", url, body, declared)
        reason, image = the_only()
        assert (declared, *reason) == (declared, "stored", "")
        assert image == (source, original_of(body))


@pytest.mark.parametrize("url", ["/upload/", "/async_upload/", "/body_then_files/"])
@pytest.mark.parametrize("declared", [FORM, "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("name", BODIES)
def test_image_is_found_although_the_view_asks_for_a_form(url, declared, name):
    """Kind: the view finds no form, and its log has the picture that was sent."""
    body, _ = BODIES[name]
    Client().generic("POST", url, body, declared)
    reason, image = the_only()
    assert reason == ("stored", "")
    assert image[1] == original_of(body)


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("declared", TYPES)
def test_all_images_are_found_and_nothing_else(declared, limit):
    """What was looked at in vain does not become a row of its own."""
    data = json.dumps({"a": URI.decode(), "b": [URI.decode()]})
    request = RequestFactory().generic("POST", "/", data, declared)
    options = {"images": "all", "limit": limit} if limit else {}
    capture_images(**options)(lambda request: HttpResponse(request.body))(request)
    log = RequestLog.objects.get()
    assert (log.capture_status, log.image_count) == ("stored", 2)
    assert log.image.source == "json.a"
    assert FurtherImage.objects.count() == (1 if limit else 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"hello", "unsupported"), (b'{"a": 1}', "unsupported"), (b"a=b", "unsupported")],
)
def test_body_without_an_image_has_the_reason_of_its_type(body, status):
    Client().generic("POST", "/body/", body, "text/plain")
    assert the_only()[0] == (status, "not an image")


@pytest.mark.parametrize("source", [None, "json"])
@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"{]", "document 1 is followed by no JSON: Expecting property name"),
        (b"0\n" * 9_998 + b"{}\n{}", "more than 10000 documents"),
        (b"[" * 50_000, "document 1 is followed by no JSON: maximum recursion"),
    ],
)
def test_broken_line_costs_the_others_nothing(line, detail, source):
    """Kind: a fault in one part. It is the reason only if no other has an image."""
    url = f"/sourced/{quote(json.dumps(source))}/"
    Client().generic("POST", url, FIRST_LINE + line, "application/jsonl")
    status, why = the_only()[0]
    assert status == "unreadable"
    assert detail in why
    body = IN_JSON + b"\n" + line[-9_000:]
    Client().generic("POST", url, body, "application/jsonl")
    assert the_only() == (("stored", ""), ("json.0.a.0.image", IMAGE))


NAME = "ы" * 38 + ".png"
HEADS = {
    "a percent-escaped name": f"data:image/png;name={quote(NAME)};base64,",
    "a name as it is": f"data:image/png;name={NAME};base64,",
    "the longest name of a file": f"data:image/png;name={quote('ы' * 255)};base64,",
    "escaped twice": f"data:image/png;name={quote(quote('ы' * 255))};base64,",
    "a comma in the name": "data:image/png;name=a,b;c.png;base64,",
    "a quoted name": 'data:image/png;name="a, b.png";base64,',
    "many parameters": "data:image/png" + ";a=b" * 900 + ";base64,",
    "white space": "data:image/png; base64,",
    "upper case": "DATA:IMAGE/PNG;BASE64,",
    "a parameter behind": "data:image/png;base64;charset=utf-8,",
    "no type": "data:;base64,",
    "no data:": "image/png;base64,",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("escapes", [True, False])
def test_data_uri_with_any_sensible_head(head, escapes):
    """Kind: what stands before the bytes does not hide them."""
    uri = head + BASE64.decode()
    sent = [
        (json.dumps({"image": uri}, ensure_ascii=escapes), "application/json"),
        (urlencode({"image": uri}), FORM),
        (uri, "text/plain"),
    ]
    for body, declared in sent:
        Client().generic("POST", "/body/", body, declared)
        reason, image = the_only()
        assert (declared, *reason) == (declared, "stored", "")
        assert image[1] == IMAGE
    Client().post("/upload/", {"image": uri})
    assert the_only()[0] == ("stored", "")


@pytest.mark.parametrize(
    "uri",
    [
        'data:image/svg+xml,<svg><image href="data:image/png;base64,{}"/></svg>',
        "data:image/svg+xml,%3Csvg%3E%3Cimage href='data:image/png;base64,{}'/%3E",
        "data:text/plain;name=" + "x" * 9_000 + ";base64,{}",
        "data:text/plain;charset=é,{}é",
    ],
)
def test_other_data_uri_is_no_image(uri):
    """A picture within a picture is not the one that was sent."""
    body = json.dumps({"image": uri.format(BASE64.decode())})
    Client().generic("POST", "/body/", body, "application/json")
    assert the_only()[0][0] == "no_image"
    view = capture_images(source="json.image")(lambda r: HttpResponse(r.body))
    view(RequestFactory().generic("POST", "/", body, "application/json"))
    assert the_only()[0][0] in ("unsupported", "unreadable")


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def twice(data):
    return gzip.compress(zlib.compress(data))


def in_members(data):
    return gzip.compress(data[:50]) + gzip.compress(data[50:])


def padded(data):
    return gzip.compress(data) + bytes(20_000)


CODINGS = {
    "gzip": ("gzip", gzip.compress),
    "gzip of several members": ("gzip", in_members),
    "gzip with padding": ("gzip", padded),
    "x-gzip": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate, fast": ("deflate", partial(zlib.compress, level=1)),
    "raw deflate": ("deflate", raw_deflate),
    "two": ("deflate, gzip", twice),
    "identity": ("identity", bytes),
    "undone by a proxy": ("gzip", bytes),
    "no coding": ("utf-8", bytes),
    "none": ("", gzip.compress),
}
MULTIPART = RequestFactory().post(
    "/", {"photo": SimpleUploadedFile("x.png", IMAGE, "image/png")}
)


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("url", ["/body/", "/stream/", "/upload/"])
def test_body_that_the_view_decompresses_is_found(coding, url):
    """Kind: Content-Encoding, which Django leaves to the view."""
    header, compress = coding
    form = MULTIPART.META["CONTENT_TYPE"]
    bodies = [
        (IN_JSON, "application/json", "json.a.0.image"),
        (IMAGE, "image/png", "body"),
        (BASE64, "text/plain", "body"),
        (MULTIPART.body, form, "files.photo"),
    ]
    if url == "/upload/":  # it reads forms only
        bodies = bodies[-1:]
    for body, declared, source in bodies:
        extra = {"HTTP_CONTENT_ENCODING": header} if header else {}
        Client().generic("POST", url, compress(body), declared, **extra)
        reason, image = the_only()
        assert (declared, *reason) == (declared, "stored", "")
        assert image == (source, IMAGE)


@pytest.mark.parametrize(
    ("header", "body", "why"),
    [
        ("br", b"\x0b\x02\x80\x00\x01", "br, which is not decompressed"),
        ("zstd", b"\x28\xb5\x2f\xfd\x00", "zstd, which is not decompressed"),
        ("gzip", gzip.compress(IN_JSON)[:-9], "gzip: it ends early"),
        ("gzip", gzip.compress(b"x") + b"more", "gzip: more bytes follow its end"),
        ("deflate", zlib.compress(b"x") + bytes(20_000), "deflate: more bytes follow"),
        ("gzip", gzip.compress(bytes(30_000_000)), "gzip: more than 20971520 bytes"),
        ("gzip", b"\x1f\x8b\x08" + bytes(99), "gzip: Error -3"),
        ("deflate", b"\x78\x9c" + b"\xff\0" * 99, "deflate: Error -3"),
        ("gzip, br, gzip", b"\0", "gzip: "),
        ("gzip" + ", gzip" * 9, gzip.compress(b"\0"), "gzip: "),
    ],
)
@pytest.mark.parametrize(
    "declared",
    ["application/json", "image/png", "multipart/form-data; boundary=x", FORM],
)
def test_coding_that_hides_an_image_is_the_reason(header, body, why, declared):
    """Kind: what cannot be decompressed here, within the limits, is named."""
    Client().generic("POST", "/stream/", body, declared, HTTP_CONTENT_ENCODING=header)
    status, detail = the_only()[0]
    assert status == "unreadable"
    assert detail.startswith(f"Content-Encoding {why}")


def test_codings_are_limited():
    """Each layer may be as large as the limit, so there are few."""
    body = bytes(9)
    for _ in range(4):
        body = gzip.compress(body)
    with pytest.raises(ValueError, match="gzip, which is not decompressed"):
        decompressed(body, "gzip, gzip, gzip, gzip", 1_000_000)


def photo(name="photo"):
    return {name: SimpleUploadedFile("x.png", IMAGE, "image/png")}


@pytest.mark.parametrize(
    ("source", "send", "detail"),
    [
        (
            "files.image",
            {"data": photo()},
            "nothing at files.image; the request had files.photo",
        ),
        (
            ["files.a", "form.b"],
            {"data": {**photo("x"), **photo("y"), **photo("z"), **photo("zz")}},
            "nothing at files.a or form.b; the request had files.x, files.y, files.z",
        ),
        (
            "json.image",
            {"data": photo()},
            "nothing at json.image; the request had files.photo",
        ),
        (
            "body",
            {"data": photo()},
            "nothing at body; the request had files.photo",
        ),
        (
            "json.image",
            {"data": IN_JSON, "content_type": "application/json"},
            "nothing at json.image; the request had json.a.0.image",
        ),
        (
            "json:/a.b/c",
            {"data": b"{}", "content_type": "application/json"},
            "nothing at json:/a.b/c",
        ),
        (
            "form.image",
            {"data": {"photo": URI.decode()}},
            "nothing at form.image; the request had form.photo",
        ),
        (
            "files.photo",
            {"data": IMAGE, "content_type": "image/png"},
            "nothing at files.photo; the request had body",
        ),
        ("files.photo", {"data": {"note": "x"}}, "nothing at files.photo"),
    ],
)
def test_source_that_finds_nothing_names_what_was_there(source, send, detail):
    """Kind: a misspelt source can be mended from the log."""
    Client().post(f"/sourced/{quote(json.dumps(source))}/", **send)
    assert the_only()[0] == ("no_image", detail)


def test_source_that_finds_no_image_names_where_there_is_one():
    """The reason of what is at the source comes first."""
    text = SimpleUploadedFile("x.txt", b"text", "text/plain")
    Client().post("/sourced/%22files.note%22/", {"note": text, **photo()})
    assert the_only()[0] == (
        "unsupported",
        "not an image; the request had files.photo",
    )
