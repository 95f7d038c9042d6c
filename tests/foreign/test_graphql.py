"""Files in GraphQL mutations, through strawberry's views."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from request_images.models import RequestLog
from tests.foreign.urls import GRAPHQL
from tests.image_files import draw

PICTURE = draw()


def upload(field):
    """Return the form of a GraphQL multipart request."""
    query = f"mutation($photo: Upload!) {{ {field}(photo: $photo) }}"
    operations = {"query": query, "variables": {"photo": None}}
    return {
        "operations": json.dumps(operations),
        "map": json.dumps({"0": ["variables.photo"]}),
        "0": SimpleUploadedFile("a.png", PICTURE, "image/png"),
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("field", ["size", "fail"])
@pytest.mark.parametrize("name", GRAPHQL)
def test_file_of_a_mutation_is_kept(client, name, field):
    """Kind: the files that were seen are kept, whatever becomes of the fields."""
    plain = client.post(f"/plain/graphql-{name}/", upload(field))
    captured = client.post(f"/captured/graphql-{name}/", upload(field))
    assert captured.content == plain.content
    assert captured.status_code == plain.status_code == 200
    log = RequestLog.objects.get()
    assert log.capture_status == "stored", log.capture_detail
    assert log.image.image_data == PICTURE
