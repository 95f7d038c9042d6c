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
from request_images.exceptions import ObjectClaimed, ObjectMissing, StorageError
from request_images.models import (
    ImageContent,
    PendingDeletion,
    RequestImage,
    RequestLog,
)
from request_images.storage import stores
from request_images.storage.stores import key_of, store_of
from request_images.writer import rows as writer_rows
from request_images.writer import write
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
    """Faults are meant."""
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
    """What botocore raises when it is not let in."""
    error = RuntimeError("AccessDenied")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": 403}}
    return error


def busy():
    """What botocore raises when the server has too much to do."""
    error = RuntimeError("SlowDown")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": 503}}
    return error


def foreign(name, **attributes):
    """Make an error of another library, by its name and what it carries."""
    error = type(name, (Exception,), {})("said by a library")
    vars(error).update(attributes)
    return error


def of_azure(status):
    """What azure-core raises: HttpResponseError and what inherits from it."""
    return foreign("HttpResponseError", status_code=status, response=object())


def of_google(status):
    """What google-api-core raises; its code is an enum, as here."""
    return foreign("GoogleAPICallError", code=HTTPStatus(status), response=None)


def of_requests(status):
    """What a storage lets out that speaks HTTP by itself: an OSError."""
    error = type("HTTPError", (OSError,), {})("said by a library")
    error.response = SimpleNamespace(status_code=status)
    return error


def of_grpc(status):
    """What has a method of that name, and no status of HTTP."""
    return foreign("RpcError", code=lambda: status, status_code=None)


LIBRARIES = [of_azure, of_google, of_requests]


