"""Our failure is never the request's: it is a counter, a log line and a reason."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    OperationalError,
    connection,
)
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject
from django.utils.text import format_lazy

from request_images import health, signals
from request_images.capture import examine, lifecycle
from request_images.db import transactions
from request_images.decorators import capture_images
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.outcome import annotate
from request_images.writer import rows
from tests.factories import tables_missing, unsaved_record
from tests.host.models import Note
from tests.image_files import draw
from tests.traps import trap

URLS = ["/body/", "/async_upload/", "/mixed-in/", "/drf/view/", "/fail/404/"]


@pytest.fixture
def told():
    """What the receivers of our signals are told."""
    heard = []

    def listen(name):
        def receiver(sender, **kwargs):
            heard.append((name, sender, kwargs.get("log"), kwargs.get("exception")))

        return receiver

    names = ("image_saved", "image_skipped", "capture_failed")
    receivers = {name: listen(name) for name in names}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver)
    yield heard
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def post(url="/body/", client=None):
    client = client or Client(raise_request_exception=False)
    return client.post(url, draw(), content_type="image/png")


@pytest.mark.django_db(transaction=True)
class TestStoreFails:
    """W2: our write fails; status, body and the view's data are unchanged."""

    @trap("W2")
    @pytest.mark.parametrize("url", URLS)
    def test_missing_table_breaks_no_response(self, url, told):
        """W2: without our table every view answers as it does without us."""
        expected = post(url)
        RequestLog.objects.all().delete()
        told.clear()
        with tables_missing():
            response = post(url)
        assert response.status_code == expected.status_code
        assert response.content == expected.content
        assert all(key.startswith("store:") for key in health.faults())
        health.reset()
        assert [(name, log) for name, _, log, _ in told] == [("capture_failed", None)]

    @trap("W2")
    def test_rows_of_the_view_survive_a_failed_write(self, monkeypatch):
        """W2: what the view wrote is committed although our write failed."""
        monkeypatch.setattr(rows, "save_many", _raise(OperationalError("disk full")))
        assert post("/annotated/").status_code == 200
        assert Note.objects.count() == 1
        assert not RequestLog.objects.exists()
        health.reset()

    @trap("W2")
    @pytest.mark.usefixtures("atomic_requests")
    def test_transaction_of_the_view_survives_a_failed_write(self):
        """W2: what fails of ours does not take the view's transaction with it.

        A statement that fails within it would: PostgreSQL commits nothing after that,
        and the client is told that all went well.
        """
        with tables_missing():
            assert post("/annotated/").status_code == 200
        assert Note.objects.count() == 1
        assert health.faults()
        health.reset()

    def test_row_is_written_without_a_refused_image(self, monkeypatch, told):
        """Where the bytes cannot be stored the row says so, and why."""
        monkeypatch.setattr(
            ImageContent, "holding", _raise(OperationalError("packet too large"))
        )
        assert post().status_code == 200
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert log.capture_detail == "OperationalError: packet too large"
        assert log.image.file_size == len(draw())
        assert log.image.content is None
        assert health.faults() == {"store:OperationalError": 1}
        health.reset()
        assert [(name, heard) for name, _, heard, _ in told] == [
            ("capture_failed", log)
        ]

    def test_concurrent_same_image_is_a_duplicate(self, monkeypatch):
        """A content that another request writes just before us is used, not doubled."""
        look = rows._insert_all
        calls = []

        def racing(records, using):
            calls.append(1)
            if len(calls) == 1:
                (record,) = records
                ImageContent.holding(record.image.image_hash, record.data).save()
                raise IntegrityError("the other was faster")
            return look(records, using)

        monkeypatch.setattr(rows, "_insert_all", racing)
        post()
        assert ImageContent.objects.count() == 1
        assert RequestLog.objects.get().capture_status == "duplicate"

    def test_lasting_conflict_is_counted(self, monkeypatch):
        """A conflict that does not go away is given up, after five ways to avoid it."""
        monkeypatch.setattr(rows, "_insert_all", _raise(IntegrityError("always")))
        assert post().status_code == 200
        assert health.faults() == {"store:IntegrityError": 5}
        health.reset()

    def test_refused_value_costs_only_itself(self, monkeypatch):
        """What cannot be said of the image is left out, and the row is there."""
        look = rows._insert_all

        def refusing(records, using):
            if any(record.image for record in records):
                raise DataError("value out of range")
            look(records, using)

        monkeypatch.setattr(rows, "_insert_all", refusing)
        post()
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert not RequestImage.objects.exists()
        post("/nothing/")
        assert health.faults() == {"store:DataError": 4}
        health.reset()

    def test_lost_connection_is_replaced(self):
        """A connection that the database has closed is opened anew, image and all."""
        if connection.vendor == "sqlite":
            pytest.skip("an in-memory database is gone with its connection")
        connection.ensure_connection()
        connection.connection.close()
        assert post().status_code == 200
        assert RequestLog.objects.get().capture_status == "stored"


