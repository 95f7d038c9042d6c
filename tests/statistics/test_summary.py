"""Summaries: rollups give the same numbers as the rows."""

from __future__ import annotations

import datetime
import random
from collections import Counter
from dataclasses import replace

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from request_images import health
from request_images.aggregation.facets import Facet
from request_images.aggregation.periods import Period, floor
from request_images.aggregation.properties import (
    ALL,
    CAPTURE_STATUS,
    CONTENT_GONE,
    ERROR,
    FACETS,
    RELEASE,
)
from request_images.cleanup.delete_rows import Going, remove
from request_images.cleanup.report import Reason
from request_images.cleanup.retention import clean
from request_images.exceptions import TooManyRequests
from request_images.models import (
    GoneRequests,
    ImageContent,
    RequestImage,
    RequestLog,
    StaleHour,
    StatisticsRollup,
    StatisticsState,
)
from request_images.models.cutoffs import Retention
from request_images.statistics import live, reader, rollups
from request_images.statistics.summarize import is_known, summarize, summarize_rows
from request_images.statistics.summary import Summary
from request_images.writer.rows import save_many
from tests.factories import (
    capture_queries,
    make_image,
    make_images,
    make_log,
    make_logs,
    record_of,
    unsaved_record,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db
PICTURES = [draw(size=size) for size in ((40, 20), (20, 40), (640, 480))]
OF_REQUESTS = [facet for facet in FACETS.values() if not facet.is_of_contents]
HOUR = datetime.timedelta(hours=1)


def fill(days: float, requests: int) -> None:
    """Write requests of all kinds, spread over some days."""
    choose = random.Random(1)
    logs, images = [], []
    for _ in range(requests):
        values = {
            "days_old": choose.uniform(0, days),
            "duration_ms": choose.lognormvariate(3, 1),
            "status_code": choose.choice([200, 200, 200, 422, 500, None]),
            "error_type": choose.choice(["", "", "", "no_barcode"]),
            "endpoint": choose.choice(["solve", "read"]),
            "release": choose.choice(["1.0", "1.1"]),
        }
        if choose.random() < 0.3:
            logs.append(values)
        else:
            image = {
                "declared_type": choose.choice(["", "image/png", "image/gif"]),
                "color_mode": choose.choice(["", "RGB", "P"]),
                "is_animated": choose.choice([None, True, False]),
                "has_orientation": choose.choice([None, True, False]),
                "is_repeated": choose.choice([None, True, False]),
            }
            images.append({"data": choose.choice(PICTURES), "image": image, **values})
    make_logs(logs)
    make_images(images)


def figures(of: Summary, *left_out: Facet) -> dict[str, object]:
    """Return all numbers of a summary, for comparison."""
    facets = [facet for facet in OF_REQUESTS if facet not in left_out]
    of.read(ALL, *facets)
    [days], [hours] = of.by_day(), of.by_hour()
    return {
        "overall": rounded([of.overall()]),
        "bytes": of.received_bytes(),
        "days": rounded(days.points),
        "hours": rounded(hours.points),
        "errors": [rounded(each.points) for each in of.by_day(ERROR)],
        **{facet.name: rounded(of.by(facet)) for facet in facets},
    }


def rounded(groups):
    return [
        (
            str(group.key),
            group.request_count,
            group.failed_count,
            group.duration_ms.average and round(group.duration_ms.average, 6),
            group.duration_ms.p50,
            group.duration_ms.p95,
            group.duration_ms.p99,
        )
        for group in groups
    ]


def counted(courses):
    return {
        facet: [
            {
                value: (tally.count, tally.failed, dict(tally.histogram))
                for value, tally in cells.items()
            }
            for cells in course
        ]
        for facet, course in courses.items()
    }


def by_rows(period: Period, **filters: object) -> Summary:
    return summarize_rows(RequestLog.objects.filter(**filters), period)


@pytest.fixture
def at(monkeypatch):
    """Return a function that sets the clock."""

    def at(*moment, zone=datetime.timezone.utc):
        now = datetime.datetime(*moment, tzinfo=zone)
        monkeypatch.setattr(timezone, "now", lambda: now)
        return now

    return at


class TestEqualsRows:
    @pytest.mark.parametrize(("days", "requests"), [(2, 60), (75, 60)])
    def test_rollups_give_the_numbers_of_the_rows(self, at, days, requests):
        """Hours, days and months, and the open hour: all facets, all endpoints."""
        at(2026, 6, 10, 15, 20)
        fill(days, requests)
        period = Period.last_days(days)
        rollups.update(period.since)
        found = summarize(period)
        assert found.missing_hours == 0
        assert figures(found) == figures(by_rows(period))
        one = summarize(period, "solve")
        assert figures(one) == figures(by_rows(period, endpoint="solve"))
        spans = set(StatisticsRollup.objects.values_list("span", flat=True))
        assert ("month" in spans) is (days > 62)

    def test_second_rollup_changes_nothing(self, at):
        """Anew, or from nothing at all: it is the same."""
        at(2026, 6, 10, 15, 20)
        fill(3, 40)
        period = Period.last_days(3)
        make_log(created_at=period.since)
        rollups.update(period.since)
        before = figures(summarize(period))
        rollups.mark_all(None, None)
        assert StaleHour.objects.count() == 72
        assert rollups.update(period.since).hours == 72
        assert not StaleHour.objects.exists()
        assert figures(summarize(period)) == before
        for model in (StatisticsRollup, StatisticsState):
            model.objects.all().delete()
        rollups.update()
        assert figures(summarize(period)) == before

    def test_update_of_decades_stops_at_the_first_request(self, at):
        """A full update does not begin with hours before the first row."""
        at(2026, 6, 10, 15, 20)
        make_log(days_old=2)
        since = datetime.datetime(1980, 1, 1, tzinfo=datetime.timezone.utc)
        period = Period.of(since, timezone.now())
        assert summarize(period).overall().request_count == 1
        rollups.mark_all(None, None)
        assert StaleHour.objects.count() == 48
        RequestLog.objects.all()._raw_delete("default")  # without signals
        rollups.mark_all(None, None)
        rollups.update(since)
        assert summarize(period).overall().request_count == 0

    def test_endpoint_is_case_sensitive(self, at):
        """Also where the database takes some letters for others."""
        at(2026, 6, 10, 15, 20)
        for endpoint in ("solve", "Solve", "solvé"):
            for days_old in (0, 2):
                make_log(days_old=days_old, endpoint=endpoint)
        found = summarize(Period.last_days(3), "solve")
        assert found.overall().request_count == 2
        assert not is_known("SOLVE")

    def test_previous_period(self, at):
        """It is as long, and ends where the other begins."""
        at(2026, 6, 10, 15, 20)
        make_log(days_old=0.5)
        make_log(days_old=1.5)
        make_log(days_old=1.6)
        period = Period.last_days(1)
        counts = [summarize(p).overall().request_count for p in (period, period.before)]
        assert counts == [1, 2]

    def test_hours_that_close_later(self, at):
        """Hour after hour, over days and the end of a month, without a gap."""
        for hour in range(0, 80, 7):
            now = at(2026, 5, 30, 0, 30) + hour * HOUR
            at(now.year, now.month, now.day, now.hour, 30)
            make_log(created_at=timezone.now(), duration_ms=hour + 1)
            period = Period.last_days(3)
            assert figures(summarize(period)) == figures(by_rows(period))


class TestStaleHours:
    @pytest.fixture(autouse=True)
    def _built(self, at):
        at(2026, 6, 10, 15, 20)
        fill(2, 30)
        self.period = Period.last_days(3)
        rollups.update(self.period.since)

    def check(self):
        found = summarize(self.period)
        assert found.missing_hours == 0
        assert figures(found) == figures(by_rows(self.period))

    def test_late_row_is_counted(self):
        """A request waited in the spool folder."""
        record = unsaved_record(1)
        record.log.created_at = timezone.now() - 5 * HOUR
        save_many([record_of(record.log, record.image, record.data)])
        assert StaleHour.objects.get().hour == floor(record.log.created_at)
        self.check()
        assert not StaleHour.objects.exists()

    def test_row_of_the_open_hour_sets_no_mark(self):
        """No capture writes one more row than it must."""
        record = unsaved_record(1)
        with capture_queries() as queries:
            save_many([record_of(record.log, record.image, record.data)])
        assert [sql for sql in queries if "stale" in sql.lower()] == []
        self.check()

    @pytest.mark.parametrize("model", [RequestImage, RequestLog])
    def test_deleted_rows_are_no_longer_counted(self, model):
        """Many at once, or one."""
        model.objects.order_by("pk").first().delete()
        self.check()
        pks = list(model.objects.values_list("pk", flat=True)[:9])
        many = model.objects.filter(pk__in=pks)
        if model is RequestLog:
            RequestImage.objects.filter(log__in=many).delete()
        many.delete()
        self.check()

    def test_changed_rows_are_counted_anew(self):
        """An error type that was set later, and a corrected hour."""
        RequestLog.objects.update(error_type="not_solved")
        self.check()
        log = RequestLog.objects.order_by("created_at").first()
        log.release = "9"
        log.save()
        self.check()
        RequestLog.objects.filter(pk=log.pk).update(created_at=timezone.now() - HOUR)
        self.check()

    @pytest.mark.parametrize(
        "values",
        [
            {"color_mode": "LA", "is_animated": True},
            {"has_orientation": True},
            {"declared_type": "image/webp"},
            {"is_repeated": False},
        ],
    )
    def test_changed_images_are_counted_anew(self, values):
        """A colour mode that was read again."""
        RequestImage.objects.update(**values)
        self.check()

    def test_change_of_an_uncounted_field_sets_no_mark(self):
        """A pin is no reason to add anything up."""
        assert RequestLog.objects.update(is_pinned=True)
        assert not StaleHour.objects.exists()


class TestCleanup:
    @pytest.mark.parametrize("is_built", [True, False])
    @pytest.mark.parametrize("times", [1, 2])
    def test_cleanup_keeps_the_statistics(self, at, is_built, times):
        """Images go, then logs; the numbers stay, even after a full update."""
        at(2026, 6, 10, 15, 20)
        fill(6, 30)
        period = Period.last_days(7)
        before = figures(by_rows(period), CAPTURE_STATUS)
        if is_built:
            rollups.update(period.since)
        for days in [(3, 5), (1, 2)][:times]:
            clean(Retention.of_days(*days), batch_size=7)
        assert GoneRequests.objects.exists()
        for _ in range(2):
            rollups.update(period.since)
            assert figures(summarize(period), CAPTURE_STATUS) == before
            rollups.mark_all(None, None)
        hours = list(GoneRequests.objects.values_list("hour", flat=True))
        assert len(hours) == len(set(hours))

    def test_cleanup_of_everything(self, at):
        """No row is left, and the statistics are whole."""
        at(2026, 6, 10, 15, 20)
        fill(40, 40)
        make_image(days_old=1000)
        RequestLog.objects.update(created_at=timezone.now() - 41 * 24 * HOUR)
        RequestImage.objects.update(created_at=timezone.now() - 41 * 24 * HOUR)
        period = Period.last_days(60)
        before = figures(by_rows(period), CAPTURE_STATUS)
        clean(Retention.of_days(20, 30), batch_size=500)
        assert not RequestLog.objects.exists()
        rollups.update()
        assert figures(summarize(period), CAPTURE_STATUS) == before
        assert is_known("solve")
        assert not is_known("nowhere")

    def test_cleanup_of_bytes_only(self, at):
        """Only the capture status changes."""
        at(2026, 6, 10, 15, 20)
        fill(20, 30)
        period = Period.last_days(21)
        rollups.update(period.since)
        clean(Retention.of_days(300, 400, bytes_days=5), batch_size=500)
        rollups.update(period.since)
        assert figures(summarize(period)) == figures(by_rows(period))
        assert not GoneRequests.objects.filter(hour__lt=period.since).exists()

    def test_stored_bytes_after_cleanup(self, at):
        """By the hour when a content came."""
        now = at(2026, 6, 10, 15, 20)
        for seed, age in enumerate((0, 2, 50)):
            make_image(draw(seed=seed), days_old=age)
        sizes = dict.fromkeys(ImageContent.objects.values_list("pk", flat=True))
        for content, age in zip(
            ImageContent.objects.order_by("pk"), (0, 2, 50), strict=True
        ):
            sizes[content.pk] = content.stored_size
            ImageContent.objects.filter(pk=content.pk).update(
                created_at=now - age * 24 * HOUR
            )
        period = Period.last_days(60)
        rollups.update(period.since)
        assert summarize(period).stored_bytes() == {"": sum(sizes.values())}
        clean(Retention.of_days(30, None), batch_size=500)
        rollups.update(period.since)
        *kept, gone = sizes.values()
        assert summarize(period).stored_bytes() == {"": sum(kept)}
        [group] = summarize(period).by(CONTENT_GONE)
        assert (group.key, group.request_count) == ({"storage": ""}, 1)
        assert summarize(period)._cells(CONTENT_GONE)[""].total_bytes == gone


class TestDays:
    @pytest.mark.parametrize(
        "zone",
        ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"],
    )
    @pytest.mark.parametrize("now", [(2026, 3, 30, 12), (2026, 10, 26, 12)])
    def test_days_follow_the_time_zone(self, settings, at, zone, now):
        """Also where midnight is no whole hour, and where the clock changes."""
        settings.TIME_ZONE = zone
        at(*now)
        make_logs(
            {"created_at": timezone.now() - quarter * HOUR / 4}
            for quarter in range(0, 24 * 4 * 4, 5)
        )
        times = RequestLog.objects.values_list("created_at", flat=True)
        days = Counter(timezone.localdate(time) for time in times)
        period = Period.last_days(4)
        rollups.update(period.since)
        [series] = summarize(period).by_day()
        for point in series.points[-3:]:
            assert point.request_count == days[point.key["date"]] > 0
        assert figures(summarize(period)) == figures(by_rows(period))

    def test_without_time_zones(self, settings, monkeypatch):
        """Hours and days of the clock on the wall."""
        settings.USE_TZ = False
        now = datetime.datetime(2026, 6, 10, 12, 30)  # the point
        monkeypatch.setattr(timezone, "now", lambda: now)
        for hours in range(0, 60, 7):
            make_image(created_at=now - hours * HOUR)
        ImageContent.objects.update(created_at=now)
        period = Period.last_days(3)
        rollups.update(period.since)
        found = summarize(period)
        assert found.missing_hours == 0
        assert figures(found) == figures(by_rows(period))


class TestBounds:
    def test_a_hundred_values_are_recorded_one_by_one(self, at):
        """All other requests are in the total only."""
        at(2026, 6, 10, 15, 20)
        make_logs(
            {"release": f"{number}", "created_at": timezone.now() - 2 * HOUR}
            for number in range(120)
        )
        for _ in range(2):
            make_log(release="119", created_at=timezone.now() - 3 * HOUR)
        rollups.update()
        found = summarize(Period.last_days(1))
        assert found.overall().request_count == 122
        listed = found.by(RELEASE, top=1000)
        assert len(listed) == 100
        assert sum(group.request_count for group in listed) == 102
        [most_frequent] = found.by(RELEASE, top=1)
        assert most_frequent.request_count == 3

    def test_days_with_too_many_values_are_summed_by_hour(self, settings, at):
        """Nothing can be subtracted from such a day, so its hours are summed."""
        settings.TIME_ZONE = "Asia/Tokyo"
        at(2026, 6, 10, 15, 20)
        fill(3, 40)
        values = {"release": "1.0", "status_code": 500}
        make_logs(
            {
                "error_type": f"{number}",
                "created_at": timezone.now() - (24 + number % 24) * HOUR,
                **values,
            }
            for number in range(300)
        )
        period = Period.last_days(3)
        rollups.update(period.since)
        slots = [(since, until) for _, since, until in period.days()]
        facets = (ALL, ERROR, RELEASE)
        found = summarize(period).facets_by_slot(slots, facets)
        assert counted(found) == counted(by_rows(period).facets_by_slot(slots, facets))

    def test_facets_are_read_once(self, at):
        at(2026, 6, 10, 15, 20)
        fill(1, 3)
        found = summarize(Period.last_days(1))
        found.read(ALL, ERROR)
        with capture_queries() as queries:
            found.read(ERROR, ALL)
        assert list(queries) == []

    def test_reader_rolls_up_for_a_limited_time(self, at, monkeypatch):
        """Hours beyond the limit are counted as missing, and rolled up later."""
        at(2026, 6, 10, 15, 20)
        fill(3, 20)
        monkeypatch.setattr("request_images.statistics.summarize.BUILD_SECONDS", -1)
        period = Period.last_days(3)
        found = summarize(period)
        assert found.missing_hours == 72
        overall = by_rows(Period.last_days(0)).overall()
        assert rounded([found.overall()]) == rounded([overall])
        assert rollups.update(period.since) == rollups.Progress(72, 0)
        assert summarize(period).missing_hours == 0

    def test_hour_with_many_rows(self, at, monkeypatch):
        """Each step has one hour at least."""
        at(2026, 6, 10, 15, 20)
        fill(1, 30)
        monkeypatch.setattr("request_images.statistics.rollups.ROWS_AT_ONCE", 3)
        period = Period.last_days(1)
        rollups.update(period.since)
        assert figures(summarize(period)) == figures(by_rows(period))

    def test_open_hour_with_too_many_rows_is_left_out(self, at, monkeypatch):
        """Whole hours are left out, the oldest first, and counted as missing."""
        at(2026, 6, 10, 15, 1)
        for minutes in (0, 5, 10, 15):
            make_log(created_at=timezone.now() - minutes * HOUR / 60)
        monkeypatch.setattr(live, "MOST_ROWS", 3)
        found = summarize(Period.last_days(1))
        assert (found.missing_hours, found.overall().request_count) == (1, 1)

    def test_too_many_rows_are_refused(self, monkeypatch):
        """The error has the reason."""
        make_log()
        make_log()
        monkeypatch.setattr(live, "MOST_ROWS", 1)
        with pytest.raises(TooManyRequests, match="More than 1 requests"):
            by_rows(Period.last_days(1))

    def test_number_of_queries_is_constant(self, at):
        """The numbers of requests and hours do not matter."""
        at(2026, 6, 10, 15, 20)
        fill(40, 30)
        period = Period.last_days(30)
        rollups.update(period.before.since)
        with capture_queries() as queries:
            found = summarize(period)
            found.read(*FACETS.values())
            found.overall()
            for facet in FACETS.values():
                found.by(facet)
            found.by_hour()
            found.by_day(ERROR)
            summarize(period.before).overall()
        assert len(queries) <= 15


class TestFaults:
    def test_read_only_database_is_read(self, at, monkeypatch):
        """A page works with a replica."""
        at(2026, 6, 10, 15, 20)
        fill(1, 10)

        def refuse(*args, **kwargs):
            raise DatabaseError("cannot execute INSERT in a read-only transaction")

        monkeypatch.setattr(rollups, "update", refuse)
        period = Period.last_days(1)
        found = summarize(period)
        assert figures(found) == figures(by_rows(period))
        assert health.faults() == {"statistics:DatabaseError": 1}
        health.reset()

    def test_busy_database(self, at, monkeypatch):
        """A busy database is not a fault."""
        at(2026, 6, 10, 15, 20)

        def refuse(*args, **kwargs):
            raise DatabaseError("database is locked")

        monkeypatch.setattr(rollups, "update", refuse)
        assert summarize(Period.last_days(1)).overall().request_count == 0

    def test_concurrent_update_is_retried(self, at, monkeypatch):
        """Whoever comes second changes nothing, and looks again."""
        at(2026, 6, 10, 15, 20)
        fill(1, 20)
        period, gather = Period.last_days(2), rollups.gather
        between = [lambda: rollups.update(period.since)]

        def slowly(rows, **values):
            found = gather(rows, **values)
            if between:
                between.pop()()
            return found

        monkeypatch.setattr(rollups, "gather", slowly)
        rollups.update(period.since)
        assert figures(summarize(period)) == figures(by_rows(period))
        assert StatisticsState.objects.count() == 1

    def test_update_gives_up_after_concurrent_updates(self, at, monkeypatch):
        """It gives up, and tells what is left."""
        at(2026, 6, 10, 15, 20)
        monkeypatch.setattr(rollups, "_do", lambda work, version: False)
        assert rollups.update(timezone.now() - 5 * HOUR) == rollups.Progress(0, 5)

    @pytest.mark.parametrize(
        ("text", "is_nothing_special"), [("database is locked", True), ("no", False)]
    )
    def test_failed_write(self, at, monkeypatch, text, is_nothing_special):
        """A busy database is retried later; any other error is reported."""
        at(2026, 6, 10, 15, 20)
        make_log(days_old=0.5)

        def refuse(*args):
            raise DatabaseError(text)

        monkeypatch.setattr(rollups, "_replace", refuse)
        if is_nothing_special:
            assert rollups.update(timezone.now() - 24 * HOUR).left == 24
        else:
            with pytest.raises(DatabaseError):
                rollups.update(timezone.now() - 24 * HOUR)

    def test_rollups_that_change_during_a_read(self, at, monkeypatch):
        """They are read again, so that nothing counts twice."""
        at(2026, 6, 10, 15, 20)
        fill(40, 40)
        period = Period.last_days(41)
        rollups.update(period.since)
        before = figures(by_rows(period), CAPTURE_STATUS)
        found = summarize(period)
        clean(Retention.of_days(5, 10), batch_size=500)
        rollups.update(period.since)
        assert figures(found, CAPTURE_STATUS) == before

    def test_rollups_that_keep_changing(self, at, monkeypatch):
        """What was read last is taken."""
        at(2026, 6, 10, 15, 20)
        fill(40, 40)
        period = Period.last_days(41)
        rollups.update(period.since)
        before = figures(by_rows(period), CAPTURE_STATUS)
        found, state = summarize(period), reader.state

        def moving_on():
            return replace(state(), version=random.getrandbits(40))

        monkeypatch.setattr(reader, "state", moving_on)
        assert figures(found, CAPTURE_STATUS) == before

    def test_deleted_requests_of_other_endpoints_are_left_out(self, at):
        """Also of an hour that is looked at row by row."""
        at(2026, 6, 10, 15, 20)
        for endpoint in ("solve", "other"):
            log = make_log(endpoint=endpoint)
            remove([Going(Reason.LOG, log.pk)])
        assert summarize(Period.last_days(1), "solve").overall().request_count == 1
        assert summarize(Period.last_days(1)).overall().request_count == 2


class TestRetention:
    def test_old_statistics_are_deleted(self, at, settings):
        """Later updates do not restore them."""
        at(2026, 6, 10, 15, 20)
        fill(100, 50)
        period = Period.last_days(101)
        rollups.update(period.since)
        settings.REQUEST_IMAGES_STATISTICS_RETENTION_DAYS = 30
        begins = timezone.now().replace(hour=0, minute=0) - 30 * 24 * HOUR
        assert rollups.forget(begins) > 0
        assert rollups.forget(begins) == 0
        left = StatisticsRollup.objects.exclude(span="month")
        assert min(left.values_list("start", flat=True)) >= begins
        found = summarize(period)
        assert found.missing_hours == 0
        rows = by_rows(Period(begins, period.until))
        assert rounded([found.overall()]) == rounded([rows.overall()])
        assert rollups.update().hours == 0


def test_rows_have_readable_names():
    """The admin and the shell show the string of a row."""
    moment = datetime.datetime(2026, 6, 10, 15, tzinfo=datetime.timezone.utc)
    assert str(StaleHour(hour=moment)) == "2026-06-10 15:00"
    assert str(GoneRequests(hour=moment)) == "2026-06-10 15:00"
    row = StatisticsRollup(span="day", start=moment, facet="all")
    assert str(row) == "day 2026-06-10 15:00, all"
    state = StatisticsState(since=moment, until=moment + HOUR)
    assert str(state) == "2026-06-10 15:00 to 2026-06-10 16:00"


def test_slow_query_is_cancelled():
    """The database cancels the query; the limit does not outlive it."""
    slow = {
        "sqlite": (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < 3000000) SELECT count(*) FROM n"
        ),
        "postgresql": "SELECT pg_sleep(1)",
        "mysql": (
            "SELECT count(*) FROM information_schema.columns a,"
            " information_schema.columns b, information_schema.columns c"
        ),
    }[connection.vendor]
    limited = live.limited("default", 0.05)
    with pytest.raises(TooManyRequests), limited, connection.cursor() as cursor:
        cursor.execute(slow)
    with live.limited("default", 5):
        assert not RequestLog.objects.exists()
    with pytest.raises(DatabaseError), live.limited("default", 5):
        raise DatabaseError("another one")
