"""Writes that meet others, or a database in trouble: nothing lost, nothing doubled."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, connection
from django.test import Client
from django.utils.connection import ConnectionDoesNotExist

from request_images import health, signals
from request_images.capture.examine import CapturedRequest
from request_images.capture.payload import Payload, Upload
from request_images.cleanup import delete_rows
from request_images.cleanup.report import Cleaned
from request_images.cleanup.retention import clean
from request_images.db.columns import clean_json
from request_images.db.destination import Destination
from request_images.db.errors import Fault, fault_of
from request_images.models import (
    FurtherImage,
    ImageContent,
    RequestImage,
    RequestLog,
)
from request_images.models.cutoffs import Retention
from request_images.writer import jobs, single
from request_images.writer import rows as writer_rows
from request_images.writer.connection import has_lost, usable_connection
from request_images.writer.spool import spooling
from tests.factories import unsaved_record
from tests.host.models import Note
from tests.image_files import draw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _healthy():
    yield
    health.reset()
    jobs.breakers.reset()


@pytest.fixture
def spool(settings, tmp_path):
    """A spool folder."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"


def driver_error(**attributes):
    """What Django raises when a driver tells an error of this code."""
    cause = type("DriverError", (Exception,), attributes)()
    error = OperationalError("driver says no")
    error.__cause__ = cause
    return error


def failing(monkeypatch, error, *, times):
    """Let the first so many writes fail."""
    save_once, left = writer_rows._insert_all, [error] * times

    def fail(records, using):
        if left:
            raise left.pop()
        save_once(records, using)

    monkeypatch.setattr(writer_rows, "_insert_all", fail)


def post(url="/body/", seed=0):
    return Client().post(url, draw(seed=seed), content_type="image/png")


def status():
    return RequestLog.objects.get().capture_status


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (driver_error(sqlstate="40001"), Fault.CONFLICT),
        (driver_error(pgcode="40P01"), Fault.CONFLICT),
        (driver_error(sqlstate="55P03"), Fault.BUSY),
        (OperationalError(1213, "Deadlock found"), Fault.CONFLICT),
        (OperationalError(1205, "Lock wait timeout"), Fault.BUSY),
        (OperationalError(4025, "CONSTRAINT failed"), Fault.ROW),
        (OperationalError("database is locked"), Fault.BUSY),
        (OperationalError("no such host"), Fault.AWAY),
        (OperationalError(), Fault.AWAY),
        (TypeError("not adaptable"), Fault.ROW),
    ],
)
def test_errors_are_classified(error, fault):
    """By the codes that databases tell, each in its own way."""
    assert fault_of(error) is fault