def test_database_without_returned_keys_writes_all(monkeypatch, db):
    """MySQL returns no keys for many rows at once: they are inserted one by one."""
    monkeypatch.setattr(
        type(connection.features), "can_return_rows_from_bulk_insert", False
    )
    records = [unsaved_record(seed) for seed in (1, 2, 1)]
    rows.save_many(records)
    assert [r.log.capture_status for r in records] == ["stored", "stored", "duplicate"]
    assert RequestLog.objects.count() == RequestImage.objects.count() == 3
    assert ImageContent.objects.count() == 2


def _unspeakable():
    raise RuntimeError("nobody may know")


class _Rebel(dict):
    def items(self):
        raise RuntimeError("not in pieces")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "given",
    [
        {"note": format_lazy("{missing}")},
        {"note": SimpleLazyObject(_unspeakable)},
        {"note": _Rebel(a=1)},
        {"error_type": SimpleLazyObject(_unspeakable)},
        {"link": SimpleLazyObject(_unspeakable)},
    ],
)
def test_annotations_may_raise_anything(given):
    """The row is there all the same, with its image, but for what cannot be said."""

    @capture_images
    def view(request):
        annotate(request, **given)
        return HttpResponse(request.body)

    request = RequestFactory().post("/", draw(), content_type="image/png")
    assert view(request).content == draw()
    log = RequestLog.objects.get()
    assert log.capture_status == "stored"
    assert {"read", "readline", "close"}.isdisjoint(vars(request))
    health.reset()


@pytest.mark.django_db
def test_fault_while_the_log_is_made_is_counted(monkeypatch):
    """It is counted as lost, and the request is left as it was."""
    monkeypatch.setattr(
        "request_images.capture.recording.bucket_of", _raise(ValueError())
    )
    assert post().status_code == 200
    assert health.counts() == {"lost": 1}
    health.reset()


@pytest.mark.django_db
def test_wrong_setting_at_run_time_breaks_no_response(settings):
    """A server runs no system checks: the row says what is not recorded for it."""
    settings.REQUEST_IMAGES_MAX_SIZE_MB = "10"
    assert post().status_code == 200
    assert health.counts() == {"store_failed": 1}
    assert "MAX_SIZE_MB must be" in RequestLog.objects.get().capture_detail
    assert health.faults() == {"tap:ImproperlyConfigured": 1}
    health.reset()


@pytest.mark.django_db
def test_wrong_setting_before_there_is_a_row_breaks_no_response(settings):
    """The methods that are recorded are unknown: what is lost is counted."""
    settings.REQUEST_IMAGES_METHODS = "POST"
    assert post().status_code == 200
    assert health.counts() == {"lost": 1}
    assert health.faults() == {"begin:ImproperlyConfigured": 1}
    health.reset()


def test_raising_log_handler_breaks_no_response():
    """A filter or handler of the project's own breaks no request either."""

    def broken(record):
        raise AttributeError("no request on this record")

    health.logger.addFilter(broken)
    try:
        health.report("tap", ValueError("ours"))
    finally:
        health.logger.removeFilter(broken)
    assert health.faults() == {"tap:ValueError": 1}
    health.reset()


