"""Writing in the background: the same rows, by another thread, in batches."""

from __future__ import annotations

import threading

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client

from request_images import health, signals
from request_images.decorators import capture_images
from request_images.models import ImageContent, RequestLog
from request_images.outcome import opt_out
from request_images.testing import flush
from request_images.writer import jobs, rows
from tests.db.databases import received
from tests.image_files import draw

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _background(settings):
    """Switch it on, and have nothing left from test to test."""
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    yield
    flush()
    jobs.queue.close(10)
    jobs.queue.reset()


@pytest.fixture
def busy():
    """The thread is busy, until the returned event is set."""
    release, is_busy = threading.Event(), threading.Event()
    write = jobs.queue._write

    def held(batch):
        is_busy.set()
        assert release.wait(60)
        return write(batch)

    jobs.queue._write = held
    serve(seed=999)
    assert is_busy.wait(60)
    yield release
    release.set()
    flush()
    jobs.queue._write = write


def serve(seed=0, view=None):
    """Serve a request."""
    request = received(draw(seed=seed))
    response = capture_images(view or (lambda r: HttpResponse(r.body)))(request)
    request.close()
    return response


ID_OF_CONNECTION = {
    "postgresql": "pg_backend_pid()",
    "mysql": "CONNECTION_ID()",
    "sqlite": "1",
}
KILL = {
    "postgresql": "SELECT pg_terminate_backend(%d)",
    "mysql": "KILL %d",
    "sqlite": "SELECT %d",
}


def statuses():
    return sorted(RequestLog.objects.values_list("capture_status", flat=True))


def test_rows_are_the_same():
    """Bytes, hashes and duplicates within one batch and across batches."""
    for seed in (1, 2, 1):
        assert serve(seed).status_code == 200
    flush()
    serve(2)
    flush()
    assert statuses() == ["duplicate", "duplicate", "stored", "stored"]
    assert ImageContent.objects.count() == 2
    for log in RequestLog.objects.all():
        assert log.image.image_data in (draw(seed=1), draw(seed=2))


def test_test_client_is_never_queued():
    """The row is there when the test client returns."""
    Client().post("/body/", draw(), content_type="image/png")
    assert RequestLog.objects.exists()


def test_queued_requests_are_one_transaction(busy):
    """What waits is written in one transaction, with few statements."""
    for seed in range(5):
        serve(seed)
    busy.set()
    flush()
    assert RequestLog.objects.count() == 6


def test_full_queue_is_waited_for(busy, settings):
    """A request's thread waits for room, and never writes alone."""
    settings.REQUEST_IMAGES_BACKLOG_WAIT_SECONDS = 60
    settings.REQUEST_IMAGES_BACKLOG_MAX_REQUESTS = 1
    threading.Timer(0.1, busy.set).start()
    serve(1)
    flush()
    assert statuses() == ["stored", "stored"]
    assert "dropped" not in health.counts()


def test_full_queue_drops_the_image(busy, settings):
    """The wait is bounded: where there is no room for a log, it is counted."""
    settings.REQUEST_IMAGES_BACKLOG_WAIT_SECONDS = 0.01
    settings.REQUEST_IMAGES_BACKLOG_MAX_REQUESTS = 1
    serve(1)
    busy.set()
    flush()
    assert statuses() == ["stored"]  # the one that kept the thread busy
    counts = health.counts()
    assert (counts["dropped"], counts["lost"]) == (1, 1)


