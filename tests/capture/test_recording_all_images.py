"""Views that keep all images of a request: each with its field, bytes and reason."""

from __future__ import annotations

import base64
import json

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured, TooManyFilesSent
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import OperationalError
from django.http import JsonResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import resolve, reverse

from request_images import health, signals
from request_images.capture import examine, upload_buffer
from request_images.capture.held import Held
from request_images.capture.payload import Payload, Upload
from request_images.capture.upload_buffer import Limits, UploadBuffer
from request_images.cleanup.retention import clean, preview
from request_images.contents.verify import verify
from request_images.decorators import capture_images
from request_images.mixins import CaptureImagesMixin
from request_images.models import (
    FurtherImage,
    ImageContent,
    OriginalAccess,
    RequestImage,
    RequestLog,
)
from request_images.models.cutoffs import Retention
from request_images.statistics.groups import stored_size
from request_images.storage import stores
from request_images.testing import flush
from request_images.writer import jobs
from request_images.writer import rows as writer_rows
from request_images.writer.spool import spooling
from tests.factories import (
    PICTURE,
    add_further,
    capture_queries,
    loading_bytes,
    make_image,
    make_superuser,
    make_user,
)
from tests.image_files import draw
from tests.storages import check, use_bucket

pytestmark = pytest.mark.django_db
MB = 1024 * 1024


def view(**options):
    """Return a view that reads everything and keeps all images."""

    @capture_images(images="all", **options)
    def counting(request):
        sizes = [file.size for files in request.FILES.lists() for file in files[1]]
        return JsonResponse({"files": sizes, "fields": len(request.POST)})

    return counting


def send(data, **options):
    """Post a form to such a view, and return the answer."""
    request = RequestFactory().post("/", data)
    return json.loads(view(**options)(request).content)


def send_json(document, **options):
    @capture_images(images="all", **options)
    def counting(request):
        return JsonResponse({"size": len(request.body)})

    text = json.dumps(document)
    request = RequestFactory().post("/", text, content_type="application/json")
    assert json.loads(counting(request).content) == {"size": len(text)}


def photo(seed=0, name="photo.png"):
    return SimpleUploadedFile(name, draw(seed=seed))


def text_of(seed):
    return base64.b64encode(draw(seed=seed)).decode()


def further_images():
    """Return what is known of the further images, in order."""
    rows = FurtherImage.objects.order_by("position")
    return [(row.position, row.source, row.capture_status) for row in rows]


@pytest.fixture
def _faulty():
    """Faults are meant."""
    yield
    health.reset()


faulty = pytest.mark.usefixtures("_faulty")


