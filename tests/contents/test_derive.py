"""Thumbnails once for all processes: who draws, who waits, and what is given up."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError, connection, connections
from django.urls import reverse
from django.utils import timezone

from request_images import health
from request_images.admin.responses import thumbnail_response
from request_images.cleanup.retention import clean
from request_images.contents import derive, thumbnails
from request_images.contents.attempts import GAVE_UP
from request_images.contents.derive import Fate, derive_missing, try_to_derive
from request_images.contents.thumbnails import THUMBNAIL, thumbnail_of
from request_images.exceptions import NotYet
from request_images.models import ImageContent
from request_images.storage.stores import DatabaseStore
from tests.factories import (
    capture_queries,
    loading_bytes,
    make_content,
    make_image,
    make_superuser,
    until,
)
from tests.image_files import draw as picture
from tests.servers.running import ROOT, Database
from tests.storages import ALIAS, delete_now, keep, use_bucket


def draw(pk: int) -> Fate:
    return try_to_derive(THUMBNAIL, pk)


def draw_missing(*, limit: int | None = None, batch_size: int) -> list[Fate]:
    options = {"limit": limit, "batch_size": batch_size}
    return list(derive_missing(THUMBNAIL, oldest_first=False, **options))


def seconds_ago(seconds: float):
    return timezone.now() - timedelta(seconds=seconds)


def tried(content: ImageContent, times: int, ago: float) -> None:
    """Leave the traces of processes that were killed while they drew."""
    ImageContent.objects.filter(pk=content.pk).update(
        thumbnail_tries=times, thumbnail_tried_at=seconds_ago(ago)
    )


@pytest.fixture
def drawn(monkeypatch):
    """Collect the bytes that are drawn."""
    made = []

    def decode(work, data, **options):
        made.append(data)
        return {}, b"small"

    monkeypatch.setattr(thumbnails, "decode", decode)
    return made


@pytest.mark.django_db
class TestClaim:
    def test_is_on_the_row_while_it_is_drawn(self, monkeypatch):
        """Other processes see the claim and its time."""
        content, seen = make_content(), []

        def decode(work, data, **options):
            seen.extend(
                ImageContent.objects.values_list(
                    "thumbnail_tries", "thumbnail_tried_at"
                )
            )
            return {}, b"small"

        monkeypatch.setattr(thumbnails, "decode", decode)
        thumbnail_of(content.pk)
        [(tries, tried_at)] = seen
        assert tries == 1
        assert seconds_ago(10) < tried_at <= timezone.now()

    def test_of_another_process_is_respected(self, drawn):
        """The second process draws nothing."""
        content = make_content()
        tried(content, 1, ago=derive.CLAIM_SECONDS - 10)
        with pytest.raises(NotYet, match="another process"):
            thumbnail_of(content.pk)
        assert drawn == []

    @pytest.mark.parametrize("times", [1, 2])
    def test_of_a_process_that_was_killed_ends(self, drawn, times):
        """Another process may draw after a minute."""
        content = make_content()
        tried(content, times, ago=derive.CLAIM_SECONDS + 10)
        assert thumbnail_of(content.pk) == b"small"
        content.refresh_from_db()
        assert content.thumbnail_tries == times + 1

    def test_ends_after_three_attempts(self, drawn):
        """An image that kills each process is not tried forever."""
        content = make_content()
        tried(content, 3, ago=derive.CLAIM_SECONDS + 10)
        assert thumbnail_of(content.pk) is None
        content.refresh_from_db()
        assert content.thumbnail_error == GAVE_UP
        assert thumbnail_of(content.pk) is None
        assert drawn == []

    def test_is_released_on_ctrl_c(self, monkeypatch, drawn):
        """An interruption is no failure: the next run may draw at once."""
        content = make_content()

        def stop(*arguments, **limits):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(thumbnails, "decode", stop)
            for _ in range(4):
                with pytest.raises(KeyboardInterrupt):
                    draw_missing(batch_size=1)
        assert thumbnail_of(content.pk) == b"small"
        content.refresh_from_db()
        assert content.thumbnail_tries == 1

    def test_third_attempt_may_finish(self, drawn):
        """The third claim is not judged before it expires."""
        content = make_content()
        tried(content, 3, ago=1)
        with pytest.raises(NotYet):
            thumbnail_of(content.pk)
        content.refresh_from_db()
        assert content.thumbnail_error == ""

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.skipif(
        "connection.vendor == 'sqlite'", reason="in memory, threads lock one another"
    )
    def test_only_one_of_many_succeeds(self):
        """The database decides between concurrent claims."""
        content, gate, won = make_content(), threading.Barrier(8), []

        def claim():
            gate.wait()
            try:
                won.append(derive._claim(THUMBNAIL, content.pk))
            except NotYet:
                won.append(False)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=claim) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * 7 + [True]


@pytest.mark.django_db
class TestOneAtATime:
    def test_wait_for_the_lock_is_limited(self, drawn):
        """A worker's thread waits for a limited time."""
        content = make_content()
        with (
            derive._one_picture,
            pytest.raises(NotYet, match="busy with other"),
        ):
            thumbnail_of(content.pk, wait=0.01)
        content.refresh_from_db()
        assert (content.thumbnail_tries, drawn) == (0, [])
        assert thumbnail_of(content.pk, wait=0.01) == b"small"

    def test_lock_is_released_after_an_error(self, monkeypatch):
        """Any exception releases the lock."""
        monkeypatch.setattr(thumbnails, "decode", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            thumbnail_of(make_content().pk)
        assert not derive._one_picture.locked()


FORK = """
import os
from request_images.contents import derive
derive._one_picture.acquire()
if os.fork() == 0:
    os._exit(derive._one_picture.locked())
_, status = os.wait()
raise SystemExit(os.waitstatus_to_exitcode(status))
"""


def test_fork_during_a_drawing_can_draw():
    """The child does not inherit the locked lock."""
    environment = os.environ | {
        "DATABASE_URL": "sqlite://",
        "DJANGO_SETTINGS_MODULE": "tests.servers.settings",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    setup = "import django; django.setup()"
    subprocess.run(
        [sys.executable, "-c", setup + FORK], env=environment, cwd=ROOT, check=True
    )


@pytest.mark.django_db
class TestDatabase:
    def test_locked_row_is_postponed(self, monkeypatch):
        """A row locked by cleanup is left for the next run."""

        def fail(what, pk):
            raise OperationalError("database is locked")

        monkeypatch.setattr(derive, "_claim", fail)
        content = make_content()
        with pytest.raises(NotYet, match="busy"):
            thumbnail_of(content.pk)
        assert draw(content.pk) is Fate.SKIPPED

    def test_error_is_raised_by_the_command(self, monkeypatch):
        """A command reports the error of a broken database."""

        def fail(what, pk):
            raise DatabaseError("no such column")

        monkeypatch.setattr(derive, "_claim", fail)
        with pytest.raises(DatabaseError, match="no such column"):
            draw(make_content().pk)


@pytest.mark.django_db
class TestBytesThatCannotBeRead:
    @pytest.fixture
    def away(self, monkeypatch):
        """A storage that does not answer."""

        def read(self, content):
            raise OSError("no route to host")

        monkeypatch.setattr(DatabaseStore, "read", read)
        yield
        health.reset()

    def test_are_no_attempt(self, away):
        """A storage may be unavailable for hours."""
        content = make_content()
        for _ in range(5):
            with pytest.raises(NotYet, match="cannot be read"):
                thumbnail_of(content.pk)
            content.refresh_from_db()
            assert (content.thumbnail_tries, content.thumbnail_error) == (0, "")
            tried(content, 0, ago=derive.CLAIM_SECONDS + 1)
        assert health.faults() == {"thumbnail:OSError": 5}

    @pytest.mark.parametrize("to", ["database", ALIAS])
    def test_are_read_from_their_new_store(self, settings, tmp_path, monkeypatch, to):
        """The bytes were moved during the read."""
        use_bucket(settings, tmp_path, "files")
        settings.REQUEST_IMAGES_STORAGE = None if to == ALIAS else ALIAS
        [content] = keep(1)
        claim = derive._claim

        def while_somebody_moves(what, pk):
            call_command("move_image_contents", to=to, verbosity=0)
            delete_now()
            return claim(what, pk)

        monkeypatch.setattr(derive, "_claim", while_somebody_moves)
        assert draw(content.pk) is Fate.MADE

    def test_deleted_with_their_row_are_no_error(self, settings, tmp_path, monkeypatch):
        """Cleanup deleted the row and the object."""
        bucket = use_bucket(settings, tmp_path, "files")
        [content] = keep(1)

        def gone(name):
            clean(until(timezone.now()), batch_size=10)
            delete_now()

        bucket.hooks["open"] = gone
        assert draw(content.pk) is Fate.SKIPPED
        assert not ImageContent.objects.exists()

    def test_deleted_during_the_read_are_no_error(self, monkeypatch):
        """Cleanup deleted the content during the read."""
        content = make_content()

        def read(self, content):
            raise ImageContent.DoesNotExist

        monkeypatch.setattr(DatabaseStore, "read", read)
        with pytest.raises(ImageContent.DoesNotExist):
            thumbnail_of(content.pk)
        assert draw(content.pk) is Fate.SKIPPED


@pytest.mark.django_db
class TestPlaceholder:
    def test_has_status_503_and_is_not_cached(self, client, drawn):
        """Browsers show the placeholder; programs see the status."""
        image = make_image()
        tried(image.content, 1, ago=1)
        client.force_login(make_superuser())
        url = reverse("admin:request_images_requestimage_thumbnail", args=[image.pk])
        response = client.get(url)
        assert response.status_code == 503
        assert response["Retry-After"] == "5"
        assert response["Content-Type"] == "image/svg+xml"
        assert response.content.startswith(b"<svg ")
        assert "no-store" in response["Cache-Control"]
        assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert drawn == []

    def test_is_replaced_on_reload(self, drawn):
        """A reload shows the thumbnail when it is drawn."""
        image = make_image()
        tried(image.content, 1, ago=1)
        assert thumbnail_response(image).status_code == 503
        ImageContent.objects.update(thumbnail=b"theirs")
        assert thumbnail_response(image).content == b"theirs"

    @pytest.mark.django_db(transaction=True)
    def test_claim_is_committed_under_atomic_requests(
        self, client, atomic_requests, monkeypatch
    ):
        """A claim is committed at once, so a crash leaves a trace."""
        image, in_transaction = make_image(), []

        def decode(work, data, **options):
            in_transaction.append(connection.in_atomic_block)
            return {}, b"small"

        monkeypatch.setattr(thumbnails, "decode", decode)
        client.force_login(make_superuser())
        url = reverse("admin:request_images_requestimage_thumbnail", args=[image.pk])
        assert client.get(url).content == b"small"
        assert in_transaction == [False]


@pytest.mark.django_db
class TestPages:
    @pytest.mark.parametrize("model", ["requestimage", "requestlog"])
    def test_decode_nothing(self, client, monkeypatch, model):
        """Neither a list nor a detail page draws a thumbnail or waits for it."""
        monkeypatch.setattr(thumbnails, "thumbnail_of", None)
        monkeypatch.setattr(thumbnails, "decode", None)
        image = make_image(picture(size=(640, 480)))
        client.force_login(make_superuser())
        row = image if model == "requestimage" else image.log
        urls = (
            reverse(f"admin:request_images_{model}_changelist"),
            reverse(f"admin:request_images_{model}_change", args=[row.pk]),
        )
        for url in urls:
            with capture_queries() as queries:
                response = client.get(url)
            assert response.status_code == 200
            assert loading_bytes(queries) == []

    @pytest.mark.parametrize(
        ("size", "shown"),
        [
            ((640, 480), (160, 120)),
            ((480, 640), (120, 160)),
            ((10, 5), (160, 80)),
            ((9000, 3), (160, 1)),
            ((None, None), (160, 160)),
        ],
    )
    def test_reserve_the_space_of_a_thumbnail(self, client, size, shown):
        """The page has the width and height, so the layout does not shift."""
        width, height = size
        make_image(image={"width": width, "height": height})
        client.force_login(make_superuser())
        url = reverse("admin:request_images_requestimage_changelist")
        page = client.get(url).content.decode()
        assert f'width="{shown[0]}" height="{shown[1]}" loading="lazy"' in page


def run(*arguments: str, **options: object) -> str:
    """Run the command and return what it says."""
    out = io.StringIO()
    call_command("make_thumbnails", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
class TestCommand:
    def test_makes_missing_thumbnails_once(self):
        """The second run finds nothing to do."""
        contents = [make_content(picture(seed=seed)) for seed in range(3)]
        broken = make_content(b"no image")
        done = make_content(picture(seed=9))
        ImageContent.objects.filter(pk=done.pk).update(thumbnail=b"before")
        tried(contents[0], 1, ago=1)
        assert run() == ("Thumbnails: 2 made, 1 cannot be made, 1 skipped.\n")
        answers = dict(ImageContent.objects.values_list("pk", "thumbnail_error"))
        assert answers[broken.pk] == "not an image"
        assert run() == "Thumbnails: 0 made, 0 cannot be made, 1 skipped.\n"
        done.refresh_from_db()
        assert bytes(done.thumbnail) == b"before"

    def test_verbosity_0_prints_nothing(self):
        """Verbosity 0 is for cron."""
        make_content()
        assert run("--verbosity=0") == ""
        assert ImageContent.objects.get().thumbnail is not None

    @pytest.mark.parametrize(
        ("options", "order"),
        [((), [4, 3, 2]), (("--oldest-first",), [0, 1, 2])],
    )
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
    def test_order_and_limit(self, drawn, options, order, batch_size):
        """The newest come first by default, with any batch size."""
        pictures = [picture(seed=seed) for seed in range(5)]
        for data in pictures:
            make_content(data)
        run(*options, "--limit=3", f"--batch-size={batch_size}")
        assert drawn == [pictures[seed] for seed in order]

    def test_loads_only_keys(self, drawn):
        """Neither bytes nor thumbnails of the queue are in memory."""
        for seed in range(5):
            make_content(picture(seed=seed))
        with capture_queries() as queries:
            assert draw_missing(limit=0, batch_size=2) == []
            assert draw_missing(batch_size=2) == [Fate.MADE] * 5
        lists = [sql for sql in queries if sql.endswith("LIMIT 2")]
        assert len(lists) == 4
        assert loading_bytes(lists) == []

    def test_counts_thumbnails_of_a_concurrent_run_as_skipped(self, monkeypatch):
        """Two concurrent runs count each thumbnail once."""
        content = make_content()
        ImageContent.objects.update(thumbnail=b"theirs")
        keys = [[(content.pk,), (0,)]]
        monkeypatch.setattr(derive, "chunks", lambda *a, **k: keys)
        assert run() == "Thumbnails: 0 made, 0 cannot be made, 2 skipped.\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--limit=0"],
            ["--limit=-1"],
            ["--limit=many"],
            ["--limit=9999999999"],
            ["--batch-size=0"],
            ["--batch-size=10001"],
        ],
    )
    def test_invalid_options_are_refused(self, arguments):
        with pytest.raises(CommandError):
            run(*arguments)

    @pytest.mark.parametrize("option", ["limit", "batch_size"])
    @pytest.mark.parametrize("value", [0, -1])
    def test_invalid_values_are_refused_in_calls(self, option, value):
        """`call_command` does not check values, so the command does."""
        make_content()
        with pytest.raises(CommandError, match=f"must be at least 1, not {value}"):
            run(**{option: value})


