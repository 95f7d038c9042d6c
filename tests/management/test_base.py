"""Commands that only one process may run at a time."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from request_images.management.base import ImagesCommand
from request_images.models import ImageContent, Lease, PendingDeletion, job_locks
from request_images.models.pending_deletions import schedule_deletions
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
    """Set up something to do for each command."""
    storage = use_bucket(settings, tmp_path, "files")
    Path(storage.location).mkdir()  # or it would only not be mounted
    make_image(days_old=40)
    lost = make_image(draw(seed=1)).content
    ImageContent.objects.filter(pk=lost.pk).update(
        storage=ALIAS, name="ab/lost.png", data=None, thumbnail_error="lost before"
    )
    return storage


def state():
    """Return everything that the commands would change."""
    contents = ImageContent.objects.values_list("storage", "thumbnail", "data")
    return list(contents), PendingDeletion.objects.count()


def run(name, *options):
    """Return the output of a command."""
    out = io.StringIO()
    call_command(name, *options, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_deletion_of_objects_renews_the_lease_and_stops_when_it_is_lost(
    bucket, monkeypatch
):
    """The lease is renewed before each object."""
    kept = [bucket.save(f"ab/{name}.png", ContentFile(b"old")) for name in "xyz"]
    schedule_deletions([(ALIAS, name) for name in kept], "default")

    def taken(name):
        Lease.objects.update(holder="another")

    bucket.hooks["delete"] = taken
    monkeypatch.setattr(job_locks, "_RENEW_EVERY", timedelta(0))
    with pytest.raises(CommandError, match="taken over the cleanup"):
        run("cleanup_old_images")
    assert [bucket.exists(name) for name in kept] == [False, True, True]


@ON
def test_second_process_does_nothing_and_says_who_works(work, name, options):
    """This is not an error."""
    now = timezone.now()
    Lease.objects.create(
        work=work, holder="web2", since=now, until=now + timedelta(minutes=5)
    )
    before = state()
    assert f"The {work} already runs on web2, since 20" in run(name, *options)
    assert run(name, *options).endswith("Nothing was done.\n")
    assert run(name, *options, "--verbosity=0") == ""
    assert state() == before
    Lease.objects.update(until=now)
    assert "Nothing was done" not in run(name, *options)
    assert state() != before
    assert not Lease.objects.filter(until__gt=timezone.now()).exists()


@ON
def test_process_that_slept_too_long_stops_with_an_error(
    monkeypatch, work, name, options
):
    """Another process has taken over."""
    held = job_locks.HeldLease

    def asleep(work, holder, until):
        Lease.objects.update(holder="web2")
        return held(work, holder, until - timedelta(minutes=5))

    monkeypatch.setattr(job_locks, "HeldLease", asleep)
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
def test_dry_run_needs_no_lease(work, name, options):
    """It runs while another process works."""
    now = timezone.now()
    Lease.objects.create(
        work=work, holder="web2", since=now, until=now + timedelta(minutes=5)
    )
    assert "Would " in run(name, *options)


def test_work_is_abstract():
    """Each command defines its own."""
    with pytest.raises(NotImplementedError):
        ImagesCommand().work()
