"""The steps after a failed write, and the threads that take them."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import DataError, OperationalError, connection
from django.http import HttpResponse
from django.test import Client

from request_images import health
from request_images.db.destination import Destination
from request_images.db.errors import Fault
from request_images.db.limits import seconds_left, time_limit
from request_images.decorators import capture_images
from request_images.exceptions import StorageError
from request_images.models import RequestImage, RequestLog
from request_images.outcome import annotate
from request_images.testing import flush
from request_images.writer import background, fallback, jobs, rows
from tests.db.databases import received, received_async
from tests.image_files import draw
from tests.storages import use_bucket

pytestmark = pytest.mark.django_db(transaction=True)

FAULTS = {
    Fault.BUSY: OperationalError("database is locked"),
    Fault.AWAY: OperationalError("connection refused"),
    Fault.STORAGE: StorageError("slow down"),
    Fault.REFUSED: StorageError("no such bucket", is_passing=False),
    Fault.ROW: DataError("no such character"),
}


@pytest.fixture(autouse=True)
def _fresh_queue(settings):
    settings.REQUEST_IMAGES_WRITE_MODE = "auto"
    yield
    jobs.queue.close(10)
    jobs.queue.reset()
    health.reset()


@pytest.fixture
def spool(settings, tmp_path):
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"


@pytest.fixture
def failing(monkeypatch):
    """Let writes fail as long as the returned list has an error in it."""
    errors, insert = [], rows._insert_all

    def fail(records, using):
        if errors:
            raise errors[0]
        insert(records, using)

    monkeypatch.setattr(rows, "_insert_all", fail)
    monkeypatch.setattr(jobs, "try_write", lambda: errors[0] if errors else None)
    return errors


def serve(request=None, seed=0):
    """Serve a request as a server does; return the thread that has written it."""
    request = request or received(draw(seed=seed))

    def view(request):
        annotate(request, model="Straße 3")
        return HttpResponse(request.body)

    assert capture_images(view)(request).status_code == 200
    request.close()


def stored():
    flush()
    images = RequestImage.objects.order_by("pk").select_related("log")
    assert all(image.log.metadata == {"model": "Straße 3"} for image in images)
    return [image.image_data for image in images if image.content_id]


def test_every_fault_has_its_steps():
    """A fault that is new must not be forgotten here."""
    assert set(fallback.STEPS) == set(Fault)


class TestAuto:
    """The mode is the best for the server that is running."""

    def test_thread_of_a_wsgi_request_writes(self):
        """Its row is there when the request is closed."""
        serve()
        assert RequestLog.objects.count() == 1
        assert jobs.queue.thread is None

    def test_asgi_request_is_written_by_the_process(self):
        """However many requests there are, one connection writes them."""
        for seed in range(5):
            serve(received_async(draw(seed=seed)))
        assert jobs.queue.thread is not None
        assert stored() == [draw(seed=seed) for seed in range(5)]

    def test_no_request_waits_for_a_storage(self, settings, tmp_path):
        """It may take seconds for each image."""
        bucket = use_bucket(settings, tmp_path, "memory")
        threads = []
        bucket.hooks["save"] = lambda name: threads.append(threading.current_thread())
        serve()
        assert stored() == [draw()]
        assert threads == [jobs.queue.thread]


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.AWAY, Fault.STORAGE])
class TestPassingFault:
    """What passes costs a request nothing: neither its image nor a word."""

    @pytest.mark.usefixtures("spool")
    def test_request_is_spooled(self, failing, fault):
        """A folder keeps it, even if the process ends."""
        failing.append(FAULTS[fault])
        serve()
        assert not jobs.queue.size
        assert health.counts()["spooled"] == 1

    def test_request_waits_in_memory(self, failing, fault):
        """Without a folder the background thread keeps it until the fault is over."""
        failing.append(FAULTS[fault])
        for seed in range(8):  # the breaker opens, and refuses the last ones
            serve(seed=seed)
        assert not RequestLog.objects.exists()
        failing.clear()
        jobs.breakers.reset()
        assert sorted(stored()) == sorted(draw(seed=seed) for seed in range(8))
        assert health.counts() == {"stored": 8}

    def test_request_without_room_is_counted(self, failing, fault, settings):
        """The memory is bounded, and what is lost is counted."""
        settings.REQUEST_IMAGES_BACKLOG_MAX_REQUESTS = 2
        failing.append(FAULTS[fault])
        jobs.queue._write = lambda batch: batch
        try:
            for seed in range(5):
                serve(seed=seed)
        finally:
            jobs.queue._write = jobs._write_batch
        assert health.counts()["lost"] == 3


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ROW])
@pytest.mark.usefixtures("spool")
def test_lasting_fault_is_written_with_less(monkeypatch, fault):
    """What will be refused again is not kept for later: a smaller copy is written."""
    insert = rows._insert_all

    def refuse_bytes(records, using):
        if any(record.with_bytes for record in records):
            raise FAULTS[fault]
        insert(records, using)

    monkeypatch.setattr(rows, "_insert_all", refuse_bytes)
    serve()
    assert RequestLog.objects.get().capture_status == "store_failed"
    assert "spooled" not in health.counts()


def test_failing_database_is_tested_by_the_background_thread(failing):
    """A request's own thread has no time to find out whether it is back."""
    failing.append(FAULTS[Fault.AWAY])
    for seed in range(5):
        serve(seed=seed)
    assert not jobs.breakers.is_closed(Destination())
    tried = []
    write_to = jobs._write_to

    def watched(*args, **kwargs):
        tried.append(threading.current_thread().name)
        write_to(*args, **kwargs)

    jobs._write_to = watched
    try:
        serve(seed=5)
        failing.clear()
        jobs.breakers.reset()
        assert len(stored()) == 6
    finally:
        jobs._write_to = write_to
    assert set(tried) == {"request_images-writer"}