class TestKeeping:
    def test_a_request(self, bucket):
        """The object is there, under a name that people can read; no list is left."""
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

    def test_the_same_image_writes_nothing(self, bucket):
        """Known bytes cost the storage nothing."""
        post()
        bucket.calls.clear()
        post()
        assert bucket.calls == []
        assert RequestLog.objects.first().capture_status == "duplicate"

    def test_the_same_image_twice_in_one_transaction(self, bucket):
        """It is written once."""
        writer_rows.save_many([unsaved_record(1), unsaved_record(1), unsaved_record(2)])
        assert bucket.calls.count("save") == 2
        assert len(objects()) == 2
        check()

    def test_both_stores_side_by_side(self, bucket, settings):
        """Each row says where its own bytes are."""
        post(1)
        settings.REQUEST_IMAGES_STORAGE = None
        post(2)
        post(1)
        aliases = dict(ImageContent.objects.values_list("storage", "name"))
        assert set(aliases) == {"", ALIAS}
        assert aliases[""] == ""
        data = {image.image_data for image in RequestImage.objects.all()}
        assert data == {draw(seed=1), draw(seed=2)}

    def test_a_file_is_on_the_disk_before_its_row(
        self, settings, tmp_path, monkeypatch
    ):
        """So are its folders' entries: a power failure leaves none empty."""
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
    def test_a_disk_that_took_it_at_first_only(self, settings, tmp_path, monkeypatch):
        """The answer is the same, and the log says why there is no image."""
        bench.use_bucket(settings, tmp_path, "files")
        monkeypatch.setattr(os, "fsync", raising(OSError("I/O error")))
        post()
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert "I/O error" in log.capture_detail

    def test_no_name_is_used_twice(self):
        """An unknown type has an ending all the same."""
        names = {key_of("ab" * 32, "image/jpeg") for _ in range(50)}
        assert len(names) == 50
        assert all(name.endswith(".jpg") for name in names)
        assert key_of("ab" * 32, "text/html").endswith(".bin")

    def test_a_storage_that_chooses_names(self, bucket):
        """The row has the name that was chosen, and the list had it before."""
        bucket.hooks["save"] = lambda name: f"{name}x"
        [content] = keep(1)
        assert content.name.endswith(".pngx")
        check()
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, writer_rows, "take_over", "before")
            with pytest.raises(Killed):
                keep(2)
        check()

    def test_a_storage_that_takes_so_long_that_its_object_is_given_up(self, bucket):
        """The name that was chosen is on the list after all; another try is made."""
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

    def test_somebody_keeps_the_same_image_meanwhile(self, bucket, monkeypatch):
        """There is one content; the other object is deleted soon."""
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

    def test_the_image_goes_after_it_was_looked_up(self, bucket, monkeypatch):
        """It was known, so nothing was written; the next look finds it gone."""
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

    def test_its_object_goes_before_its_row_is_written(self, bucket, monkeypatch):
        """Whoever comes late finds it claimed, and writes another."""
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
    def test_objects_that_are_always_claimed(self, bucket, monkeypatch):
        """Then the row is written without."""
        monkeypatch.setattr(writer_rows, "take_over", raising(ObjectClaimed("always")))
        post()
        log = RequestLog.objects.get()
        assert (log.capture_status, log.image.content) == ("store_failed", None)
        assert log.capture_detail == "ObjectClaimed: always"
        check()

    def test_a_deadlock_writes_the_object_once(self, bucket, monkeypatch):
        """What is in the storage already is used by the next try."""
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
    """Whatever is killed when: an object has its row or is on the list."""

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
    def test_of_a_write(self, bucket, monkeypatch, where, when):
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
    def test_of_a_write_within_the_storage(self, bucket, verb):
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
    def test_of_a_deletion(self, bucket, monkeypatch, target, name, when):
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
    def test_of_a_deletion_within_the_storage(self, bucket, verb):
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
    """None reaches the request, each is recorded."""

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
    def test_without_a_folder(self, bucket, error):
        """The row says what happened, and what is known of the image."""
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
            of_grpc(403),
            foreign("CurlError", code=7),
        ],
        ids=repr,
    )
    def test_what_passes_goes_to_the_folder(self, bucket, spool, error):
        """It is written whole when the storage is back."""
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
    def test_what_does_not_pass_does_not(self, bucket, spool, error):
        """It would wait there for ever."""
        bucket.hooks["save"] = raising(error)
        post()
        assert RequestLog.objects.get().capture_status == "store_failed"
        assert spooling.spool_contents().entries == 0

    def test_what_turns_out_not_to_pass(self, bucket, spool):
        """What waited is written without its image then."""
        bucket.hooks["save"] = raising(TimeoutError("slow"))
        post()
        bucket.hooks["save"] = raising(PermissionError("no"))
        assert spooling.write_spooled().written == 1
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert "PermissionError" in log.capture_detail

    def test_a_storage_that_is_not_there(self, bucket, settings):
        """As after a typing error that nobody checked."""
        settings.REQUEST_IMAGES_STORAGE = "nowhere"
        post()
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert "nowhere: InvalidStorageError" in log.capture_detail
        assert not PendingDeletion.objects.exists()  # nobody could ever delete it

    @pytest.mark.parametrize("status", [408, 429, 500])
    def test_answers_that_pass(self, bucket, spool, status):
        """The server has no time just now."""
        error = refused()
        error.response["ResponseMetadata"]["HTTPStatusCode"] = status
        bucket.hooks["save"] = raising(error)
        post()
        assert spooling.spool_contents().entries == 1

    def test_a_success_in_between(self, bucket):
        """Failures count that are in a row."""
        for seed in range(10):
            bucket.hooks["save"] = raising(OSError("now and then"))
            if seed == 4:
                bucket.hooks.clear()
            post(seed)
        assert bucket.calls.count("save") == 10

    def test_what_is_being_put_there_is_not_deleted(self, bucket):
        """It is on the list already, but not due."""
        bucket.hooks["saved"] = lambda name: delete_pending()
        post()
        assert bucket.calls.count("delete") == 0
        assert RequestImage.objects.get().image_data == draw()

    def test_a_storage_that_keeps_failing_is_left_alone(self, bucket, settings):
        """Rows are written all the while, and other storages are used."""
        bucket.hooks["save"] = raising(OSError("gone"))
        for seed in range(8):
            post(seed)
        assert bucket.calls.count("save") == 5
        assert RequestLog.objects.filter(capture_status="store_failed").count() == 8
        assert "was not called" in RequestLog.objects.first().capture_detail
        assert "bucket: OSError: gone" in RequestLog.objects.first().capture_detail
        assert PendingDeletion.objects.count() == 5
        assert write.breaker.allows()
        settings.REQUEST_IMAGES_STORAGE = "default"
        assert store_of("default").breaker.allows()
        settings.REQUEST_IMAGES_STORAGE = None
        post(9)
        assert RequestLog.objects.first().capture_status == "stored"

    def test_refusals_are_no_reason_to_wait(self, bucket, spool):
        """What was not tried is treated as what failed before."""
        bucket.hooks["save"] = raising(PermissionError("no"))
        for seed in range(7):
            post(seed)
        assert spooling.spool_contents().entries == 0
        assert RequestLog.objects.count() == 7

    def test_one_of_many(self, bucket):
        """The others of its batch keep their images."""
        bad = unsaved_record(2)

        def refuse(name):
            if bad.image.image_hash in name:
                raise PermissionError("this one")

        bucket.hooks["save"] = refuse
        records = [unsaved_record(1), bad, unsaved_record(3)]
        write.write_jobs([_job(record) for record in records])
        logs = RequestLog.objects.order_by("pk")
        statuses = [log.capture_status for log in logs]
        assert statuses == ["stored", "store_failed", "stored"]
        assert bucket.calls.count("saved") == 2
        check()

    def test_slow_answers(self, bucket, monkeypatch):
        """They are waited for behind the response; the view took no longer."""
        seconds = [0.0]
        monkeypatch.setattr(recording, "perf_counter", lambda: sum(seconds))
        bucket.hooks["save"] = lambda name: seconds.append(10)
        post()
        assert sum(seconds) == 10
        log = RequestLog.objects.get()
        assert log.capture_status == "stored"
        assert log.duration_ms < 10_000

    def test_a_database_that_takes_no_list(self, bucket, monkeypatch):
        """Then nothing is put into the storage."""
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
    return CapturedRequest(record.log, payload=payload)


