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
    """Leave what processes leave that were killed while they drew."""
    ImageContent.objects.filter(pk=content.pk).update(
        thumbnail_tries=times, thumbnail_tried_at=seconds_ago(ago)
    )


@pytest.fixture
def drawn(monkeypatch):
    """Collect the bytes that are drawn."""
    made = []

    def make_thumbnail(data, **limits):
        made.append(data)
        return b"small"

    monkeypatch.setattr(thumbnails, "make_thumbnail", make_thumbnail)
    return made


@pytest.mark.django_db
class TestClaim:
    def test_is_on_the_row_while_it_is_drawn(self, monkeypatch):
        """Other processes can see it, and for how long."""
        content, seen = make_content(), []

        def make_thumbnail(data, **limits):
            seen.extend(
                ImageContent.objects.values_list(
                    "thumbnail_tries", "thumbnail_tried_at"
                )
            )
            return b"small"

        monkeypatch.setattr(thumbnails, "make_thumbnail", make_thumbnail)
        thumbnail_of(content.pk)
        [(tries, tried_at)] = seen
        assert tries == 1
        assert seconds_ago(10) < tried_at <= timezone.now()

    def test_of_another_process_is_respected(self, drawn):
        """Whoever comes second draws nothing."""
        content = make_content()
        tried(content, 1, ago=derive.CLAIM_SECONDS - 10)
        with pytest.raises(NotYet, match="another process"):
            thumbnail_of(content.pk)
        assert drawn == []

    @pytest.mark.parametrize("times", [1, 2])
    def test_of_a_process_that_was_killed_ends(self, drawn, times):
        """After a minute it is somebody else's turn."""
        content = make_content()
        tried(content, times, ago=derive.CLAIM_SECONDS + 10)
        assert thumbnail_of(content.pk) == b"small"
        content.refresh_from_db()
        assert content.thumbnail_tries == times + 1

    def test_is_given_up_after_three(self, drawn):
        """What kills each process that tries is not tried for ever."""
        content = make_content()
        tried(content, 3, ago=derive.CLAIM_SECONDS + 10)
        assert thumbnail_of(content.pk) is None
        content.refresh_from_db()
        assert content.thumbnail_error == GAVE_UP
        assert thumbnail_of(content.pk) is None
        assert drawn == []

    def test_is_given_back_when_somebody_stops_the_command(self, monkeypatch, drawn):
        """Ctrl-C says nothing about the image: the next one begins at once."""
        content = make_content()

        def stop(*arguments, **limits):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(thumbnails, "make_thumbnail", stop)
            for _ in range(4):
                with pytest.raises(KeyboardInterrupt):
                    draw_missing(batch_size=1)
        assert thumbnail_of(content.pk) == b"small"
        content.refresh_from_db()
        assert content.thumbnail_tries == 1

    def test_the_third_is_waited_for(self, drawn):
        """As long as it may still be drawing, nothing is decided."""
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
    def test_only_one_gets_it(self):
        """Of many that come at the same moment the database chooses one."""
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
    def test_who_would_wait_for_long_does_not(self, drawn):
        """A worker's thread has better things to do."""
        content = make_content()
        with (
            derive._one_picture,
            pytest.raises(NotYet, match="busy with other"),
        ):
            thumbnail_of(content.pk, wait=0.01)
        content.refresh_from_db()
        assert (content.thumbnail_tries, drawn) == (0, [])
        assert thumbnail_of(content.pk, wait=0.01) == b"small"

    def test_the_lock_is_free_after_a_fault(self, monkeypatch):
        """Whatever is raised."""
        monkeypatch.setattr(thumbnails, "make_thumbnail", lambda *a, **k: 1 / 0)
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


