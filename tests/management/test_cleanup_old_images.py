"""``manage.py cleanup_old_images``, called as cron and as other code call it."""

from __future__ import annotations

import io
import os

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils import timezone

from request_images.cleanup import batches, delete_rows
from request_images.exceptions import LeaseLost
from request_images.models import (
    ImageContent,
    Lease,
    RequestImage,
    RequestLog,
    job_locks,
)
from request_images.models.job_locks import lease
from tests.factories import PICTURE, make_image, make_log
from tests.image_files import draw

pytestmark = pytest.mark.django_db
COMMAND = "cleanup_old_images"


def run(*arguments: str, **options: object) -> str:
    """Run the command and return what it says."""
    out, errors = io.StringIO(), io.StringIO()
    call_command(COMMAND, *arguments, stdout=out, stderr=errors, **options)
    assert errors.getvalue() == ""
    return out.getvalue()


def test_deletes_what_the_settings_say(settings):
    """Without arguments, the settings decide, and what went is said."""
    settings.REQUEST_IMAGES_RETENTION_DAYS = 7
    settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = 100
    make_image(days_old=8)
    make_log(days_old=101)
    young = make_image(draw(seed=1), days_old=6)
    assert run() == (
        "Images are kept for 7 days.\n"
        "Logs are kept for 100 days.\n"
        "Deleted 1 images of successful requests (1 distinct); "
        f"{len(PICTURE)} bytes.\n"
        "Deleted 1 logs, with 0 images (0 distinct); 0 bytes.\n"
        f"Deleted 1 images (1 distinct) and 1 logs; {len(PICTURE)} bytes "
        "of storage.\n"
    )
    assert list(RequestImage.objects.all()) == [young]
    assert RequestLog.objects.count() == 2


@pytest.mark.parametrize("days", ["--days=3", "--days=1"])
def test_days_go_before_the_setting(days):
    """``--days`` is for this run."""
    make_image(days_old=4)
    text = run(days)
    assert text.startswith(f"Images are kept for {days[7:]} day")
    assert not RequestImage.objects.exists()


def test_dry_run_says_the_same_and_deletes_nothing():
    """The figures of the dry run are those of the run that follows."""
    make_image(days_old=40)
    make_image(draw(seed=1), days_old=400)
    told = run("--dry-run")
    assert "Would delete 2 images (2 distinct) and 1 logs" in told
    assert RequestImage.objects.count() == ImageContent.objects.count() == 2
    assert run() == told.replace("Would delete", "Deleted")
    assert not ImageContent.objects.exists()


def test_nothing_to_do():
    """Nothing is a result, not an error."""
    assert "Deleted 0 images (0 distinct) and 0 logs; 0 bytes" in run()


def test_for_ever(settings):
    """A retention of None is said to be for ever, and nothing goes."""
    settings.REQUEST_IMAGES_RETENTION_DAYS = None
    settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = None
    make_image(days_old=10_000)
    text = run()
    assert "Images are kept for ever.\nLogs are kept for ever.\n" in text
    assert RequestImage.objects.count() == 1


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_verbosity_0_is_silent(arguments):
    """Cron sends no mail about success."""
    make_image(days_old=40)
    assert run(*arguments, "--verbosity=0") == ""
    assert RequestImage.objects.exists() is bool(arguments)


@pytest.mark.parametrize("size", ["1", "2", "10000"])
def test_any_batch_size_has_the_same_result(size):
    """Batches are a matter of cost."""
    for seed in range(3):
        make_image(draw(seed=seed), days_old=40)
    assert "Deleted 3 images (3 distinct)" in run("--batch-size", size)


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--days=0", "0 would delete everything; the minimum is 1 day"),
        ("--days=-1", "-1 would delete everything"),
        ("--failed-days=0", "0 would delete everything"),
        ("--days=x", "'x' is not a whole number"),
        ("--days=1.5", "'1.5' is not a whole number"),
        ("--days=", "'' is not a whole number"),
        ("--batch-size=0", "not a whole number from 1 to 10000"),
        ("--batch-size=10001", "not a whole number from 1 to 10000"),
        ("--batch-size=many", "'many' is not a whole number"),
        ("--max-objects=0", "not a whole number from 1 to"),
    ],
)
def test_a_wrong_argument_is_refused(argument, says):
    """Clear words, and nothing is deleted."""
    make_image(days_old=40)
    with pytest.raises(CommandError, match=says):
        run(argument)
    assert RequestImage.objects.count() == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"days": 0}, "A retention of 0 days would delete everything"),
        ({"days": -1}, "A retention of -1 days would delete everything"),
        ({"failed_days": 0}, "A retention of 0 days would delete everything"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, not -1"),
        ({"max_objects": 0}, "max_objects must be at least 1, not 0"),
    ],
)
def test_wrong_values_from_other_code_are_refused(options, says):
    """``call_command`` passes values by the parser; they are not taken for "unset"."""
    make_image(days_old=40)
    with pytest.raises(CommandError, match=says):
        run(**options)
    assert RequestImage.objects.count() == 1


def test_more_days_than_there_are():
    """A million years keep everything."""
    make_image(days_old=40)
    assert "Deleted 0 images" in run("--days", str(365 * 10**6))