class TestUploads:
    def test_all_files_of_one_field_are_kept(self):
        """The first is the request's image, the others hang on it in order."""
        answer = send({"photo": [photo(1), photo(2), photo(3)]})
        assert len(answer["files"]) == 3
        log = RequestLog.objects.get()
        assert (log.image_count, log.capture_status) == (3, "stored")
        assert log.image.image_data == draw(seed=1)
        further = list(log.image.further.all())
        assert [row.image_data for row in further] == [draw(seed=2), draw(seed=3)]
        assert further_images() == [
            (1, "files.photo", "stored"),
            (2, "files.photo", "stored"),
        ]
        assert {(row.width, row.height) for row in further} == {(32, 24)}
        assert {row.mime_type for row in further} == {"image/png"}
        assert [row.file_size for row in further] == [
            len(draw(seed=2)),
            len(draw(seed=3)),
        ]
        assert str(further[0]) == further[0].image_hash[:12]

    def test_files_of_several_fields_are_kept(self):
        """Each is told its own."""
        send({"front": photo(1), "back": photo(2)})
        assert RequestImage.objects.get().source == "files.front"
        assert further_images() == [(1, "files.back", "stored")]

    def test_only_files_of_the_source_are_kept(self):
        """Other fields are no business of the view's."""
        send({"other": photo(1), "photo": [photo(2), photo(3)]}, source="files.photo")
        assert RequestImage.objects.get().image_data == draw(seed=2)
        assert further_images() == [(1, "files.photo", "stored")]

    def test_overlapping_sources_keep_each_file_once(self):
        """No file comes twice."""
        files = {"other": photo(1), "photo": [photo(2), photo(3)]}
        send(files, source=["files.photo", "files"])
        assert RequestImage.objects.get().image_data == draw(seed=2)
        assert further_images() == [
            (1, "files.photo", "stored"),
            (2, "files.other", "stored"),
        ]

    def test_same_image_twice_has_one_content(self):
        """One content, and the second one says that it was there."""
        send({"photo": [photo(1), photo(1)]})
        assert RequestLog.objects.get().capture_status == "stored"
        assert further_images() == [(1, "files.photo", "duplicate")]
        assert ImageContent.objects.count() == 1
        send({"photo": [photo(1), photo(2)]})
        statuses = RequestLog.objects.order_by("pk").values_list("capture_status")
        assert [status for (status,) in statuses] == ["stored", "duplicate"]
        assert ImageContent.objects.count() == 2

    def test_bad_files_among_good_ones_have_their_reasons(self, settings):
        """Each says for itself why it was not kept, in the order of the request."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 2000 / MB
        files = [
            SimpleUploadedFile("a.txt", b"no image"),
            photo(1),
            SimpleUploadedFile("b.png", draw(seed=2) + bytes(2000)),
            SimpleUploadedFile("c.png", draw(seed=3)[:20]),
            SimpleUploadedFile("d.png", b""),
            photo(4),
        ]
        answer = send({"photo": files})
        assert len(answer["files"]) == 6
        log = RequestLog.objects.get()
        assert (log.capture_status, log.image_count) == ("stored", 4)
        assert log.image.image_data == draw(seed=1)
        statuses = [status for _, _, status in further_images()]
        assert statuses == [
            "unsupported",
            "too_large",
            "unreadable",
            "unsupported",
            "stored",
        ]

    def test_first_image_is_the_request_image_after_a_bad_file(self, settings):
        """The others are kept all the same."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 2000 / MB
        large = SimpleUploadedFile("b.png", draw(seed=2) + bytes(2000))
        send({"photo": [large, photo(1)]})
        assert RequestLog.objects.get().capture_status == "too_large"
        assert further_images() == [(1, "files.photo", "stored")]

    def test_files_over_the_limit_are_counted_only(self):
        """What is above it is counted, and the log says so."""
        send({"photo": [photo(seed) for seed in range(5)]}, limit=3)
        log = RequestLog.objects.get()
        assert (log.image_count, log.capture_status) == (5, "stored")
        assert log.capture_detail == "2 more than the limit of 3"
        assert [status for *_, status in further_images()] == ["stored"] * 2
        assert ImageContent.objects.count() == 3

    def test_images_come_before_other_files(self):
        """However late they come."""
        texts = [SimpleUploadedFile(f"{n}.txt", b"no image") for n in range(9)]
        send({"photo": [*texts, photo(1), photo(2)]}, limit=2)
        assert RequestImage.objects.get().image_data == draw(seed=1)
        assert further_images() == [(1, "files.photo", "stored")]
        assert RequestLog.objects.get().capture_detail == "9 more than the limit of 2"

    def test_request_without_an_image_has_a_reason(self):
        """The first stands for the request, as ever."""
        texts = [SimpleUploadedFile(f"{n}.txt", b"no image") for n in range(2)]
        send({"photo": texts})
        assert RequestLog.objects.get().capture_status == "unsupported"
        assert further_images() == [(1, "files.photo", "unsupported")]

    def test_images_of_one_request_are_bounded_together(self, settings):
        """The last ones are over the budget of one request."""
        size = len(draw(seed=1))
        settings.REQUEST_IMAGES_MAX_SIZE_MB = (size + 1) / MB
        settings.REQUEST_IMAGES_MAX_REQUEST_MB = (2 * size + 1) / MB
        send({"photo": [photo(1), photo(2), photo(3)]})
        assert [status for *_, status in further_images()] == ["stored", "over_budget"]
        last = FurtherImage.objects.last()
        assert last.capture_detail == f"more than {2 * size + 1} bytes in one request"

    def test_ten_thousand_files(self, settings, monkeypatch):
        """They cost no more rows or bytes than the limit."""
        settings.DATA_UPLOAD_MAX_NUMBER_FILES = None
        most = []
        consider = upload_buffer.UploadBuffer.offer

        def watched(buffer, *args):
            consider(buffer, *args)
            most.append(sum(kept.chunks.size for kept in buffer._kept))

        monkeypatch.setattr(upload_buffer.UploadBuffer, "offer", watched)
        files = [photo() for _ in range(10_000)]
        send({"photo": files}, limit=4)
        assert max(most) <= 4 * len(draw())
        log = RequestLog.objects.get()
        assert (log.image_count, log.image.further.count()) == (10_000, 3)
        assert log.capture_detail == "9996 more than the limit of 4"

    def test_files_parsed_before_the_view_are_kept(self, settings):
        """By the CSRF check, say: copied, and put back to where they were."""
        size = len(draw(seed=1))
        settings.REQUEST_IMAGES_MAX_SIZE_MB = (size + 1) / MB
        settings.REQUEST_IMAGES_MAX_REQUEST_MB = (2 * size + 1) / MB
        request = RequestFactory().post("/", {"photo": [photo(1), photo(2), photo(3)]})
        assert len(request.FILES.getlist("photo")) == 3
        view()(request)
        assert RequestImage.objects.get().image_data == draw(seed=1)
        assert [status for *_, status in further_images()] == ["stored", "over_budget"]
        assert [f.tell() for f in request.FILES.getlist("photo")] == [0, 0, 0]

    def test_complete_files_of_a_malformed_form_are_kept(self, settings):
        """What arrived whole is kept; that it broke is told once."""
        settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
        request = RequestFactory().post("/", {"photo": [photo(1), photo(2), photo(3)]})
        with pytest.raises(TooManyFilesSent):
            view()(request)
        assert RequestImage.objects.get().image_data == draw(seed=1)
        assert further_images() == [
            (1, "files.photo", "stored"),
            (2, "files", "unreadable"),
        ]

    def test_default_keeps_the_first_image_only(self):
        """One image of each request, as ever, and no query more."""

        @capture_images
        def first(request):
            return JsonResponse({"files": len(request.FILES)})

        with capture_queries() as queries:
            first(RequestFactory().post("/", {"photo": [photo(1), photo(2)]}))
        assert RequestLog.objects.get().image_count == 2
        assert not [sql for sql in queries if "further" in sql]
        assert ImageContent.objects.count() == 1

    def test_should_keep_is_called_once(self, settings):
        """For the request, whatever number of images it has."""
        asked = []

        def should_keep(log):
            asked.append(log)
            return 0.0

        settings.REQUEST_IMAGES_SHOULD_KEEP = should_keep
        send({"photo": [photo(1), photo(2)]})
        assert len(asked) == 1
        assert further_images() == [(1, "files.photo", "sampled_out")]
        assert not ImageContent.objects.exists()


