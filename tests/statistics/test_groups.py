"""Querysets in, figures out: counts, averages and percentiles on every database."""

from __future__ import annotations

import datetime
import itertools
import math
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import assume, given
from hypothesis import strategies as st

from request_images.aggregation.percentiles import bucket_of, bucket_value, percentile
from request_images.aggregation.periods import Period
from request_images.aggregation.properties import DIMENSIONS, ERROR
from request_images.models import RequestLog
from request_images.models.querysets import failed as failed_sql
from request_images.models.querysets import succeeded
from request_images.outcome import is_failure
from request_images.statistics import groups
from request_images.statistics.summarize import summarize_rows
from tests.factories import (
    PICTURE,
    capture_queries,
    make_content,
    make_image,
    make_log,
    make_logs,
)
from tests.image_files import draw

UTC = datetime.timezone.utc
DURATIONS = st.lists(st.floats(0.001, 1e8), min_size=1, max_size=200)


def summary(days=7):
    """Return the summary of all requests of the last days, read row by row."""
    return summarize_rows(RequestLog.objects.all(), Period.last_days(days))


def days(count):
    """Return the groups of the last days, today last."""
    [series] = summary(count).by_day()
    return series.points[-count:]


def histogram_of(durations):
    counts = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    return counts


class TestPercentile:
    @given(DURATIONS, st.sampled_from([0.5, 0.95, 0.99]))
    def test_is_within_one_percent_of_the_exact_order_statistic(self, durations, share):
        """Whatever the durations, each percentile is one of them, give or take 1 %."""
        exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
        assert percentile(histogram_of(durations), share) == pytest.approx(
            exact, rel=0.01
        )

    @given(DURATIONS)
    def test_grows_with_its_share(self, durations):
        """A higher percentile is never shorter."""
        shares = [0, 0.1, 0.5, 0.9, 0.99, 1]
        values = [percentile(histogram_of(durations), share) for share in shares]
        assert values == sorted(values)

    def test_of_nothing(self):
        """Without requests there is no percentile."""
        assert percentile({}, 0.5) is None

    def test_single_request_is_every_percentile(self):
        """One request is every percentile."""
        [value] = {percentile({bucket_of(80): 1}, share) for share in (0, 0.5, 1)}
        assert value == pytest.approx(80, rel=0.01)

    @pytest.mark.parametrize("duration", [-1, 0, 1e-9, 0.001])
    def test_no_duration_is_too_short(self, duration):
        """Below a microsecond counts as a microsecond."""
        assert bucket_value(bucket_of(duration)) == pytest.approx(0.001, rel=0.01)

    @given(st.floats(0.001, 1e8), st.floats(0.001, 1e8))
    def test_a_longer_duration_is_in_no_lower_bucket(self, one, other):
        """Buckets keep the order."""
        assume(one <= other)
        assert bucket_of(one) <= bucket_of(other)

    def test_buckets_fit_their_column(self):
        """A view that runs for a year has a bucket within 16 bits."""
        assert bucket_of(365 * 86_400_000) < 2**15


@pytest.mark.django_db
class TestFailed:
    @pytest.mark.parametrize(
        ("status_code", "error_type", "failed"),
        [
            (200, "", False),
            (302, "", False),
            (399, "", False),
            (400, "", True),
            (422, "no_barcode", True),
            (500, "", True),
            (200, "no_barcode", True),
            (None, "", False),
            (None, "ValueError", True),
            (499, "CancelledError", True),
        ],
    )
    def test_failure_is_the_same_in_sql_and_python(
        self, status_code, error_type, failed
    ):
        """An error type, or a status from 400, also over a join."""
        image = make_image(status_code=status_code, error_type=error_type)
        assert RequestLog.objects.failed().exists() is failed
        assert RequestLog.objects.exclude(failed_sql()).exists() is not failed
        assert RequestLog.objects.filter(succeeded()).exists() is not failed
        assert is_failure(status_code, error_type) is failed
        assert type(image).objects.filter(failed_sql("log__")).exists() is failed
        assert image.log.is_failed is failed
        assert summary().overall().failed_count == failed


