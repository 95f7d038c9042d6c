"""The three tables, and how one recorded request is written."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from request_images.aggregation.percentiles import bucket_of
from request_images.contents import derive, thumbnails
from request_images.db import transactions
from request_images.db.retry import TRIES
from request_images.exceptions import PictureRefused
from request_images.models import (
    ImageContent,
    Lease,
    PendingDeletion,
    ReceivedImage,
    RequestImage,
    RequestLog,
)
from request_images.outcome import CaptureStatus
from request_images.writer import rows as writer_rows
from request_images.writer import single
from request_images.writer.rows import save_many
from tests.factories import (
    PICTURE,
    capture_queries,
    loading_bytes,
    make_content,
    make_image,
    make_log,
    make_user,
    record_of,
)
from tests.host.models import Note
from tests.image_files import draw

pytestmark = pytest.mark.django_db
INSERT_CONTENT = (
    'INSERT INTO "request_images_imagecontent"',
    "INSERT INTO `request_images_imagecontent`",
)


def unsaved(data: bytes = PICTURE, **log: object) -> tuple[RequestLog, RequestImage]:
    """Return the unsaved rows that the writer passes to `save`."""
    usual = {"capture_status": CaptureStatus.STORED, "created_at": timezone.now()}
    values = usual | {"duration_ms": 1, "duration_bucket": bucket_of(1)} | log
    image = RequestImage(
        image_hash=hashlib.sha256(data).hexdigest(), file_size=len(data)
    )
    return RequestLog(**values), image


class TestRequestLog:
    def test_is_named_by_its_request(self):
        """The string of a log names its request."""
        assert (
            str(RequestLog(method="PUT", path="/a/", request_id="7")) == "PUT /a/ (7)"
        )

    @pytest.mark.parametrize(
        ("days", "log", "expired"),
        [
            ({}, {"status_code": 500}, True),
            ({"FAILED": 50}, {"status_code": 500}, False),
            ({"FAILED": 50}, {"error_type": "Odd", "status_code": None}, False),
            ({"FAILED": 50}, {}, True),
            ({"FAILED": 39}, {"status_code": 500}, True),
            ({"FAILED": 50, "BYTES": 10}, {"status_code": 500}, False),
            ({}, {"is_pinned": True}, False),
            ({"FAILED": 1, "BYTES": 1}, {"is_pinned": True, "status_code": 500}, False),
        ],
    )
    def test_expired_by_outcome_and_never_when_pinned(
        self, settings, days, log, expired
    ):
        """A log expires by the rules of cleanup."""
        for name, value in days.items():
            setattr(settings, f"REQUEST_IMAGES_{name}_RETENTION_DAYS", value)
        image = make_image(days_old=40, **log)
        assert image.is_expired is expired
        assert image.image_data == (None if expired else PICTURE)

    @pytest.mark.parametrize(("days_old", "expired"), [(6.9, False), (7.1, True)])
    def test_bytes_expire_before_their_image(self, settings, days_old, expired):
        """The row of the image is still shown, without the bytes."""
        settings.REQUEST_IMAGES_BYTES_RETENTION_DAYS = 7
        image = make_image(days_old=days_old)
        assert image.is_expired is expired
        assert image.image_data == (None if expired else PICTURE)

    @pytest.mark.parametrize(("days_old", "number"), [(1, 0), (40, 1)])
    def test_only_old_images_need_their_log(self, days_old, number):
        """An image too young for any retention costs no query."""
        make_image(days_old=days_old)
        image = RequestImage.objects.get()
        with capture_queries() as queries:
            image.is_expired  # noqa: B018  # it may query
        assert len(queries) == number

    @pytest.mark.parametrize(
        ("days_old", "status", "is_pinned", "expired"),
        [
            (39, 200, False, False),
            (41, 200, False, True),
            (41, 500, False, True),
            (41, 200, True, False),
        ],
    )
    def test_image_expires_with_its_log(
        self, settings, days_old, status, is_pinned, expired
    ):
        """The retention of logs applies to images, before any cleanup."""
        settings.REQUEST_IMAGES_RETENTION_DAYS = None
        settings.REQUEST_IMAGES_FAILED_RETENTION_DAYS = 90
        settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = 40
        image = make_image(days_old=days_old, status_code=status, is_pinned=is_pinned)
        assert image.is_expired is expired
        assert image.image_data == (None if expired else PICTURE)

    def test_newest_come_first(self):
        """In time, and among equals in the order of writing."""
        old, new = make_log(days_old=2), make_log(days_old=1)
        same = make_log(created_at=new.created_at)
        assert list(RequestLog.objects.all()) == [same, new, old]
        assert RequestLog.objects.latest() in (same, new)

    def test_older_than_excludes_the_moment(self):
        """The moment itself is excluded."""
        log = make_log(days_old=1)
        assert list(RequestLog.objects.older_than(log.created_at)) == []
        later = log.created_at + timedelta(microseconds=1)
        assert list(RequestLog.objects.older_than(later)) == [log]

    def test_link_is_the_annotated_row(self):
        """The link has a model and a primary key, no constraint."""
        note = Note.objects.create(text="mine")
        log = make_log(link_model="host.note", link_pk=str(note.pk))
        assert log.link == note
        note.delete()
        assert log.link is None

    def test_link_is_none_by_default(self):
        """Most requests link no row."""
        assert make_log().link is None

    def test_link_of_a_removed_model(self):
        """A removed app raises an error; it is not a missing row."""
        with pytest.raises(LookupError):
            _ = make_log(link_model="gone.thing", link_pk="1").link


class TestUser:
    def test_log_survives_the_deletion_of_its_user(self):
        """The log keeps the user name."""
        user = make_user(username="anna")
        log = make_log(user=user, username=user.username)
        with capture_queries() as queries:
            user.delete()
        assert not [sql for sql in queries if "request_images" in sql]
        log.refresh_from_db()
        assert log.username == "anna"
        assert not get_user_model().objects.filter(pk=log.user_id).exists()

    def test_log_accepts_a_user_of_another_database(self):
        """The user has no database constraint."""
        log = make_log(user_id=987_654, username="from elsewhere")
        connection.check_constraints()
        assert RequestLog.objects.select_related("user").get().pk == log.pk


class TestImageContent:
    def test_is_named_by_its_hash(self):
        """The hash is all there is to say."""
        assert str(ImageContent(image_hash="ab12")) == "ab12"
        assert str(PendingDeletion(storage="bucket", name="ab/12")) == "bucket:ab/12"
        assert str(Lease(work="cleanup", holder="a host")) == "cleanup: a host"

    def test_stores_bytes_unchanged(self):
        """The database returns the same bytes."""
        data = bytes(range(256)) * 5
        content = ImageContent.objects.get(pk=make_content(data).pk)
        assert content.read() == data
        assert content.stored_size == len(data)
        assert (content.storage, content.encoding) == ("", "")

    def test_hash_is_unique(self):
        """The database refuses a second row."""
        content = make_content()
        with pytest.raises(IntegrityError), transaction.atomic():
            ImageContent.holding(content.image_hash, PICTURE).save()

    @pytest.mark.skipif(
        connection.vendor != "postgresql", reason="only PostgreSQL has TOAST storage"
    )
    def test_postgresql_does_not_compress(self):  # pragma: no cover  # see skipif
        """Images are compressed already: ``STORAGE EXTERNAL`` for both columns."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attname, attstorage FROM pg_attribute WHERE attrelid = "
                "'request_images_imagecontent'::regclass AND attname IN "
                "('data', 'thumbnail')"
            )
            assert dict(cursor.fetchall()) == {"data": "e", "thumbnail": "e"}


