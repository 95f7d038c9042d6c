"""A storage that is slow: requests do not wait for it again and again."""

from __future__ import annotations

import threading
import time

import pytest
from django.http import HttpResponse

from request_images import health
from request_images.db.destination import Destination
from request_images.decorators import capture_images
from request_images.models import RequestLog
from request_images.storage import stores
from request_images.testing import flush
from request_images.writer import jobs
from tests.db.databases import received
from tests.image_files import draw
from tests.storages import use_bucket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def threads(settings, tmp_path):
    """The threads that write into the storage, by their names."""
    settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
    names = []
    bucket = use_bucket(settings, tmp_path, "memory")
    bucket.hooks["save"] = lambda name: names.append(threading.current_thread().name)
    yield names
    jobs.queue.close(10)
    jobs.queue.reset()
    health.reset()


@pytest.fixture
def _slow(monkeypatch):
    monkeypatch.setattr(stores, "SLOW_SECONDS", -1)


def serve(*seeds):
    """Serve requests as a server does."""
    for seed in seeds:
        request = received(draw(seed=seed))
        capture_images(lambda r: HttpResponse(r.body))(request)
        request.close()


def statuses():
    flush()
    return list(RequestLog.objects.values_list("capture_status", flat=True))


OWN, OTHER = threading.main_thread().name, "request_images-writer"


@pytest.mark.usefixtures("_slow")
def test_requests_stop_waiting(threads):
    """What was written is kept, and the background thread writes the others."""
    serve(1, 2, 3, 4)
    assert statuses() == ["stored"] * 4
    assert threads == [OWN, OWN, OTHER, OTHER]
    assert "store:StorageError" in health.faults()
    assert jobs.breakers.allows(Destination()), "the database has not failed"


@pytest.mark.usefixtures("_slow")
def test_background_thread_is_as_slow_as_its_storage(threads, settings):
    """A bucket far away is no failure where nobody waits."""
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    serve(1, 2, 3, 4)
    assert statuses() == ["stored"] * 4
    assert threads == [OTHER] * 4
    assert health.faults() == {}


def test_requests_return_to_a_storage_that_is_quick_again(threads, monkeypatch):
    """One of them tries."""
    with monkeypatch.context() as patch:
        patch.setattr(stores, "SLOW_SECONDS", -1)
        serve(1, 2)
    store = stores.store_of("bucket")
    assert not store.slow_breaker.allows()
    store.slow_breaker._open_until = 0.0  # the pause is over
    serve(3, 4)
    assert statuses() == ["stored"] * 4
    assert threads == [OWN] * 4


def test_time_of_the_storage_is_not_that_of_the_database(threads, settings):
    """Its object would be without a row otherwise."""
    settings.REQUEST_IMAGES_AFTER_RESPONSE_SECONDS = 0.5
    bucket = stores.store_of("bucket").storage
    bucket.hooks["save"] = lambda name: time.sleep(0.6)
    serve(1)
    assert RequestLog.objects.get().capture_status == "stored"
    assert health.faults() == {}