def test_says_what_went_and_why(settings):
    """A sentence for each reason, and the same ones before."""
    settings.REQUEST_IMAGES_FAILED_RETENTION_DAYS = 90
    settings.REQUEST_IMAGES_BYTES_RETENTION_DAYS = 7
    megabytes = (len(draw(seed=5)) + 5) / 1024 / 1024
    settings.REQUEST_IMAGES_MAX_STORED_MB = megabytes
    ages = [(400, 200), (40, 200), (100, 500), (8, 200), (2, 200), (1, 200)]
    for seed, (days_old, status) in enumerate(ages):
        make_image(draw(seed=seed), days_old=days_old, status_code=status)
    told = run("--dry-run")
    lines = [line for line in told.splitlines() if "kept" not in line]
    beginnings = [
        f"Images may take {megabytes:.10g} MB in total.",
        "Would delete 1 images of successful requests (1 distinct); ",
        "Would delete 1 images of failed requests (1 distinct); ",
        "Would delete the bytes of 1 images (1 distinct); ",
        "Would delete the bytes of 1 images over the budget (1 distinct); ",
        "Would delete 1 logs, with 1 images (1 distinct); ",
        "Would delete 5 images (5 distinct) and 1 logs; ",
    ]
    assert len(lines) == len(beginnings)
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning)
    assert (
        "Images are kept for 30 days.\n"
        "Images of failed requests are kept for 90 days.\n"
        "Bytes of successful requests are kept for 7 days.\n"
        "Logs are kept for 365 days.\n"
    ) in told
    assert run() == told.replace("Would delete", "Deleted")
    assert ImageContent.objects.count() == 1


def test_days_of_failures():
    """``--failed-days`` is for this run too, and for failures alone."""
    make_image(days_old=8, status_code=500)
    make_image(draw(seed=1), days_old=8)
    assert "Images of failed requests are kept for 7 days." in run("--failed-days=7")
    assert RequestImage.objects.get().log.status_code == 200


def test_bytes_go_with_their_images(settings):
    """So that is said, whatever the days of bytes are."""
    settings.REQUEST_IMAGES_BYTES_RETENTION_DAYS = 7
    assert "\nBytes are kept for 3 days.\n" in run("--days=3")


def test_a_large_budget_is_a_number(settings):
    """And no formula: two terabytes."""
    settings.REQUEST_IMAGES_MAX_STORED_MB = 2_000_000
    assert "Images may take 2000000 MB in total." in run()


class TestEndsEarly:
    """What was done is done, and told."""

    @pytest.fixture
    def break_down(self, monkeypatch, settings):
        """Return a function that lets the second of three batches raise."""
        settings.REQUEST_IMAGES_CLEANUP_BATCH_SIZE = 1
        for seed in range(3):
            make_image(draw(seed=seed), days_old=40)
        real, calls = delete_rows.remove, []

        def choose(error):
            def remove(batch, detail):
                calls.append(batch)
                if len(calls) == 2:
                    raise error
                return real(batch, detail)

            monkeypatch.setattr(batches, "remove", remove)

        return choose

    def test_by_somebody_who_stops_it(self, break_down):
        """With Ctrl-C: no trace of Python, and the next one may begin at once."""
        break_down(KeyboardInterrupt())
        out = io.StringIO()
        with pytest.raises(CommandError, match="The next run continues") as stopped:
            call_command(COMMAND, stdout=out)
        assert stopped.value.returncode == 130
        assert "\nDeleted 1 images (1 distinct) and 0 logs; " in out.getvalue()
        assert not Lease.objects.filter(until__gt=timezone.now()).exists()
        assert "\nDeleted 2 images (2 distinct) and 0 logs; " in run()

    def test_by_a_fault(self, break_down):
        """Whoever looks for it finds the fault itself."""
        break_down(DatabaseError("the disk is full"))
        out = io.StringIO()
        with pytest.raises(DatabaseError, match="the disk is full"):
            call_command(COMMAND, stdout=out)
        assert "\nDeleted 1 images (1 distinct) and 0 logs; " in out.getvalue()
        assert RequestImage.objects.count() == 2


def test_images_go_with_their_logs(settings):
    """So that is said, whatever the days of images are."""
    settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = 20
    assert "Images are kept for 20 days." in run()


class TestTwoAtOnce:
    """Of two crons one does the work."""

    def test_the_second_says_who_is_at_it(self):
        """And does nothing, which is no failure."""
        make_image(days_old=40)
        with lease("cleanup"):
            text = run()
        assert f"process {os.getpid()}" in text
        assert "The cleanup already runs on" in text
        assert text.endswith("Nothing was done.\n")
        assert RequestImage.objects.exists()
        assert run("--verbosity=0") == ""
        assert not RequestImage.objects.exists()

    def test_the_second_is_silent_when_asked(self):
        """Cron sends no mail about it."""
        with lease("cleanup"):
            assert run("--verbosity=0") == ""

    def test_a_dry_run_disturbs_nobody(self):
        """It looks only."""
        with lease("cleanup"):
            assert "Would delete 0 images" in run("--dry-run")

    def test_lets_go_in_the_end(self):
        """Also of the row, so that the next may begin at once."""
        run()
        assert not Lease.objects.filter(until__gt=timezone.now()).exists()

    def test_one_that_was_silent_for_too_long_stops(self, monkeypatch):
        """Another has the work by now; that is a failure, and told."""
        make_image(days_old=40)

        def renew(held):
            raise LeaseLost("Another process has taken over the cleanup.")

        monkeypatch.setattr(job_locks.HeldLease, "renew", renew)
        with pytest.raises(CommandError, match="taken over the cleanup"):
            run()
        assert RequestImage.objects.exists()