@pytest.mark.django_db
class TestOverall:
    def test_counts_and_averages(self):
        """Three requests, one failed; average and percentiles of their durations."""
        for duration, status in ((10, 200), (20, 200), (90, 500)):
            make_log(duration_ms=duration, status_code=status)
        found = summary().overall()
        assert found.key == {}
        assert (found.request_count, found.failed_count) == (3, 1)
        assert found.duration_ms.average == pytest.approx(40)
        assert found.duration_ms.p50 == pytest.approx(20, rel=0.01)
        assert found.duration_ms.p95 == pytest.approx(90, rel=0.01)
        assert found.duration_ms.p99 == pytest.approx(90, rel=0.01)

    def test_of_nothing(self):
        """No requests: zeros and Nones, no division by zero."""
        found = summary().overall()
        assert (found.request_count, found.failed_count) == (0, 0)
        assert found.duration_ms == groups.Durations(None, None, None, None)

    @given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=15))
    def test_is_the_same_in_sql_as_in_python(self, durations):
        """The database counts what Python counts."""
        RequestLog.objects.all().delete()  # those of the example before
        for duration in durations:
            make_log(duration_ms=duration)
        found = summary().overall().duration_ms
        ordered = sorted(durations)
        # They are added up in whole microseconds.
        average = sum(durations) / len(durations)
        assert found.average == pytest.approx(average, abs=0.0006)
        for share, value in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
            exact = ordered[math.ceil(share * len(ordered)) - 1]
            assert value == pytest.approx(exact, rel=0.01)

    def test_takes_one_query(self):
        """However many requests there are, the database adds them up."""
        for duration in (10, 20, 40):
            make_log(duration_ms=duration)
        with capture_queries() as queries:
            summary().overall()
        # Beside it, the reading is given a limit of time.
        assert len([sql for sql in queries if " FROM " in sql]) == 1


@pytest.mark.django_db
class TestBy:
    def test_most_frequent_group_is_first(self):
        """Groups of equal size are ordered by name."""
        for error_type in ("b", "a", "c", "c"):
            make_log(error_type=error_type)
        found = summary().by(ERROR)
        assert [group.key["error_type"] for group in found] == ["c", "a", "b"]
        assert [group.request_count for group in found] == [2, 1, 1]
        assert [group.failed_count for group in found] == [2, 1, 1]

    def test_several_fields_and_missing_values(self):
        """Dimensions are a pair, read over a join, and may be unknown."""
        for size in ((40, 20), (40, 20), (20, 40)):
            make_image(draw(size=size), duration_ms=size[0])
        make_image(image={"width": None, "height": None})
        found = summary().by(DIMENSIONS)
        assert found[0].key == {"width": 40, "height": 20}
        assert found[0].duration_ms.p50 == pytest.approx(40, rel=0.01)
        assert {"width": None, "height": None} in [group.key for group in found]
        assert len(found) == 3

    def test_number_of_groups_is_limited(self):
        """A client that sends many sizes does not flood the answer."""
        for error_type in "abcd":
            make_log(error_type=error_type)
        assert len(summary().by(ERROR, top=3)) == 3
        assert len(summary().by(ERROR)) == 4


def at_noon(monkeypatch, day, zone):
    """Set the clock to noon; return a function for other hours in UTC."""
    tz = ZoneInfo(zone)
    noon = datetime.datetime.combine(day, datetime.time(12), tz).astimezone(UTC)
    monkeypatch.setattr(timezone, "now", lambda: noon)
    return lambda date, *time: datetime.datetime.combine(
        date, datetime.time(*time), tz
    ).astimezone(UTC)


