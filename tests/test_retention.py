"""What is older than it should be goes, batch by batch, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, IntegrityError, connection
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from request_images import retention
from request_images.exceptions import RetentionError
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.outcome import CaptureStatus
from request_images.retention import Cleaned, Retention, clean, preview

from .factories import (
    PICTURE,
    capture_queries,
    loading_bytes,
    make_image,
    make_log,
)
from .images import draw

pytestmark = pytest.mark.django_db
MONTH_AND_YEAR = (30, 365)


def of_days(images=30, logs=365) -> Retention:
    return Retention.of_days(images, logs)


def empty_tables():
    for model in (RequestImage, RequestLog, ImageContent):
        model.objects.all().delete()


class TestRetention:
    @pytest.mark.parametrize("days", [0, -1])
    @pytest.mark.parametrize("of", ["images", "logs"])
    def test_nothing_means_everything(self, days, of):
        """Zero days, or fewer, are refused for images and for logs."""
        with pytest.raises(RetentionError, match=f"^{days} days would delete every"):
            of_days(**{of: days})

    @pytest.mark.parametrize("days", [None, 10**9, 10**30])
    def test_for_ever(self, days):
        """None, and more days than there are, keep everything."""
        make_image(days_old=10_000)
        for_ever = of_days(days, days)
        assert for_ever == Retention(None, None)
        assert preview(for_ever) == clean(for_ever, batch_size=10) == Cleaned()
        assert RequestImage.objects.get().content is not None

    @pytest.mark.parametrize("size", [0, -1])
    def test_a_batch_of_nothing(self, size):
        """A batch size that deletes nothing is an error, not a quiet success."""
        with pytest.raises(RetentionError, match="deletes nothing"):
            clean(of_days(), batch_size=size)

    def test_what_was_cleaned_adds_up(self):
        """Batch by batch."""
        assert Cleaned(1, 2, 3, 4) + Cleaned(10, 20, 30, 40) == Cleaned(11, 22, 33, 44)


class TestImages:
    def test_old_ones_go_and_young_ones_stay(self):
        """Row and bytes; the log stays, and says that the image is expired."""
        young, old = make_image(days_old=29.9), make_image(draw(seed=1), days_old=30.1)
        size = old.content.stored_size
        assert clean(of_days(), batch_size=10) == Cleaned(1, 1, 0, size)
        assert list(RequestImage.objects.all()) == [young]
        assert list(ImageContent.objects.all()) == [young.content]
        old.log.refresh_from_db()
        assert old.log.capture_status == CaptureStatus.EXPIRED
        young.log.refresh_from_db()
        assert young.log.capture_status == CaptureStatus.STORED

    def test_a_younger_reference_keeps_the_bytes(self):
        """The retention is of the request, not of the bytes it shares."""
        make_image(days_old=100)
        young = make_image(days_old=1)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 0, 0)
        assert young.image_data == PICTURE

    def test_the_last_reference_takes_the_bytes_along(self):
        """Also when the references go in different batches: no orphan is left."""
        for days in (100, 90, 80):
            make_image(days_old=days)
        cleaned = clean(of_days(), batch_size=1)
        assert cleaned == Cleaned(3, 1, 0, len(PICTURE))
        assert not ImageContent.objects.exists()

    def test_a_thumbnail_goes_too_and_counts(self):
        """What comes free includes it."""
        content = make_image(days_old=40).content
        ImageContent.objects.filter(pk=content.pk).update(thumbnail=b"12345")
        assert preview(of_days()).freed == len(PICTURE) + 5
        assert clean(of_days(), batch_size=10).freed == len(PICTURE) + 5

    @pytest.mark.parametrize("status", CaptureStatus)
    def test_only_bytes_that_were_kept_can_expire(self, status):
        """A log that says why there was no image goes on saying so."""
        kept = status in (CaptureStatus.STORED, CaptureStatus.DUPLICATE)
        image = make_image(kept=kept, days_old=40, capture_status=status)
        clean(of_days(), batch_size=10)
        image.log.refresh_from_db()
        assert image.log.capture_status == (CaptureStatus.EXPIRED if kept else status)
        assert not RequestImage.objects.exists()


class TestLogs:
    def test_old_ones_go(self):
        """After their own retention, with or without what image they still have."""
        make_log(days_old=366)
        make_image(kept=False, days_old=366)
        stays = make_log(days_old=364)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 2, 0)
        assert list(RequestLog.objects.all()) == [stays]

    def test_take_their_images_along(self):
        """Also images that were to be kept for ever."""
        make_image(days_old=400)
        assert clean(of_days(images=None), batch_size=10) == Cleaned(
            1, 1, 1, len(PICTURE)
        )
        assert not ImageContent.objects.exists()

    def test_share_bytes_with_younger_ones(self):
        """Bytes that a younger image refers to stay."""
        make_image(days_old=400)
        young = make_image(days_old=300)
        assert clean(of_days(images=None), batch_size=10) == Cleaned(1, 0, 1, 0)
        assert young.image_data is None  # expired on read
        assert young.content.read() == PICTURE

    def test_stay_for_ever_while_images_go(self):
        """Each retention is on its own."""
        make_image(days_old=4000)
        assert clean(of_days(logs=None), batch_size=10).images == 1
        assert RequestLog.objects.count() == 1


ROWS = st.lists(
    st.tuples(
        st.integers(0, 5),  # which picture
        st.booleans(),  # kept
        st.sampled_from([0.1, 5, 9.9, 10.1, 15, 19.9, 20.1, 500]),  # days old
        st.booleans(),  # with an image at all
    ),
    max_size=12,
)
DAYS = st.sampled_from([1, 10, 20, None])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ROWS, DAYS, DAYS, st.integers(1, 5))
def test_the_dry_run_is_the_real_run(rows, image_days, log_days, batch_size):
    """Whatever there is: the preview tells exactly what goes, and the rest is whole."""
    empty_tables()
    for seed, kept, days_old, with_image in rows:
        if with_image:
            make_image(draw(seed=seed), kept=kept, days_old=days_old)
        else:
            make_log(days_old=days_old)
    before = RequestImage.objects.count(), RequestLog.objects.count()
    contents = ImageContent.objects.count()
    weight = sum(ImageContent.objects.values_list("stored_size", flat=True))
    kept_for = Retention.of_days(image_days, log_days)

    with capture_queries() as queries:
        told = preview(kept_for)
    assert all(sql.startswith("SELECT") for sql in queries)
    assert loading_bytes(queries) == []
    assert clean(kept_for, batch_size=batch_size) == told

    assert before == (
        RequestImage.objects.count() + told.images,
        RequestLog.objects.count() + told.logs,
    )
    assert contents == ImageContent.objects.count() + told.contents
    left = sum(ImageContent.objects.values_list("stored_size", flat=True))
    assert weight == left + told.freed
    assert not ImageContent.objects.filter(images=None).exists()
    now = timezone.now()
    if image_days:
        limit = now - timedelta(days=image_days)
        assert not RequestImage.objects.older_than(limit).exists()
    if log_days:
        limit = now - timedelta(days=log_days)
        assert not RequestLog.objects.older_than(limit).exists()
    connection.check_constraints()
    assert preview(kept_for) == clean(kept_for, batch_size=1) == Cleaned()


class TestCost:
    def test_a_batch_has_a_constant_number_of_queries(self):
        """Twenty rows in one batch cost what two do."""
        counts = []
        for number in (2, 20):
            for seed in range(number):
                make_image(draw(seed=seed), days_old=40)
                make_image(draw(seed=seed), days_old=400)
            with capture_queries() as queries:
                clean(of_days(), batch_size=100)
            assert loading_bytes(queries) == []
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert not ImageContent.objects.exists()

    def test_a_receiver_of_the_host_project_makes_no_bytes_load(self):
        """Whoever listens to ``post_delete`` of everything does not cost memory."""
        receiver = Mock()
        make_image(days_old=400)
        post_delete.connect(receiver)
        pre_delete.connect(receiver)
        try:
            with capture_queries() as queries:
                assert clean(of_days(), batch_size=10).images == 1
        finally:
            post_delete.disconnect(receiver)
            pre_delete.disconnect(receiver)
        assert loading_bytes(queries) == []
        assert not receiver.called

    def test_no_more_rows_than_the_batch_size_go_at_once(self):
        """Each batch names its rows; none names more than it may."""
        for seed in range(7):
            make_image(draw(seed=seed), days_old=40)
        with capture_queries() as queries:
            assert clean(of_days(), batch_size=3).images == 7
        deletes = [
            sql
            for sql in queries
            if sql.startswith("DELETE") and "requestimage" in sql.split("WHERE")[0]
        ]
        assert len(deletes) == 3
        assert max(sql.count(",") for sql in deletes) == 2

    @pytest.mark.skipif(
        not connection.features.has_select_for_update,
        reason="SQLite has one writer at a time and needs no row locks",
    )
    def test_cleanups_at_the_same_time_wait_for_each_other(self):  # pragma: no cover
        """Of two that each delete one of two references, one takes the bytes along.

        Without it each sees the other's reference, which is deleted but not committed.
        """
        make_image(days_old=40)
        with capture_queries() as queries:
            clean(of_days(), batch_size=10)
        [lock] = [number for number, sql in enumerate(queries) if "FOR UPDATE" in sql]
        [look] = [number for number, sql in enumerate(queries) if "NOT EXISTS" in sql]
        assert "request_images_imagecontent" in queries[lock]
        assert lock < look

    def test_reads_from_where_it_writes(self, settings):
        """A replica that lags behind must not decide what is an orphan."""
        make_image(days_old=400)
        replica = Mock(spec=["db_for_read", "db_for_write"])
        replica.db_for_read.return_value = "a database that is not there"
        replica.db_for_write.return_value = "default"
        settings.DATABASE_ROUTERS = [replica]
        assert preview(of_days()).contents == 1
        assert clean(of_days(), batch_size=10).contents == 1


@pytest.mark.django_db(transaction=True)
class TestFaults:
    @pytest.fixture
    def old_images(self):
        """Write six images that are too old, of five contents."""
        return [make_image(draw(seed=seed), days_old=40) for seed in (1, 1, 2, 3, 4, 5)]

    def break_down(self, monkeypatch, name: str, *, after: int, error: Exception):
        """Let a function of `retention` fail when it was called so many times."""
        function, calls = getattr(retention, name), []

        def breaking(*args, **kwargs):
            calls.append(args)
            if len(calls) > after:
                raise error
            return function(*args, **kwargs)

        monkeypatch.setattr(retention, name, breaking)

    @pytest.mark.parametrize(
        ("name", "after"),
        [
            *(("_delete_images", after) for after in range(3)),
            *(("_weigh", after) for after in range(3)),
            *(("_raw_delete", after) for after in range(3)),
        ],
    )
    def test_a_run_that_breaks_down_loses_nothing(
        self, monkeypatch, old_images, name, after
    ):
        """Whole batches only; every row left has its bytes; the next run finishes."""
        young = make_image(draw(seed=3), days_old=1)
        expected = preview(of_days())
        with monkeypatch.context() as patched:
            self.break_down(patched, name, after=after, error=DatabaseError("gone"))
            with pytest.raises(DatabaseError):
                clean(of_days(), batch_size=2)
        connection.check_constraints()
        assert not ImageContent.objects.filter(images=None).exists()
        left = RequestImage.objects.older_than(timezone.now() - timedelta(days=30))
        assert left.count() % 2 == 0
        assert all(image.content.read() for image in left)
        statuses = {image.log.capture_status for image in left}
        assert CaptureStatus.EXPIRED not in statuses
        expired = RequestLog.objects.filter(capture_status=CaptureStatus.EXPIRED)
        assert expired.count() == 6 - left.count()
        clean(of_days(), batch_size=2)
        assert list(RequestImage.objects.all()) == [young]
        assert young.image_data == draw(seed=3)
        assert ImageContent.objects.count() == 1
        assert expected.images == 6

    def test_batches_are_separate_transactions(self, monkeypatch, old_images):
        """What was done before the fault stays done."""
        error = DatabaseError("gone")
        self.break_down(monkeypatch, "_delete_images", after=2, error=error)
        with pytest.raises(DatabaseError):
            clean(of_days(), batch_size=2)
        assert RequestImage.objects.count() == 2

    def test_a_request_that_refers_to_the_same_bytes_meanwhile(self, monkeypatch):
        """The database refuses the batch; the next try keeps the bytes."""
        make_image(days_old=40)
        weigh, left = retention._weigh, [1]

        def meanwhile(contents):
            found = weigh(contents)
            if left:
                left.pop()
                make_image(days_old=1)
            return found

        monkeypatch.setattr(retention, "_weigh", meanwhile)
        # On one connection the rival's row is rolled back with the batch: write it
        # again before the next try, as if it had been committed.
        batch = retention._expire_batch

        def expire(images):
            try:
                return batch(images)
            except IntegrityError:
                make_image(days_old=1)
                raise

        monkeypatch.setattr(retention, "_expire_batch", expire)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 0, 0)
        assert RequestImage.objects.get().image_data == PICTURE

    def test_a_disturbance_that_does_not_end(self, monkeypatch):
        """After a few tries the error is told, and nothing was lost."""
        make_image(days_old=40)
        error = IntegrityError("again")
        self.break_down(monkeypatch, "_weigh", after=0, error=error)
        with pytest.raises(IntegrityError, match="again"):
            clean(of_days(), batch_size=10)
        image = RequestImage.objects.get()
        assert image.content.read() == PICTURE
        assert image.log.capture_status == CaptureStatus.STORED