def test_conflict_is_tried_again(monkeypatch):
    """A deadlock or a serialization failure is tried again, and costs nothing."""
    failing(monkeypatch, driver_error(sqlstate="40P01"), times=3)
    post()
    assert status() == "stored"
    assert health.faults() == {}


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time"
)
def test_cleanup_waits_for_a_new_reference(
    monkeypatch,
):  # pragma: no cover  # see skipif
    """It waits for us, and keeps the bytes: nothing need be tried again."""
    old = unsaved_record(1)
    old.log.created_at -= timedelta(days=40)
    writer_rows.save_many([old])
    save_once, insert = writer_rows._insert_all, writer_rows.insert
    commit, tries, cleaned = single.insert_and_commit, [], []

    def clean_up():
        try:
            cleaned.append(clean(Retention.of_days(30, 365), batch_size=10).total)
        finally:
            connection.close()

    thread = threading.Thread(target=clean_up)

    def watched(records, using):
        tries.append(1)
        save_once(records, using)

    def begin_to_clean():
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()

    def while_it_cleans(rows, using):
        if rows and isinstance(rows[0], RequestImage):
            begin_to_clean()
        insert(rows, using)

    def commit_while_it_cleans(record, content, using):
        begin_to_clean()
        commit(record, content, using)

    monkeypatch.setattr(single, "insert_and_commit", commit_while_it_cleans)
    monkeypatch.setattr(writer_rows, "_insert_all", watched)
    monkeypatch.setattr(writer_rows, "insert", while_it_cleans)
    record = unsaved_record(1)
    writer_rows.save_many([record])
    thread.join()
    assert tries == [1]
    assert record.log.capture_status == "duplicate"
    assert cleaned == [Cleaned(images=1)]
    assert RequestImage.objects.get().image_data == draw(seed=1)


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time"
)
def test_write_survives_a_concurrent_deletion(
    monkeypatch,
):  # pragma: no cover  # see skipif
    """We wait until it is gone, and keep it anew: nothing need be tried again."""
    old = unsaved_record(1)
    old.log.created_at -= timedelta(days=40)
    writer_rows.save_many([old])
    save_once, weigh, tries = writer_rows._insert_all, delete_rows._weigh, []
    record = unsaved_record(1)

    def record_it():
        try:
            writer_rows.save_many([record])
        finally:
            connection.close()

    thread = threading.Thread(target=record_it)

    def watched(records, using):
        tries.append(1)
        save_once(records, using)

    def while_we_record(rows):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        return weigh(rows)

    monkeypatch.setattr(writer_rows, "_insert_all", watched)
    monkeypatch.setattr(delete_rows, "_weigh", while_we_record)
    assert clean(Retention.of_days(30, 365), batch_size=10).total.contents == 1
    thread.join()
    assert tries == [1]
    assert record.log.capture_status == "stored"
    assert RequestImage.objects.get().image_data == draw(seed=1)


class TestBusy:
    """A lock that is not to be had in time."""

    def test_busy_request_is_spooled_with_its_image(self, monkeypatch, spool):
        """Later it can be written whole; a row without its image would be final."""
        failing(monkeypatch, driver_error(sqlstate="55P03"), times=1)
        post()
        assert not RequestLog.objects.exists()
        assert spooling.write_spooled().written == 1
        assert status() == "stored"
        assert RequestImage.objects.get().image_data == draw()

    def test_busy_request_without_a_folder_loses_its_image(self, monkeypatch):
        """The row says why its image is missing. That is no reason to stop trying."""
        for seed in range(6):
            failing(monkeypatch, driver_error(sqlstate="55P03"), times=1)
            post(seed=seed)
        statuses = RequestLog.objects.values_list("capture_status", flat=True)
        assert list(statuses) == ["store_failed"] * 6
        assert jobs.breakers.allows(Destination())

    def test_locked_logs_open_the_breaker(self, monkeypatch):
        """Where not even a log gets in, trying is stopped."""
        failing(monkeypatch, driver_error(sqlstate="55P03"), times=100)
        for seed in range(6):
            post(seed=seed)
        assert not jobs.breakers.allows(Destination())


def test_value_that_the_database_refuses_becomes_ascii(monkeypatch):
    """Its texts are made plain, its image is kept, and the others go on."""
    save_once = writer_rows._insert_all

    def refuse_emoji(records, using):
        if any(not record.log.path.isascii() for record in records):
            raise OperationalError(1366, "Incorrect string value")
        save_once(records, using)

    monkeypatch.setattr(writer_rows, "_insert_all", refuse_emoji)
    records = [unsaved_record(seed) for seed in range(7)]
    for record in records[:6]:
        record.log.path = "/\N{GRINNING FACE}/"
    jobs.write_jobs([job_of(record) for record in records])
    logs = RequestLog.objects.order_by("id")
    assert [log.capture_status for log in logs] == ["stored"] * 7
    assert {log.path for log in logs[:6]} == {"/\\U0001f600/"}
    assert jobs.breakers.allows(Destination())