@pytest.mark.django_db
class TestByDay:
    def test_days_without_requests_are_included(self, monkeypatch):
        """Seven days, today last; a count may be 0."""
        today = datetime.date(2026, 6, 10)
        when = at_noon(monkeypatch, today, "Europe/Berlin")
        make_log(created_at=when(today, 0, 0), status_code=500)
        make_log(created_at=when(today, 11, 59))
        make_log(created_at=when(datetime.date(2026, 6, 9), 23, 59, 59, 999999))
        make_log(created_at=when(datetime.date(2026, 6, 4), 0, 0))
        make_log(created_at=when(datetime.date(2026, 6, 3), 23, 59))  # a day too early
        found = days(7)
        assert [group.key["date"].day for group in found] == [4, 5, 6, 7, 8, 9, 10]
        assert [group.request_count for group in found] == [1, 0, 0, 0, 0, 1, 2]
        assert [group.failed_count for group in found] == [0, 0, 0, 0, 0, 0, 1]
        assert found[1].duration_ms == groups.Durations(None, None, None, None)

    @pytest.mark.parametrize(
        ("zone", "day", "hours"),
        [
            ("Europe/Berlin", datetime.date(2026, 3, 29), 23),
            ("Europe/Berlin", datetime.date(2026, 10, 25), 25),
            # Here the clock is put forward at midnight: that day has no 00:00.
            ("America/Santiago", datetime.date(2026, 9, 6), 23),
            ("America/Santiago", datetime.date(2026, 4, 4), 25),
        ],
    )
    def test_a_day_has_23_or_25_hours_when_the_clock_changes(
        self, monkeypatch, settings, zone, day, hours
    ):
        """A request every hour: the day of the change has as many as it has hours."""
        settings.TIME_ZONE = zone
        at_noon(monkeypatch, day + datetime.timedelta(days=1), zone)
        start = datetime.datetime.combine(day, datetime.time(12), ZoneInfo(zone))
        begin = start.astimezone(UTC) + datetime.timedelta(minutes=30)
        make_logs(
            {"created_at": begin + datetime.timedelta(hours=hour)}
            for hour in range(-40, 40)
        )
        found = days(3)
        assert [group.key["date"] for group in found][1] == day
        assert found[1].request_count == hours

    def test_without_time_zones(self, settings, monkeypatch):
        """A project with ``USE_TZ = False`` has days too."""
        settings.USE_TZ = False
        now = datetime.datetime(2026, 6, 10, 12)  # naive is the point
        monkeypatch.setattr(timezone, "now", lambda: now)
        make_log(created_at=now.replace(hour=0))
        make_log(created_at=now.replace(day=9, hour=23))
        found = days(2)
        assert [(g.key["date"].day, g.request_count) for g in found] == [
            (9, 1),
            (10, 1),
        ]

    def test_takes_one_query(self):
        """Seven days are one question."""
        make_log()
        with capture_queries() as queries:
            days(7)
        # Beside it, the reading is given a limit of time.
        assert len([sql for sql in queries if " FROM " in sql]) == 1


@pytest.mark.django_db
class TestStorage:
    def test_distinct_content_counts_once(self):
        """An image sent three times is stored once."""
        other = draw(seed=1)
        for data in (PICTURE, PICTURE, PICTURE, other):
            make_image(data)
        make_image(draw(seed=2), kept=False)
        found = groups.stored_size(RequestLog.objects.all())
        assert found == len(PICTURE) + len(other)

    def test_different_contents_of_one_size_count_each(self):
        """Contents are distinct, whatever their sizes."""
        for seed in (1, 2):
            content = make_content(draw(seed=seed))
            content.stored_size = 100
            content.save()
            make_image(draw(seed=seed))
        assert groups.stored_size(RequestLog.objects.all()) == 200

    def test_storage_of_matching_requests(self):
        """Bytes of other requests do not count."""
        make_image(endpoint="a")
        make_image(endpoint="b")
        found = groups.stored_size(RequestLog.objects.filter(endpoint="a"))
        assert found == len(PICTURE)

    def test_of_nothing(self):
        """No images weigh nothing."""
        make_log()
        assert groups.stored_size(RequestLog.objects.all()) == 0


def test_rounding_does_not_shift_ranks():
    """``share * n`` in floating point is never just above an integer."""
    for share, n in itertools.product((50, 95, 99), range(1, 3000)):
        assert math.ceil(share / 100 * n) == -(-share * n // 100)