class TestTexts:
    def test_each_element_of_a_json_list_is_kept(self):
        """Its elements, by their paths; bad ones too."""
        document = {"images": [text_of(1), "no image!", 7, {"data": text_of(2)}, {}]}
        send_json(document, source="json.images")
        assert RequestImage.objects.get().source == "json.images.0"
        assert further_images() == [
            (1, "json.images.1", "unreadable"),
            (2, "json.images.2", "unreadable"),
            (3, "json.images.3.data", "stored"),
            (4, "json.images.4", "unreadable"),
        ]

    def test_a_single_json_value_is_kept(self):
        """Where no list is, there is one."""
        send_json({"image": text_of(1)}, source="json:/image")
        assert RequestImage.objects.get().image_data == draw(seed=1)
        assert further_images() == []

    def test_images_anywhere_in_json_are_kept(self):
        """Base64, and data URIs."""
        uri = f"data:image/png;base64,{text_of(2)}"
        send_json({"a": text_of(1), "pages": [{"scan": uri}], "text": "x" * 50})
        assert further_images() == [(1, "json.pages.0.scan", "stored")]
        assert FurtherImage.objects.get().image_data == draw(seed=2)

    def test_images_keep_the_order_of_the_json_document(self):
        """However deep; the first one is the request image, the last are left out."""
        document = {
            "pages": [{"image": text_of(1)}, {"image": text_of(2)}],
            "logo": text_of(3),
            "end": {"of": {"it": text_of(4)}},
        }
        send_json(document, limit=3)
        assert RequestImage.objects.get().source == "json.pages.0.image"
        assert further_images() == [
            (1, "json.pages.1.image", "stored"),
            (2, "json.logo", "stored"),
        ]
        log = RequestLog.objects.get()
        assert log.capture_detail == "1 more than the limit of 3"
        assert log.image_count == 4

    def test_images_keep_the_order_within_an_element(self):
        """Of a list whose elements are objects, likewise."""
        pages = [{"front": {"scan": text_of(1)}, "back": text_of(2)}, text_of(3)]
        send_json({"cover": text_of(4), "pages": pages}, source="json.pages")
        assert RequestImage.objects.get().source == "json.pages.0.front.scan"
        assert [source for _, source, _ in further_images()] == [
            "json.pages.0.back",
            "json.pages.1",
        ]

    def test_the_single_image_is_an_outer_json_string(self):
        """As ever, where a view does not ask for all."""
        document = {"pages": [text_of(1)], "logo": text_of(2)}

        @capture_images
        def one(request):
            return JsonResponse({"bytes": len(request.body)})

        body = json.dumps(document)
        one(RequestFactory().post("/", body, content_type="application/json"))
        assert RequestImage.objects.get().source == "json.logo"

    def test_files_of_a_form_come_before_its_texts(self):
        """Whatever stood first; texts are by their names."""
        parts = {"note": text_of(1), "photo": photo(2), "scan": [text_of(3)]}
        send({**parts, "more": photo(4)})
        assert RequestImage.objects.get().source == "files.photo"
        assert [source for _, source, _ in further_images()] == [
            "files.more",
            "form.note",
            "form.scan",
        ]

    def test_texts_of_a_repeated_field_are_kept(self):
        """Of a form without files."""
        answer = send({"photo": [text_of(1), text_of(2)], "name": "x"})
        assert answer == {"files": [], "fields": 2}
        assert further_images() == [(1, "form.photo", "stored")]

    def test_texts_over_the_limit_are_counted_only(self):
        """Holds for texts as well."""
        send_json({"images": [text_of(n) for n in range(9)]}, limit=2)
        assert RequestLog.objects.get().capture_detail == "7 more than the limit of 2"
        assert len(further_images()) == 1

    def test_body_may_be_as_large_as_all_images(self, settings):
        """Of several images a body may be longer."""
        size = max(len(draw(seed=n)) for n in range(9))
        settings.REQUEST_IMAGES_MAX_SIZE_MB = (size + 1) / MB
        settings.REQUEST_IMAGES_MAX_REQUEST_MB = 20 * size / MB
        send_json([text_of(n) for n in range(9)])
        assert [status for *_, status in further_images()] == ["stored"] * 8