@faulty
class TestReading:
    """What is lost is told apart from what is away; a page is no error."""

    @pytest.fixture
    def image(self, bucket):
        """An image in the storage."""
        post()
        return RequestImage.objects.get()

    def open(self, client, image, page="original"):
        name = f"admin:request_images_requestimage_{page}"
        return client.get(reverse(name, args=[image.pk]))

    @pytest.mark.parametrize("page", ["original", "thumbnail"])
    def test_lost(self, bucket, image, client, page):
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
    def test_away(self, bucket, image, client, page):
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

    def test_thumbnail_ahead_of_time(self, bucket, image):
        """It is passed over, and no try of the three is spent on it."""
        bucket.hooks["open"] = raising(OSError("away"))
        for _ in range(4):
            assert try_to_derive(THUMBNAIL, image.content_id) is Fate.SKIPPED
        bucket.hooks.clear()
        assert try_to_derive(THUMBNAIL, image.content_id) is Fate.MADE

    def test_only_what_was_seen_is_told(self, bucket, image, client):
        """A look that failed is no look."""
        client.force_login(make_superuser())
        bucket.hooks["open"] = raising(OSError("away"))
        self.open(client, image)
        assert not LogEntry.objects.exists()

    def test_a_bucket_that_is_gone(self, bucket, image):
        """S3 says of an object only that it is not there; a listing tells."""
        bucket.hooks["open"] = raising(FileNotFoundError())
        bucket.hooks["listdir"] = raising(refused())
        with pytest.raises(StorageError, match="AccessDenied") as raised:
            _ = image.image_data
        assert not isinstance(raised.value, ObjectMissing)
        bucket.hooks["listdir"] = raising(NotImplementedError("cannot list"))
        with pytest.raises(ObjectMissing):
            _ = image.image_data

    def test_a_storage_that_is_left_alone(self, bucket, image):
        """A page of a hundred pictures does not wait for a hundred time-outs."""
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

    def test_some_failures_in_between(self, bucket, image):
        """Only those in a row count."""
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

    def test_an_answer_in_between(self, bucket, image):
        """A storage that refuses an object is there."""
        away, refuses = raising(TimeoutError("slow")), raising(PermissionError("no"))
        for hook in (*[away] * 4, refuses, *[away] * 4):
            bucket.hooks["open"] = hook
            with pytest.raises(StorageError):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()

    @pytest.mark.parametrize("error", [PermissionError("no"), FileNotFoundError()])
    def test_an_answer_is_no_reason_to_leave_it_alone(self, bucket, image, error):
        """It took no time, and says nothing of other objects."""
        bucket.hooks["open"] = raising(error)
        for _ in range(6):
            with pytest.raises(StorageError):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()

    def test_a_storage_that_takes_nothing_is_read(self, bucket, image):
        """A disk that is full has not lost what is on it."""
        bucket.hooks["save"] = raising(OSError("No space left on device"))
        for seed in range(1, 7):
            post(seed)
        assert "was not called" in RequestLog.objects.first().capture_detail
        assert image.image_data == draw()

    def test_a_folder_that_is_gone(self, settings, tmp_path):
        """A disk that is not mounted has lost nothing."""
        bench.use_bucket(settings, tmp_path, "files")
        [content] = keep(1)
        (tmp_path / ALIAS).rename(tmp_path / "elsewhere")
        with pytest.raises(StorageError, match="FileNotFoundError") as raised:
            content.read()
        assert not isinstance(raised.value, ObjectMissing)
        (tmp_path / "elsewhere").rename(tmp_path / ALIAS)
        assert content.read() == draw(seed=1)

    def test_a_row_without_bytes(self):
        """As after a hand in the database."""
        image = make_image()
        ImageContent.objects.update(data=None)
        with pytest.raises(ObjectMissing, match="the row has no bytes"):
            _ = image.image_data