def test_a_fork_while_somebody_draws():
    """The child can draw: whoever holds the lock is not there."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    setup = "import django; django.setup()"
    subprocess.run(
        [sys.executable, "-c", setup + FORK], env=environment, cwd=ROOT, check=True
    )


@pytest.mark.django_db
class TestDatabase:
    def test_that_is_busy(self, monkeypatch):
        """A row that cleanup has locked is left for the next time."""

        def fail(what, pk):
            raise OperationalError("database is locked")

        monkeypatch.setattr(derive, "_claim", fail)
        content = make_content()
        with pytest.raises(NotYet, match="busy"):
            thumbnail_of(content.pk)
        assert draw(content.pk) is Fate.SKIPPED

    def test_that_is_broken(self, monkeypatch):
        """Whoever runs a command is to hear of it."""

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

    def test_say_nothing_about_the_image(self, away):
        """It was no try: a storage may be away for hours."""
        content = make_content()
        for _ in range(5):
            with pytest.raises(NotYet, match="cannot be read"):
                thumbnail_of(content.pk)
            content.refresh_from_db()
            assert (content.thumbnail_tries, content.thumbnail_error) == (0, "")
            tried(content, 0, ago=derive.CLAIM_SECONDS + 1)
        assert health.faults() == {"thumbnail:OSError": 5}

    @pytest.mark.parametrize("to", ["database", ALIAS])
    def test_because_they_were_moved_meanwhile(
        self, settings, tmp_path, monkeypatch, to
    ):
        """They are read from where they are now."""
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

    def test_because_their_object_went_with_the_row(
        self, settings, tmp_path, monkeypatch
    ):
        """Cleanup was quicker, and it is no fault."""
        bucket = use_bucket(settings, tmp_path, "files")
        [content] = keep(1)

        def gone(name):
            clean(until(timezone.now()), batch_size=10)
            delete_now()

        bucket.hooks["open"] = gone
        assert draw(content.pk) is Fate.SKIPPED
        assert not ImageContent.objects.exists()

    def test_because_cleanup_took_them_meanwhile(self, monkeypatch):
        """Gone is gone, and no fault."""
        content = make_content()

        def read(self, content):
            raise ImageContent.DoesNotExist

        monkeypatch.setattr(DatabaseStore, "read", read)
        with pytest.raises(ImageContent.DoesNotExist):
            thumbnail_of(content.pk)
        assert draw(content.pk) is Fate.SKIPPED


@pytest.mark.django_db
class TestNotYet:
    def test_is_a_picture_that_no_cache_keeps(self, client, drawn):
        """With a status that programs understand; a browser shows the picture."""
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

    def test_reloading_shows_the_thumbnail(self, drawn):
        """As soon as whoever drew it is done."""
        image = make_image()
        tried(image.content, 1, ago=1)
        assert thumbnail_response(image).status_code == 503
        ImageContent.objects.update(thumbnail=b"theirs")
        assert thumbnail_response(image).content == b"theirs"

    @pytest.mark.django_db(transaction=True)
    def test_is_known_to_others_under_atomic_requests(
        self, client, atomic_requests, monkeypatch
    ):
        """What is begun is committed at once, or a killed process leaves no trace."""
        image, in_transaction = make_image(), []

        def make_thumbnail(data, **limits):
            in_transaction.append(connection.in_atomic_block)
            return b"small"

        monkeypatch.setattr(thumbnails, "make_thumbnail", make_thumbnail)
        client.force_login(make_superuser())
        url = reverse("admin:request_images_requestimage_thumbnail", args=[image.pk])
        assert client.get(url).content == b"small"
        assert in_transaction == [False]


@pytest.mark.django_db
class TestPages:
    @pytest.mark.parametrize("model", ["requestimage", "requestlog"])
    def test_decode_nothing(self, client, monkeypatch, model):
        """Neither a list nor the page of a row draws or waits for what is drawn."""
        monkeypatch.setattr(thumbnails, "thumbnail_of", None)
        monkeypatch.setattr(thumbnails, "make_thumbnail", None)
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
    def test_keep_the_place_of_a_thumbnail(self, client, size, shown):
        """Its width and height are told beforehand, so that nothing jumps."""
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
    def test_makes_what_is_missing(self):
        """Once: the next run finds nothing to do."""
        contents = [make_content(picture(seed=seed)) for seed in range(3)]
        broken = make_content(b"no image")
        done = make_content(picture(seed=9))
        ImageContent.objects.filter(pk=done.pk).update(thumbnail=b"before")
        tried(contents[0], 1, ago=1)
        assert run() == ("Made 2 thumbnails; 1 cannot be made; 1 were skipped.\n")
        answers = dict(ImageContent.objects.values_list("pk", "thumbnail_error"))
        assert answers[broken.pk] == "not an image"
        assert run() == "Made 0 thumbnails; 0 cannot be made; 1 were skipped.\n"
        done.refresh_from_db()
        assert bytes(done.thumbnail) == b"before"

    def test_can_be_silent(self):
        """For cron."""
        make_content()
        assert run("--verbosity=0") == ""
        assert ImageContent.objects.get().thumbnail is not None

    @pytest.mark.parametrize(
        ("options", "order"),
        [((), [4, 3, 2]), (("--oldest-first",), [0, 1, 2])],
    )
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
    def test_order_and_limit(self, drawn, options, order, batch_size):
        """The newest come first unless asked otherwise; batches change nothing."""
        pictures = [picture(seed=seed) for seed in range(5)]
        for data in pictures:
            make_content(data)
        run(*options, "--limit=3", f"--batch-size={batch_size}")
        assert drawn == [pictures[seed] for seed in order]

    def test_fetches_keys_alone(self, drawn):
        """Of a million contents, neither bytes nor thumbnails are held."""
        for seed in range(5):
            make_content(picture(seed=seed))
        with capture_queries() as queries:
            assert draw_missing(limit=0, batch_size=2) == []
            assert draw_missing(batch_size=2) == [Fate.MADE] * 5
        lists = [sql for sql in queries if sql.endswith("LIMIT 2")]
        assert len(lists) == 4
        assert loading_bytes(lists) == []

    def test_counts_what_another_one_made_meanwhile_as_skipped(self, monkeypatch):
        """Two that run side by side count each thumbnail once."""
        content = make_content()
        ImageContent.objects.update(thumbnail=b"theirs")
        keys = [[(content.pk,), (0,)]]
        monkeypatch.setattr(derive, "chunks", lambda *a, **k: keys)
        assert run() == "Made 0 thumbnails; 0 cannot be made; 2 were skipped.\n"

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
    def test_wrong_options(self, arguments):
        with pytest.raises(CommandError):
            run(*arguments)

    @pytest.mark.parametrize("option", ["limit", "batch_size"])
    @pytest.mark.parametrize("value", [0, -1])
    def test_wrong_values_from_other_code(self, option, value):
        """``call_command`` passes values by the parser; none is a quiet success."""
        make_content()
        with pytest.raises(CommandError, match=f"must be at least 1, not {value}"):
            run(**{option: value})


KILLED = """
import os, signal, sys, django
django.setup()
from request_images.contents import thumbnails, derive
thumbnails.make_thumbnail = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
derive.CLAIM_SECONDS = 0
thumbnails.thumbnail_of(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, django_db_blocker):
    """Return a database of its own, and what runs Python code in its project."""
    database = Database(tmp_path_factory.mktemp("drawing"), "drawing")
    with django_db_blocker.unblock():
        database.create()
        yield database
        database.remove()