class TestEntryPoints:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"images": "some"}, "images must be 'first' or 'all', not 'some'"),
            ({"images": ["all"]}, "images must be"),
            ({"limit": 3}, "A limit needs images='all'"),
            ({"images": "all", "limit": 0}, "from 1 to 1000, not 0"),
            ({"images": "all", "limit": 1001}, "from 1 to 1000"),
            ({"images": "all", "limit": True}, "not True"),
            ({"images": "all", "limit": "3"}, "not '3'"),
        ],
    )
    def test_wrong_values_are_refused(self, options, text):
        """They are told where they are written."""
        with pytest.raises(ImproperlyConfigured, match=text):
            capture_images(**options)
        values = {f"capture_{name}": value for name, value in options.items()}
        with pytest.raises(ImproperlyConfigured, match=text):
            type("V", (CaptureImagesMixin,), values)

    @pytest.mark.parametrize("url", ["all-mixed-in", "all-drf", "all-async"])
    def test_every_kind_of_view_keeps_all(self, url):
        """Django's views, REST framework's, sync and async, through their URLs."""
        files = {"photo": [photo(1), photo(2)]}
        assert Client().post(f"/{url}/", files).json() == {"files": 2}
        assert further_images() == [(1, "files.photo", "stored")]

    def test_async_view_keeps_all(self):
        """With Django's async client."""

        async def post():
            files = {"photo": [photo(1), photo(2)]}
            return await AsyncClient().post("/all-async/", files)

        assert async_to_sync(post)().json() == {"files": 2}
        assert further_images() == [(1, "files.photo", "stored")]

    def test_files_that_the_csrf_check_has_read_are_kept(self, settings):
        """The form is parsed before the view, and watched."""
        settings.MIDDLEWARE = [
            "request_images.middleware.RequestImagesMiddleware",
            *settings.MIDDLEWARE,
        ]
        files = {"photo": [photo(1), photo(2)]}
        assert Client().post("/all-protected/", files).json() == {"files": 2}
        assert further_images() == [(1, "files.photo", "stored")]


