"""Parts of an upload are no whole images, whatever protocol sends them."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from request_images.models import RequestLog
from tests.image_files import draw

pytestmark = pytest.mark.django_db

JPEG = draw("JPEG", (64, 48))
HALF, SIZE = len(JPEG) // 2, len(JPEG)
TUS = "application/offset+octet-stream"


def send(data, method="PATCH", content_type=TUS, **headers):
    """Send a raw body, and return its log."""
    named = {f"HTTP_{name}": value for name, value in headers.items()}
    Client().generic(method, "/body/", data, content_type, **named)
    return RequestLog.objects.get()


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"UPLOAD_OFFSET": "0"}, f"{HALF} bytes from offset 0 of an unknown size"),
        (
            {"UPLOAD_OFFSET": "0", "UPLOAD_LENGTH": f"{SIZE}"},
            f"{HALF} bytes from offset 0 of {SIZE}",
        ),
        ({}, f"{HALF} bytes from offset 0 of an unknown size"),
        ({"UPLOAD_LENGTH": f"{HALF}", "UPLOAD_CONCAT": "partial"}, f"of {HALF}"),
        ({"UPLOAD_OFFSET": "0", "UPLOAD_COMPLETE": "?0"}, "of an unknown size"),
        ({"UPLOAD_INCOMPLETE": "?1"}, "of an unknown size"),
    ],
)
def test_first_part_of_a_resumable_upload_is_partial(headers, detail):
    """The head of an image is no image: tus, and the IETF's resumable uploads."""
    log = send(JPEG[:HALF], **headers)
    assert log.capture_status == "partial"
    assert log.capture_detail.endswith(detail)
    image = log.image
    assert (image.mime_type, image.width, image.height) == ("image/jpeg", 64, 48)
    assert (image.image_hash, image.content_id) == ("", None)
    assert image.file_size == HALF


@pytest.mark.parametrize(
    "headers",
    [
        {"UPLOAD_OFFSET": f"{HALF}"},
        {"UPLOAD_OFFSET": f"{HALF}", "UPLOAD_COMPLETE": "?1"},
        {"UPLOAD_OFFSET": f"{HALF}", "UPLOAD_LENGTH": f"{SIZE - HALF}"},
    ],
)
def test_last_part_of_a_resumable_upload_is_partial(headers):
    """The tail of an image is not of an unknown format."""
    log = send(JPEG[HALF:], **headers)
    assert log.capture_status == "partial"
    assert log.image.mime_type == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"UPLOAD_OFFSET": "0", "UPLOAD_LENGTH": f"{SIZE}"},
        {"UPLOAD_OFFSET": "0", "UPLOAD_COMPLETE": "?1"},
        {"UPLOAD_COMPLETE": "?1"},
        {"UPLOAD_INCOMPLETE": "?0"},
        {"UPLOAD_LENGTH": f"{SIZE}"},
    ],
)
def test_upload_in_one_request_is_whole(headers):
    """A client that says so has sent the whole file."""
    log = send(JPEG, "POST", **headers)
    assert (log.capture_status, log.image.image_data) == ("stored", JPEG)


@pytest.mark.parametrize(
    "value",
    [
        f"bytes 0-{HALF - 1}/{SIZE}",
        f"bytes 0-{HALF - 1}/*",
        f"bytes 0-{HALF - 1}",
        f"bytes=0-{HALF - 1}/{SIZE}",
        f"0-{HALF - 1}/{SIZE}",
        f"BYTES {HALF}-{SIZE - 1} / {SIZE}",
    ],
)
@pytest.mark.parametrize("name", ["CONTENT_RANGE", "X_CONTENT_RANGE"])
def test_range_is_partial(value, name):
    """PUT with a range, as of Google's and of django-drf-chunked-upload's clients."""
    log = send(JPEG[:HALF], "PUT", "image/jpeg", **{name: value})
    assert (log.capture_status, log.capture_detail) == (
        "partial",
        f"Content-Range: {value}",
    )


@pytest.mark.parametrize(
    "value",
    [f"bytes 0-{SIZE - 1}/{SIZE}", f"items 0-3/{SIZE}", "bytes */100", "nonsense"],
)
def test_range_of_the_whole_is_stored(value):
    """Nor is one that says nothing about bytes a part."""
    log = send(JPEG, "PUT", "image/jpeg", CONTENT_RANGE=value)
    assert log.capture_status == "stored"


@pytest.mark.parametrize(
    ("command", "offset", "status"),
    [
        ("upload", "0", "partial"),
        ("upload, finalize", "100", "partial"),
        ("upload, finalize", "0", "stored"),
        ("start", "0", "stored"),
    ],
)
def test_google_resumable_upload(command, offset, status):
    """Google's protocol names a command and an offset."""
    headers = {"X_GOOG_UPLOAD_COMMAND": command, "X_GOOG_UPLOAD_OFFSET": offset}
    assert send(JPEG, "POST", "image/jpeg", **headers).capture_status == status


