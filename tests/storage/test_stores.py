"""Bytes in a storage of the project's: written, read, deleted, and what fails."""

from __future__ import annotations

import io
import os
import re
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.storage import storages
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from request_images import health
from request_images.capture import recording
from request_images.capture.examine import CapturedRequest
from request_images.capture.payload import Payload, Upload
from request_images.cleanup.retention import clean
from request_images.contents import delete_objects
from request_images.contents import place as contents_place
from request_images.contents.delete_objects import delete_pending
from request_images.contents.derive import Fate, try_to_derive
from request_images.contents.move import move
from request_images.contents.thumbnails import THUMBNAIL
from request_images.db import walk
from request_images.db.destination import Destination
from request_images.exceptions import ObjectClaimed, ObjectMissing, StorageError
from request_images.models import (
    ImageContent,
    PendingDeletion,
    RequestImage,
    RequestLog,
)
from request_images.storage import stores
from request_images.storage.stores import key_of, store_of
from request_images.writer import jobs
from request_images.writer import rows as writer_rows
from request_images.writer.spool import spooling
from tests import storages as bench
from tests.factories import make_image, make_superuser, unsaved_record, until
from tests.image_files import draw
from tests.storages import (
    ALIAS,
    Killed,
    check,
    delete_now,
    keep,
    kill_at,
    objects,
    raising,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["memory", "files"])
def bucket(request, settings, tmp_path):
    """A storage for new images."""
    return bench.use_bucket(settings, tmp_path, request.param)


@pytest.fixture
def _faulty():
    """Allow faults in these tests."""
    yield
    health.reset()


faulty = pytest.mark.usefixtures("_faulty")


