"""Django Tasks are enqueued after the row, and never run in the capture."""

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
from request_images.writer import notify
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
    """Return a function that selects the backend of tasks."""
    import_module(f"{OWN}.signals")  # lets go of a backend when settings change

    def choose(path):
        settings.TASKS = {"default": {"BACKEND": path}}
        return task_backend.tasks_api().task_backends["default"]

    return choose


@pytest.fixture
def queue(backend, settings):
    """A backend that collects tasks and runs none."""
    settings.REQUEST_IMAGES_THUMBNAILS = "task"
    return backend(f"{OWN}.backends.dummy.DummyBackend")


def post(client, seed=0):
    response = client.post("/body/", draw(seed=seed), content_type="image/png")
    assert response.status_code == 200


def queued(queue) -> list[list[int]]:
    """Return the arguments of the waiting tasks."""
    assert all(result.args[1:] == ["default", ""] for result in queue.results)
    return [list(result.args[:1]) for result in queue.results]


@needs_tasks
@pytest.mark.django_db
class TestEnqueue:
    def test_task_for_each_new_content(self, client, queue):
        """A duplicate shares the content and the task of the first image."""
        for seed in (0, 1, 0, 1, 1):
            post(client, seed)
        assert RequestLog.objects.count() == 5
        pks = ImageContent.objects.order_by("pk").values_list("pk", flat=True)
        assert queued(queue) == [[pk] for pk in pks]
        assert not ImageContent.objects.filter(thumbnail__isnull=False).exists()

    def test_no_task_by_default(self, client, queue, settings):
        """By default thumbnails are made on demand."""
        del settings.REQUEST_IMAGES_THUMBNAILS
        post(client)
        assert queued(queue) == []

    def test_no_task_for_an_image_that_was_not_kept(self, client, queue, settings):
        """An image that was not kept has no task."""
        settings.REQUEST_IMAGES_SAMPLE_RATE = 0
        post(client)
        assert RequestLog.objects.get().capture_status == "sampled_out"
        assert queued(queue) == []

    def test_backend_that_runs_at_once_decodes_nothing(
        self, client, backend, settings, monkeypatch
    ):
        """A backend that runs tasks at once would decode pixels in a capture."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        monkeypatch.setattr(thumbnails, "decode", None)
        post(client)
        assert ImageContent.objects.get().thumbnail_tries == 0

    def test_backend_that_secretly_runs_at_once_decodes_nothing(
        self, client, queue, monkeypatch
    ):
        """Some backends can be configured to run tasks at once, and do not show it."""
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

    def test_fault_is_counted_and_the_row_stays(self, client, queue, monkeypatch):
        """If the queue is down, the image is still stored."""

        def enqueue(*arguments):
            raise OperationalError("the queue is away")

        monkeypatch.setattr(type(queue), "enqueue", enqueue)
        post(client)
        assert RequestLog.objects.get().capture_status == "stored"
        assert health.faults() == {"thumbnail task:OperationalError": 1}
        health.reset()

    def test_task_is_enqueued_after_the_commit(self, client, queue, monkeypatch):
        """A fast worker finds the committed row."""
        seen = []
        enqueue = type(queue).enqueue

        def look(self, task, args, kwargs):
            seen.append(ImageContent.objects.filter(pk=args[0]).exists())
            return enqueue(self, task, args, kwargs)

        monkeypatch.setattr(type(queue), "enqueue", look)
        post(client)
        assert seen == [True]

    def test_any_error_is_counted(self, monkeypatch, settings):
        """No error is raised."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        image = make_image()
        monkeypatch.setattr(notify, "why_no_worker", lambda: 1 / 0)
        notify.enqueue_tasks(image.log, image)
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

    def test_task_for_each_new_content_of_an_encodings_format(self, client, queue):
        """Other formats and duplicates have no task."""
        for fmt, seed in (("BMP", 0), ("PNG", 0), ("JPEG", 0), ("BMP", 0), ("BMP", 1)):
            self.post(client, fmt, seed)
        bitmaps = ImageContent.objects.filter(mime_type="image/bmp").order_by("pk")
        assert queued(queue) == [[content.pk] for content in bitmaps]
        assert len(queued(queue)) == 2
        assert not ImageContent.objects.exclude(encoding="").exists()

    def test_no_task_by_default(self, client, queue, settings):
        del settings.REQUEST_IMAGES_COMPRESSION
        self.post(client, "BMP")
        assert queued(queue) == []

    def test_backend_that_runs_at_once_decodes_nothing(
        self, client, backend, settings, monkeypatch
    ):
        """A backend that runs tasks at once would do the work in a capture."""
        settings.REQUEST_IMAGES_COMPRESSION = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        self.post(client, "BMP")
        assert ImageContent.objects.get().encoding == ""

    def test_fault_is_counted_and_the_row_stays(self, client, queue, monkeypatch):
        def enqueue(*arguments):
            raise OperationalError("the queue is away")

        monkeypatch.setattr(type(queue), "enqueue", enqueue)
        self.post(client, "BMP")
        assert RequestLog.objects.get().capture_status == "stored"
        assert health.faults() == {"compression task:OperationalError": 1}
        health.reset()

    def test_task_returns_the_result(self, client, queue):
        """The task returns the result."""
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

    def test_incompressible_content_is_left(self, client, queue):
        """The content is left as it is, and the task succeeds."""
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

    def test_task_for_each_new_content(self, client, queue):
        """A capture decodes no pixels."""
        for seed in (0, 1, 0):
            post(client, seed)
        pks = ImageContent.objects.order_by("pk").values_list("pk", flat=True)
        assert queued(queue) == [[pk] for pk in pks]
        assert set(ImageContent.objects.values_list("layout", flat=True)) == {""}

    def test_thumbnail_and_analysis_have_tasks_of_their_own(
        self, client, queue, settings
    ):
        """Each has its own task, with attempts of its own."""
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        post(client)
        names = [result.task.name for result in queue.results]
        assert sorted(names) == ["analyze_content", "make_thumbnail"]

    def test_no_task_by_default(self, client, queue, settings):
        del settings.REQUEST_IMAGES_ANALYSIS
        post(client)
        assert queued(queue) == []

    def test_backend_that_runs_at_once_decodes_nothing(
        self, client, backend, settings, monkeypatch
    ):
        """A backend that runs tasks at once would do the work in a capture."""
        settings.REQUEST_IMAGES_ANALYSIS = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        monkeypatch.setattr(analysis, "decode", None)
        post(client)
        assert ImageContent.objects.get().analysis_tries == 0

    def test_fault_is_counted_and_the_row_stays(self, client, queue, monkeypatch):
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

    def test_task_makes_the_thumbnail_once(self):
        """The thumbnail is made once, and the task returns the result."""
        content = make_content()
        assert self.run(content.pk) == "made"
        assert self.run(content.pk) == "skipped"
        content.refresh_from_db()
        assert bytes(content.thumbnail)[8:12] == b"WEBP"

    def test_impossible_thumbnail_is_not_retried(self):
        """The failure is stored, and the task succeeds: a retry would not help."""
        assert self.run(make_content(b"no image").pk) == "impossible"

    def test_task_for_a_deleted_content_is_skipped(self):
        """The cleanup was faster."""
        assert self.run(0) == "skipped"