class TestSignals:
    @pytest.fixture
    def heard(self):
        """Collect what the signals tell."""
        found = []

        def saved(sender, log, image, further, **kwargs):
            found.append(("saved", [row.image_data for row in further]))

        def skipped(sender, log, image, further, **kwargs):
            found.append(("skipped", [row.image_data for row in further]))

        def failed(sender, log, exception, **kwargs):
            found.append(("failed", str(exception)))

        signals.image_saved.connect(saved)
        signals.image_skipped.connect(skipped)
        signals.capture_failed.connect(failed)
        yield found
        signals.image_saved.disconnect(saved)
        signals.image_skipped.disconnect(skipped)
        signals.capture_failed.disconnect(failed)

    def test_image_saved_has_the_further_images(self, heard):
        """In order, kept or not."""
        send({"photo": [photo(1), photo(2)]})
        assert heard == [("saved", [draw(seed=2)])]

    def test_image_skipped_has_kept_further_images(self, heard, settings):
        """A further one may have been."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 2000 / MB
        large = SimpleUploadedFile("b.png", draw(seed=2) + bytes(2000))
        send({"photo": [large, photo(1)]})
        assert heard == [("skipped", [draw(seed=1)])]

    @faulty
    def test_fault_of_a_further_image_sends_capture_failed(self, heard, monkeypatch):
        """The request's own is kept, and the fault is told as well."""
        inspect = examine.inspect

        def failing(data):
            if data == draw(seed=2):
                raise RuntimeError("a bug of ours")
            return inspect(data)

        monkeypatch.setattr(examine, "inspect", failing)
        send({"photo": [photo(1), photo(2)]})
        assert heard == [("failed", "a bug of ours"), ("saved", [None])]
        assert further_images() == [(1, "files.photo", "store_failed")]
        assert (
            FurtherImage.objects.get().capture_detail == "RuntimeError: a bug of ours"
        )


class TestStorages:
    @pytest.fixture(params=["memory", "files"])
    def bucket(self, request, settings, tmp_path):
        """A storage for new images."""
        return use_bucket(settings, tmp_path, request.param)

    def test_storage_has_all_images(self, bucket):
        """Each in an object of its own, but for duplicates."""
        send({"photo": [photo(1), photo(2), photo(1)]})
        assert ImageContent.objects.exclude(storage="").count() == 2
        assert [row.image_data for row in FurtherImage.objects.all()] == [
            draw(seed=2),
            draw(seed=1),
        ]
        check()

    @faulty
    @pytest.mark.parametrize("broken", [{2}, {1}, {1, 2}, {1, 2, 3}])
    def test_image_that_the_storage_refuses_costs_no_other(self, bucket, broken):
        """The response is the same, the others are kept, and the reason is told."""
        prefixes = {examine.inspect(draw(seed=n)).image_hash[:2] for n in broken}

        def refuse(name):
            if name[:2] in prefixes:
                raise PermissionError("not this one")

        bucket.hooks["save"] = refuse
        answer = send({"photo": [photo(n) for n in (1, 2, 3)]})
        assert answer["files"] == [len(draw(seed=n)) for n in (1, 2, 3)]
        log = RequestLog.objects.get()
        rows = [log, *log.image.further.all()]
        for number, row in enumerate(rows, start=1):
            is_broken = number in broken
            assert row.capture_status == ("store_failed" if is_broken else "stored")
            assert ("not this one" in row.capture_detail) is is_broken
        images = [log.image, *log.image.further.all()]
        assert [image.image_data is None for image in images] == [
            number in broken for number in (1, 2, 3)
        ]