def test_refused_text_and_refused_image_cost_only_themselves(monkeypatch):
    """The other images of the request are kept, whichever is refused first."""
    insert = writer_rows.insert
    pictures = [draw(seed=seed) for seed in range(3)]

    def refuse(rows, using):
        for row in rows:
            if isinstance(row, RequestLog):
                if not (row.path + row.error_message).isascii():
                    raise DataError("no such character")
            elif isinstance(row, ImageContent) and bytes(row.data) == pictures[1]:
                raise DataError("no such image")
        insert(rows, using)

    monkeypatch.setattr(writer_rows, "insert", refuse)
    request = unsaved_record(0)
    request.log.path = "/\N{GRINNING FACE}/"
    request.log.error_message = 1999 * "a" + "\N{HORIZONTAL ELLIPSIS}"
    payload = Payload(content_type="multipart/form-data", was_read=True)
    payload.uploads = [
        Upload("photo", len(data), data[:64], data, complete=True) for data in pictures
    ]
    jobs.write_jobs([CapturedRequest(request.log, limit=3, payload=payload)])
    log = RequestLog.objects.get()
    assert (log.path, log.capture_status) == ("/\\U0001f600/", "stored")
    assert len(log.error_message) == 2000
    refused, kept = FurtherImage.objects.order_by("position")
    assert (refused.capture_status, refused.content) == ("store_failed", None)
    assert kept.capture_status == "stored"
    assert {bytes(c.data) for c in ImageContent.objects.all()} == {
        pictures[0],
        pictures[2],
    }
    assert request.log.path == "/\N{GRINNING FACE}/"


def job_of(record):
    """A job that becomes this record."""
    payload = Payload(content_type="multipart/form-data", was_read=True)
    payload.uploads = [
        Upload("photo", len(record.data), record.data[:64], record.data, complete=True)
    ]
    return CapturedRequest(record.log, payload=payload, destination=record.destination)


def test_nested_metadata_is_left_out():
    """Deeper than any database takes: a note is kept, and the image."""
    deep = {}
    for _ in range(40):
        deep = {"deeper": deep}
    request = unsaved_record(0)
    request.log.metadata = clean_json(deep)
    jobs.write_jobs([job_of(request)])
    log = RequestLog.objects.get()
    assert log.capture_status == "stored"
    assert log.metadata == {"left_out": "nested too deeply"}


@pytest.mark.parametrize("count", [1, 3])
def test_lost_answer_to_a_commit_writes_once(monkeypatch, count):
    """What was committed is not written once more over the next connection."""
    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database is gone with its connection")
    save_once, calls = writer_rows._insert_all, []

    def committed(records, using):
        save_once(records, using)
        calls.append(len(records))
        connection.connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(writer_rows, "_insert_all", committed)
    connection.ensure_connection()
    jobs.write_jobs([job_of(unsaved_record(seed)) for seed in range(count)])
    assert calls == [count]
    assert RequestLog.objects.count() == ImageContent.objects.count() == count
    assert health.counts() == {"stored": count}


def test_repeated_doubt_writes_once(monkeypatch):
    """Also one by one, when the second try has failed as well."""
    save_once, calls = writer_rows._insert_all, []

    def committed(records, using):
        save_once(records, using)
        calls.append(len(records))
        raise OperationalError("something went wrong")

    monkeypatch.setattr(writer_rows, "_insert_all", committed)
    jobs.write_jobs([job_of(unsaved_record(seed)) for seed in range(2)])
    assert calls == [2]
    assert RequestLog.objects.count() == 2


def test_fault_after_one_write_costs_no_other(monkeypatch):
    """A bug of ours with one request does not cost the rest of its batch theirs."""
    send_signals = jobs.send_signals

    def fail_at_first(*args, **kwargs):
        monkeypatch.setattr(jobs, "send_signals", send_signals)
        raise RuntimeError("a bug")

    monkeypatch.setattr(jobs, "send_signals", fail_at_first)
    jobs.write_jobs([job_of(unsaved_record(seed)) for seed in range(3)])
    assert health.counts() == {"lost": 1, "stored": 2}
    assert health.faults() == {"finish:RuntimeError": 1}


