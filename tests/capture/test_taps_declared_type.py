"""What is kept of an image beside its bytes: what was said of it, and what it shows."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_from_bytes

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, QueryDict
from django.test import RequestFactory
from django.utils.datastructures import MultiValueDict

from request_images import health
from request_images.capture import examine, taps
from request_images.capture.examine import CapturedRequest
from request_images.capture.upload_buffer import Limits
from request_images.capture.upload_handlers import TapUploadHandler
from request_images.images.formats import FORMATS, declared_type
from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.writer.rows import save_many
from tests.factories import capture_queries, examined_job, record_of, unsaved_record
from tests.image_files import draw
from tests.images.test_headers import written

pytestmark = pytest.mark.django_db
BOUNDS = Limits(10_000, 20_000, count=1, total_size=10_000, running_size=99_999)


def only_image() -> RequestImage:
    return RequestImage.objects.get()


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class TestDeclaredType:
    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ("image/png", "image/png"),
            ("image/jpeg", "image/jpeg"),
            ("image/jpg", "image/jpeg"),
            ("image/heic; codec=hevc", "image/heif"),
            ("application/octet-stream", ""),
            ("text/html", "text/html"),
            ("x" * 300, "x" * 63 + "…"),
        ],
    )
    def test_of_a_file(self, client, said, kept):
        """By the usual name of the type; whatever it is, the view sees it as it was."""
        file = SimpleUploadedFile("x.png", draw(), said)
        response = client.post("/upload/", {"photo": file})
        [[_name, seen, _data]] = response.json()["files"]["photo"]
        assert seen == said.partition(";")[0]
        assert only_image().declared_type == kept
        assert only_image().mime_type == "image/png"

    def test_of_a_body(self, client):
        """The request's own type, where the image is all of it."""
        client.post("/body/", draw(), content_type="image/webp")
        assert only_image().declared_type == "image/webp"

    @pytest.mark.parametrize(
        ("uri", "kept"),
        [
            ("data:image/gif;base64,{}", "image/gif"),
            (" DATA:Image/JPG;name=x;BASE64,{}", "image/jpeg"),
            ("data:;base64,{}", ""),
            ("{}", ""),
        ],
    )
    def test_of_text(self, client, uri, kept):
        """What a data URI says, in JSON and in a form."""
        text = uri.format(text_of(draw()))
        url = f"/sourced/{quote(json.dumps(None))}/"
        client.post(url, json.dumps({"image": text}), content_type="application/json")
        assert only_image().declared_type == kept
        RequestImage.objects.all().delete()
        client.post(
            url,
            f"photo={quote(text)}",
            content_type="application/x-www-form-urlencoded",
        )
        assert only_image().declared_type == kept

    def test_of_text_without_base64(self, client):
        text = f"data:image/bmp,{quote_from_bytes(draw())}"
        url = f"/sourced/{quote(json.dumps(None))}/"
        client.post(url, json.dumps({"image": text}), content_type="application/json")
        assert only_image().declared_type == "image/bmp"

    def test_names_lead_to_known_types(self):
        """Each other name is one of a type that is told from bytes."""
        known = {f.mime_type for f in FORMATS.values()}
        names = ("image/jpg", "image/x-icon", "image/heic", "image/x-png", "image/tif")
        assert {declared_type(name) for name in names} <= known
        assert all(declared_type(mime_type) == mime_type for mime_type in known)

    @pytest.mark.parametrize("args", [(), ("x.png",), ("x.png", None), ("x.png", 7)])
    def test_parser_without_a_type_leaves_it_empty(self, args):
        """As one of somebody else's may; the file is kept all the same."""
        request = HttpRequest()
        tap = taps.Tap(request, BOUNDS, lambda up: (1,))
        handler = TapUploadHandler(tap)
        handler.new_file("photo", *args)
        assert handler.receive_data_chunk(b"abc", 0) == b"abc"
        handler.file_complete(3)
        [upload] = tap.payload.uploads
        assert (upload.content_type, upload.complete) == ("", True)
        handler.new_file("photo", content_type="image/png")
        assert tap.payload.uploads[-1].content_type == "image/png"

    @pytest.mark.parametrize(
        ("said", "kept"), [("image/png", "image/png"), (None, ""), (b"x", "")]
    )
    def test_of_a_file_that_was_parsed_before(self, said, kept):
        """By the CSRF check, say."""
        request = RequestFactory().post("/x", {"a": "b"})
        file = SimpleUploadedFile("x.png", draw(), "image/png")
        file.content_type = said
        request._post, request._files = QueryDict(""), MultiValueDict({"photo": [file]})
        tap = taps.Tap(request, BOUNDS, lambda up: (1,))
        [upload] = tap.collect(request).uploads
        assert (upload.content_type, upload.data) == (kept, draw())

    def test_file_without_a_type_leaves_it_empty(self):
        """A fault there costs nothing else."""

        class Odd(SimpleUploadedFile):
            @property
            def content_type(self):
                raise ZeroDivisionError

            @content_type.setter
            def content_type(self, value):
                pass

        request = RequestFactory().post("/x", {"a": "b"})
        file = Odd("x.png", draw())
        request._post, request._files = QueryDict(""), MultiValueDict({"photo": [file]})
        tap = taps.Tap(request, BOUNDS, lambda up: (1,))
        [upload] = tap.collect(request).uploads
        assert (upload.content_type, upload.data) == ("", draw())
        assert health.faults() == {"tap:ZeroDivisionError": 1}
        health.reset()


