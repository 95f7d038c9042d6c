"""What is older than it should be goes, batch by batch, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection
from django.db.models import F
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from request_images.cleanup import batches as cleanup_batches
from request_images.cleanup import delete_rows, references, retention
from request_images.cleanup.delete_rows import Going, cost_of
from request_images.cleanup.report import Cleaned, Reason, Report
from request_images.cleanup.retention import preview
from request_images.db import walk
from request_images.exceptions import RetentionError
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.cutoffs import Retention, Term
from request_images.models.querysets import failed, succeeded
from request_images.outcome import CaptureStatus
from tests.factories import (
    PICTURE,
    add_further,
    capture_queries,
    loading_bytes,
    make_image,
    make_log,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db
FOR_EVER = Term(None, None)


def of_days(images=30, logs=365, **others) -> Retention:
    return Retention.of_days(images, logs, **others)


def clean(kept_for: Retention, **options) -> Cleaned:
    """Clean, and return what was deleted for any reason."""
    return retention.clean(kept_for, **options).total


@pytest.fixture(autouse=True)
def _steady_pace(monkeypatch):
    """Use the largest batches, however slow the machine is."""
    monkeypatch.setattr(retention, "Pace", partial(cleanup_batches.Pace, aim=1000))


@pytest.fixture
def pauses(monkeypatch):
    """Skip pauses, and collect their durations."""
    slept: list[float] = []
    monkeypatch.setattr(cleanup_batches.time, "sleep", slept.append)
    return slept


def empty_tables():
    for model in (FurtherImage, RequestImage, RequestLog, ImageContent):
        model.objects.all().delete()


class TestRetention:
    @pytest.mark.parametrize("days", [0, -1])
    @pytest.mark.parametrize("of", ["images", "logs", "failed_days", "bytes_days"])
    def test_zero_days_are_refused(self, days, of):
        """Zero or negative days are refused for every retention."""
        with pytest.raises(
            RetentionError, match=f"^A retention of {days} days would delete every"
        ):
            of_days(**{of: days})

    @pytest.mark.parametrize("days", [None, 10**9, 10**30])
    def test_none_keeps_everything(self, days):
        """None, and more days than a date can hold, keep everything."""
        make_image(days_old=10_000)
        for_ever = of_days(days, days)
        assert for_ever == Retention(FOR_EVER, FOR_EVER, None)
        assert preview(for_ever) == retention.clean(for_ever, batch_size=10) == Report()
        assert RequestImage.objects.get().content is not None

    @pytest.mark.parametrize("size", [0, -1])
    def test_batch_size_0_is_refused(self, size):
        """A batch size that deletes nothing is an error."""
        with pytest.raises(RetentionError, match="batch size must be at least 1"):
            clean(of_days(), batch_size=size)

    def test_batches_add_up(self):
        """The report is the sum of all batches."""
        assert Cleaned(1, 2, 3, 4) + Cleaned(10, 20, 30, 40) == Cleaned(11, 22, 33, 44)


class TestImages:
    def test_only_old_images_are_deleted(self):
        """Row and bytes are deleted; the log says that the image is expired."""
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
        """Retention applies to the request, not to shared bytes."""
        make_image(days_old=100)
        young = make_image(days_old=1)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 0, 0)
        assert young.image_data == PICTURE

    def test_last_reference_deletes_the_bytes(self):
        """References in different batches leave no orphan."""
        for days in (100, 90, 80):
            make_image(days_old=days)
        cleaned = clean(of_days(), batch_size=1)
        assert cleaned == Cleaned(3, 1, 0, len(PICTURE))
        assert not ImageContent.objects.exists()

    def test_deleted_thumbnail_counts_as_freed(self):
        """The freed bytes include the thumbnail."""
        content = make_image(days_old=40).content
        ImageContent.objects.filter(pk=content.pk).update(thumbnail=b"12345")
        assert preview(of_days()).total.freed == len(PICTURE) + 5
        assert clean(of_days(), batch_size=10).freed == len(PICTURE) + 5

    @pytest.mark.parametrize("status", CaptureStatus)
    def test_only_stored_images_expire(self, status):
        """A log of an image that was not stored keeps its reason."""
        kept = status in (CaptureStatus.STORED, CaptureStatus.DUPLICATE)
        image = make_image(kept=kept, days_old=40, capture_status=status)
        clean(of_days(), batch_size=10)
        image.log.refresh_from_db()
        assert image.log.capture_status == (CaptureStatus.EXPIRED if kept else status)
        assert not RequestImage.objects.exists()


class TestLogs:
    def test_old_logs_are_deleted(self):
        """Logs have a retention of their own, with and without images."""
        make_log(days_old=366)
        make_image(kept=False, days_old=366)
        stays = make_log(days_old=364)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 2, 0)
        assert list(RequestLog.objects.all()) == [stays]

    def test_log_is_deleted_with_its_image(self):
        """Images with unlimited retention are deleted, too."""
        make_image(days_old=400)
        assert clean(of_days(images=None), batch_size=10) == Cleaned(
            1, 1, 1, len(PICTURE)
        )
        assert not ImageContent.objects.exists()

    def test_shared_bytes_stay(self):
        """Bytes of a younger image stay."""
        make_image(days_old=400)
        young = make_image(days_old=300)
        assert clean(of_days(images=None), batch_size=10) == Cleaned(1, 0, 1, 0)
        assert young.image_data is None  # expired on read
        assert young.content.read() == PICTURE

    def test_logs_can_outlive_their_images(self):
        """Each retention works on its own."""
        make_image(days_old=4000)
        assert clean(of_days(logs=None), batch_size=10).images == 1
        assert RequestLog.objects.count() == 1


ROWS = st.lists(
    st.tuples(
        st.integers(0, 5),  # which picture
        st.sampled_from([True, True, True, False]),  # kept
        st.sampled_from([0.1, 5, 9.9, 10.1, 15, 19.9, 20.1, 500]),  # days old
        st.sampled_from([True, True, True, False]),  # with an image at all
        st.sampled_from([200, 500, None, "error"]),  # the outcome
        st.sampled_from([False, False, True]),  # pinned
        st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=3),  # further
    ),
    max_size=12,
)
DAYS = st.sampled_from([None, None, 1, 10, 20])
BUDGET = st.sampled_from([None, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
"""Of the bytes there are."""


def populate(rows) -> None:
    """Write the rows that a strategy has drawn into empty tables."""
    empty_tables()
    for seed, kept, days_old, with_image, outcome, is_pinned, further in rows:
        values = {
            "days_old": days_old,
            "is_pinned": is_pinned,
            "status_code": None if outcome == "error" else outcome,
            "error_type": "ValueError" if outcome == "error" else "",
        }
        if with_image:
            image = make_image(draw(seed=seed), kept=kept, **values)
            draw_small(image.content_id, seed)
            for its_seed, is_kept in further:
                one_more = add_further(image, draw(seed=its_seed), kept=is_kept)
                draw_small(one_more.content_id, its_seed)
        else:
            make_log(**values)


def draw_small(content_id, seed) -> None:
    """Give every other picture a thumbnail."""
    if seed % 2:
        rows = ImageContent.objects.filter(pk=content_id)
        rows.update(thumbnail=b"small" * seed)


def image_rows() -> int:
    return RequestImage.objects.count() + FurtherImage.objects.count()


def stored_bytes() -> int:
    """Return the size of every content, thumbnail included."""
    rows = ImageContent.objects.values_list("stored_size", "thumbnail")
    return sum(size + len(thumbnail or b"") for size, thumbnail in rows)


def weights_of_contents() -> dict[int, int]:
    """Return the size of each content; orphans count 0."""
    rows = ImageContent.objects.all()
    orphans = rows.unreferenced().values_list("pk", flat=True)
    weights = dict(rows.values_list("pk", references.SIZE))
    return weights | dict.fromkeys(orphans, 0)


def logs_of(rows) -> set[int]:
    return set(rows.values_list("log", flat=True))


def check_that_nothing_dangles() -> None:
    """Check that every reference has bytes, and all bytes a reference."""
    connection.check_constraints()
    assert not ImageContent.objects.unreferenced().exists()
    kept = ("stored", "duplicate")
    losers = RequestImage.objects.filter(content=None, log__capture_status__in=kept)
    assert not losers.exists()
    with_bytes = FurtherImage.objects.filter(content__isnull=False)
    telling = FurtherImage.objects.filter(capture_status__in=kept)
    assert set(with_bytes) == set(telling)


@settings(
    # A server takes longer for each, and every run draws others.
    max_examples=30 if connection.vendor == "sqlite" else 10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ROWS, DAYS, DAYS, DAYS, DAYS, BUDGET, st.integers(1, 5), st.integers(1, 4))
def test_cleanup_does_what_its_dry_run_says(
    monkeypatch, pauses, rows, images, logs, failed_, bytes_, share, batch, at_once
):
    """The dry run is right for any rows, and the rest stays whole."""
    monkeypatch.setattr(walk, "CHUNK", at_once)
    monkeypatch.setattr(references, "_IMAGES_AT_ONCE", 2 * at_once)
    populate(rows)
    before = image_rows(), RequestLog.objects.count()
    contents, weight = ImageContent.objects.count(), stored_bytes()
    weights = weights_of_contents()
    budget = None if share is None else max(1, int(weight * share))
    pinned = set(RequestLog.objects.filter(is_pinned=True).values_list("pk", flat=True))
    pinned_bytes = logs_of(
        RequestImage.objects.with_bytes().filter(log__is_pinned=True)
    )
    of_pinned = FurtherImage.objects.filter(
        request_image__log__is_pinned=True, content__isnull=False
    )
    pinned_further = set(of_pinned)
    kept_for = of_days(images, logs, failed_days=failed_, bytes_days=bytes_)

    with capture_queries() as queries:
        told = preview(kept_for, max_bytes=budget)
    assert all(sql.startswith("SELECT") for sql in queries)
    assert loading_bytes(queries) == []
    went = retention.clean(kept_for, batch_size=batch, max_bytes=budget)
    assert went == told

    gone_rows = went.total.images - sum(
        went[reason].images for reason in (Reason.BYTES, Reason.BUDGET)
    )
    assert before == (
        image_rows() + gone_rows,
        RequestLog.objects.count() + went.total.logs,
    )
    assert contents == ImageContent.objects.count() + went.total.contents
    assert weight == stored_bytes() + went.total.freed
    check_that_nothing_dangles()
    assert pinned <= set(RequestLog.objects.values_list("pk", flat=True))
    assert pinned_bytes <= logs_of(RequestImage.objects.with_bytes())
    assert pinned_further == set(of_pinned.all())
    check_that_nothing_is_over(images, logs, failed_, bytes_)
    if budget:
        unpinned = RequestImage.objects.with_bytes().filter(log__is_pinned=False)
        shared = [
            *RequestImage.objects.filter(log__is_pinned=True),
            *FurtherImage.objects.filter(request_image__log__is_pinned=True),
        ]
        others = unpinned.exclude(content__in=[row.content_id or 0 for row in shared])
        assert stored_bytes() <= budget or not others.exists()
        check_that_no_budget_took_too_much(went[Reason.BUDGET], weights, budget)
    again = preview(kept_for, max_bytes=budget)
    assert again == Report()


def check_that_no_budget_took_too_much(went, weights, budget) -> None:
    """Check that the budget deleted only what it needed."""
    there = ImageContent.objects.values("image_hash")
    losers = RequestImage.objects.filter(log__capture_status=CaptureStatus.OVER_BUDGET)
    hanging = FurtherImage.objects.filter(capture_status=CaptureStatus.OVER_BUDGET)
    assert losers.count() + hanging.count() == went.images
    assert not losers.filter(image_hash__in=there).exists()
    assert not hanging.filter(image_hash__in=there).exists()
    if went.contents:
        left = weights_of_contents()
        largest = max(weights[pk] for pk in weights.keys() - left.keys())
        assert sum(left.values()) + largest > budget


def check_that_nothing_is_over(images, logs, failed_, bytes_) -> None:
    """Check that only pinned rows and bytes exceed their retention."""

    def older(days):
        moment = timezone.now() - timedelta(days=days)
        rows = RequestImage.objects.filter(log__is_pinned=False)
        return rows.older_than(moment)

    of_failed = {images, bytes_} if failed_ is None else {failed_}
    for days in {images, bytes_} - {None}:
        rows = older(days).filter(succeeded("log__"))
        assert not rows.with_bytes().exists()
        assert not rows.filter(further__content__isnull=False).exists()
        assert days == bytes_ or not rows.exists()
    for days in of_failed - {None}:
        assert not older(days).filter(failed("log__")).with_bytes().exists()
        rows = older(days).filter(failed("log__"), further__content__isnull=False)
        assert not rows.exists()
    if logs:
        moment = timezone.now() - timedelta(days=logs)
        rows = RequestLog.objects.filter(is_pinned=False)
        assert not rows.older_than(moment).exists()


class TestFailures:
    """Images of failed requests have days of their own."""

    @pytest.mark.parametrize("values", [{"status_code": 500}, {"error_type": "Odd"}])
    def test_failed_requests_are_kept_longer(self, values):
        """A failure is examined weeks later."""
        failure = make_image(days_old=40, **values)
        make_image(draw(seed=1), days_old=40)
        kept_for = of_days(failed_days=90)
        assert kept_for.failures != kept_for.successes
        report = retention.clean(kept_for, batch_size=10)
        assert set(report.by_reason) == {Reason.SUCCESS}
        assert list(RequestImage.objects.all()) == [failure]
        assert failure.content.read() == PICTURE

    def test_failed_requests_have_their_own_retention(self):
        """The log is marked, and failures are reported separately."""
        failure = make_image(days_old=91, status_code=500)
        report = retention.clean(of_days(failed_days=90), batch_size=10)
        size = failure.content.stored_size
        assert report.by_reason == {Reason.FAILURE: Cleaned(1, 1, 0, size)}
        failure.log.refresh_from_db()
        assert failure.log.capture_status == CaptureStatus.EXPIRED

    def test_failed_requests_may_expire_earlier(self):
        """The retention of failures may be shorter."""
        make_image(days_old=5, status_code=500)
        success = make_image(draw(seed=1), days_old=5)
        clean(of_days(failed_days=3), batch_size=10)
        assert list(RequestImage.objects.all()) == [success]

    def test_bytes_of_failures_are_kept_as_long(self):
        """The retention of failures applies to bytes, too."""
        failure = make_image(days_old=40, status_code=500)
        clean(of_days(failed_days=90, bytes_days=7), batch_size=10)
        failure.refresh_from_db()
        assert failure.content is not None

    def test_an_unknown_status_is_no_failure(self):
        """A request without a status did not fail."""
        make_image(days_old=40, status_code=None)
        report = retention.clean(of_days(failed_days=90), batch_size=10)
        assert set(report.by_reason) == {Reason.SUCCESS}


class TestBytes:
    """Bytes that expire before their image."""

    def test_bytes_expire_before_their_row(self):
        """Dimensions, type and hash stay for the statistics."""
        image = make_image(days_old=8)
        size = image.content.stored_size
        report = retention.clean(of_days(bytes_days=7), batch_size=10)
        assert report.by_reason == {Reason.BYTES: Cleaned(1, 1, 0, size)}
        image.refresh_from_db()
        assert image.content is None
        assert (image.width, image.height, image.file_size) == (32, 24, len(PICTURE))
        assert image.log.capture_status == CaptureStatus.EXPIRED
        assert not ImageContent.objects.exists()

    def test_images_without_bytes_are_not_counted(self):
        """Their log keeps its reason."""
        image = make_image(days_old=8, kept=False)
        assert clean(of_days(bytes_days=7), batch_size=10) == Cleaned()
        image.log.refresh_from_db()
        assert image.log.capture_status == CaptureStatus.TOO_LARGE

    def test_never_outlive_their_image(self):
        """A longer retention of bytes than of images has no effect."""
        make_image(days_old=40)
        assert clean(of_days(bytes_days=90), batch_size=10).images == 1
        assert not RequestImage.objects.exists()


class TestPins:
    """Cleanup keeps pinned requests."""

    @pytest.mark.parametrize("status_code", [200, 500])
    def test_pinned_request_keeps_everything(self, status_code):
        """Log, image and bytes stay, whatever has expired."""
        image = make_image(days_old=1000, is_pinned=True, status_code=status_code)
        kept_for = of_days(1, 1, failed_days=1, bytes_days=1)
        assert preview(kept_for, max_bytes=1) == Report()
        assert clean(kept_for, batch_size=10, max_bytes=1) == Cleaned()
        image.refresh_from_db()
        assert image.content.read() == PICTURE
        assert image.log.capture_status == CaptureStatus.STORED

    def test_pinned_request_keeps_shared_bytes(self):
        """Other references are deleted without freeing bytes."""
        image = make_image(days_old=1000, is_pinned=True)
        make_image(days_old=40)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 0, 0)
        assert image.content.read() == PICTURE

    @pytest.mark.parametrize("days_old", [40, 400])
    @pytest.mark.parametrize("options", [{}, {"bytes_days": 7}])
    def test_request_pinned_during_cleanup_stays(self, monkeypatch, days_old, options):
        """Cleanup has read the request before it is pinned."""
        image = make_image(days_old=days_old)
        real = delete_rows.remove

        def pinned_meanwhile(batch, detail):
            RequestLog.objects.update(is_pinned=True)
            return real(batch, detail)

        monkeypatch.setattr(cleanup_batches, "remove", pinned_meanwhile)
        assert clean(of_days(**options), batch_size=10) == Cleaned()
        image.refresh_from_db()
        assert image.content.read() == PICTURE
        assert image.log.capture_status == CaptureStatus.STORED


class TestBudget:
    """The total of stored bytes exceeds the budget."""

    @pytest.fixture
    def sizes(self):
        """Write three successes and two failures, the oldest of each first."""
        images = [
            make_image(draw(seed=n), days_old=20 - n, status_code=status)
            for n, status in enumerate((500, 200, 200, 500, 200))
        ]
        return {image.pk: image.content.stored_size for image in images}

    def left(self) -> list[int]:
        rows = RequestImage.objects.with_bytes().order_by("pk")
        return list(rows.values_list("pk", flat=True))

    @pytest.mark.parametrize(
        ("number", "left"),
        [
            (0, [0, 1, 2, 3, 4]),
            (1, [0, 2, 3, 4]),
            (2, [0, 3, 4]),
            (3, [0, 3]),
            (4, [3]),
            (5, []),
        ],
    )
    @pytest.mark.parametrize("spare", [0, 1])
    def test_the_oldest_successes_go_first(self, sizes, number, left, spare):
        """The oldest failures are next, and no more than needed."""
        pks = list(sizes)
        order = [pks[n] for n in (1, 2, 4, 0, 3)]
        budget = sum(sizes[pk] for pk in order[number:]) + spare
        if not budget:
            budget = 1
        told = preview(of_days(), max_bytes=budget)
        report = retention.clean(of_days(), batch_size=2, max_bytes=budget)
        assert report == told
        assert report[Reason.BUDGET].images == number
        assert self.left() == [pks[n] for n in left]

    def test_orphans_do_not_count(self):
        """Images do not expire for orphans."""
        for seed in range(3):
            make_image(draw(seed=seed), days_old=9)
        RequestLog.objects.all().delete()
        stays = make_image(draw(seed=4), days_old=1)
        budget = stays.content.stored_size
        assert preview(of_days(), max_bytes=budget).by_reason == {}
        report = retention.clean(of_days(), batch_size=2, max_bytes=budget)
        assert report.by_reason == {}
        assert self.left() == [stays.pk]

    def test_orphans_do_not_end_the_count(self, monkeypatch):
        """Many orphans do not stop the walk over contents."""
        monkeypatch.setattr(walk, "CHUNK", 2)
        for seed in range(5):
            make_image(draw(seed=seed), days_old=9)
        RequestLog.objects.all().delete()
        goes, stays = (make_image(draw(seed=5 + n), days_old=2 - n) for n in (0, 1))
        budget = stays.content.stored_size
        with capture_queries() as queries:
            told = preview(of_days(), max_bytes=budget)
        asking = [sql for sql in queries if "EXISTS" in sql]
        assert asking
        assert [sql for sql in asking if " IN (" not in sql] == []
        assert retention.clean(of_days(), batch_size=2, max_bytes=budget) == told
        assert told.by_reason == {
            Reason.BUDGET: Cleaned(1, 1, 0, goes.content.stored_size)
        }
        assert self.left() == [stays.pk]

    def test_row_stays_and_the_log_has_the_reason(self):
        """The log says that the bytes were over the budget."""
        image = make_image(days_old=1)
        clean(of_days(), batch_size=10, max_bytes=1)
        image.refresh_from_db()
        assert image.content is None
        assert image.width == 32
        assert image.log.capture_status == CaptureStatus.OVER_BUDGET
        assert image.log.capture_detail.endswith(" MB in total")

    def test_shared_bytes_are_freed_with_the_last_reference(self):
        """All older references expire, and newer ones stay."""
        for days in (9, 8):
            make_image(days_old=days)
        stays = make_image(draw(seed=1), days_old=7)
        size = stays.content.stored_size
        report = retention.clean(of_days(), batch_size=1, max_bytes=size)
        assert report.by_reason == {Reason.BUDGET: Cleaned(2, 1, 0, len(PICTURE))}
        assert self.left() == [stays.pk]

    def test_request_keeps_bytes_that_stay(self):
        """A request keeps bytes that a younger request keeps stored."""
        make_image(days_old=9)
        goes = make_image(draw(seed=1), days_old=8)
        make_image(days_old=7)
        budget = len(PICTURE)
        report = retention.clean(of_days(), batch_size=1, max_bytes=budget)
        size = goes.content.stored_size
        assert report.by_reason == {Reason.BUDGET: Cleaned(1, 1, 0, size)}
        assert goes.pk not in self.left()
        assert len(self.left()) == 2

    def test_bytes_shared_with_a_failure_expire_as_failures(self):
        """Then all requests lose the bytes."""
        for status in (200, 500, 200):
            make_image(days_old=9, status_code=status)
        goes = make_image(draw(seed=1), days_old=1)
        clean(of_days(), batch_size=10, max_bytes=len(PICTURE))
        assert goes.pk not in self.left()
        assert len(self.left()) == 3
        later = retention.clean(of_days(), batch_size=2, max_bytes=1)
        assert later.by_reason == {Reason.BUDGET: Cleaned(3, 1, 0, len(PICTURE))}

    def test_many_references_to_shared_bytes_expire(self, monkeypatch, pauses):
        """The dry run counts all of them."""
        monkeypatch.setattr(walk, "CHUNK", 2)
        for days in range(7):
            make_image(days_old=days)
        told = preview(of_days(), max_bytes=1)
        assert retention.clean(of_days(), batch_size=9, max_bytes=1) == told
        assert told.by_reason == {Reason.BUDGET: Cleaned(7, 1, 0, len(PICTURE))}

    def test_bytes_deleted_by_others_count_as_freed(self, monkeypatch):
        """A concurrent deletion reduces what must be freed."""
        make_image(days_old=40)
        erased, stays = (make_image(draw(seed=n), days_old=1) for n in (1, 2))
        real = retention._Cleanup._delete_logs

        def erase(*arguments):
            erased.delete()
            ImageContent.delete_all(ImageContent.objects.filter(pk=erased.content_id))
            return real(*arguments)

        monkeypatch.setattr(retention._Cleanup, "_delete_logs", erase)
        budget = stays.content.stored_size
        report = retention.clean(of_days(), batch_size=10, max_bytes=budget)
        assert set(report.by_reason) == {Reason.SUCCESS}
        assert self.left() == [stays.pk]

    def test_bytes_of_a_pinned_request_stay(self):
        """Other requests keep these bytes, too."""
        make_image(days_old=9, is_pinned=True)
        make_image(days_old=8)
        goes = make_image(draw(seed=1), days_old=7)
        report = retention.clean(of_days(), batch_size=10, max_bytes=1)
        assert report.total.images == 1
        assert goes.pk not in self.left()
        assert len(self.left()) == 2

    def test_budget_follows_the_retention(self):
        """Expired bytes are freed first."""
        make_image(days_old=40)
        stays = make_image(draw(seed=1), days_old=1)
        budget = stays.content.stored_size
        report = retention.clean(of_days(), batch_size=10, max_bytes=budget)
        assert set(report.by_reason) == {Reason.SUCCESS}

    @pytest.mark.parametrize("budget", [0, -1])
    @pytest.mark.parametrize(
        "run", [preview, lambda r, **o: clean(r, batch_size=1, **o)]
    )
    def test_budget_of_0_is_refused(self, budget, run):
        """None means no budget; 0 would delete everything."""
        with pytest.raises(RetentionError, match="every image"):
            run(of_days(), max_bytes=budget)


class TestPace:
    """The size and the pauses of batches."""

    def test_fast_batches_grow(self, pauses):
        """A batch grows to at most twice its size, up to the limit."""
        pace = cleanup_batches.Pace(500, aim=1000)
        sizes = [pace.size]
        for _ in range(5):
            with pace.batch(pace.size):
                pass
            sizes.append(pace.size)
        assert sizes == [50, 100, 200, 400, 500, 500]

    def test_rows_with_bytes_fill_a_batch_sooner(self):
        """Rows with bytes cost more; a batch has at least one row."""
        pace = cleanup_batches.Pace(10)
        sizes = (0, 1, 16 * 1024, 1024**2)
        going = []
        for seed, size in enumerate(sizes):
            image = make_image(draw(seed=seed))
            ImageContent.objects.filter(pk=image.content_id).update(stored_size=size)
            going.append(
                Going.of(Reason.SUCCESS, image.log_id, image.pk, [image.content_id])
            )
        assert cost_of(going) == [1, 1, 2, 65]
        assert pace.fitting([1] * 20) == 10
        assert pace.fitting([1] * 3) == 3
        assert pace.fitting([5, 5, 1]) == 2
        assert pace.fitting([5, 6]) == 1
        assert pace.fitting([65, 1]) == 1

    def test_slow_batches_shrink(self, pauses):
        """A batch shrinks to a single row."""
        pace = cleanup_batches.Pace(500, aim=0)
        with pace.batch(50):
            pass
        assert pace.size == 1

    def test_first_batch_respects_the_limit(self):
        """A small batch size limits the first batch."""
        assert cleanup_batches.Pace(3).size == 3

    def test_pause_is_as_long_as_its_batch(self, pauses, monkeypatch):
        """A pause lasts a second at most."""
        times = iter([0, 0.5, 0, 60])
        monkeypatch.setattr(cleanup_batches.time, "perf_counter", lambda: next(times))
        pace = cleanup_batches.Pace(10)
        for _ in range(2):
            with pace.batch(10):
                pass
        assert pauses == [0.5, 1.0]


class TestCost:
    def test_a_batch_has_a_constant_number_of_queries(self):
        """Twenty rows in one batch need as many queries as two."""
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

    def test_receiver_of_post_delete_loads_no_bytes(self):
        """A receiver for all models does not cost memory."""
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

    def test_queries_name_at_most_a_batch_of_rows(self):
        """No query has more rows than the batch size."""
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
        # Three images and, to see that they are not pinned, their three logs.
        assert max(sql.count(",") for sql in deletes) == 4

    def test_queries_name_at_most_a_batch_of_images(self, monkeypatch):
        """A request has up to a thousand images; a query has a limit."""
        monkeypatch.setattr(references, "_IMAGES_AT_ONCE", 6)
        for number in (1, 3, 1, 9, 0):
            image = make_image(draw(seed=number), days_old=40)
            for seed in range(number):
                add_further(image, draw(seed=10 * number + seed))
        sizes, walk = [], retention._Cleanup._walk

        def walked(*args):
            for part in walk(*args):
                sizes.append([len(row.contents) for row in part])
                yield part

        monkeypatch.setattr(retention._Cleanup, "_walk", walked)
        assert preview(of_days()).total.images == 5 + 14
        assert sizes == [[2, 4], [2], [10], [1]]

    @pytest.fixture
    def batches(self, monkeypatch, pauses):
        """Collect the number of rows of each batch."""
        real, sizes = delete_rows.remove, []

        def remove(batch, detail):
            sizes.append(len(batch))
            return real(batch, detail)

        monkeypatch.setattr(cleanup_batches, "remove", remove)
        return sizes

    @pytest.mark.parametrize(
        ("storage", "wanted"),
        [("", [5, 1, 3, 2]), ("bucket", [11])],
    )
    def test_batches_of_large_images_are_small(self, batches, storage, wanted):
        """Images in a storage count as rows without bytes."""
        for _ in range(5):
            make_image(days_old=50, kept=False)
        for seed in range(6):
            make_image(draw(seed=seed), days_old=40)
        ImageContent.objects.update(
            stored_size=1024**2, storage=storage, name=F("image_hash")
        )
        assert clean(of_days(), batch_size=500).contents == 6
        assert batches == wanted

    def test_shared_bytes_are_deleted_once(self, batches):
        """The last reference deletes the bytes."""
        for _ in range(20):
            make_image(days_old=40)
        ImageContent.objects.update(stored_size=1024**2)
        assert clean(of_days(), batch_size=500).contents == 1
        assert batches == [19, 1]

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
        [lock] = [
            number
            for number, sql in enumerate(queries)
            if "FOR UPDATE" in sql and "request_images_imagecontent" in sql
        ]
        [look] = [number for number, sql in enumerate(queries) if "NOT EXISTS" in sql]
        assert lock < look

    def test_cleanup_reads_from_the_primary_database(self, settings):
        """A replica that lags must not decide which contents are orphans."""
        make_image(days_old=400)
        replica = Mock(spec=["db_for_read", "db_for_write"])
        replica.db_for_read.return_value = "a database that is not there"
        replica.db_for_write.return_value = "default"
        settings.DATABASE_ROUTERS = [replica]
        assert preview(of_days()).total.contents == 1
        assert clean(of_days(), batch_size=10).contents == 1


@pytest.mark.django_db(transaction=True)
class TestFaults:
    @pytest.fixture
    def old_images(self):
        """Write six images that are too old, of five contents."""
        return [make_image(draw(seed=seed), days_old=40) for seed in (1, 1, 2, 3, 4, 5)]

    def break_down(self, monkeypatch, name: str, *, after: int, error: Exception):
        """Let a function of `delete_rows` fail at the given call."""
        function, calls = getattr(delete_rows, name), []

        def breaking(*args, **kwargs):
            calls.append(args)
            if len(calls) > after:
                raise error
            return function(*args, **kwargs)

        monkeypatch.setattr(delete_rows, name, breaking)

    @pytest.mark.parametrize(
        ("name", "after"),
        [
            *(("_delete_contents", after) for after in range(3)),
            *(("_weigh", after) for after in range(3)),
            *(("_raw_delete", after) for after in range(3)),
        ],
    )
    def test_failed_run_loses_nothing(self, monkeypatch, old_images, name, after):
        """Only whole batches are deleted, and the next run finishes."""
        young = make_image(draw(seed=3), days_old=1)
        expected = preview(of_days()).total
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
        """Batches before the error stay deleted."""
        error = DatabaseError("gone")
        self.break_down(monkeypatch, "_delete_contents", after=2, error=error)
        with pytest.raises(DatabaseError):
            clean(of_days(), batch_size=2)
        assert RequestImage.objects.count() == 2

    def test_concurrent_reference_keeps_the_bytes(self, monkeypatch):
        """The database refuses the batch; the next attempt keeps the bytes."""
        make_image(days_old=40)
        weigh, left = delete_rows._weigh, [1]

        def meanwhile(contents):
            found = weigh(contents)
            if left:
                left.pop()
                make_image(days_old=1)
            return found

        monkeypatch.setattr(delete_rows, "_weigh", meanwhile)
        # On one connection the rival's row is rolled back with the batch: write it
        # again before the next try, as if it had been committed.
        real = cleanup_batches.remove

        def remove(batch, detail):
            try:
                return real(batch, detail)
            except IntegrityError:
                make_image(days_old=1)
                raise

        monkeypatch.setattr(cleanup_batches, "remove", remove)
        assert clean(of_days(), batch_size=10) == Cleaned(1, 0, 0, 0)
        assert RequestImage.objects.get().image_data == PICTURE

    @pytest.mark.parametrize(
        "error",
        [
            OperationalError(1213, "Deadlock found"),
            OperationalError(1205, "Lock wait timeout exceeded"),
            OperationalError("database is locked"),
        ],
    )
    def test_rolled_back_batch_is_retried(self, monkeypatch, pauses, error):
        """A rollback by the database may not repeat."""
        make_image(days_old=40)
        real, left = cleanup_batches.remove, [error] * 3

        def remove(batch, detail):
            if left:
                raise left.pop()
            return real(batch, detail)

        monkeypatch.setattr(cleanup_batches, "remove", remove)
        assert clean(of_days(), batch_size=10).images == 1
        assert len(pauses) == 4  # one of them behind the batch

    def test_persistent_error_is_raised(self, monkeypatch):
        """After a few attempts the error is raised, and nothing is lost."""
        make_image(days_old=40)
        error = IntegrityError("again")
        self.break_down(monkeypatch, "_weigh", after=0, error=error)
        with pytest.raises(IntegrityError, match="again"):
            clean(of_days(), batch_size=10)
        image = RequestImage.objects.get()
        assert image.content.read() == PICTURE
        assert image.log.capture_status == CaptureStatus.STORED