@pytest.mark.parametrize("is_mariadb", [True, False])
def test_limits_of_mysql(is_mariadb):
    """MySQL has no limit for a whole statement; what it has is put back."""
    said = []

    class Connection:
        mysql_is_mariadb = is_mariadb

        @contextmanager
        def cursor(self):
            yield self

        def execute(self, sql, parameters=None):
            said.append((sql, parameters))

    with transactions._mysql_limits(Connection(), 0.02, 0.2):
        [(limiting, values)] = said
    names = ["SESSION lock_wait_timeout", "SESSION innodb_lock_wait_timeout"]
    expected = dict.fromkeys(names, 1)  # 0 would be no limit
    if is_mariadb:
        expected["SESSION max_statement_time"] = 0.2
    limited = [part for part in limiting.split(", ") if part.startswith("SESSION")]
    assert limited == [f"{name} = %s" for name in expected]
    assert values == list(expected.values())
    assert said[1][0].count(" = @request_images_") == len(expected)
    assert len(said) == 2


@pytest.mark.django_db
def test_fault_after_the_view_breaks_no_response(monkeypatch):
    """A bug of ours right behind the view is not the view's."""
    monkeypatch.setattr(
        lifecycle.RequestEnd, "view_ended", _raise(ZeroDivisionError("a bug"))
    )
    assert post().status_code == 200
    assert RequestLog.objects.get().capture_status == "stored"
    assert health.faults() == {"leave:ZeroDivisionError": 1}
    health.reset()


@pytest.mark.django_db
class TestInspectionFails:
    """A bug of ours in looking at the image costs the image, not the row."""

    @pytest.mark.parametrize("name", ["find", "inspect"])
    def test_fault_in_the_inspection_is_a_reason(self, monkeypatch, name, told):
        """The row says what went wrong."""
        monkeypatch.setattr(examine, name, _raise(ZeroDivisionError("a bug")))
        assert post().status_code == 200
        log = RequestLog.objects.get()
        assert log.capture_status == "store_failed"
        assert log.capture_detail == "ZeroDivisionError: a bug"
        assert health.faults() == {"inspection:ZeroDivisionError": 1}
        health.reset()
        assert [(name, heard) for name, _, heard, _ in told] == [
            ("capture_failed", log)
        ]

    def test_fault_before_the_row_is_counted(self, monkeypatch):
        """A bug where not even a row can be made is counted."""
        monkeypatch.setattr(
            "request_images.capture.recording.write", _raise(ZeroDivisionError("a bug"))
        )
        assert post().status_code == 200
        assert health.faults() == {"recording:ZeroDivisionError": 1}
        health.reset()

    def test_wrong_setting(self, settings):
        """A wrong setting is the administrator's to mend, not the client's to see."""
        settings.REQUEST_IMAGES_MAX_SIZE_MB = "ten"
        assert post().status_code == 200
        assert health.faults() == {"tap:ImproperlyConfigured": 1}
        health.reset()


@pytest.mark.django_db
class TestSignals:
    """Receivers are told, and cannot break a capture by raising."""

    def test_saved_and_skipped(self, told):
        """A kept image, a known one, and none at all."""
        post()
        post()
        post("/nothing/")
        first, second, third = RequestLog.objects.order_by("pk")
        assert told == [
            ("image_saved", RequestLog, first, None),
            ("image_saved", RequestLog, second, None),
            ("image_skipped", RequestLog, third, None),
        ]

    def test_raising_receiver_is_counted(self, told):
        """The row is there, and the other receivers are told."""

        def broken(sender, **kwargs):
            raise DatabaseError("not mine")

        signals.image_saved.connect(broken)
        try:
            assert post().status_code == 200
        finally:
            signals.image_saved.disconnect(broken)
        assert RequestLog.objects.count() == 1
        assert [name for name, *_ in told] == ["image_saved"]
        assert list(health.faults().values()) == [1]
        health.reset()


@pytest.mark.django_db
def test_faults_are_logged_once_a_minute(monkeypatch, caplog):
    """A fault that repeats does not fill the log."""
    monkeypatch.setattr(examine, "inspect", _raise(ZeroDivisionError("a bug")))
    with caplog.at_level(logging.ERROR, logger="request_images"):
        for _ in range(5):
            post()
    lines = [r for r in caplog.records if r.name == "request_images"]
    assert len(lines) == 1
    assert health.faults() == {"inspection:ZeroDivisionError": 5}
    health.reset()


def _raise(exception):
    def broken(*args, **kwargs):
        raise exception

    return broken