@pytest.mark.django_db
class TestCheck:
    def found(self, settings):
        settings.REQUEST_IMAGES_THUMBNAILS = "task"
        return [m for m in run_checks() if m.id == "request_images.W006"]

    @needs_tasks
    def test_W006_backend_that_runs_tasks_at_once(self, settings, backend):
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        [message] = self.found(settings)
        assert "runs a task at once" in message.msg
        assert not message.is_serious()

    @needs_tasks
    def test_W006_names_each_setting_that_needs_tasks(self, settings, backend):
        """The check names each setting that needs tasks."""
        settings.REQUEST_IMAGES_COMPRESSION = "task"
        settings.REQUEST_IMAGES_ANALYSIS = "task"
        backend(f"{OWN}.backends.immediate.ImmediateBackend")
        thumbnails, compression, analysis = self.found(settings)
        assert thumbnails.msg.startswith("REQUEST_IMAGES_THUMBNAILS is 'task'")
        assert "only compress_image_contents compresses" in compression.msg
        assert "only analyze_image_contents analyses" in analysis.msg

    @needs_tasks
    def test_W006_is_silent_with_a_worker(self, settings, queue):
        assert self.found(settings) == []

    def test_W006_is_silent_on_demand(self, settings):
        settings.REQUEST_IMAGES_THUMBNAILS = "on_demand"
        assert [m for m in run_checks() if m.id == "request_images.W006"] == []

    def test_W006_names_the_missing_package(self, settings, monkeypatch):
        """Django 5.2 needs a package, and the check names it."""

        def missing(name):
            raise ImportError(name)

        monkeypatch.setattr(task_backend, "import_module", missing)
        with pytest.raises(ImproperlyConfigured, match="pip install"):
            task_backend.tasks_api()
        [message] = self.found(settings)
        assert "pip install 'django-request-images[tasks]'" in message.msg


class WorkerDatabase(Database):
    """The database of a project with tasks and a worker."""

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


def looked_at(project: Database) -> tuple[list, list]:
    """Return whether each content has a thumbnail, and what became of each task."""
    thumbnails = project.query(
        "SELECT thumbnail IS NOT NULL FROM request_images_imagecontent"
    )
    tasks = project.query(
        "SELECT status, return_value FROM django_tasks_database_dbtaskresult"
    )
    return [bool(is_drawn) for [is_drawn] in thumbnails], tasks


@needs_worker
def test_real_worker_makes_the_thumbnails(project):
    """An image that one process captures is drawn by a worker in another process."""

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
    drawn, tasks = looked_at(project)
    assert drawn == [False, False]
    assert [status for status, _ in tasks] == ["READY", "READY"]
    python("-m", "django", "db_worker", "--batch", "--no-startup-delay")
    drawn, tasks = looked_at(project)
    assert drawn == [True, True]
    assert tasks == [("SUCCESSFUL", '"made"')] * 2