def test_row_that_breaks_the_connection_does_not_wait(monkeypatch, settings):
    """MySQL closes the connection over a packet that is too large."""
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    insert = rows._insert_all

    def refuse_bytes(records, using):
        if any(record.with_bytes for record in records):
            raise OperationalError("server has gone away")
        insert(records, using)

    monkeypatch.setattr(rows, "_insert_all", refuse_bytes)
    serve()
    flush()
    assert RequestLog.objects.get().capture_status == "store_failed"


def test_exit_tries_a_database_that_is_back(failing, settings):
    """The breaker may be open for some seconds more; a process that ends has none."""
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    failing.append(FAULTS[Fault.AWAY])
    for seed in range(8):
        serve(seed=seed)
        jobs.queue.wait_until_empty(0.01)
    assert not jobs.breakers.allows(Destination())
    failing.clear()
    for _, callback in background._exit_callbacks:
        if getattr(callback, "__self__", None) in (jobs.breakers, jobs.queue):
            callback()
    assert sorted(stored()) == sorted(draw(seed=seed) for seed in range(8))


def test_exit_loses_nothing_silently(failing, settings):
    """What still waits at the exit of the process is counted."""
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    failing.append(FAULTS[Fault.AWAY])
    serve()
    jobs.queue.close(10)
    assert health.counts() == {"lost": 1}
    assert "exit:StoreUnavailable" in health.faults()


def test_unknown_place_waits_too(settings):
    """A tenant that cannot be entered now may be there in a second."""
    settings.REQUEST_IMAGES_TENANT = lambda request: "acme"
    may_enter = threading.Event()

    def enter(tenant):
        if not may_enter.is_set():
            raise OperationalError("no connection to the list of tenants")
        return threading.Lock()

    settings.REQUEST_IMAGES_TENANT_CONTEXT = enter
    serve()
    assert jobs.queue.size
    may_enter.set()
    assert stored() == [draw()]


def test_direct_call_keeps_its_connection(settings):
    """Whoever calls a view goes on using it, whatever a function of ours meets."""

    def enter(tenant):
        raise OperationalError("no connection to the list of tenants")

    settings.REQUEST_IMAGES_TENANT = lambda request: "acme"
    settings.REQUEST_IMAGES_TENANT_CONTEXT = enter
    connection.ensure_connection()
    driver = connection.connection
    assert Client().post("/body/", draw(), "image/png").status_code == 200
    assert connection.connection is driver
    assert health.counts() == {"lost": 1}


class TestTimeLimit:
    """All that the request's own thread does after the response has one limit."""

    def test_no_limit_is_infinite(self):
        """Commands have none."""
        assert seconds_left() == float("inf")

    def test_limit_ends(self):
        """It counts from its beginning, and ends with its block."""
        with time_limit(0.01):
            assert 0 < seconds_left() <= 0.01
            time.sleep(0.02)
            assert seconds_left() == 0
        assert seconds_left() == float("inf")

    def test_conflicts_are_left_to_the_background(self, failing, settings, monkeypatch):
        """Without time for another try, the request waits elsewhere, whole."""
        settings.REQUEST_IMAGES_AFTER_RESPONSE_SECONDS = 0.01
        tried = []
        monkeypatch.setattr(rows, "_insert_all", lambda *_: tried.append(1) or clash())

        def clash():
            error = OperationalError("deadlock")
            error.__cause__ = type("DriverError", (Exception,), {"sqlstate": "40P01"})()
            raise error

        monkeypatch.setattr(jobs.queue, "_write", lambda batch: batch)
        serve()
        assert jobs.queue.size
        assert len(tried) < 5
        monkeypatch.undo()
        jobs.queue._write = jobs._write_batch
        assert stored() == [draw()]
