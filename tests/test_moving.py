"""``move_image_contents``: from one store to another, whatever comes in between."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone

from request_images import health, moving
from request_images.models import ImageContent, PendingDeletion
from request_images.moving import move
from request_images.retention import clean

from .factories import until
from .images import draw
from .storages import (
    ALIAS,
    Killed,
    check,
    delete_now,
    keep,
    kill_at,
    objects,
    raising,
    use_bucket,
)

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(params=["memory", "files"])
def bucket(request, settings, tmp_path):
    """A storage to which things are moved; new images go into the database."""
    storage = use_bucket(settings, tmp_path, request.param)
    settings.REQUEST_IMAGES_STORAGE = None
    return storage


@pytest.fixture
def _faulty():
    yield
    health.reset()


faulty = pytest.mark.usefixtures("_faulty")


class Terminal(io.StringIO):
    """What is written to it is seen at once."""

    def isatty(self):
        return True


def run(to=ALIAS, stderr=None, **options):
    out, errors = io.StringIO(), stderr or io.StringIO()
    call_command("move_image_contents", to=to, stdout=out, stderr=errors, **options)
    return out.getvalue()


def all_is_there(*seeds):
    check()
    data = {c.image_hash: c.read() for c in ImageContent.objects.all()}
    assert set(data.values()) == {draw(seed=seed) for seed in seeds}
    assert all(hashlib.sha256(d).hexdigest() == h for h, d in data.items())


class TestCommand:
    def test_there_and_back(self, bucket):
        """The row, the bytes, the sizes, the words."""
        keep(1, 2, 3)
        size = sum(len(draw(seed=seed)) for seed in (1, 2, 3))
        words = f"3 images, {size} bytes ({size} bytes),"
        assert run(dry_run=True) == f"Would move {words} to bucket.\n"
        assert objects() == set()
        assert run(batch_size=2) == f"Moved {words} to bucket.\n"
        assert not ImageContent.objects.exclude(data=None).exists()
        assert not PendingDeletion.objects.exists()
        assert len(objects()) == 3
        all_is_there(1, 2, 3)
        assert run(verbosity=0) == ""
        assert run(to="database") == f"Moved {words} to database.\n"
        assert len(objects()) == 3, "who has loaded a row may still read"
        all_is_there(1, 2, 3)
        assert set(ImageContent.objects.values_list("storage", "name")) == {("", "")}
        assert delete_now().deleted == 3
        assert objects() == set()
        assert run() == f"Moved {words} to bucket.\n"

    def test_between_storages(self, bucket, settings, tmp_path):
        """Each object has another name than it had."""
        use_bucket(settings, tmp_path, alias="other")
        keep(1, 2)
        run()
        assert set(ImageContent.objects.values_list("storage", flat=True)) == {ALIAS}
        all_is_there(1, 2)
        check("other")
        delete_now()
        assert objects("other") == set()

    def test_an_alias_that_is_none(self, bucket):
        with pytest.raises(CommandError, match="no 'nowhere' in STORAGES; there are"):
            run(to="nowhere")

    @pytest.mark.parametrize("size", ["0", "x", "10001"])
    def test_batches_that_are_none(self, bucket, size):
        with pytest.raises(CommandError, match="no whole number from 1 to 10000"):
            call_command("move_image_contents", "--to", ALIAS, "--batch-size", size)

    def test_shows_how_far_it_is(self, bucket):
        """On a terminal only."""
        keep(1, 2)
        terminal = Terminal()
        run(stderr=terminal)
        assert "\r1 of 2 images" in terminal.getvalue()
        assert "\r2 of 2 images" in terminal.getvalue()
        assert terminal.getvalue().endswith("\n")
        nothing_to_do = Terminal()
        run(stderr=nothing_to_do)
        assert nothing_to_do.getvalue() == ""


class TestOthers:
    """Requests and cleanup go on meanwhile."""

    def test_cleanup_takes_it(self, bucket):
        """Between the copy and the row."""
        keep(1, 2)
        bucket.hooks["open"] = lambda name: (
            clean(until(timezone.now()), batch_size=10) and None
        )
        assert "1 went or were moved meanwhile." in run()
        check()
        delete_now()
        assert objects() == set()

    def test_cleanup_takes_it_on_its_way_to_the_database(self, bucket):
        """Between the look at the bytes and the row."""
        keep(1)
        call_command("move_image_contents", "--to", ALIAS, "--batch-size", "3")

        def late(name):
            clean(until(timezone.now()), batch_size=10)

        bucket.hooks["open"] = late
        assert "1 went or were moved meanwhile." in run(to="database")
        check()
        delete_now()
        assert objects() == set()

    def test_another_run_moves_it(self, bucket):
        """Only one copy stays."""
        keep(1)

        def other(name):
            bucket.hooks.clear()
            run()

        bucket.hooks["open"] = other
        assert "1 went or were moved meanwhile." in run()
        all_is_there(1)
        assert delete_now().deleted == 1
        all_is_there(1)

    @faulty
    def test_the_copy_is_given_up_by_somebody(self, bucket):
        """It took so long that its object is being deleted."""
        keep(1)
        bucket.hooks["open"] = lambda name: delete_now() and None
        with pytest.raises(CommandError, match="1 could not be moved"):
            run()
        bucket.hooks.clear()
        run()
        all_is_there(1)


@faulty
class TestFaults:
    def test_a_copy_that_is_not_right(self, bucket):
        """The old one stays, the new one goes."""
        keep(1)
        bucket.hooks["open"] = lambda name: b"something else"
        with pytest.raises(CommandError, match="1 could not be moved; the log says"):
            run()
        assert health.faults() == {"move:ObjectDamaged": 1}
        assert ImageContent.objects.get().storage == ""
        del bucket.hooks["open"]
        all_is_there(1)
        assert delete_now().deleted == 1

    def test_bytes_that_were_damaged_before(self, bucket):
        """They are not passed on as if they were right; the others are moved."""
        keep(*range(8))
        contents = ImageContent.objects.order_by("pk")
        pks = list(contents.values_list("pk", flat=True)[:7])
        ImageContent.objects.filter(pk__in=pks).update(data=b"others")
        with pytest.raises(CommandError, match="7 could not be moved"):
            run()
        assert ImageContent.objects.filter(storage=ALIAS).count() == 1

    def test_a_database_that_does_not_keep_it(self, bucket, monkeypatch):
        """The row is read back too before it counts."""
        keep(1)
        run()
        with monkeypatch.context() as patch:
            put = moving.store_of("").put

            def other_bytes(content, data):
                put(content, b"others")

            patch.setattr(moving.store_of(""), "put", other_bytes)
            with pytest.raises(CommandError, match="1 could not be moved"):
                run(to="database")
        assert ImageContent.objects.get().storage == ALIAS
        all_is_there(1)

    def test_a_storage_that_is_away(self, bucket):
        """It is given up, and finished by another run."""
        keep(*range(7))
        bucket.hooks["save"] = raising(OSError("away"))
        with pytest.raises(CommandError, match="Given up: bucket: OSError: away"):
            run()
        assert bucket.calls.count("save") == 5
        check()
        bucket.hooks.clear()
        moving.store_of(ALIAS).breaker.reset()
        assert "Moved 7 images" in run()
        all_is_there(*range(7))

    def test_a_database_that_is_busy(self, bucket, monkeypatch):
        """One content that is locked is one content."""
        keep(1, 2)
        switch, fails = moving._switch, [OperationalError("locked")]

        def failing(*args):
            if fails:
                raise fails.pop()
            return switch(*args)

        monkeypatch.setattr(moving, "_switch", failing)
        with pytest.raises(CommandError, match="1 could not be moved"):
            run()
        assert ImageContent.objects.filter(storage=ALIAS).count() == 1
        check()

    def test_what_goes_between_the_list_and_the_look(self, bucket):
        """It is not there to be moved."""
        keep(1, 2)
        moved = move(
            ALIAS,
            batch_size=10,
            tell=lambda moved: clean(until(timezone.now()), batch_size=10),
        )
        assert (moved.contents, moved.changed, moved.failed) == (1, 0, 0)


class TestCrash:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(
        "name", ["place", "_compare", "_switch", "take_over", "note_for_deletion"]
    )
    @pytest.mark.parametrize("to", [ALIAS, "database", "other"])
    def test_between_any_two_steps(  # noqa: PLR0917
        self, bucket, settings, tmp_path, name, when, to
    ):
        """Each content is in one place, and no object is unknown."""
        use_bucket(settings, tmp_path, "files", alias="other")
        settings.REQUEST_IMAGES_STORAGE = None if to == ALIAS else ALIAS
        keep(1, 2)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, moving, name, when)
            try:
                run(to=to)
            except Killed:
                pass
            else:  # a step that this way has not
                assert name in ("place", "take_over", "note_for_deletion")
        all_is_there(1, 2)
        check("other")
        run(to=to)
        all_is_there(1, 2)
        delete_now()
        all_is_there(1, 2)
        assert len(objects()) + len(objects("other")) == (0 if to == "database" else 2)


PROCESS = """
import os, sys, time
from django.conf import settings
settings.STORAGES = {**settings.STORAGES, "bucket": {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"location": sys.argv[1]},
}}
import django
django.setup()
from django.core.management import call_command
if sys.argv[2] == "fill":
    from tests.storages import keep
    call_command("migrate", verbosity=0)
    keep(*range(80))
elif sys.argv[2] == "verify":
    call_command("verify_image_contents")
else:
    print("ready", flush=True)
    call_command("move_image_contents", to=sys.argv[2])
"""


def test_killed_at_any_moment(tmp_path):
    """SIGKILL, again and again: nothing is lost, nothing is unknown."""
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def start(what):
        return subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path / "bucket"), what],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(what):
        process = start(what)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
        return out

    finish("fill")
    for number in range(4):
        process = start(("bucket", "database")[number % 2])
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.uniform(0, 0.25))
        process.kill()
        process.communicate()
        said = finish("verify")
        assert "Read 80 images" in said
        assert "missing: 0; mismatch: 0; orphan: 0; unreadable: 0." in said
    finish("bucket")
    assert "listed" in finish("verify")