def test_receiver_that_exits_does_not_end_the_thread(settings):
    """Whatever comes out of a receiver, the thread goes on."""

    def receiver(**kwargs):
        raise SystemExit

    signals.image_saved.connect(receiver)
    try:
        jobs._write_batch([job_of(unsaved_record(1))])
    finally:
        signals.image_saved.disconnect(receiver)
    assert RequestLog.objects.count() == 1
    assert health.faults() == {"receiver:SystemExit": 1}
    assert health.counts() == {"stored": 1}


def test_system_exit_in_a_batch_is_counted(monkeypatch):
    """The last net: counted and reported, and the thread goes on."""

    def leave(jobs, wait):
        raise SystemExit

    monkeypatch.setattr(jobs, "write_jobs", leave)
    jobs._write_batch([job_of(unsaved_record(seed)) for seed in (1, 2)])
    assert health.counts() == {"lost": 2}
    assert health.faults() == {"backlog:SystemExit": 1}


class TestTransactionsOfTheView:
    """What the view left open is neither ours to commit nor to write into."""

    def test_transaction_begun_by_hand_is_not_committed(self):
        """A BEGIN that Django knows nothing of."""
        connection.cursor().execute("BEGIN")
        Note.objects.create(text="half done")
        self.save()
        assert not Note.objects.exists()
        assert status() == "stored"

    def test_no_autocommit(self, monkeypatch):
        """A project without autocommit: ours are committed all the same."""
        if connection.vendor == "sqlite":
            pytest.skip("an in-memory database is gone with its connection")
        monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
        connection.close()
        Note.objects.create(text="half done")
        assert not connection.get_autocommit()
        self.save()
        monkeypatch.undo()
        connection.close()  # and whatever was not committed is gone
        assert not Note.objects.exists()
        assert status() == "stored"

    def save(self):
        record = unsaved_record(0)
        with usable_connection("default", is_handled=True, is_last_use=False):
            writer_rows.save_many([record])


def test_lost_connection_is_returned_to_its_pool(monkeypatch):
    """A pool would run dry of connections that nobody closes."""
    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database is gone with its connection")
    connection.ensure_connection()
    driver, closed = connection.connection, []
    close = connection.close
    monkeypatch.setattr(connection, "close", lambda: (closed.append(1), close()))
    driver.close()
    assert has_lost(driver)
    assert has_lost(object()), "another one has taken its place"
    assert closed == [1]


def test_size_of_a_job_counts_all_its_bytes():
    """Base64 in a form's fields is held in memory like any file."""
    job = CapturedRequest(RequestLog(metadata={"text": "x" * 1000}))
    small = job.size
    job.payload.fields = {"photo": ["A" * 5000, "B" * 5000]}
    assert job.size == small + 10_000
    assert small > 1000


def test_image_of_another_database():
    """Its bytes are read from where the row came from."""
    jobs.write_jobs([job_of(unsaved_record(0))])
    image = RequestImage.objects.get()
    image._state.db = "elsewhere"
    with pytest.raises(ConnectionDoesNotExist):
        image.image_data  # noqa: B018  # it must raise


class TestExit:
    """What the exit of the process has no time for."""

    def test_requests_left_at_exit_are_spooled(self, spool):
        """Where there is one."""
        jobs._give_up([job_of(unsaved_record(seed)) for seed in range(3)])
        assert health.faults() == {}
        assert spooling.write_spooled().written == 3
        statuses = RequestLog.objects.values_list("capture_status", flat=True)
        assert set(statuses) == {"stored"}

    def test_requests_lost_at_exit_are_counted(self):
        """Where there is none."""
        jobs._give_up([job_of(unsaved_record(seed)) for seed in range(3)])
        assert health.counts() == {"lost": 3}
        assert health.faults() == {"exit:StoreUnavailable": 1}
