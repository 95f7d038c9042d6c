"""A broker that is down or silent holds no request, and loses no work."""

from __future__ import annotations

import threading

import pytest
from django.core.management import call_command
from django.http import HttpResponse

from request_images import health
from request_images.contents import task_backend
from request_images.decorators import capture_images
from request_images.models import ImageContent, RequestLog
from request_images.testing import flush
from request_images.writer import task_queue
from tests.db.databases import received
from tests.image_files import draw
from tests.test_tasks import OWN, needs_tasks

pytestmark = [pytest.mark.django_db(transaction=True), needs_tasks]


@pytest.fixture
def broker(settings):
    """The class of the backend of the tasks; each thread has an instance."""
    settings.REQUEST_IMAGES_THUMBNAILS = "task"
    settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
    settings.TASKS = {"default": {"BACKEND": f"{OWN}.backends.dummy.DummyBackend"}}
    yield type(task_backend.tasks_api().task_backends["default"])
    task_queue.queue().close(10)
    task_queue.queue().reset()


@pytest.fixture
def tried(broker, monkeypatch):
    """The tries of a broker that takes nothing."""
    threads = []

    def refuse(self, task, args, kwargs):
        threads.append(threading.current_thread().name)
        raise ConnectionError("no broker")

    monkeypatch.setattr(broker, "enqueue", refuse)
    return threads


def serve(*seeds):
    """Serve requests as a server does."""
    for seed in seeds:
        request = received(draw(seed=seed))
        response = capture_images(lambda r: HttpResponse(r.body))(request)
        assert response.status_code == 200
        request.close()


def statuses():
    return list(RequestLog.objects.values_list("capture_status", flat=True))


def test_silent_broker_holds_no_request(broker, monkeypatch):
    """The task is enqueued by a thread of ours, once the broker answers."""
    answers, enqueued = threading.Event(), []

    def wait(self, task, args, kwargs):
        assert answers.wait(60)
        enqueued.append(args[0])

    monkeypatch.setattr(broker, "enqueue", wait)
    serve(1, 2, 3)
    assert statuses() == ["stored"] * 3
    assert enqueued == []
    answers.set()
    flush()
    pks = ImageContent.objects.order_by("pk").values_list("pk", flat=True)
    assert enqueued == list(pks)


def test_broker_that_is_down_is_tried_once(tried):
    """One failure stops the others; the command does their work."""
    serve(1, 2, 3)
    flush()
    serve(4)  # the breaker is open
    flush()
    assert tried == ["request_images-tasks"]
    assert health.counts() == {"stored": 4, "not_enqueued": 4}
    assert health.faults() == {"thumbnail task:ConnectionError": 1}
    health.reset()
    call_command("make_thumbnails", verbosity=0)
    assert not ImageContent.objects.filter(thumbnail=None).exists()


def test_direct_calls_try_once(tried, client):
    """They and the commands enqueue at once."""
    for seed in (1, 2):
        client.post("/body/", draw(seed=seed), content_type="image/png")
    assert tried == [threading.current_thread().name]
    assert health.counts() == {"stored": 2, "not_enqueued": 2}
    health.reset()


def test_full_queue_leaves_tasks_out(tried, monkeypatch):
    """Memory is bounded, and the number is known."""
    monkeypatch.setattr(task_queue, "MAX_TASKS", 0)
    serve(1)
    flush()
    assert tried == []
    assert health.counts() == {"stored": 1, "not_enqueued": 1}


def test_exit_counts_what_is_left(tried, monkeypatch):
    """A process does not wait for its broker."""
    is_busy, release = threading.Event(), threading.Event()

    def hold():
        is_busy.set()
        assert release.wait(60)

    monkeypatch.setattr(task_queue, "close_old_connections", hold)
    serve(1)
    assert is_busy.wait(60)
    serve(2)
    task_queue.queue().close(0)
    assert health.counts() == {"stored": 2, "not_enqueued": 1}
    release.set()
    task_queue.queue().thread.join(60)
    assert health.counts()["not_enqueued"] == 2
    health.reset()