class TestDatabases:
    @faulty
    def test_image_that_the_database_refuses_costs_no_other(self, monkeypatch):
        """A row that is too long, say: the others are kept."""
        holding = ImageContent.holding.__func__

        def refused(cls, image_hash, data, mime_type=""):
            content = holding(cls, image_hash, data, mime_type)
            if data == draw(seed=2):
                content.stored_size = -1  # which its column does not take
            return content

        monkeypatch.setattr(ImageContent, "holding", classmethod(refused))
        answer = send({"photo": [photo(1), photo(2), photo(3)]})
        assert len(answer["files"]) == 3
        assert RequestLog.objects.get().capture_status == "stored"
        assert [status for *_, status in further_images()] == ["store_failed", "stored"]

    @faulty
    def test_unavailable_database_spools_all(self, monkeypatch):
        """The response is the same, and nothing is written."""

        def away(records):
            raise OperationalError("away")

        monkeypatch.setattr(writer_rows, "save_many", away)
        assert len(send({"photo": [photo(1), photo(2)]})["files"]) == 2
        assert not RequestLog.objects.exists()
        assert health.counts() == {"lost": 1}

    @faulty
    def test_spooled_images_are_all_written(self, monkeypatch, settings, tmp_path):
        """From the spool folder all images are written, each with its reason."""
        settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"

        def away(records):
            raise OperationalError("away")

        text = SimpleUploadedFile("a.txt", b"no image")
        with monkeypatch.context() as patch:
            patch.setattr(writer_rows, "save_many", away)
            send({"photo": [photo(1), text, photo(2), photo(1)]})
        jobs.breakers.reset()
        assert not RequestLog.objects.exists()
        done = spooling.write_spooled()
        assert (done.written, done.bad) == (1, 0)
        assert RequestImage.objects.get().image_data == draw(seed=1)
        assert [row.image_data for row in FurtherImage.objects.all()] == [
            None,
            draw(seed=2),
            draw(seed=1),
        ]
        assert [status for *_, status in further_images()] == [
            "unsupported",
            "stored",
            "duplicate",
        ]
        assert RequestLog.objects.get().image_count == 3

    @faulty
    def test_refused_spooled_image_costs_no_other(
        self, monkeypatch, settings, tmp_path
    ):
        """The others are written from the folder all the same."""
        settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
        bucket = use_bucket(settings, tmp_path)

        def busy(name):
            raise OSError("busy")

        bucket.hooks["save"] = busy
        send({"photo": [photo(1), photo(2)]})
        assert spooling.spool_contents().entries == 1
        wanted = examine.inspect(draw(seed=2)).image_hash[:2]

        def refuse(name):
            if name[:2] == wanted:
                raise PermissionError("not this one")

        bucket.hooks["save"] = refuse
        stores.forget()
        assert spooling.write_spooled().written == 1
        assert RequestLog.objects.get().capture_status == "stored"
        assert further_images() == [(1, "files.photo", "store_failed")]


class TestBackground:
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_background_thread_writes_all(self, settings):
        """By the thread, as by the request's own; nothing is held afterwards."""
        settings.REQUEST_IMAGES_WRITE_MODE = "background"
        files = {"photo": [photo(1), photo(2)]}
        request = RequestFactory().post("/all-async/", files)
        request.resolver_match = resolve("/all-mixed-in/")
        view()(request)
        request.close()
        flush()
        jobs.queue.close(10)
        jobs.queue.reset()
        assert further_images() == [(1, "files.photo", "stored")]

    def test_full_queue_drops_all_images(self):
        """Where there is no room, each image says so."""
        log = RequestLog()
        uploads = [
            Upload("photo", len(data), data[:64], data, complete=True)
            for data in (draw(seed=1), draw(seed=2))
        ]
        payload = Payload("multipart/form-data", uploads, was_read=True)
        job = examine.CapturedRequest(log, payload=payload, limit=5)
        assert job.size > len(draw(seed=1)) + len(draw(seed=2))
        job.drop_images()
        record = job.examine()
        assert record.with_bytes == []
        rows = [log, record.further[0]]
        assert {row.capture_status for row in rows} == {"over_budget"}


