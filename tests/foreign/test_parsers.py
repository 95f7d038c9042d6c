"""REST framework's parsers of other packages: the answer stays, the image is kept."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from request_images.models import RequestLog
from tests.foreign.urls import PARSERS
from tests.image_files import draw

PICTURE = draw()
FORMS = [
    {"title": "a"},
    {"title": ["a", "b"], "author[name]": "c", "author[age]": "3"},
    {"items[0][name]": "a", "items[1][name]": "b"},
    {"someField": "a", "photoOfMe": "file"},
    {},
]


def form(fields):
    """Return the fields, and a picture under the name that has "file"."""
    names = [name for name, value in fields.items() if value == "file"] or ["photo"]
    files = {name: SimpleUploadedFile("a.png", PICTURE, "image/png") for name in names}
    return fields | files


@pytest.mark.django_db
@pytest.mark.parametrize("fields", FORMS)
@pytest.mark.parametrize("name", PARSERS)
def test_image_is_kept_whatever_the_parser_returns(client, name, fields):
    """Kind: the files that were seen are kept, whatever becomes of the fields."""
    plain = client.post(f"/plain/{name}/", form(fields))
    captured = client.post(f"/captured/{name}/", form(fields))
    assert captured.content == plain.content
    assert captured.status_code == plain.status_code
    log = RequestLog.objects.get()
    assert log.capture_status == "stored", log.capture_detail
    assert log.image.image_data == PICTURE


@pytest.mark.django_db
@pytest.mark.parametrize("name", PARSERS)
def test_refusal_of_a_parser_stays_the_same(client, name):
    """Kind: a form that the parser refuses is refused in the same words."""
    body = b"--x\r\nContent-Disposition: form-data; name"
    kind = "multipart/form-data"
    plain = client.post(f"/plain/{name}/", body, content_type=kind)
    captured = client.post(f"/captured/{name}/", body, content_type=kind)
    assert captured.status_code == plain.status_code == 400
    assert captured.content == plain.content
    assert RequestLog.objects.get().status_code == 400
