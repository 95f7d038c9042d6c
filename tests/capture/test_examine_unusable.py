"""The file that broke the view is kept and can be downloaded, whatever is in it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import OperationalError
from django.http import HttpResponse, JsonResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from request_images import health
from request_images.cleanup.retention import clean
from request_images.decorators import capture_images
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.cutoffs import Retention
from request_images.writer import rows
from request_images.writer.spool import drain, spooling
from tests.factories import make_superuser
from tests.image_files import draw
from tests.storages import use_bucket

pytestmark = pytest.mark.django_db

PDF = b"%PDF-1.7 of no image" * 4
BROKEN = {
    "PNG": draw()[:8] + bytes(90) + draw()[8:],  # has no IHDR
    "cut off": draw()[:20],
    "JPEG": b"\xff\xd8\xff\xd9" + bytes(40),
    "GIF": b"GIF89a",
    "TIFF": b"II*\0\x08\0\0\0\0\0",
    "WEBP": b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
    "0 x 0": draw("BMP")[:18] + bytes(8) + draw("BMP")[26:],
}


@capture_images
def crash(request):
    raise ValueError(f"cannot read {len(request.body)} bytes")


@capture_images
def refuse(request):
    return HttpResponse(f"no image in {len(request.body)} bytes", status=422)


@capture_images
def accept(request):
    return HttpResponse(f"{len(request.body)} bytes")


def send(data, view=crash, content_type="image/png"):
    """Post a body to a view, and return its log."""
    request = RequestFactory().post("/", data, content_type=content_type)
    try:
        view(request)
    except ValueError:
        assert view is crash
    return RequestLog.objects.latest("pk")


class TestBrokenImage:
    @pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
    @pytest.mark.parametrize("view", [crash, refuse, accept])
    def test_is_kept_as_received(self, view, data):
        """A known type with a broken header, whatever became of the request."""
        log = send(data, view)
        assert (log.capture_status, log.image.image_data) == ("unreadable", data)
        assert log.capture_detail
        assert log.image.mime_type
        assert log.image.is_repeated is False

    def test_is_stored_once(self):
        """A second request with the same bytes refers to the same content."""
        logs = [send(BROKEN["PNG"]) for _ in range(2)]
        assert ImageContent.objects.count() == 1
        assert [log.image.is_repeated for log in logs] == [False, True]
        assert {log.capture_status for log in logs} == {"unreadable"}

    def test_is_dropped_by_the_setting(self, settings):
        """As before, with everything that is known without the bytes."""
        settings.REQUEST_IMAGES_KEEP_UNREADABLE = False
        log = send(BROKEN["PNG"])
        assert (log.capture_status, log.image.image_data) == ("unreadable", None)
        assert log.image.image_hash

    def test_of_a_format_that_is_not_allowed_is_dropped(self, settings):
        """The project does not want this format."""
        settings.REQUEST_IMAGES_ALLOWED_FORMATS = ["JPEG"]
        log = send(BROKEN["PNG"])
        assert (log.capture_status, log.image.image_data) == ("unsupported", None)

    def test_is_subject_to_sampling(self, settings):
        """An image that the project's function refuses is not kept."""
        settings.REQUEST_IMAGES_SHOULD_KEEP = lambda log: False
        log = send(BROKEN["PNG"])
        assert (log.capture_status, log.image.image_data) == ("unreadable", None)

    def test_that_is_too_large_is_dropped(self, settings):
        """The limits are those of other images."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 20 / 1024 / 1024
        log = send(BROKEN["PNG"])
        assert (log.capture_status, log.image.image_data) == ("too_large", None)

    def test_is_kept_in_a_storage(self, settings, tmp_path):
        """Wherever the bytes of other images go."""
        use_bucket(settings, tmp_path, "files")
        log = send(BROKEN["PNG"])
        assert log.image.image_data == BROKEN["PNG"]
        assert log.image.content.storage

    def test_is_kept_among_several(self):
        """Each image of a request has its own status."""

        @capture_images(images="all")
        def view(request):
            return JsonResponse({"files": len(request.FILES)})

        files = [
            SimpleUploadedFile(f"{number}.png", data, "image/png")
            for number, data in enumerate((draw(), BROKEN["PNG"]))
        ]
        view(RequestFactory().post("/", {"photo": files}))
        assert RequestLog.objects.get().capture_status == "stored"
        further = FurtherImage.objects.get()
        assert further.capture_status == "unreadable"
        assert further.image_data == BROKEN["PNG"]

    def test_survives_the_spool_folder(self, settings, tmp_path, monkeypatch):
        """What is set aside for later keeps its status and its bytes."""
        settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"

        def save_many(records):
            raise OperationalError("server closed the connection")

        with monkeypatch.context() as patch:
            patch.setattr(rows, "save_many", save_many)
            patch.setattr(drain, "try_write", lambda: OperationalError("away"))
            with pytest.raises(ValueError, match="cannot read"):
                crash(RequestFactory().post("/", BROKEN["PNG"], "image/png"))
        health.reset()
        assert spooling.write_spooled().written == 1
        log = RequestLog.objects.get()
        assert log.capture_status == "unreadable"
        assert log.image.image_data == BROKEN["PNG"]

    def test_a_broken_storage_costs_the_bytes_alone(self, client, monkeypatch):
        """The response is the same, and the log says what became of the bytes."""

        def fail(*arguments):
            raise OSError("disk full")

        monkeypatch.setattr(ImageContent, "holding", fail)
        response = client.post("/body/", BROKEN["PNG"], content_type="image/png")
        assert response.status_code == 200
        log = RequestLog.objects.get()
        assert (log.capture_status, log.image.image_data) == ("store_failed", None)
        health.reset()

    @pytest.mark.parametrize(
        ("days", "status"), [({"bytes_days": 1}, "expired"), ({}, "unreadable")]
    )
    def test_expires_like_others(self, settings, days, status):
        """Without its bytes the status says where they went, and the reason stays."""
        settings.REQUEST_IMAGES_BYTES_RETENTION_DAYS = days.get("bytes_days")
        log = send(BROKEN["PNG"])
        settings.REQUEST_IMAGES_KEEP_UNREADABLE = False
        never_kept = send(BROKEN["GIF"])
        old = timezone.now() - timedelta(days=3)
        RequestLog.objects.update(created_at=old)
        RequestImage.objects.update(created_at=old)
        clean(Retention.of_settings(), batch_size=10)
        log, never_kept = RequestLog.objects.order_by("pk")
        assert (log.capture_status, bool(log.image.image_data)) == (status, not days)
        assert log.capture_detail
        assert never_kept.capture_status == "unreadable"

    def test_is_no_work_for_the_commands(self):
        """Nothing is drawn, and nothing is wrong with it."""
        send(BROKEN["PNG"])
        for command in ("make_thumbnails", "analyze_image_contents"):
            call_command(command, verbosity=0)
        call_command("verify_image_contents", verbosity=0)
        content = ImageContent.objects.get()
        assert content.thumbnail_error.startswith("its header")
        assert content.analysis_error.startswith("its header")


class TestNoImage:
    @pytest.mark.parametrize("view", [crash, refuse])
    def test_of_a_failed_request_is_kept_by_the_setting(self, settings, view):
        """A PDF sent in place of a picture explains the failure."""
        settings.REQUEST_IMAGES_KEEP_OTHER_FILES = True
        log = send(PDF, view, "application/pdf")
        assert (log.capture_status, log.image.image_data) == ("unsupported", PDF)
        assert log.image.mime_type == ""

    def test_of_another_request_is_dropped(self, settings):
        """A request that succeeded needs no explanation."""
        settings.REQUEST_IMAGES_KEEP_OTHER_FILES = True
        log = send(PDF, accept, "application/pdf")
        assert (log.capture_status, log.image.image_data) == ("unsupported", None)

    def test_is_dropped_by_default(self):
        """Other files are not what the app is for."""
        log = send(PDF, crash, "application/pdf")
        assert (log.capture_status, log.image.image_data) == ("unsupported", None)


class TestAdmin:
    @pytest.fixture
    def client(self):
        client = Client()
        client.force_login(make_superuser())
        return client

    @pytest.fixture(params=["unreadable", "unsupported"])
    def image(self, request, settings):
        settings.REQUEST_IMAGES_KEEP_OTHER_FILES = True
        is_broken = request.param == "unreadable"
        data, of_type = (BROKEN["PNG"], "png") if is_broken else (PDF, "pdf")
        return send(data, content_type=f"image/{of_type}").image

    def test_offers_the_download_alone(self, client, image):
        """The page has no link that would show it."""
        page = client.get(url("change", image)).content.decode()
        assert url("body", image) in page
        assert url("original", image) not in page
        assert "curl" in page

    @pytest.mark.parametrize("kind", ["original", "body"])
    def test_is_served_as_a_download(self, client, image, kind):
        """No browser shows it, even by the address of an original."""
        response = client.get(url(kind, image))
        assert response.content == image.image_data
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment;")

    def test_has_a_placeholder(self, client, image):
        """Lists show that there is nothing to see."""
        response = client.get(url("thumbnail", image))
        assert response["Location"].endswith("no-thumbnail.svg")
        assert client.get(url("changelist")).status_code == 200
        assert client.get(url("gallery")).status_code == 200

    def test_further_image_is_a_download(self, client):
        """In the table of further images, too."""

        @capture_images(images="all")
        def view(request):
            return JsonResponse({"files": len(request.FILES)})

        files = [
            SimpleUploadedFile(f"{number}.png", data, "image/png")
            for number, data in enumerate((draw(), BROKEN["PNG"], draw(seed=1)))
        ]
        view(RequestFactory().post("/", {"photo": files}))
        broken, shown = FurtherImage.objects.order_by("position")
        page = client.get(url("change", RequestImage.objects.get())).content.decode()
        name = "admin:request_images_furtherimage"
        assert reverse(f"{name}_body", args=[broken.pk]) in page
        assert reverse(f"{name}_original", args=[broken.pk]) not in page
        assert reverse(f"{name}_original", args=[shown.pk]) in page


def url(kind: str, image: RequestImage | None = None) -> str:
    arguments = [] if image is None else [image.pk]
    return reverse(f"admin:request_images_requestimage_{kind}", args=arguments)