class TestCleanup:
    def clean(self, retention, **options):
        told_before = preview(retention, **options)
        assert clean(retention, batch_size=2, **options) == told_before
        assert not ImageContent.objects.unreferenced().exists()
        return told_before.total

    def test_cleanup_deletes_all_images_of_a_request(self):
        """Rows and bytes; what a young request shares stays."""
        old = make_image(draw(seed=1), days_old=40)
        for seed in (2, 3, 2):
            add_further(old, draw(seed=seed))
        young = make_image(draw(seed=4))
        add_further(young, draw(seed=3))
        went = self.clean(Retention.of_days(30, 365))
        assert (went.images, went.contents, went.logs) == (4, 2, 0)
        assert list(FurtherImage.objects.all()) == list(young.further.all())
        assert young.further.get().image_data == draw(seed=3)

    def test_cleanup_deletes_further_images_with_the_log(self):
        """Nothing of the request is left."""
        add_further(make_image(days_old=400), draw(seed=1))
        went = self.clean(Retention.of_days(30, 365))
        assert (went.images, went.contents, went.logs) == (2, 2, 1)
        assert not FurtherImage.objects.exists()

    def test_cleanup_of_bytes_keeps_the_rows(self):
        """The rows stay, and say so; also where the first one has none."""
        image = make_image(days_old=10, kept=False)
        add_further(image, draw(seed=1))
        add_further(image, draw(seed=2), kept=False)
        went = self.clean(Retention.of_days(30, 365, bytes_days=7))
        assert (went.images, went.contents) == (1, 1)
        statuses = [status for *_, status in further_images()]
        assert statuses == ["expired", "too_large"]

    def test_cleanup_to_a_budget_takes_all_bytes_of_a_request(self):
        """All bytes of a request go together; pinned ones stay."""
        pinned = make_image(draw(seed=1), days_old=3, is_pinned=True)
        add_further(pinned, draw(seed=2))
        old = make_image(draw(seed=3), days_old=2)
        add_further(old, draw(seed=4))
        young = make_image(draw(seed=5), days_old=1)
        room = 3 * len(draw(seed=1)) + 30
        went = self.clean(Retention.of_days(30, 365), max_bytes=room)
        assert (went.images, went.contents) == (2, 2)
        gone = old.further.get()
        assert (gone.capture_status, gone.content) == ("over_budget", None)
        assert gone.capture_detail.endswith("MB in total")
        assert young.image_data == draw(seed=5)
        assert pinned.further.get().image_data == draw(seed=2)

    def test_cleanup_counts_further_images(self, capsys):
        """By the command: counted with the others."""
        add_further(make_image(days_old=40), draw(seed=1))
        call_command("cleanup_old_images", dry_run=True)
        call_command("cleanup_old_images")
        said = capsys.readouterr().out
        assert "Would delete 2 images of successful requests (2 distinct)" in said
        assert "Deleted 2 images of successful requests (2 distinct)" in said

    def test_expired_further_image_is_not_read(self):
        """Past its retention an image is not read any more, unless it is pinned."""
        for is_pinned in (False, True):
            image = make_image(days_old=40, is_pinned=is_pinned)
            further = add_further(image, draw(seed=1))
            assert further.is_expired is not is_pinned
            assert (further.image_data is None) is not is_pinned


class TestVerify:
    @faulty
    def test_damaged_further_image_is_detached(self):
        """A further image says it of itself."""
        image = make_image()
        further = add_further(image, draw(seed=1))
        ImageContent.objects.filter(pk=further.content_id).update(data=b"damaged")
        verified = verify(repair=True, on_found=lambda finding: None)
        assert (verified.contents, verified.unrepaired) == (2, 0)
        further.refresh_from_db()
        assert (further.content, further.capture_status) == (None, "store_failed")
        assert further.capture_detail.startswith("mismatch: ")
        assert image.image_data == PICTURE
        image.log.refresh_from_db()
        assert image.log.capture_status == "stored"

    def test_verify_finds_no_fault_in_sound_images(self):
        """After requests with several images."""
        send({"photo": [photo(1), photo(2), photo(1)]})
        found = []
        assert verify(repair=False, on_found=found.append).contents == 2
        assert found == []


def test_stored_size_counts_each_further_content_once():
    """As received, each time anew; as kept, each distinct image once."""
    image = make_image(draw(seed=1))
    for seed in (1, 2, 2):
        add_further(image, draw(seed=seed))
    make_image(draw(seed=2), days_old=1)
    one, two = len(draw(seed=1)), len(draw(seed=2))
    logs = RequestLog.objects.all()
    assert stored_size(logs) == one + two
    assert stored_size(logs.filter(pk=image.log_id)) == one + two
    assert stored_size(logs.exclude(pk=image.log_id)) == two