@pytest.fixture
def spool(settings, tmp_path):
    """A spool folder."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"


def post(seed=0):
    response = Client().post("/body/", draw(seed=seed), content_type="image/png")
    assert response.status_code == 200


def refused():
    """Return what botocore raises if access is refused."""
    error = RuntimeError("AccessDenied")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": 403}}
    return error


def busy():
    """Return what botocore raises if the server is overloaded."""
    error = RuntimeError("SlowDown")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": 503}}
    return error


def foreign(name, **attributes):
    """Make an error of another library by its name and attributes."""
    error = type(name, (Exception,), {})("said by a library")
    vars(error).update(attributes)
    return error


def azure_error(status):
    """Make an error of azure-core, an HttpResponseError or a subclass."""
    return foreign("HttpResponseError", status_code=status, response=object())


def google_error(status):
    """Make an error of google-api-core, whose code is an enum."""
    return foreign("GoogleAPICallError", code=HTTPStatus(status), response=None)


def requests_error(status):
    """Make an error of a storage that uses HTTP itself: an OSError."""
    error = type("HTTPError", (OSError,), {})("said by a library")
    error.response = SimpleNamespace(status_code=status)
    return error


def grpc_error(status):
    """Make an error with a method of that name and no HTTP status."""
    return foreign("RpcError", code=lambda: status, status_code=None)


LIBRARIES = [azure_error, google_error, requests_error]


class TestSave:
    def test_image_is_written_to_the_storage(self, bucket):
        """The object has a readable name, and the list is empty."""
        post()
        content = ImageContent.objects.get()
        image = RequestImage.objects.get()
        assert re.fullmatch(
            rf"{image.image_hash[:2]}/{image.image_hash}-[0-9a-f]{{8}}\.png",
            content.name,
        )
        assert (content.storage, content.data) == (ALIAS, None)
        assert content.mime_type == "image/png"
        assert content.stored_size == len(draw())
        assert image.image_data == draw()
        assert objects() == {content.name}
        assert not PendingDeletion.objects.exists()
        check()

    def test_duplicate_writes_no_object(self, bucket):
        """Known bytes cost the storage nothing."""
        post()
        bucket.calls.clear()
        post()
        assert bucket.calls == []
        assert RequestLog.objects.first().capture_status == "duplicate"

    def test_same_image_twice_in_one_transaction(self, bucket):
        """The object is written once."""
        writer_rows.save_many([unsaved_record(1), unsaved_record(1), unsaved_record(2)])
        assert bucket.calls.count("save") == 2
        assert len(objects()) == 2
        check()

    def test_database_and_storage_work_together(self, bucket, settings):
        """Each row knows the store of its bytes."""
        post(1)
        settings.REQUEST_IMAGES_STORAGE = None
        post(2)
        post(1)
        aliases = dict(ImageContent.objects.values_list("storage", "name"))
        assert set(aliases) == {"", ALIAS}
        assert aliases[""] == ""
        data = {image.image_data for image in RequestImage.objects.all()}
        assert data == {draw(seed=1), draw(seed=2)}

    def test_file_is_synced_before_its_row(self, settings, tmp_path, monkeypatch):
        """The entries of its folders are synced, too."""
        bench.use_bucket(settings, tmp_path, "files")
        synced = []

        def fsync(number):
            synced.append((os.fstat(number).st_ino, ImageContent.objects.exists()))

        monkeypatch.setattr(os, "fsync", fsync)
        post()
        path = Path(storages[ALIAS].path(ImageContent.objects.get().name))
        places = (path, path.parent, path.parent.parent)
        assert synced == [(place.stat().st_ino, False) for place in places]

    @faulty
    def test_failed_sync_is_logged(self, settings, tmp_path, monkeypatch):
        """The response is unchanged, and the log has the reason."""
        bench.use_bucket(settings, tmp_path, "files")
        monkeypatch.setattr(os, "fsync", raising(OSError("I/O error")))
        post()
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert "I/O error" in log.capture_detail

    def test_names_are_unique(self):
        """An unknown type has a file extension, too."""
        names = {key_of("ab" * 32, "image/jpeg") for _ in range(50)}
        assert len(names) == 50
        assert all(name.endswith(".jpg") for name in names)
        assert key_of("ab" * 32, "text/html").endswith(".bin")

    def test_storage_may_change_the_name(self, bucket):
        """The row has the changed name, which was on the list before."""
        bucket.hooks["save"] = lambda name: f"{name}x"
        [content] = keep(1)
        assert content.name.endswith(".pngx")
        check()
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, writer_rows, "take_over", "before")
            with pytest.raises(Killed):
                keep(2)
        check()

    def test_slow_upload_is_repeated_after_its_object_is_claimed(self, bucket):
        """The changed name is on the list, and the upload is tried again."""
        waits = [1]

        def claimed(name):
            if waits:
                waits.pop()
                PendingDeletion.objects.update(tries=1)
            return f"{name}x"

        bucket.hooks["save"] = claimed
        keep(1)
        check()
        assert len(objects()) == 2
        delete_now()
        assert len(objects()) == 1

    def test_concurrent_save_of_the_same_image(self, bucket, monkeypatch):
        """There is one content, and the other object is soon deleted."""
        save_once, others = writer_rows._insert_all, [lambda: keep(1)]

        def racing(records, using):
            if others:
                others.pop()()
            save_once(records, using)

        monkeypatch.setattr(writer_rows, "_insert_all", racing)
        keep(1)
        assert ImageContent.objects.count() == 1
        assert RequestImage.objects.count() == 2
        assert len(objects()) == 2
        check()
        assert delete_pending().deleted == 1
        check()
        assert RequestImage.objects.first().image_data == draw(seed=1)

    def test_content_deleted_after_the_lookup_is_written(self, bucket, monkeypatch):
        """The next attempt does not find the content and writes it."""
        keep(1)
        save_once, others = writer_rows._insert_all, [1]

        def racing(records, using):
            if others:
                others.pop()
                clean(until(timezone.now()), batch_size=10)
            save_once(records, using)

        monkeypatch.setattr(writer_rows, "_insert_all", racing)
        [content] = keep(1)
        assert content.read() == draw(seed=1)
        check()

    def test_claimed_object_is_written_again(self, bucket, monkeypatch):
        """The object is claimed for deletion, so another one is written."""
        save_once, others = writer_rows._insert_all, [1]

        def racing(records, using):
            if others:
                others.pop()
                assert delete_now().deleted == 1
            save_once(records, using)

        monkeypatch.setattr(writer_rows, "_insert_all", racing)
        [content] = keep(1)
        assert content.read() == draw(seed=1)
        assert bucket.calls.count("save") == 2
        check()

    @faulty
    def test_row_without_bytes_after_too_many_claims(self, bucket, monkeypatch):
        """The row is written without the bytes."""
        monkeypatch.setattr(writer_rows, "take_over", raising(ObjectClaimed("always")))
        post()
        log = RequestLog.objects.get()
        assert (log.capture_status, log.image.content) == ("store_failed", None)
        assert log.capture_detail == "ObjectClaimed: always"
        check()

    def test_deadlock_writes_the_object_once(self, bucket, monkeypatch):
        """The next attempt uses the object that is in the storage."""
        insert, fails = writer_rows.insert, [1, 2, 3]

        def failing(rows, using):
            if fails and rows and isinstance(rows[0], RequestImage):
                fails.pop()
                raise IntegrityError("somebody was quicker")
            insert(rows, using)

        monkeypatch.setattr(writer_rows, "insert", failing)
        keep(1)
        assert bucket.calls.count("save") == 1
        check()


class TestCrash:
    """After any crash an object has its row or is on the list."""

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(
        "where",
        [
            (writer_rows, "_kept_contents", 1),
            (writer_rows, "place", 1),
            (contents_place, "bounded_transaction", 1),
            (writer_rows, "_insert_all", 1),
            (writer_rows, "take_over", 1),
            *((writer_rows, "insert", nth) for nth in (1, 2, 3, 4)),
            (writer_rows, "release", 1),
        ],
        ids=str,
    )
    def test_crash_during_a_write(self, bucket, monkeypatch, where, when):
        target, name, nth = where
        keep(1)
        with monkeypatch.context() as patch:
            kill_at(patch, target, name, when, nth)
            with pytest.raises(Killed):
                writer_rows.save_many([unsaved_record(2), unsaved_record(3)])
        check()
        delete_now()
        check()
        assert len(objects()) == ImageContent.objects.count()
        keep(2, 3)
        assert ImageContent.objects.count() == 3
        check()

    @pytest.mark.parametrize("verb", ["save", "saved"])
    def test_crash_of_the_storage_during_a_write(self, bucket, verb):
        bucket.hooks[verb] = raising(Killed())
        with pytest.raises(Killed):
            keep(1)
        check()
        del bucket.hooks[verb]
        delete_now()
        assert objects() == set()

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(
        ("target", "name"),
        [
            (ImageContent, "delete_all"),
            (delete_objects, "delete_pending"),
            (delete_objects, "_claim"),
            (delete_objects, "_is_referred_to"),
        ],
    )
    def test_crash_during_a_deletion(self, bucket, monkeypatch, target, name, when):
        keep(1, 2)
        with monkeypatch.context() as patch:
            kill_at(patch, target, name, when)
            with pytest.raises(Killed):
                self.delete_everything()
        check()
        self.delete_everything()
        assert objects() == set()
        assert not PendingDeletion.objects.exists()

    @pytest.mark.parametrize("verb", ["delete", "deleted"])
    def test_crash_of_the_storage_during_a_deletion(self, bucket, verb):
        keep(1, 2)
        bucket.hooks[verb] = raising(Killed())
        with pytest.raises(Killed):
            self.delete_everything()
        check()
        del bucket.hooks[verb]
        self.delete_everything()
        assert objects() == set()

    @staticmethod
    def delete_everything():
        clean(until(timezone.now() + timedelta(hours=1)), batch_size=10)
        PendingDeletion.objects.update(due_at=timezone.now())
        delete_objects.delete_pending()


@faulty
class TestFaults:
    """Faults do not reach the request, and each is recorded."""

    @pytest.mark.parametrize(
        "error",
        [
            OSError("no space left"),
            TimeoutError("slow"),
            PermissionError("no"),
            refused(),
            busy(),
        ],
        ids=repr,
    )
    def test_failed_write_without_a_spool_folder(self, bucket, error):
        """The row has the reason and the facts of the image."""
        bucket.hooks["save"] = raising(error)
        post()
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert log.capture_detail == (
            f"StorageError: bucket: {type(error).__name__}: {error}"
        )
        assert log.image.image_hash
        assert log.image.image_data is None
        assert log.metadata == {}
        assert health.counts() == {"store_failed": 1}
        assert health.faults() == {"store:StorageError": 1}
        check()

    @pytest.mark.parametrize(
        "error",
        [
            OSError("no space left"),
            busy(),
            *(of(status) for of in LIBRARIES for status in (408, 429, 500, 503)),
            grpc_error(403),
            foreign("CurlError", code=7),
        ],
        ids=repr,
    )
    def test_temporary_error_spools_the_request(self, bucket, spool, error):
        """It is written whole when the storage works again."""
        bucket.hooks["save"] = raising(error)
        post()
        assert not RequestLog.objects.exists()
        assert spooling.write_spooled().failed == 1
        bucket.hooks.clear()
        assert spooling.write_spooled().written == 1
        assert RequestImage.objects.get().image_data == draw()
        assert RequestLog.objects.get().capture_status == "stored"
        check()

    @pytest.mark.parametrize(
        "error",
        [
            PermissionError("no"),
            refused(),
            *(of(status) for of in LIBRARIES for status in (401, 403, 404)),
        ],
        ids=repr,
    )
    def test_permanent_error_spools_nothing(self, bucket, spool, error):
        """The request would wait in the folder forever."""
        bucket.hooks["save"] = raising(error)
        post()
        assert RequestLog.objects.get().capture_status == "store_failed"
        assert spooling.spool_contents().entries == 0

    def test_spooled_request_after_a_permanent_error(self, bucket, spool):
        """The spooled request is written without its image."""
        bucket.hooks["save"] = raising(TimeoutError("slow"))
        post()
        bucket.hooks["save"] = raising(PermissionError("no"))
        assert spooling.write_spooled().written == 1
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert "PermissionError" in log.capture_detail

    def test_unknown_storage_is_recorded(self, bucket, settings):
        """The setting names a storage that does not exist."""
        settings.REQUEST_IMAGES_STORAGE = "nowhere"
        post()
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert "nowhere: InvalidStorageError" in log.capture_detail
        assert not PendingDeletion.objects.exists()  # nobody could ever delete it

    @pytest.mark.parametrize("status", [408, 429, 500])
    def test_overload_is_temporary(self, bucket, spool, status):
        """The server is overloaded."""
        error = refused()
        error.response["ResponseMetadata"]["HTTPStatusCode"] = status
        bucket.hooks["save"] = raising(error)
        post()
        assert spooling.spool_contents().entries == 1

    def test_success_resets_the_failures(self, bucket):
        """Only consecutive failures count."""
        for seed in range(10):
            bucket.hooks["save"] = raising(OSError("now and then"))
            if seed == 4:
                bucket.hooks.clear()
            post(seed)
        assert bucket.calls.count("save") == 10

    def test_object_being_written_is_not_deleted(self, bucket):
        """It is on the list, and not due yet."""
        bucket.hooks["saved"] = lambda name: delete_pending()
        post()
        assert bucket.calls.count("delete") == 0
        assert RequestImage.objects.get().image_data == draw()

    def test_failing_storage_opens_its_breaker(self, bucket, settings):
        """Rows are still written, and other storages are used."""
        bucket.hooks["save"] = raising(OSError("gone"))
        for seed in range(8):
            post(seed)
        assert bucket.calls.count("save") == 5
        assert RequestLog.objects.filter(capture_status="store_failed").count() == 8
        assert "was not called" in RequestLog.objects.first().capture_detail
        assert "bucket: OSError: gone" in RequestLog.objects.first().capture_detail
        assert PendingDeletion.objects.count() == 5
        assert jobs.breakers.allows(Destination())
        settings.REQUEST_IMAGES_STORAGE = "default"
        assert store_of("default").breaker.allows()
        settings.REQUEST_IMAGES_STORAGE = None
        post(9)
        assert RequestLog.objects.first().capture_status == "stored"

    def test_open_breaker_is_a_temporary_error(self, bucket, spool):
        """A skipped write counts as a failed one."""
        bucket.hooks["save"] = raising(PermissionError("no"))
        for seed in range(7):
            post(seed)
        assert spooling.spool_contents().entries == 0
        assert RequestLog.objects.count() == 7

    def test_one_failure_in_a_batch(self, bucket):
        """The other requests of the batch keep their images."""
        bad = unsaved_record(2)

        def refuse(name):
            if bad.image.image_hash in name:
                raise PermissionError("this one")

        bucket.hooks["save"] = refuse
        records = [unsaved_record(1), bad, unsaved_record(3)]
        jobs.write_jobs([_job(record) for record in records])
        logs = RequestLog.objects.order_by("pk")
        statuses = [log.capture_status for log in logs]
        assert statuses == ["stored", "store_failed", "stored"]
        assert bucket.calls.count("saved") == 2
        check()

    def test_slow_storage_does_not_delay_the_view(self, bucket, monkeypatch):
        """The write waits after the response."""
        seconds = [0.0]
        monkeypatch.setattr(recording, "perf_counter", lambda: sum(seconds))
        bucket.hooks["save"] = lambda name: seconds.append(10)
        post()
        assert sum(seconds) == 10
        log = RequestLog.objects.get()
        assert log.capture_status == "stored"
        assert log.duration_ms < 10_000

    def test_no_object_without_its_list_entry(self, bucket, monkeypatch):
        """If the database refuses the entry, nothing is uploaded."""
        monkeypatch.setattr(
            contents_place, "bounded_transaction", raising(OperationalError("away"))
        )
        post()
        assert bucket.calls == []
        assert RequestLog.objects.get().capture_status == "store_failed"


def _job(record):
    payload = Payload(content_type="multipart/form-data", was_read=True)
    payload.uploads = [
        Upload("photo", len(record.data), record.data[:64], record.data, complete=True)
    ]
    return CapturedRequest(record.log, payload=payload, destination=record.destination)


@faulty
class TestReading:
    """Lost bytes are distinguished from unavailable ones."""

    @pytest.fixture
    def image(self, bucket):
        """An image in the storage."""
        post()
        return RequestImage.objects.get()

    def open(self, client, image, page="original"):
        name = f"admin:request_images_requestimage_{page}"
        return client.get(reverse(name, args=[image.pk]))

    @pytest.mark.parametrize("page", ["original", "thumbnail"])
    def test_missing_object_is_lost(self, bucket, image, client, page):
        client.force_login(make_superuser())
        bucket.delete(ImageContent.objects.get().name)
        with pytest.raises(ObjectMissing):
            _ = image.image_data
        response = self.open(client, image, page)
        assert response.status_code == 404
        assert response.content == b"The storage has lost this image."
        assert response["X-Content-Type-Options"] == "nosniff"
        assert ImageContent.objects.get().thumbnail_error == ""

    @pytest.mark.parametrize("page", ["original", "thumbnail"])
    def test_failing_storage_is_unavailable(self, bucket, image, client, page):
        client.force_login(make_superuser())
        bucket.hooks["open"] = raising(OSError("away"))
        with pytest.raises(StorageError, match="bucket: OSError: away") as raised:
            _ = image.image_data
        assert not isinstance(raised.value, ObjectMissing)
        response = self.open(client, image, page)
        assert response.status_code == 503
        assert response.content == b"The storage of this image does not answer."
        assert health.faults() == {"read:StorageError": 1}
        bucket.hooks.clear()
        assert self.open(client, image, page).status_code == 200

    def test_unavailable_bytes_are_no_attempt(self, bucket, image):
        """The thumbnail is skipped, and no attempt is counted."""
        bucket.hooks["open"] = raising(OSError("away"))
        for _ in range(4):
            assert try_to_derive(THUMBNAIL, image.content_id) is Fate.SKIPPED
        bucket.hooks.clear()
        assert try_to_derive(THUMBNAIL, image.content_id) is Fate.MADE

    def test_failed_check_reports_nothing_lost(self, bucket, image, client):
        """A check that failed proves nothing."""
        client.force_login(make_superuser())
        bucket.hooks["open"] = raising(OSError("away"))
        self.open(client, image)
        assert not LogEntry.objects.exists()

    def test_missing_bucket_is_unavailable(self, bucket, image):
        """S3 reports a missing object; a listing shows the cause."""
        bucket.hooks["open"] = raising(FileNotFoundError())
        bucket.hooks["listdir"] = raising(refused())
        with pytest.raises(StorageError, match="AccessDenied") as raised:
            _ = image.image_data
        assert not isinstance(raised.value, ObjectMissing)
        bucket.hooks["listdir"] = raising(NotImplementedError("cannot list"))
        with pytest.raises(ObjectMissing):
            _ = image.image_data

    def test_open_breaker_skips_reads(self, bucket, image):
        """A page of a hundred pictures has no hundred timeouts."""
        bucket.hooks["open"] = raising(OSError("away"))
        for _ in range(5):
            with pytest.raises(StorageError, match="bucket: OSError: away"):
                _ = image.image_data
        bucket.calls.clear()
        with pytest.raises(StorageError, match=r"not called.*OSError: away"):
            _ = image.image_data
        assert bucket.calls == []
        post(1)
        assert RequestLog.objects.first().capture_status == "stored"

    def test_single_failures_keep_the_breaker_closed(self, bucket, image):
        """Only consecutive failures count."""
        bucket.hooks["open"] = raising(OSError("away"))
        for _ in range(4):
            with pytest.raises(StorageError):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()
        bucket.hooks["open"] = raising(OSError("away"))
        for _ in range(5):
            with pytest.raises(StorageError, match="bucket: OSError"):
                _ = image.image_data

    def test_refusal_resets_the_failures(self, bucket, image):
        """A storage that refuses an object is available."""
        away, refuses = raising(TimeoutError("slow")), raising(PermissionError("no"))
        for hook in (*[away] * 4, refuses, *[away] * 4):
            bucket.hooks["open"] = hook
            with pytest.raises(StorageError):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()

    @pytest.mark.parametrize("error", [PermissionError("no"), FileNotFoundError()])
    def test_refusals_keep_the_breaker_closed(self, bucket, image, error):
        """A refusal is quick and concerns one object."""
        bucket.hooks["open"] = raising(error)
        for _ in range(6):
            with pytest.raises(StorageError):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()

    def test_full_storage_is_read(self, bucket, image):
        """A full disk has not lost its objects."""
        bucket.hooks["save"] = raising(OSError("No space left on device"))
        for seed in range(1, 7):
            post(seed)
        assert "was not called" in RequestLog.objects.first().capture_detail
        assert image.image_data == draw()

    def test_missing_folder_is_unavailable(self, settings, tmp_path):
        """An unmounted disk has not lost its objects."""
        bench.use_bucket(settings, tmp_path, "files")
        [content] = keep(1)
        (tmp_path / ALIAS).rename(tmp_path / "elsewhere")
        with pytest.raises(StorageError, match="FileNotFoundError") as raised:
            content.read()
        assert not isinstance(raised.value, ObjectMissing)
        (tmp_path / "elsewhere").rename(tmp_path / ALIAS)
        assert content.read() == draw(seed=1)

    def test_row_without_bytes_is_lost(self):
        """Somebody has edited the database."""
        image = make_image()
        ImageContent.objects.update(data=None)
        with pytest.raises(ObjectMissing, match="the row has no bytes"):
            _ = image.image_data


@faulty
class TestForeignErrors:
    """A library's own error for a missing object is recognized."""

    @pytest.fixture
    def bucket(self, settings, tmp_path):
        """A storage with such a library."""
        return bench.use_bucket(settings, tmp_path, "foreign")

    @pytest.fixture
    def image(self, bucket):
        """An image in the storage."""
        post()
        bucket.calls.clear()
        return RequestImage.objects.get()

    @pytest.fixture
    def lost(self, bucket, image):
        """An image that the storage has lost."""
        bucket.missing = azure_error(404)
        bucket.delete(ImageContent.objects.get().name)
        return image

    @pytest.mark.parametrize(
        "error",
        [
            *(of(404) for of in LIBRARIES),
            azure_error(410),
            grpc_error(5),
            KeyError("name"),
        ],
        ids=repr,
    )
    def test_missing_object_is_a_404(self, bucket, lost, client, error):
        """The response is 404, and the breaker stays closed."""
        client.force_login(make_superuser())
        bucket.missing = error
        for _ in range(6):
            with pytest.raises(ObjectMissing, match="bucket has no "):
                _ = lost.image_data
        url = reverse("admin:request_images_requestimage_original", args=[lost.pk])
        assert client.get(url).status_code == 404
        post(1)
        assert RequestImage.objects.first().image_data == draw(seed=1)

    def test_missing_container_is_unavailable(self, bucket, lost):
        """Each object seems to be missing; a listing shows the cause."""
        bucket.hooks["listdir"] = raising(azure_error(404))
        with pytest.raises(StorageError, match="HttpResponseError") as raised:
            _ = lost.image_data
        assert not isinstance(raised.value, ObjectMissing)

    @pytest.mark.parametrize(
        "error",
        [
            *(of(status) for of in LIBRARIES for status in (401, 403, 429, 503)),
            OSError("I/O error"),
            TimeoutError("slow"),
            ConnectionError("refused"),
        ],
        ids=repr,
    )
    def test_other_errors_are_raised(self, bucket, lost, error):
        """The error is not checked again and keeps its meaning."""
        bucket.hooks["open"] = raising(error)
        with pytest.raises(StorageError, match=str(error)) as raised:
            _ = lost.image_data
        assert not isinstance(raised.value, ObjectMissing)
        assert "exists" not in bucket.calls

    def test_existing_object_is_unavailable(self, bucket, image):
        """The error is another one, and may be temporary."""
        bucket.hooks["open"] = raising(grpc_error(14))
        with pytest.raises(StorageError, match="RpcError") as raised:
            _ = image.image_data
        assert not isinstance(raised.value, ObjectMissing)
        assert raised.value.is_passing
        assert "exists" in bucket.calls

    def test_refused_listing_keeps_the_breaker_closed(self, bucket, image):
        """The storage has answered."""
        bucket.hooks["open"] = raising(azure_error(403))
        for _ in range(6):
            with pytest.raises(StorageError, match="HttpResponseError"):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()

    def test_timeout_is_not_repeated(self, bucket, lost, monkeypatch):
        """A timeout is not followed by a second one."""
        seconds = [0.0]
        monkeypatch.setattr(stores, "monotonic", lambda: sum(seconds))
        bucket.hooks["open"] = lambda name: seconds.append(5)
        bucket.missing = foreign("ServiceRequestError", status_code=None)
        with pytest.raises(StorageError, match="ServiceRequestError") as raised:
            _ = lost.image_data
        assert not isinstance(raised.value, ObjectMissing)
        assert "exists" not in bucket.calls

    @pytest.mark.parametrize(
        ("missing", "error", "said", "passes"),
        [
            (azure_error(404), TimeoutError("slow"), "TimeoutError: slow", True),
            (KeyError("name"), google_error(503), "GoogleAPICallError", True),
            (KeyError("name"), NotImplementedError("never"), "KeyError", True),
            (azure_error(404), azure_error(403), "HttpResponseError", False),
        ],
        ids=repr,
    )
    def test_storage_without_listing_loses_nothing(
        self, bucket, lost, missing, error, said, passes
    ):
        """Without a listing nothing counts as lost."""
        bucket.missing = missing
        bucket.hooks["exists"] = raising(error)
        with pytest.raises(StorageError, match=said) as raised:
            _ = lost.image_data
        assert not isinstance(raised.value, ObjectMissing)
        assert raised.value.is_passing is passes