class TestThumbnail:
    @pytest.fixture
    def made(self, monkeypatch):
        """Collect the calls that make a thumbnail; ``made.answer`` replaces them."""

        class Made(list):
            answer = staticmethod(lambda: b"small")

        calls = Made()

        def decode(work, data, **options):
            calls.append((work, data, options))
            return {}, calls.answer()

        monkeypatch.setattr(thumbnails, "decode", decode)
        return calls

    def test_is_made_once(self, made):
        """The first access makes it."""
        content = make_content()
        for _ in range(3):
            assert thumbnails.thumbnail_of(content.pk) == b"small"
        assert made == [("thumbnail", PICTURE, {"size": 160})]

    def test_a_failure_is_remembered(self, made):
        """A failed thumbnail is not tried again, and has its reason."""

        def fail():
            raise PictureRefused("broken\0" + "x" * 500)

        made.answer = fail
        content = make_content()
        assert thumbnails.thumbnail_of(content.pk) is None
        assert thumbnails.thumbnail_of(content.pk) is None
        assert len(made) == 1
        content.refresh_from_db()
        assert content.thumbnail_error.startswith("brokenxxx")

    def test_existing_thumbnail_loads_no_bytes(self, made):
        """A list that is shown again reads no original."""
        content = make_content()
        thumbnails.thumbnail_of(content.pk)
        with capture_queries() as queries:
            thumbnails.thumbnail_of(content.pk)
        assert len(queries) == 1
        assert '"data"' not in queries[0].replace("`", '"')

    def test_deleted_content_has_no_thumbnail(self, made):
        """A deleted content cannot be drawn."""
        with pytest.raises(ImageContent.DoesNotExist):
            thumbnails.thumbnail_of(0)
        assert made == []

    def test_thumbnail_of_another_thread_is_used(self, made, monkeypatch):
        """A thread that waited for the lock reads the row again."""
        content = make_content()

        class Lock:
            def acquire(self, timeout):
                ImageContent.objects.update(thumbnail=b"theirs")
                return True

            def release(self):
                """Nothing was locked."""

        monkeypatch.setattr(derive, "_one_picture", Lock())
        assert thumbnails.thumbnail_of(content.pk) == b"theirs"
        assert made == []

    def test_deletion_while_drawing_restores_no_row(self, made):
        """The thumbnail is returned once, and no row is written."""

        def delete_and_answer():
            ImageContent.objects.all().delete()
            return b"small"

        made.answer = delete_and_answer
        assert thumbnails.thumbnail_of(make_content().pk) == b"small"
        assert not ImageContent.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_is_made_outside_any_transaction(self, made):
        """Decoding is slow, and must hold no lock of the database."""
        in_transaction = []

        def look():
            in_transaction.append(connection.in_atomic_block)
            return b"small"

        made.answer = look
        thumbnails.thumbnail_of(make_content().pk)
        assert in_transaction == [False]

    def test_only_one_is_drawn_at_a_time(self):
        """Decoding needs memory, so a lock serves the whole process."""
        assert isinstance(derive._one_picture, type(threading.Lock()))


