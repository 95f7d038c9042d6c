"""Thumbnails by Django Tasks: enqueued behind the row, run by a worker, never here."""

from __future__ import annotations

import random
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import django
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

from request_images import health
from request_images.contents import analysis, task_backend, thumbnails
from request_images.contents.task_backend import enqueuing
from request_images.models import ImageContent, RequestLog
from request_images.writer import enqueue as writer_enqueue
from tests.factories import make_content, make_image
from tests.image_files import draw
from tests.servers.running import ROOT, Database

HAS_TASKS = django.VERSION >= (6, 0) or find_spec("django_tasks") is not None
needs_tasks = pytest.mark.skipif(not HAS_TASKS, reason="django-tasks is not there")
needs_worker = pytest.mark.skipif(
    not HAS_TASKS or find_spec("django_tasks_db") is None,
    reason="django-tasks-db is not there",
)
OWN = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"


@pytest.fixture
def backend(settings):
    """Return a function that chooses the backend of tasks."""
    import_module(f"{OWN}.signals")  # lets go of a backend when settings change

    def choose(path):
        settings.TASKS = {"default": {"BACKEND": path}}
        return task_backend.tasks_api().task_backends["default"]

    return choose


@pytest.fixture
def queue(backend, settings):
    """A backend that keeps what is enqueued and runs nothing."""
    settings.REQUEST_IMAGES_THUMBNAILS = "task"
    return backend(f"{OWN}.backends.dummy.DummyBackend")


def post(client, seed=0):
    response = client.post("/body/", draw(seed=seed), content_type="image/png")
    assert response.status_code == 200


def queued(queue) -> list[list[int]]:
    """Return the arguments of the tasks that wait."""
    return [list(result.args) for result in queue.results]