def test_full_queue_spools(busy, settings, tmp_path):
    """With a spool folder, the image is not dropped."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    settings.REQUEST_IMAGES_BACKLOG_WAIT_SECONDS = 0
    settings.REQUEST_IMAGES_BACKLOG_MAX_REQUESTS = 1
    serve(1)
    assert health.counts()["spooled"] == 1
    busy.set()
    flush()
    call_command("write_spooled_requests", verbosity=0)
    assert statuses() == ["stored", "stored"]


def test_dropped_image_has_its_reason_on_the_row(busy, settings):
    """There is room for a log where there is none for its image."""
    settings.REQUEST_IMAGES_BACKLOG_WAIT_SECONDS = 0
    settings.REQUEST_IMAGES_BACKLOG_MAX_MB = 0.02
    serve_body(draw("BMP", (100, 80)))
    busy.set()
    flush()
    assert statuses() == ["over_budget", "stored"]
    assert health.counts()["dropped"] == 1
    image = RequestLog.objects.get(capture_status="over_budget").image
    assert (image.width, image.content) == (100, None)


def test_image_larger_than_the_queue_is_kept(settings):
    """An empty queue takes any image that is small enough to be kept."""
    settings.REQUEST_IMAGES_BACKLOG_MAX_MB = 0.02
    serve_body(draw("BMP", (100, 80)))
    flush()
    assert statuses() == ["stored"]


def test_only_an_image_is_over_budget(busy, settings):
    """What would not have been kept anyway has its own reason."""
    settings.REQUEST_IMAGES_BACKLOG_WAIT_SECONDS = 0
    settings.REQUEST_IMAGES_BACKLOG_MAX_MB = 0.02
    serve_body(bytes(20_000))
    serve_body(draw("BMP", (100, 80)), opt_out)
    busy.set()
    flush()
    assert statuses() == ["opted_out", "stored", "unsupported"]


def test_closed_queue_drops_nothing(settings):
    """A process that exits has room enough; it writes at once."""
    settings.REQUEST_IMAGES_BACKLOG_WAIT_SECONDS = 0
    jobs.queue.close(10)
    serve(1)
    assert statuses() == ["stored"]
    assert health.counts() == {"stored": 1}


def serve_body(data, do=lambda request: None):
    """Serve a request with these bytes."""
    request = received(data)
    capture_images(lambda r: HttpResponse(r.body + str(do(r)).encode()))(request)
    request.close()


def test_one_bad_row_costs_no_other(busy, monkeypatch):
    """A batch that fails is written one by one."""
    save = rows.save_many

    def failing(records):
        if any(r.data == draw(seed=3) for r in records):
            raise OperationalError("this one is too large")
        save(records)

    monkeypatch.setattr(rows, "save_many", failing)
    for seed in (2, 3, 4):
        serve(seed)
    busy.set()
    flush()
    assert statuses() == ["store_failed", "stored", "stored", "stored"]
    health.reset()


def test_lost_connection_is_replaced():
    """A connection that is lost between two batches is opened anew."""
    serve(1)
    flush()

    ids = []

    def note(sender, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {ID_OF_CONNECTION[connection.vendor]}")
            ids.append(cursor.fetchone()[0])

    signals.image_saved.connect(note)  # runs in the thread, behind the row
    serve(2)
    flush()
    signals.image_saved.disconnect(note)
    with connection.cursor() as cursor:
        cursor.execute(KILL[connection.vendor] % ids[0])
    for seed in (3, 4, 5):
        serve(seed)
        flush()
    assert statuses() == ["stored"] * 5


def test_fault_in_the_thread_is_counted(monkeypatch):
    """A bug of ours in the thread is counted, and the thread lives."""

    def broken(jobs, wait):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "write_jobs", broken)
        serve(1)
        flush()
    assert health.faults() == {"backlog:ZeroDivisionError": 1}
    assert health.counts()["lost"] == 1
    health.reset()
    serve(2)
    flush()
    assert RequestLog.objects.count() == 1


def test_flush_has_a_timeout(busy):
    """A test that waits in vain is told."""
    with pytest.raises(TimeoutError, match="within"):
        flush(0.01)


def test_flush_waits_for_open_requests():
    """A request whose view is done and that nobody has closed yet is waited for."""
    request = received()
    capture_images(lambda request: HttpResponse("ok"))(request)
    with pytest.raises(TimeoutError):
        flush(0.02)
    request.close()
    flush()
    assert RequestLog.objects.exists()
