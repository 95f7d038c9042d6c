"""Images in parts of a form that no parser takes for a file, and other multiparts."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory

from request_images.capture.form_parts import MAX_PARTS, FormParts, boundary_of
from request_images.decorators import capture_images
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from tests.image_files import draw

pytestmark = pytest.mark.django_db

PNG = draw()
URLS = ["/upload/", "/async_upload/", "/body/", "/stream/", "/body_then_files/"]
TYPE = "multipart/form-data; boundary=b"


def part(headers, data):
    return b"--b\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n"


def named(rest="", kind="Content-Type: image/png"):
    return f'Content-Disposition: form-data; name="photo"{rest}\r\n{kind}'


NOTE = part('Content-Disposition: form-data; name="note"', b"x" * 300)
END = b"--b--\r\n"


def logged():
    log = RequestLog.objects.get()
    image = RequestImage.objects.filter(log=log).first()
    found = image and (image.source, image.image_data)
    RequestLog.objects.all().delete()
    ImageContent.objects.all().delete()
    return log.capture_status, found


HEADERS = {
    "no file name": named(),
    "an empty file name": named('; filename=""'),
    "a file name of folders": named('; filename="a/"'),
    "no type": named(kind="X-Nothing: x"),
    "a name in the type": named(kind='Content-Type: image/png; filename="x.png"'),
    "no quotes": named().replace('"', ""),
    "lower case": named().lower(),
    "no space": named().replace(": ", ":").replace("; ", ";"),
}


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("picture", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_part_without_a_file_name_is_found(url, picture, headers):
    """Kind: Django makes a text of it, and the picture is not in it any more."""
    data = draw(picture)
    for body in (
        part(headers, data) + END,
        NOTE + part(headers, data) + NOTE + END,
        NOTE * 300 + part(headers, data) + END,
        b"\r\n" + part(headers, data) + END,
    ):
        Client().generic("POST", url, body, TYPE)
        assert logged() == ("stored", ("files.photo", data))


@pytest.mark.parametrize("url", URLS)
def test_part_in_base64_is_found(url):
    """Django decodes the Content-Transfer-Encoding, and makes a text of the result."""
    headers = named() + "\r\nContent-Transfer-Encoding: base64"
    body = part(headers, base64.encodebytes(PNG * 9)) + NOTE + END
    Client().generic("POST", url, body, TYPE)
    assert logged() == ("stored", ("files.photo", PNG * 9))


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("size", [65_536, 300_000])
def test_long_part_is_found(url, size):
    """A part may come in several pieces, and end anywhere in one."""
    data = PNG + b"\r\n--" * (size // 4)
    Client().generic("POST", url, NOTE + part(named(), data) + END, TYPE)
    assert logged() == ("stored", ("files.photo", data))


def test_broken_base64_is_one_image():
    """What cannot be decoded does not make more of it."""
    headers = named() + "\r\nContent-Transfer-Encoding: base64"
    data = base64.b64encode(PNG) + b"\r\n" + b"!" * 200_000
    Client().generic("POST", "/stream/", part(headers, data) + END, TYPE)
    assert RequestLog.objects.get().image_count == 1


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("cut", [10, 90])
def test_part_that_ends_early_is_truncated(url, cut):
    body = part(named(), PNG)[: -cut - 2]
    Client().generic("POST", url, body, TYPE)
    assert logged()[0] == "truncated"


@pytest.mark.parametrize("url", ["/upload/", "/body_then_files/"])
def test_file_is_found_once(url):
    """A part with a file name is one image, whoever finds it."""
    request = RequestFactory().generic(
        "POST",
        "/",
        part(named('; filename="x.png"'), PNG) + part(named(), PNG) + END,
        TYPE,
    )
    capture_images(images="all")(lambda r: HttpResponse(len(r.FILES)))(request)
    log = RequestLog.objects.get()
    assert (log.capture_status, log.image_count) == ("stored", 2)


@pytest.mark.parametrize(
    "declared",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=other",
        "multipart/related; boundary=b",
        "multipart/mixed",
        "application/json",
        "text/plain",
        "application/octet-stream",
        "",
    ],
)
@pytest.mark.parametrize("rest", ["", '; filename="x.png"'])
@pytest.mark.parametrize("url", ["/body/", "/stream/", "/lines/", "/drf/raw/"])
def test_multipart_body_is_found_under_any_type(declared, rest, url):
    """Kind: the view takes it apart itself; the bytes show what it is."""
    Client().generic("POST", url, NOTE + part(named(rest), PNG) + END, declared)
    assert logged() == ("stored", ("files.photo", PNG))


def test_parts_of_other_multiparts_need_no_name():
    body = part("Content-Type: application/json", b'{"a": 1}')
    body += part("Content-Type: image/png", PNG) + END
    Client().generic("POST", "/body/", body, "multipart/related; boundary=b")
    assert logged() == ("stored", ("files.file", PNG))


@pytest.mark.parametrize("url", ["/body/", "/stream/", "/lines/", "/drf/raw/"])
@pytest.mark.parametrize(
    "declared", ["multipart/related; boundary=b", "multipart/mixed"]
)
@pytest.mark.parametrize("rest", ["", '; filename="x.txt"'])
@pytest.mark.parametrize(
    "text", [base64.encodebytes(PNG), b'{"a": ["%b"]}' % base64.b64encode(PNG)]
)
def test_part_that_is_a_text_with_an_image_is_found(text, rest, declared, url):
    """Kind: base64 without the header that says so, and JSON."""
    meta = part("Content-Type: application/json", b'{"a": 1}')
    body = part(named(rest), text) + meta + END
    if text[:1] != b"{":  # of two texts in JSON, the first is kept
        body = meta + body
    Client().generic("POST", url, body, declared)
    assert logged() == ("stored", ("files.photo", PNG))
    request = RequestFactory().generic("POST", "/", body, declared)
    capture_images(images="all")(lambda r: HttpResponse(r.body))(request)
    assert not FurtherImage.objects.exists()
    assert logged() == ("stored", ("files.photo", PNG))


@pytest.mark.parametrize("body", [b"---\na: b\n\n[c](d)", b"--\n\n{}", b"--\n\ndata:"])
def test_text_that_looks_like_a_form_is_no_cut_form(body):
    """The front matter of a page, and a comment in SQL."""
    Client().generic("POST", "/body/", body, "text/plain")
    assert logged() == ("unsupported", ("body", None))


PREAMBLE = b"This is a multipart message.\n--boundaries follow\r\n\r\n"


@pytest.mark.parametrize(
    "declared",
    ["multipart/related; type=a/b; boundary=b", 'multipart/mixed; boundary="b"', TYPE],
)
@pytest.mark.parametrize("preamble", [PREAMBLE, b"Some text.\r\n" * 80, b""])
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("url", [*URLS, "/lines/", "/drf/raw/"])
def test_preamble_and_line_ends_hide_nothing(url, line_end, preamble, declared):
    """Kind: multipart as mail has it, which Django does not parse or only in part."""
    picture = PNG + b"\r"  # which is no part of a line's end
    body = preamble + NOTE + part("Content-Type: image/png", b"PICTURE") + NOTE + END
    body = body.replace(b"\r\n", line_end).replace(b"PICTURE", picture)
    Client().generic("POST", url, body, declared)
    if declared == TYPE or "upload" not in url:  # which reads no other body
        assert logged() == ("stored", ("files.file", picture))


@pytest.mark.parametrize("size", [300, 200_000])
@pytest.mark.parametrize("url", URLS)
def test_form_with_a_preamble_is_found_and_truncated_like_others(url, size):
    """Django skips the preamble; files and other parts behind it are all there."""
    file = part(named('; filename="a.txt"'), b"x" * size)
    body = PREAMBLE + part(named(), PNG) + file
    Client().generic("POST", url, body + END, TYPE)
    assert logged() == ("stored", ("files.photo", PNG))
    Client().generic("POST", url, body, TYPE)
    assert logged() == ("stored", ("files.photo", PNG))
    for kind in (TYPE, TYPE.replace("form-data", "related")):
        body = PREAMBLE + part(named('; filename="a"'), PNG)
        Client().generic("POST", url, body, kind)
        if kind == TYPE or "upload" not in url:  # which reads no other body
            assert logged()[0] == "truncated"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
@pytest.mark.parametrize("closing", [END, b""])
def test_pieces_of_any_size(size, closing):
    """The result does not depend on where the pieces end."""
    body = NOTE + part(named(), PNG) + part("X: y", b"") + part("X: y", PNG) + closing
    found = {}

    def receive(upload, data):
        seen = found.setdefault(id(upload), [upload, b""])
        seen[1] += data

    parts = FormParts(boundary_of(body, b""), receive)
    for at in range(0, len(body), size):
        parts.feed(body[at : at + size])
    parts.feed(b"", is_end=True)
    tail = b"" if closing else b"\r\n"
    assert [(u.field, u.complete, data) for u, data in found.values()] == [
        ("photo", True, PNG),
        ("file", bool(closing), PNG + tail),
    ]


IN_BASE64 = "Content-Transfer-Encoding: base64"
HOSTILE = {
    "delimiters": b"--b",
    "lines of delimiters": b"\r\n--b",
    "empty parts": b"--b\r\n\r\n\r\n",
    "headers without an end": b"--b\r\nX: y",
    "headers": b"X: y\r\n",
    "beginnings of images": b"--b\r\n\r\n\x89PNG\r\n\x1a\n\r\n",
    "broken base64": part(IN_BASE64, base64.b64encode(PNG[:66]) + b"\r\n!!!A"),
    "other text in base64": part(IN_BASE64, b"!" * 99),
    "line feeds": b"\r\n\r\n",
    "lines as in mail": b"--b\n\n\x89PNG\r\n\x1a\n\n",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_hostile_parts_take_no_memory(piece):
    """Nothing is held but the beginning of a part."""
    parts = FormParts(b"b", lambda upload, data: None)
    data = (piece * 66_000)[:65_536]
    tracemalloc.start()
    try:
        for _ in range(20):
            parts.feed(data)
        parts.feed(b"", is_end=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400_000


def test_number_of_parts_is_limited():
    """However short the parts are, looking at them takes no time."""
    found = []
    parts = FormParts(b"b", lambda upload, data: found.append(upload))
    parts.feed(part("X: y", b"x") * MAX_PARTS + part("X: y", PNG), is_end=True)
    assert found == []
    assert parts.has_begun


FILE = named('; filename="x.png"')
FILE_IN_BASE64 = FILE + "\r\nContent-Transfer-Encoding: base64"
SIZES = [100, 65_300, 65_400, 65_450, 65_500, 65_600, 131_000, 131_072, 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("handlers", ["memory", "disk"])
def test_images_between_files_are_found(settings, size, handlers):
    """The search passes over what the parser takes, wherever a piece of it ends."""
    if handlers == "disk":
        settings.FILE_UPLOAD_HANDLERS = settings.FILE_UPLOAD_HANDLERS[1:]
    data = [PNG + b"%d" % n + b"\r\n--" * (size // 4) for n in range(6)]
    parts = [
        part(named(), data[0][:500]),
        part(FILE, data[1]),
        NOTE,
        part(named(), data[2]),
        part(FILE, b""),
        part(FILE_IN_BASE64, base64.encodebytes(data[3])),
        part(FILE, data[4]),
        part(named(), data[5]),
    ]
    request = RequestFactory().generic("POST", "/", b"".join(parts) + END, TYPE)
    capture_images(images="all")(lambda r: HttpResponse(len(r.FILES)))(request)
    request.close()  # with its files
    [log] = RequestLog.objects.all()
    first = RequestImage.objects.get()
    found = [each.image_data for each in (first, *FurtherImage.objects.order_by("pk"))]
    assert sorted(filter(None, found)) == sorted((data[0][:500], *data[1:]))
    assert log.image_count == 6


def test_bytes_that_a_parser_hands_on_in_other_pieces_are_searched():
    """Such as one that decodes them, or that hands on something else."""
    found: list[bytes] = []
    parts = FormParts(b"b", lambda upload, data: found.append(data))
    parts.feed(part(FILE, PNG * 2000))
    parts.take_file(PNG)
    parts.take_file(b"something else")
    parts.feed(part(FILE, PNG) + part(named(), PNG) + END)
    parts.take_file(b"something else")
    parts.end_file()
    parts.end_file()
    parts.feed(b"", is_end=True)
    parts.end_file()
    assert b"".join(found) == PNG


def test_file_that_a_parser_leaves_is_not_kept():
    """Its bytes are searched when the next ones come, and dropped."""
    parts = FormParts(b"b", lambda upload, data: None)
    parts.feed(part(FILE, PNG))
    tracemalloc.start()
    for _ in range(200):
        parts.take_file(b"")
        parts.feed(b"x" * 10_000)
    now, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 100_000