KILLED = """
import os, signal
from multiprocessing import get_context
from django.db import connections
from request_images.contents import thumbnails, derive
thumbnails.decode = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
derive.CLAIM_SECONDS = 0
for _ in range(4):
    connections.close_all()  # no process shares a connection
    process = get_context("fork").Process(
        target=thumbnails.thumbnail_of, args=(content.pk,)
    )
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, django_db_blocker):
    """Return a database of its own, and what runs Python code in its project."""
    database = Database(tmp_path_factory.mktemp("drawing"), "drawing")
    with django_db_blocker.unblock():
        database.create()
        yield database
        database.remove()


FILL = """
import django
django.setup()
from tests.image_files import draw
from request_images.models import ImageContent
from request_images.cleanup.retention import clean
ImageContent.objects.all().delete()
for seed in range({number}):
    content = ImageContent.holding(f"{{seed:064}}", draw(size=(400, 300), seed=seed))
    content.save()
"""
DRAW = """
from request_images.contents.derive import Fate, derive_missing
from request_images.contents.thumbnails import THUMBNAIL
from tests.servers.forking import Child
def draw_all(oldest_first):
    options = {"limit": None, "batch_size": 4, "oldest_first": oldest_first}
    return list(derive_missing(THUMBNAIL, **options)).count(Fate.MADE)
both = [Child(draw_all, oldest_first) for oldest_first in (False, True)]
print(sum(child.result() for child in both))
"""


def tries(project: Database) -> list[tuple[int, str]]:
    return project.query(
        "SELECT DISTINCT thumbnail_tries, thumbnail_error "
        "FROM request_images_imagecontent"
    )


def said_by(project: Database, code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=project.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.processes
class TestProcesses:
    def test_two_runs_draw_each_thumbnail_once(self, project):
        """Neither of two concurrent processes fails."""
        assert said_by(project, FILL.format(number=30) + DRAW) == ["30"]
        assert tries(project) == [(1, "")]

    def test_image_that_kills_three_processes_is_skipped(self, project):
        """An image that kills its process is tried three times."""
        said = said_by(project, FILL.format(number=1) + KILLED)
        assert said == [*[str(-signal.SIGKILL)] * 3, "0"]
        assert tries(project) == [(3, GAVE_UP)]