@faulty
class TestForeignErrors:
    """A library's own error for an object that is not there is understood."""

    @pytest.fixture
    def bucket(self, settings, tmp_path):
        """A storage with such a library."""
        return bench.use_bucket(settings, tmp_path, "foreign")

    @pytest.fixture
    def image(self, bucket):
        """An image in it."""
        post()
        bucket.calls.clear()
        return RequestImage.objects.get()

    @pytest.fixture
    def lost(self, bucket, image):
        """An image that it has lost."""
        bucket.missing = of_azure(404)
        bucket.delete(ImageContent.objects.get().name)
        return image

    @pytest.mark.parametrize(
        "error",
        [*(of(404) for of in LIBRARIES), of_azure(410), of_grpc(5), KeyError("name")],
        ids=repr,
    )
    def test_lost(self, bucket, lost, client, error):
        """It is a 404, and no reason to leave the storage alone."""
        client.force_login(make_superuser())
        bucket.missing = error
        for _ in range(6):
            with pytest.raises(ObjectMissing, match="bucket has no "):
                _ = lost.image_data
        url = reverse("admin:request_images_requestimage_original", args=[lost.pk])
        assert client.get(url).status_code == 404
        post(1)
        assert RequestImage.objects.first().image_data == draw(seed=1)

    def test_a_container_that_is_gone(self, bucket, lost):
        """It is said of each object that it is not there; a listing tells."""
        bucket.hooks["listdir"] = raising(of_azure(404))
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
    def test_what_says_nothing_of_the_object(self, bucket, lost, error):
        """It is not asked for again, and means what it meant."""
        bucket.hooks["open"] = raising(error)
        with pytest.raises(StorageError, match=str(error)) as raised:
            _ = lost.image_data
        assert not isinstance(raised.value, ObjectMissing)
        assert "exists" not in bucket.calls

    def test_an_object_that_is_there(self, bucket, image):
        """Then it is something else, which may pass."""
        bucket.hooks["open"] = raising(of_grpc(14))
        with pytest.raises(StorageError, match="RpcError") as raised:
            _ = image.image_data
        assert not isinstance(raised.value, ObjectMissing)
        assert raised.value.is_passing
        assert "exists" in bucket.calls

    def test_refusals_are_no_reason_to_leave_it_alone(self, bucket, image):
        """It has answered."""
        bucket.hooks["open"] = raising(of_azure(403))
        for _ in range(6):
            with pytest.raises(StorageError, match="HttpResponseError"):
                _ = image.image_data
        bucket.hooks.clear()
        assert image.image_data == draw()

    def test_a_server_that_was_silent(self, bucket, lost, monkeypatch):
        """Nobody waits for it twice."""
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
            (of_azure(404), TimeoutError("slow"), "TimeoutError: slow", True),
            (KeyError("name"), of_google(503), "GoogleAPICallError", True),
            (KeyError("name"), NotImplementedError("never"), "KeyError", True),
            (of_azure(404), of_azure(403), "HttpResponseError", False),
        ],
        ids=repr,
    )
    def test_a_storage_that_cannot_be_asked(  # noqa: PLR0917
        self, bucket, lost, missing, error, said, passes
    ):
        """Nothing is lost for it."""
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

    def test_with_the_last_reference(self, bucket):
        """The command deletes the rows, then the objects, and says so."""
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

    def test_a_part_of_them(self, bucket):
        """Rows go all the same; another run deletes the other objects."""
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

    def test_quietly(self, bucket, capsys):
        keep(1)
        self.expire()
        call_command("cleanup_old_images", verbosity=0)
        assert capsys.readouterr().out == ""
        assert objects() == set()

    @faulty
    def test_is_tried_again_later_and_later(self, bucket):
        """The reason is told; what is not due is left alone."""
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
    def test_a_dead_storage_does_not_stop_the_others(
        self, bucket, settings, tmp_path, monkeypatch, batch
    ):
        """It is left alone for the rest of the run."""
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
    def test_some_that_fail_stop_nothing(self, bucket):
        """Only failures in a row do."""
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

    def test_many_that_are_due_at_the_same_moment(self, bucket, monkeypatch):
        """None is passed over from batch to batch."""
        monkeypatch.setattr(walk, "CHUNK", 2)
        keep(*range(5))
        clean(until(timezone.now()), batch_size=10)
        assert delete_now().deleted == 5

    def test_no_more_than_it_may(self, bucket):
        keep(1, 2, 3)
        clean(until(timezone.now()), batch_size=10)
        assert delete_pending(limit=2).deleted == 2
        assert len(objects()) == 1

    def test_never_what_a_content_refers_to(self, bucket):
        """Whoever put it onto the list was wrong."""
        [content] = keep(1)
        PendingDeletion.objects.create(
            storage=ALIAS, name=content.name, due_at=timezone.now()
        )
        done = delete_pending()
        assert (done.deleted, done.failed, done.pending) == (0, 0, 0)
        assert content.read() == draw(seed=1)

    def test_what_another_run_is_at(self, bucket):
        """Each object is one run's."""
        keep(1, 2)
        clean(until(timezone.now()), batch_size=10)
        bucket.hooks["delete"] = lambda name: PendingDeletion.objects.exclude(
            name=name
        ).update(tries=7)
        assert delete_pending().deleted == 1
        assert PendingDeletion.objects.get().tries == 7

    def test_what_is_gone_already(self, bucket):
        """That is what was wanted."""
        bucket.hooks["delete"] = raising(FileNotFoundError())
        PendingDeletion.objects.create(
            storage=ALIAS, name="ab/x", due_at=timezone.now()
        )
        assert delete_pending().deleted == 1


@pytest.mark.django_db(transaction=True)
def test_no_lock_is_held_while_a_storage_answers(bucket):
    """What was to be known in case of a crash is committed before."""

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


def test_the_database_column_is_a_store_like_the_others():
    """It has no objects."""
    store = store_of("")
    store.check()
    store.delete("ab/x")
    assert not store.holds("ab/x")
    assert list(store.names()) == []


def test_a_new_process_knows_nothing_of_what_failed():
    """What a child inherits of the parent's failures would not be its own."""
    before = store_of(ALIAS)
    assert store_of(ALIAS) is before
    stores.forget()
    assert store_of(ALIAS) is not before