class TestRequestImage:
    def test_is_named_by_its_hash(self):
        """Twelve digits tell images apart; without a hash the key must do."""
        assert str(RequestImage(image_hash="0123456789abcdef")) == "0123456789ab"
        assert str(RequestImage(pk=5)) == "#5"

    def test_image_data_has_the_received_bytes(self):
        """The bytes as received."""
        data = draw("GIF")
        make_image(data)
        assert RequestImage.objects.get().image_data == data

    def test_image_data_is_none_without_content(self):
        """No query is needed to find out."""
        image = make_image(kept=False)
        with capture_queries() as queries:
            assert image.image_data is None
        assert queries == []

    def test_image_data_takes_one_query_and_no_thumbnail(self):
        """Other columns are not loaded."""
        make_image()
        image = RequestImage.objects.get()
        with capture_queries() as queries:
            assert image.image_data == PICTURE
        assert len(queries) == 1
        assert "thumbnail`" not in queries[0].replace('"', "`")

    def test_image_data_is_none_after_cleanup(self):
        """The row was read before a cleanup."""
        image = make_image()
        RequestImage.objects.update(content=None)
        ImageContent.objects.all().delete()
        assert image.image_data is None

    @pytest.mark.parametrize(
        ("retention", "days_old", "expired"),
        [
            (30, 29.9, False),
            (30, 30.1, True),
            (None, 10_000, False),
            (10**9, 10_000, False),
            (10**30, 10_000, False),
        ],
    )
    def test_expired_image_has_no_bytes(self, settings, retention, days_old, expired):
        """Bytes expire on read, before any cleanup."""
        settings.REQUEST_IMAGES_RETENTION_DAYS = retention
        settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = None
        image = make_image(days_old=days_old)
        assert image.is_expired is expired
        assert image.image_data == (None if expired else PICTURE)

    @pytest.mark.parametrize(
        ("days_old", "status", "is_pinned", "expired"),
        [
            (39, 200, False, False),
            (41, 200, False, True),
            (41, 500, False, True),
            (41, 200, True, False),
        ],
    )
    def test_expires_with_its_log(self, settings, days_old, status, is_pinned, expired):
        """The retention of logs applies to images, before any cleanup."""
        settings.REQUEST_IMAGES_RETENTION_DAYS = None
        settings.REQUEST_IMAGES_FAILED_RETENTION_DAYS = 90
        settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = 40
        image = make_image(days_old=days_old, status_code=status, is_pinned=is_pinned)
        assert image.is_expired is expired
        assert image.image_data == (None if expired else PICTURE)

    def test_newest_come_first(self):
        """In the order of their requests."""
        old, new = make_image(days_old=2), make_image(days_old=1)
        assert list(RequestImage.objects.all()) == [new, old]
        assert RequestImage.objects.latest() == new

    def test_older_than_excludes_the_moment(self):
        """The moment itself is excluded."""
        image = make_image(days_old=1)
        assert list(RequestImage.objects.older_than(image.created_at)) == []
        assert list(RequestImage.objects.older_than(timezone.now())) == [image]

    def test_with_bytes_finds_stored_images(self):
        """Those whose bytes were kept."""
        kept, _ = make_image(), make_image(kept=False)
        assert list(RequestImage.objects.with_bytes()) == [kept]

    def test_same_image_as_finds_equal_hashes(self):
        """Images without bytes are found, and the image itself."""
        one, other, two = make_image(), make_image(draw(seed=1)), make_image(kept=False)
        assert set(RequestImage.objects.same_image_as(one)) == {one, two}
        assert set(RequestImage.objects.same_image_as(other)) == {other}

    def test_same_image_as_finds_nothing_without_a_hash(self):
        """Incomplete images are not equal."""
        one, _ = (make_image(kept=False, image={"image_hash": ""}) for _ in "ab")
        assert list(RequestImage.objects.same_image_as(one)) == [one]

    def test_querysets_load_no_bytes(self):
        """No queryset method loads contents."""
        image = make_image()
        images = RequestImage.objects.all()
        with capture_queries() as queries:
            list(images.older_than(timezone.now()))
            list(images.with_bytes())
            list(images.same_image_as(image))
            list(images.select_related("log"))
        assert loading_bytes(queries) == []

    def test_is_deleted_with_its_log(self):
        """Django deletes the image with its log, and not the bytes."""
        image = make_image()
        image.log.delete()
        assert not RequestImage.objects.exists()
        assert ImageContent.objects.count() == 1

    def test_referenced_content_cannot_be_deleted(self):
        """The database refuses to delete referenced bytes."""
        make_image()
        with pytest.raises(IntegrityError), transaction.atomic():
            ImageContent.objects.all().delete()
            connection.check_constraints()

    def test_log_has_one_image(self):
        """A request has one image."""
        image = make_image()
        with pytest.raises(IntegrityError), transaction.atomic():
            RequestImage.objects.create(log=image.log, created_at=timezone.now())