class TestDeletion:
    @staticmethod
    def expire():
        RequestLog.objects.update(created_at=timezone.now() - timedelta(days=40))
        RequestImage.objects.update(created_at=timezone.now() - timedelta(days=40))

    @staticmethod
    def run(**options):
        out = io.StringIO()
        call_command("cleanup_old_images", stdout=out, **options)
        return out.getvalue().splitlines()[-1]

    def test_last_reference_deletes_the_object(self, bucket):
        """The command deletes the rows, then the objects, and reports both."""
        keep(1)
        keep(1, 2)
        self.expire()
        assert "(2 distinct)" in self.run(dry_run=True)
        assert len(objects()) == 2
        assert self.run() == (
            "Deleted 2 objects from storages; 0 failed; 0 are still to be deleted."
        )
        assert objects() == set()
        assert not PendingDeletion.objects.exists()
        assert "(0 distinct)" in self.run()

    def test_failed_deletions_are_left_for_the_next_run(self, bucket):
        """The rows are deleted, and the next run deletes the other objects."""
        keep(1, 2, 3)
        self.expire()
        assert self.run(max_objects=2) == (
            "Deleted 2 objects from storages; 0 failed; 1 are still to be deleted."
        )
        assert not ImageContent.objects.exists()
        assert len(objects()) == 1
        assert self.run(max_objects=2) == (
            "Deleted 1 objects from storages; 0 failed; 0 are still to be deleted."
        )
        assert objects() == set()

    def test_verbosity_0_prints_nothing(self, bucket, capsys):
        keep(1)
        self.expire()
        call_command("cleanup_old_images", verbosity=0)
        assert capsys.readouterr().out == ""
        assert objects() == set()

    @faulty
    def test_retries_have_growing_pauses(self, bucket):
        """The reason is reported, and entries that are not due are skipped."""
        keep(1)
        self.expire()
        bucket.hooks["delete"] = raising(OSError("away"))
        assert self.run() == (
            "Deleted 0 objects from storages; 1 failed; 1 are still to be deleted."
        )
        entry = PendingDeletion.objects.get()
        assert (entry.tries, entry.error) == (1, "bucket: OSError: away")
        assert entry.due_at > timezone.now() + timedelta(minutes=1)
        assert self.run().startswith("Deleted 0 objects from storages; 0 failed")
        delete_now()
        assert PendingDeletion.objects.get().due_at > timezone.now() + timedelta(
            minutes=3
        )
        PendingDeletion.objects.update(tries=60)
        delete_now()
        entry.refresh_from_db()
        assert timezone.now() + timedelta(hours=23) < entry.due_at
        assert entry.due_at <= timezone.now() + timedelta(hours=24)
        bucket.hooks.clear()
        assert delete_now().deleted == 1
        assert objects() == set()

    @faulty
    @pytest.mark.parametrize("batch", [2, 200])
    def test_dead_storage_does_not_stop_the_others(
        self, bucket, settings, tmp_path, monkeypatch, batch
    ):
        """It is skipped for the rest of the run."""
        monkeypatch.setattr(walk, "CHUNK", batch)
        keep(*range(6))
        bench.use_bucket(settings, tmp_path, alias="other")
        keep(*range(10, 15))
        self.expire()
        storage = bench.storages[ALIAS]  # made anew with the settings
        storage.hooks["delete"] = raising(OSError("away"))
        clean(until(timezone.now()), batch_size=100)
        names = list(PendingDeletion.objects.values_list("pk", flat=True))
        for number, pk in enumerate(names):
            due_at = timezone.now() - timedelta(minutes=100 - number)
            PendingDeletion.objects.filter(pk=pk).update(due_at=due_at)
        done = delete_pending()
        assert (done.deleted, done.failed, done.pending) == (5, 3, 6)
        assert objects("other") == set()

    @faulty
    def test_single_failures_do_not_stop_the_run(self, bucket):
        """Only consecutive failures do."""
        keep(*range(9))
        clean(until(timezone.now()), batch_size=10)
        pks = list(
            PendingDeletion.objects.order_by("pk").values_list("name", flat=True)
        )

        def fail(name):
            if name in pks[::2]:
                raise OSError("away")

        bucket.hooks["delete"] = fail
        done = delete_now()
        assert (done.deleted, done.failed, done.pending) == (4, 5, 5)
        assert health.faults() == {"deletion:StorageError": 5}

    def test_entries_with_equal_times_are_not_skipped(self, bucket, monkeypatch):
        """No batch skips an entry."""
        monkeypatch.setattr(walk, "CHUNK", 2)
        keep(*range(5))
        clean(until(timezone.now()), batch_size=10)
        assert delete_now().deleted == 5

    def test_limit_bounds_the_deletions(self, bucket):
        keep(1, 2, 3)
        clean(until(timezone.now()), batch_size=10)
        assert delete_pending(limit=2).deleted == 2
        assert len(objects()) == 1

    def test_referenced_object_is_never_deleted(self, bucket):
        """An entry for a referenced object is wrong."""
        [content] = keep(1)
        PendingDeletion.objects.create(
            storage=ALIAS, name=content.name, due_at=timezone.now()
        )
        done = delete_pending()
        assert (done.deleted, done.failed, done.pending) == (0, 0, 0)
        assert content.read() == draw(seed=1)

    def test_objects_of_another_run_are_skipped(self, bucket):
        """Each object belongs to one run."""
        keep(1, 2)
        clean(until(timezone.now()), batch_size=10)
        bucket.hooks["delete"] = lambda name: PendingDeletion.objects.exclude(
            name=name
        ).update(tries=7)
        assert delete_pending().deleted == 1
        assert PendingDeletion.objects.get().tries == 7

    def test_missing_object_counts_as_deleted(self, bucket):
        """A missing object is the wanted result."""
        bucket.hooks["delete"] = raising(FileNotFoundError())
        PendingDeletion.objects.create(
            storage=ALIAS, name="ab/x", due_at=timezone.now()
        )
        assert delete_pending().deleted == 1


@pytest.mark.django_db(transaction=True)
def test_no_lock_is_held_while_a_storage_answers(bucket):
    """All that a crash needs is committed before."""

    def look(name):
        assert not connection.in_atomic_block
        content = ImageContent.objects.filter(name=name).exists()
        assert content is not PendingDeletion.objects.filter(name=name).exists()

    for verb in ("save", "saved", "open", "delete", "deleted"):
        bucket.hooks[verb] = look
    [content] = keep(1)
    assert content.read() == draw(seed=1)
    move("", batch_size=1)
    move(ALIAS, batch_size=1)
    clean(until(timezone.now()), batch_size=10)
    assert delete_now().deleted == 2
    assert {"save", "saved", "open", "delete", "deleted"} <= set(bucket.calls)


def test_database_is_a_store_without_objects():
    """The database has the interface of a store."""
    store = store_of("")
    store.check()
    store.delete("ab/x")
    assert not store.holds("ab/x")
    assert list(store.names()) == []


def test_new_process_has_closed_breakers():
    """A child process does not inherit its parent's failures."""
    before = store_of(ALIAS)
    assert store_of(ALIAS) is before
    stores.forget()
    assert store_of(ALIAS) is not before