def start(project: Database, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=project.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


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
print(content.pk)
"""
DRAW = """
import sys, django
django.setup()
from request_images.contents.derive import Fate, derive_missing
from request_images.contents.thumbnails import THUMBNAIL
oldest_first = bool(sys.argv[1])
fates = derive_missing(THUMBNAIL, oldest_first=oldest_first, limit=None, batch_size=4)
print(list(fates).count(Fate.MADE))
"""
LOOK = """
import django
django.setup()
from request_images.models import ImageContent
from request_images.cleanup.retention import clean
found = ImageContent.objects.values_list("thumbnail_tries", "thumbnail_error")
print(*found.distinct())
"""


def answer(project: Database, *arguments: str) -> str:
    process = start(project, *arguments)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out


@pytest.mark.processes
class TestProcesses:
    def test_two_side_by_side_make_each_once(self, project):
        """And none of them fails."""
        answer(project, "-c", FILL.format(number=30))
        both = [start(project, "-c", DRAW, order) for order in ("", "oldest")]
        said = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert sum(map(int, said)) == 30
        assert answer(project, "-c", LOOK) == "(1, '')\n"

    def test_what_kills_each_process_is_given_up(self, project):
        """A bomb takes three processes with it and no fourth."""
        pk = answer(project, "-c", FILL.format(number=1)).strip()
        for _ in range(3):
            process = start(project, "-c", KILLED, pk)
            process.communicate(timeout=120)
            assert process.returncode == -signal.SIGKILL
        assert answer(project, "-c", KILLED, pk) == ""
        assert answer(project, "-c", LOOK) == f"(3, {GAVE_UP!r})\n"