class TestSave:
    def test_log_without_an_image_is_saved(self):
        """A request without an image is a log."""
        log, _ = unsaved(capture_status=CaptureStatus.NO_IMAGE)
        save_many([record_of(log, None, None)])
        assert RequestLog.objects.get().capture_status == CaptureStatus.NO_IMAGE
        assert not RequestImage.objects.exists()

    def test_image_without_bytes_is_saved(self):
        """The row has the known facts and the reason."""
        log, image = unsaved(capture_status=CaptureStatus.TOO_LARGE)
        save_many([record_of(log, image, None)])
        found = RequestImage.objects.get()
        assert found.log.capture_status == CaptureStatus.TOO_LARGE
        assert found.file_size == len(PICTURE)
        assert found.content is None

    def test_image_with_bytes_is_saved(self):
        """Log, image and content have the same time."""
        log, image = unsaved()
        save_many([record_of(log, image, PICTURE)])
        found = RequestImage.objects.get()
        assert found.log.capture_status == CaptureStatus.STORED
        assert found.image_data == PICTURE
        assert found.created_at == found.log.created_at

    def test_same_image_is_stored_once(self):
        """The second one costs a look-up of its hash, and no bytes."""
        save_many([record_of(*unsaved(), PICTURE)])
        log, image = unsaved()
        with capture_queries() as queries:
            save_many([record_of(log, image, PICTURE)])
        assert loading_bytes(queries) == []
        assert not [sql for sql in queries if sql.startswith(INSERT_CONTENT)]
        assert ImageContent.objects.count() == 1
        assert log.capture_status == CaptureStatus.DUPLICATE
        assert [i.image_data for i in RequestImage.objects.all()] == [PICTURE] * 2

    @staticmethod
    def just_before_writing(monkeypatch, *actions):
        """Act between the look-up of a hash and the transaction."""
        left = list(actions)

        def atomic(using):
            if left:
                left.pop(0)()
            return transaction.atomic(using=using)

        def begin(
            image_hash, using, begin=single.begin
        ):  # pragma: no cover  # on PostgreSQL
            if left:
                left.pop(0)()
            return begin(image_hash, using)

        monkeypatch.setattr(transactions, "transaction", SimpleNamespace(atomic=atomic))
        monkeypatch.setattr(single, "begin", begin)

    def test_concurrent_insert_of_the_same_image_is_found(self, monkeypatch):
        """The insert is refused, and the next look-up finds the content."""
        self.just_before_writing(monkeypatch, make_content)
        log, image = unsaved()
        save_many([record_of(log, image, PICTURE)])
        assert log.capture_status == CaptureStatus.DUPLICATE
        assert ImageContent.objects.count() == 1
        assert RequestLog.objects.count() == 1
        assert RequestImage.objects.get().image_data == PICTURE

    @pytest.mark.django_db(transaction=True)
    def test_content_deleted_during_the_save_is_written(self, monkeypatch):
        """The reference is refused, and the next attempt writes the content."""
        make_content()
        self.just_before_writing(monkeypatch, ImageContent.objects.all().delete)
        log, image = unsaved()
        save_many([record_of(log, image, PICTURE)])
        assert log.capture_status == CaptureStatus.STORED
        assert RequestLog.objects.count() == 1
        assert RequestImage.objects.get().image_data == PICTURE

    @staticmethod
    def refuse(monkeypatch, times):
        """Let the database refuse the given number of times."""

        def refused():
            raise IntegrityError("another one was faster")

        TestSave.just_before_writing(monkeypatch, *[refused] * times)

    @pytest.mark.parametrize("times", [1, 2])
    def test_save_has_three_attempts(self, monkeypatch, times):
        """Two conflicts do not lose the row."""
        self.refuse(monkeypatch, times)
        save_many([record_of(*unsaved(), PICTURE)])
        assert RequestImage.objects.get().image_data == PICTURE
        assert RequestLog.objects.count() == 1

    def test_fourth_conflict_is_raised(self, monkeypatch):
        """A persistent conflict is raised, and nothing is written."""
        self.refuse(monkeypatch, TRIES)
        with pytest.raises(IntegrityError):
            save_many([record_of(*unsaved(), PICTURE)])
        assert not RequestLog.objects.exists()
        assert not ImageContent.objects.exists()

    def test_late_failure_rolls_everything_back(self, monkeypatch):
        """Log, content and image are written in one transaction."""
        log, image = unsaved()
        monkeypatch.setattr(writer_rows, "insert", self.failing_with_the_image())
        with pytest.raises(OSError, match="disk full"):
            save_many([record_of(log, image, PICTURE)])
        assert not RequestLog.objects.exists()
        assert not ImageContent.objects.exists()

    def test_failed_save_is_retried_without_bytes(self, monkeypatch):
        """The next attempt does not refer to rows that were rolled back."""
        log, image = unsaved()
        with monkeypatch.context() as patched:
            patched.setattr(writer_rows, "insert", self.failing_with_the_image())
            with pytest.raises(OSError, match="disk full"):
                save_many([record_of(log, image, PICTURE)])
        save_many([record_of(log, image, None)])
        connection.check_constraints()
        assert RequestImage.objects.get().content is None

    @staticmethod
    def failing_with_the_image():
        """Insert rows, and fail at the last ones."""
        insert = writer_rows.insert

        def failing(rows, using):
            if isinstance(rows[0], RequestImage):
                raise OSError("disk full")
            insert(rows, using)

        return failing


def test_received_images_know_their_request_image():
    """Both kinds of images return their request image."""
    with pytest.raises(NotImplementedError):
        ReceivedImage.first.fget(None)