@needs_tasks
@pytest.mark.django_db
class TestEnqueue:
    def test_for_each_content_that_is_new(self, client, queue):
        """A duplicate has the content, and the task, of the first."""
        for seed in (0, 1, 0, 1, 1):
            post(client, seed)
        assert RequestLog.objects.count() == 5
        pks = ImageContent.objects.order_by("pk").values_list("pk", flat=True)
        assert queued(queue) == [[pk] for pk in pks]
        assert not ImageContent.objects.filter(thumbnail__isnull=False).exists()

    def test_not_unless_asked(self, client, queue, settings):
        """Thumbnails are made on demand by default."""
        del settings.REQUEST_IMAGES_THUMBNAILS
        post(client)
        assert queued(queue) == []

    def test_not_what_was_not_kept(self, client, queue, settings):
        """Nothing is drawn of nothing."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        post(client)
        assert RequestLog.objects.get().capture_status == "sampled_out"
        assert queued(queue) == []

    def test_never_at_once(self, client, backend, settings, monkeypatch):
        """A backend that runs a task where it is enqueued would decode in a capture."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        monkeypatch.setattr(thumbnails, "make_thumbnail", None)
        post(client)
        assert ImageContent.objects.get().thumbnail_tries == 0

    def test_never_at_once_by_whatever_backend(self, client, queue, monkeypatch):
        """Some can be told to run everything at once, and do not look like it."""
        enqueue, said = type(queue).enqueue, []

        def run(self, task, args, kwargs):
            said.append(task.call(*args, **kwargs))
            return enqueue(self, task, args, kwargs)

        monkeypatch.setattr(type(queue), "enqueue", run)
        post(client)
        content = ImageContent.objects.get()
        assert (said, content.thumbnail_tries) == (["skipped"], 0)
        from request_images.tasks import make_thumbnail

        make_thumbnail.enqueue(content.pk)  # outside of a capture it is theirs to say
        assert said == ["skipped", "made"]

    def test_a_fault_is_counted_and_the_row_stays(self, client, queue, monkeypatch):
        """A queue that is away costs no image."""

        def enqueue(*arguments):
            raise OperationalError("the queue is away")

        monkeypatch.setattr(type(queue), "enqueue", enqueue)
        post(client)
        assert RequestLog.objects.get().capture_status == "stored"
        assert health.faults() == {"thumbnail task:OperationalError": 1}
        health.reset()

    def test_behind_the_row(self, client, queue, monkeypatch):
        """A worker that is quick finds what it is to draw."""
        seen = []
        enqueue = type(queue).enqueue

        def look(self, task, args, kwargs):
            seen.append(ImageContent.objects.filter(pk=args[0]).exists())
            return enqueue(self, task, args, kwargs)

        monkeypatch.setattr(type(queue), "enqueue", look)
        post(client)
        assert seen == [True]

    def test_whatever_goes_wrong_is_counted(self, monkeypatch, settings):
        """And nothing is raised."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        image = make_image()
        monkeypatch.setattr(writer_enqueue, "why_no_worker", lambda: 1 / 0)
        writer_enqueue.enqueue_tasks(image.log, image)
        assert health.faults() == {"thumbnail task:ZeroDivisionError": 1}
        health.reset()


@needs_tasks
@pytest.mark.django_db
class TestCompression:
    @pytest.fixture
    def queue(self, backend, settings):
        settings.REQUEST_IMAGES_COMPRESSION = "task"
        return backend(f"{OWN}.backends.dummy.DummyBackend")

    def post(self, client, fmt, seed=0):
        data = draw(fmt, seed=seed)
        assert client.post("/body/", data, content_type="image/x").status_code == 200

    def test_for_each_new_content_that_an_encoding_is_for(self, client, queue):
        """And for no other: nor for what is kept already."""
        for fmt, seed in (("BMP", 0), ("PNG", 0), ("JPEG", 0), ("BMP", 0), ("BMP", 1)):
            self.post(client, fmt, seed)
        bitmaps = ImageContent.objects.filter(mime_type="image/bmp").order_by("pk")
        assert queued(queue) == [[content.pk] for content in bitmaps]
        assert len(queued(queue)) == 2
        assert not ImageContent.objects.exclude(encoding="").exists()

    def test_not_unless_asked(self, client, queue, settings):
        del settings.REQUEST_IMAGES_COMPRESSION
        self.post(client, "BMP")
        assert queued(queue) == []

    def test_never_at_once(self, client, backend, settings, monkeypatch):
        """A backend that runs a task where it is enqueued would do it in a capture."""
        settings.REQUEST_IMAGES_COMPRESSION = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        self.post(client, "BMP")
        assert ImageContent.objects.get().encoding == ""

    def test_a_fault_is_counted_and_the_row_stays(self, client, queue, monkeypatch):
        def enqueue(*arguments):
            raise OperationalError("the queue is away")

        monkeypatch.setattr(type(queue), "enqueue", enqueue)
        self.post(client, "BMP")
        assert RequestLog.objects.get().capture_status == "stored"
        assert health.faults() == {"compression task:OperationalError": 1}
        health.reset()

    def test_the_task(self, client, queue):
        """It says what became of the content."""
        from request_images.tasks import compress_content

        self.post(client, "BMP")
        self.post(client, "PNG")
        bitmap, other = ImageContent.objects.order_by("pk")
        assert compress_content.call(bitmap.pk) == "compressed"
        assert compress_content.call(bitmap.pk) == "skipped"
        assert compress_content.call(other.pk) == "skipped"
        assert compress_content.call(0) == "skipped"
        with enqueuing():  # a queue that runs everything at once
            assert compress_content.call(bitmap.pk) == "skipped"
        bitmap.refresh_from_db()
        assert (bitmap.encoding, bitmap.read()) == ("zlib", draw("BMP"))

    def test_a_content_that_cannot_be_smaller(self, client, queue):
        """It is left, and that is no failure of the task."""
        from request_images.tasks import compress_content

        noise = b"BM" + draw("BMP")[2:54] + random.Random(5).randbytes(3000)
        client.post("/body/", noise, content_type="image/bmp")
        assert compress_content.call(ImageContent.objects.get().pk) == "left"


@needs_tasks
@pytest.mark.django_db
class TestAnalysis:
    @pytest.fixture
    def queue(self, backend, settings):
        settings.REQUEST_IMAGES_ANALYSIS = "task"
        return backend(f"{OWN}.backends.dummy.DummyBackend")

    def test_for_each_content_that_is_new(self, client, queue):
        """And a capture decodes no pixels."""
        for seed in (0, 1, 0):
            post(client, seed)
        pks = ImageContent.objects.order_by("pk").values_list("pk", flat=True)
        assert queued(queue) == [[pk] for pk in pks]
        assert set(ImageContent.objects.values_list("layout", flat=True)) == {""}

    def test_beside_the_thumbnail(self, client, queue, settings):
        """One task each: they are tried, and given up, apart."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        post(client)
        names = [result.task.name for result in queue.results]
        assert sorted(names) == ["analyze_content", "make_thumbnail"]

    def test_not_unless_asked(self, client, queue, settings):
        del settings.REQUEST_IMAGES_ANALYSIS
        post(client)
        assert queued(queue) == []

    def test_never_at_once(self, client, backend, settings, monkeypatch):
        """A backend that runs a task where it is enqueued would do it in a capture."""
        settings.REQUEST_IMAGES_ANALYSIS = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        monkeypatch.setattr(analysis, "measure", None)
        post(client)
        assert ImageContent.objects.get().analysis_tries == 0

    def test_a_fault_is_counted_and_the_row_stays(self, client, queue, monkeypatch):
        def enqueue(*arguments):
            raise OperationalError("the queue is away")

        monkeypatch.setattr(type(queue), "enqueue", enqueue)
        post(client)
        assert RequestLog.objects.get().capture_status == "stored"
        assert health.faults() == {"analysis task:OperationalError": 1}
        health.reset()