class TestHeaderMetadata:
    @pytest.mark.parametrize(
        ("data", "shown"),
        [
            (draw(), ("RGB", False, False)),
            (written("JPEG", "CMYK", orientation=6), ("CMYK", False, True)),
            (draw()[:20], ("", None, None)),
        ],
    )
    def test_is_kept_with_it(self, client, data, shown):
        client.post("/body/", data, content_type="image/png")
        image = only_image()
        found = (image.color_mode, image.is_animated, image.has_orientation)
        assert found == shown

    def test_a_fault_costs_the_view_nothing(self, client, monkeypatch):
        """What cannot be told is a reason on the row, as any fault of ours."""

        def broken(data):
            raise ZeroDivisionError

        monkeypatch.setattr(examine, "inspect", broken)
        response = client.post("/body/", draw(), content_type="image/png")
        assert response.json() == {"body": draw().hex()}
        image = only_image()
        assert (image.color_mode, image.is_animated) == ("", None)
        assert image.log.capture_status == "store_failed"
        assert image.declared_type == "image/png"
        assert health.faults() == {"inspection:ZeroDivisionError": 1}
        health.reset()


class TestIsRepeated:
    def test_is_known_when_it_is_written(self, client):
        """With no query more."""
        with capture_queries() as queries:
            for _ in range(2):
                client.post("/body/", draw(), content_type="image/png")
        first, second = RequestImage.objects.order_by("pk")
        assert (first.is_repeated, second.is_repeated) == (False, True)
        looked = [query for query in queries if query.startswith("SELECT")]
        assert not [q for q in looked if RequestImage._meta.db_table in q]

    def test_is_unknown_of_images_that_are_not_kept(self, client, settings):
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 0.00001
        client.post("/body/", draw(), content_type="image/png")
        assert only_image().is_repeated is None

    def test_in_one_transaction(self):
        """The second of two that are written together came later."""
        records = [unsaved_record(1), unsaved_record(1), unsaved_record(2)]
        save_many(records)
        told = RequestImage.objects.order_by("pk").values_list("is_repeated", flat=True)
        assert list(told) == [False, True, False]

    def test_a_record_whose_bytes_were_dropped(self):
        """An earlier try does not count."""
        record = unsaved_record(1)
        record.image.is_repeated = True
        save_many([record_of(record.log, record.image, None)])
        assert only_image().is_repeated is None

    def test_of_further_images(self, client):
        files = [SimpleUploadedFile(f"{n}.png", draw(), "image/png") for n in range(2)]
        client.post("/all-mixed-in/", {"photo": files})
        assert only_image().is_repeated is False
        [further] = FurtherImage.objects.all()
        assert (further.is_repeated, further.declared_type) == (True, "image/png")
        assert (further.color_mode, further.is_animated) == ("RGB", False)


def restored(document, data):
    """Return the record of a document."""
    return CapturedRequest.load(document, b"".join(data)).examine()


class TestSpooled:
    def test_spooled_record_is_restored_unchanged(self):
        record = unsaved_record(1)
        record.image.declared_type = "image/webp"
        found = restored(*examined_job(record).dump()).image
        assert found.declared_type == "image/webp"
        assert found.color_mode == "RGB"
        assert (found.is_animated, found.has_orientation) == (False, False)

    def test_document_of_an_older_release_is_restored(self):
        """An entry without them is read, and they are unknown."""
        record = unsaved_record(1)
        document, data = examined_job(record).dump()
        for name in (
            *("color_mode", "is_animated", "has_orientation"),
            *("declared_type", "is_repeated"),
        ):
            del document["images"][0][0][name]
        found = restored(document, data)
        save_many([record_of(found.log, found.image, found.data)])
        image = only_image()
        assert (image.color_mode, image.is_animated, image.declared_type) == (
            "",
            None,
            "",
        )
        assert RequestLog.objects.get().capture_status == "stored"