class TestAdmin:
    @pytest.fixture
    def boss(self, client):
        client.force_login(make_superuser())
        return client

    def page(self, image):
        return reverse("admin:request_images_requestimage_change", args=[image.pk])

    def url(self, kind, further):
        return reverse(f"admin:request_images_furtherimage_{kind}", args=[further.pk])

    def test_page_shows_further_images_in_order(self, boss):
        """With their fields and reasons, linked to their originals."""
        image = make_image(image_count=4)
        kept = add_further(image, draw(seed=1), source="files.back")
        lost = add_further(
            image, draw(seed=2), kept=False, file_size=None, width=None, height=None
        )
        text = boss.get(self.page(image)).content.decode()
        assert text.index("files.back") < text.index("Too large")
        assert f'<a href="{self.url("original", kept)}"' in text
        assert self.url("thumbnail", kept) in text
        assert self.url("original", lost) not in text
        listed = boss.get(reverse("admin:request_images_requestimage_changelist"))
        assert '<td class="field-images">4</td>' in listed.content.decode()

    def test_page_of_a_single_image_shows_no_others(self, boss):
        """Of most requests."""
        assert (
            "request-images-further"
            not in boss.get(self.page(make_image())).content.decode()
        )

    def test_page_needs_no_query_for_each_further_image(self, boss):
        """And loads no bytes, also of old ones."""
        image = make_image(days_old=29)
        add_further(image, draw(seed=1))
        boss.get(self.page(image))  # content types are looked up once in a process
        with capture_queries() as one:
            boss.get(self.page(image))
        for seed in range(2, 12):
            add_further(image, draw(seed=seed))
        with capture_queries() as many:
            boss.get(self.page(image))
        assert len(one) == len(many)
        assert loading_bytes(many) == []

    def test_view_of_a_further_original_is_logged(self, boss):
        """With their own hash, and the id of the request."""
        image = make_image()
        further = add_further(image, draw(seed=1))
        response = boss.get(self.url("original", further))
        assert response.content == draw(seed=1)
        assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
        entry = OriginalAccess.objects.get()
        assert (entry.image_hash, entry.request_id, entry.action) == (
            further.image_hash,
            image.log.request_id,
            "viewed",
        )

    def test_further_image_has_its_own_thumbnail(self, boss):
        """Made by their own URL, and gone with the bytes."""
        further = add_further(make_image(), draw(seed=1))
        response = boss.get(self.url("thumbnail", further))
        assert response["Content-Type"] == "image/webp"
        FurtherImage.objects.update(content=None)
        assert boss.get(self.url("thumbnail", further)).status_code == 404
        url = self.url("original", further)
        further.delete()
        assert boss.get(url).status_code == 404

    def test_further_original_needs_its_permission(self, client):
        """Who may not see originals gets thumbnails, without links."""
        image = make_image()
        further = add_further(image, draw(seed=1))
        client.force_login(make_user("view_requestimage"))
        text = client.get(self.page(image)).content.decode()
        assert self.url("thumbnail", further) in text
        assert self.url("original", further) not in text
        assert client.get(self.url("thumbnail", further)).status_code == 200
        assert client.get(self.url("original", further)).status_code == 403
        client.force_login(make_user("view_requestlog"))
        assert client.get(self.url("thumbnail", further)).status_code == 403

    def test_hash_of_a_further_image_finds_its_request(self, boss):
        """By their hashes, as the request images are."""
        image = make_image(draw(seed=1))
        add_further(image, draw(seed=2))
        other = make_image(draw(seed=2), status_code=500)
        page = boss.get(self.page(other)).content.decode()
        assert "seen 2 times, failed 1" in page
        for model, rows in (
            ("requestimage", {image, other}),
            ("requestlog", {image.log, other.log}),
        ):
            url = reverse(f"admin:request_images_{model}_changelist")
            found = boss.get(url, {"q": other.image_hash}).context["cl"].result_list
            assert set(found) == rows


class TestUploadBuffer:
    def test_better_file_replaces_the_last_worse_one(self):
        """And of its bytes."""
        worth = {"bad": (0,), "good": (1,)}
        buffer = UploadBuffer(
            lambda upload: worth[upload.field], Limits(9, 9, 2, 15, 99), Held(99)
        )
        uploads = [Upload(field) for field in ("bad", "bad", "good")]
        for upload in uploads:
            buffer.offer(upload)
            buffer.add(upload, b"12345")
        assert [buffer.take(upload) for upload in uploads] == [b"12345", None, b"12345"]

    def test_worse_files_make_room(self):
        """For the bytes of a better one."""
        worth = {"bad": (0,), "good": (1,)}
        buffer = UploadBuffer(
            lambda upload: worth[upload.field], Limits(9, 9, 3, 9, 99), Held(99)
        )
        bad, good = Upload("bad"), Upload("good")
        for upload in (bad, good):
            buffer.offer(upload)
            buffer.add(upload, b"12345")
        buffer.add(bad, b"6")
        assert (bool(bad.over_budget), bool(good.over_budget)) == (True, False)
        assert (buffer.take(bad), buffer.take(good)) == (None, b"12345")