@needs_tasks
@pytest.mark.django_db
class TestTask:
    def run(self, pk: int) -> str:
        from request_images.tasks import make_thumbnail

        return make_thumbnail.call(pk)

    def test_makes_the_thumbnail(self):
        """Once; and it says what became of it."""
        content = make_content()
        assert self.run(content.pk) == "made"
        assert self.run(content.pk) == "skipped"
        content.refresh_from_db()
        assert bytes(content.thumbnail)[8:12] == b"WEBP"

    def test_that_cannot_be_made(self):
        """It is remembered, and no failure of the task: another try helps nobody."""
        assert self.run(make_content(b"no image").pk) == "impossible"

    def test_of_a_content_that_is_gone(self):
        """Cleanup was quicker."""
        assert self.run(0) == "skipped"


@pytest.mark.django_db
class TestCheck:
    def found(self, settings):
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        return [m for m in run_checks() if m.id == "request_images.W006"]

    @needs_tasks
    def test_W004_tasks_that_run_at_once(self, settings, backend):
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        [message] = self.found(settings)
        assert "runs a task at once" in message.msg
        assert not message.is_serious()

    @needs_tasks
    def test_W006_compression_too(self, settings, backend):
        """Each setting that asks for tasks is told of."""
        settings.REQUEST_IMAGES_COMPRESSION = "task"
        settings.REQUEST_IMAGES_ANALYSIS = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        thumbnails, compression, analysis = self.found(settings)
        assert thumbnails.msg.startswith("REQUEST_IMAGES_THUMBNAILS is 'task'")
        assert "compress_image_contents only" in compression.msg
        assert "analyze_image_contents only" in analysis.msg

    @needs_tasks
    def test_W004_is_silent_with_a_worker(self, settings, queue):
        assert self.found(settings) == []

    def test_W004_is_silent_on_demand(self, settings):
        settings.REQUEST_IMAGES_THUMBNAILS = "on_demand"
        assert [m for m in run_checks() if m.id == "request_images.W006"] == []

    def test_W004_without_the_package(self, settings, monkeypatch):
        """Django 5.2 needs one, and is told which."""

        def missing(name):
            raise ImportError(name)

        monkeypatch.setattr(task_backend, "import_module", missing)
        with pytest.raises(ImproperlyConfigured, match="pip install"):
            task_backend.tasks_api()
        [message] = self.found(settings)
        assert "pip install 'django-request-images[tasks]'" in message.msg


class WorkerDatabase(Database):
    """A database whose project has tasks and a worker."""

    def environment(self, name: str = "") -> dict[str, str]:
        settings = {"DJANGO_SETTINGS_MODULE": "tests.servers.tasks"}
        return super().environment(name) | settings


@pytest.fixture
def project(tmp_path, django_db_blocker):
    database = WorkerDatabase(tmp_path, "tasks")
    with django_db_blocker.unblock():
        database.create()
        yield database
        database.remove()


CAPTURE = """
import django
django.setup()
from django.test import Client
from tests.image_files import draw
from request_images import health
for seed in (0, 1, 0):
    answer = Client().post("/plain/", draw(seed=seed), content_type="image/png")
    assert answer.status_code == 200, answer
assert health.faults() == {}, health.faults()
"""
LOOK = """
import django
django.setup()
from django_tasks_db.models import DBTaskResult
from request_images.models import ImageContent
print(
    ImageContent.objects.count(),
    ImageContent.objects.filter(thumbnail__isnull=False).count(),
    *sorted(map(str, DBTaskResult.objects.values_list("status", "return_value"))),
)
"""


@needs_worker
def test_a_real_worker(project):
    """Captured in one process, drawn in another one: the worker, until all is done."""

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=project.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", CAPTURE)
    waits = "('READY', None)"
    assert python("-c", LOOK) == f"2 0 {waits} {waits}\n"
    python("-m", "django", "db_worker", "--batch", "--no-startup-delay")
    is_done = "('SUCCESSFUL', 'made')"
    assert python("-c", LOOK) == f"2 2 {is_done} {is_done}\n"
