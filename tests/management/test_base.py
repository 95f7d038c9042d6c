"""Commands of which two at once do no harm: one works, the other says who it is."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from request_images.management.base import AloneCommand
from request_images.models import ImageContent, Lease, PendingDeletion, job_locks
from request_images.models.pending_deletions import note_for_deletion
from tests.factories import make_image
from tests.image_files import draw
from tests.storages import ALIAS, use_bucket

pytestmark = pytest.mark.django_db
COMMANDS = [
    ("cleanup", "cleanup_old_images", ()),
    ("move", "move_image_contents", (f"--to={ALIAS}",)),
    ("repair", "verify_image_contents", ("--repair", "--force")),
]
ON = pytest.mark.parametrize(("work", "name", "options"), COMMANDS)


@pytest.fixture(autouse=True)
def bucket(settings, tmp_path):
    """Something to do for each of them."""
    storage = use_bucket(settings, tmp_path, "files")
    Path(storage.location).mkdir()  # or it would only not be mounted
    make_image(days_old=40)
    lost = make_image(draw(seed=1)).content
    ImageContent.objects.filter(pk=lost.pk).update(
        storage=ALIAS, name="ab/lost.png", data=None, thumbnail_error="lost before"
    )
    return storage


def state():
    """What any of the commands would change."""
    contents = ImageContent.objects.values_list("storage", "thumbnail", "data")
    return list(contents), PendingDeletion.objects.count()


def run(name, *options):
    """Return what a command says to people."""
    out = io.StringIO()
    call_command(name, *options, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_that_deletes_objects_for_long(bucket, monkeypatch):
    """It holds on before each of them, and stops when another one took over."""
    kept = [bucket.save(f"ab/{name}.png", ContentFile(b"old")) for name in "xyz"]
    note_for_deletion([(ALIAS, name) for name in kept], "default")

    def taken(name):
        Lease.objects.update(holder="another")

    bucket.hooks["delete"] = taken
    monkeypatch.setattr(job_locks, "_PROLONGED_EVERY", timedelta(0))
    with pytest.raises(CommandError, match="taken over the cleanup"):
        run("cleanup_old_images")
    assert [bucket.exists(name) for name in kept] == [False, True, True]


@ON
def test_the_second_one(work, name, options):
    """Does nothing, says who is at it, and is no failure."""
    now = timezone.now()
    Lease.objects.create(
        work=work, holder="web2", since=now, until=now + timedelta(minutes=5)
    )
    before = state()
    assert f"web2 is at the {work} since 20" in run(name, *options)
    assert run(name, *options).endswith("Nothing was done.\n")
    assert run(name, *options, "--verbosity=0") == ""
    assert state() == before
    Lease.objects.update(until=now)
    assert "Nothing was done" not in run(name, *options)
    assert state() != before
    assert not Lease.objects.filter(until__gt=timezone.now()).exists()


@ON
def test_that_slept_for_too_long(monkeypatch, work, name, options):
    """Another one has taken over: this one stops, and fails."""
    held = job_locks.Held

    def asleep(work, holder, until):
        Lease.objects.update(holder="web2")
        return held(work, holder, until - timedelta(minutes=5))

    monkeypatch.setattr(job_locks, "Held", asleep)
    before = state()
    with pytest.raises(CommandError, match=f"has taken over the {work}"):
        run(name, *options)
    assert state()[0][1:] == before[0][1:]
    assert Lease.objects.get().holder == "web2"


@pytest.mark.parametrize(
    ("work", "name", "options"),
    [
        ("cleanup", "cleanup_old_images", ("--dry-run",)),
        ("move", "move_image_contents", (f"--to={ALIAS}", "--dry-run")),
    ],
)
def test_that_only_looks(work, name, options):
    """It disturbs nobody, and nobody disturbs it."""
    now = timezone.now()
    Lease.objects.create(
        work=work, holder="web2", since=now, until=now + timedelta(minutes=5)
    )
    assert "Would " in run(name, *options)


def test_that_does_nothing_yet():
    """Each command says itself what its work is."""
    with pytest.raises(NotImplementedError):
        AloneCommand().work()