FIELDS = [
    {"dzchunkindex": "0", "dztotalchunkcount": "3"},
    {"resumableChunkNumber": "1", "resumableTotalChunks": "2"},
    {"flowChunkNumber": "2", "flowTotalChunks": "2"},
    {"qqpartindex": "1", "qqtotalparts": "2"},
    {"chunk": "0", "chunks": "4"},
    {"chunkNumber": "1", "totalChunks": "2"},
    {"chunkIndex": "0", "totalChunks": "2"},
]


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("part", [JPEG[:HALF], JPEG[HALF:]])
@pytest.mark.parametrize("url", ["/upload/", "/body/", "/stream/"])
def test_part_of_a_form_is_partial(fields, part, url):
    """Uploaders of browsers number their parts in fields of the form."""
    photo = SimpleUploadedFile("blob", part, "application/octet-stream")
    Client().post(url, {**fields, "file": photo})
    log = RequestLog.objects.get()
    assert (log.capture_status, log.image.source) == ("partial", "files.file")


@pytest.mark.parametrize("fields", FIELDS[1:3])
def test_part_that_the_url_tells_is_partial(fields):
    """Resumable.js and flow.js can send the part as the raw body."""
    query = "&".join(map("=".join, fields.items()))
    Client().generic("POST", f"/body/?{query}", JPEG[:HALF], "application/octet-stream")
    assert RequestLog.objects.get().capture_status == "partial"


@pytest.mark.parametrize(
    "fields",
    [
        {"dzchunkindex": "0", "dztotalchunkcount": "1"},
        {"chunks": "4"},
        {"chunk": "of cheese", "chunks": "4"},
        {"chunk": "1", "chunks": "many"},
        {"chunk": "1", "chunks": "9" * 5000},
    ],
)
def test_form_with_the_whole_file_is_stored(fields):
    """One part of one is the whole, and other fields have such names too."""
    photo = SimpleUploadedFile("x.jpg", JPEG, "image/jpeg")
    Client().post("/upload/", {**fields, "file": photo})
    assert RequestLog.objects.get().capture_status == "stored"


def test_part_that_the_view_does_not_read_is_unread():
    """What did not come is no part of anything."""
    Client().generic("PATCH", "/nothing/", JPEG, TUS, HTTP_UPLOAD_OFFSET="0")
    assert RequestLog.objects.get().capture_status == "unread"


def test_empty_first_request_has_no_image():
    """The request that creates an upload has no bytes of it yet."""
    assert send(b"", "POST", UPLOAD_LENGTH="100").capture_status == "no_image"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"chunk-index": "0", "total-chunk": "3"}, "chunk-index 0 of 3"),
        ({"chunkMetadata": '{"Index": 0, "TotalCount": 3}'}, "Index 0 of 3"),
        ({"metadata": '{"chunkIndex": 1, "totalChunks": 3}'}, "chunkIndex 1 of 3"),
    ],
)
def test_part_that_a_field_tells_is_partial(fields, detail):
    """The fields of Syncfusion, and the JSON of DevExtreme and Kendo."""
    image = SimpleUploadedFile("a.jpg", JPEG, "image/jpeg")
    Client().post("/upload/", {"image": image, **fields})
    log = RequestLog.objects.get()
    assert log.capture_status == "partial"
    assert log.capture_detail.endswith(detail)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"chunkIndex": 0}',
        "[1]",
        '{"chunkIndex": 0, "totalChunks": 1}',
        '{"chunkIndex": "x", "totalChunks": 3}',
        '{"a": ' + "[" * 4000,
        "{" + " " * 5000,
    ],
)
def test_field_that_tells_no_part_is_none(text):
    image = SimpleUploadedFile("a.jpg", JPEG, "image/jpeg")
    Client().post("/upload/", {"image": image, "metadata": text})
    assert RequestLog.objects.get().capture_status == "stored"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("partNumber=2&uploadId=abc", "partial"),
        ("uploadId=abc", "stored"),
        ("partNumber=2", "stored"),
        ("partNumber=x&uploadId=abc", "stored"),
    ],
)
def test_part_of_an_upload_to_s3_is_partial(query, status):
    Client().put(f"/body/?{query}", JPEG, "image/jpeg")
    assert RequestLog.objects.get().capture_status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"CONTENT_RANGE": "bytes 0-99/" + "9" * 4400}, "partial"),
        ({"CONTENT_RANGE": "bytes 0-" + "9" * 4400 + "/" + "9" * 4400}, "partial"),
        ({"UPLOAD_OFFSET": "9" * 4400}, "stored"),
        ({"UPLOAD_OFFSET": "abc"}, "stored"),
        ({"UPLOAD_LENGTH": "-1"}, "stored"),
    ],
)
def test_number_of_any_length_is_no_fault(headers, status):
    """A stranger's header is no exception of ours."""
    assert send(JPEG, "POST", "image/jpeg", **headers).capture_status == status
