"""``manage.py cleanup_old_images``, called as cron and as other code call it."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from request_images.models import ImageContent, RequestImage, RequestLog

from .factories import PICTURE, make_image, make_log
from .images import draw

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
        "Images are kept 7 days.\n"
        "Logs are kept 100 days.\n"
        f"Deleted 1 images (1 distinct) and 1 logs; {len(PICTURE)} bytes "
        f"({len(PICTURE)} bytes) of storage.\n"
    )
    assert list(RequestImage.objects.all()) == [young]
    assert RequestLog.objects.count() == 2


@pytest.mark.parametrize("days", ["--days=3", "--days=1"])
def test_days_go_before_the_setting(days):
    """``--days`` is for this run."""
    make_image(days_old=4)
    text = run(days)
    assert text.startswith(f"Images are kept {days[7:]} day")
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
        ("--days=0", "0 would delete everything there is; give 1 at least"),
        ("--days=-1", "-1 would delete everything there is"),
        ("--days=x", "'x' is no whole number"),
        ("--days=1.5", "'1.5' is no whole number"),
        ("--days=", "'' is no whole number"),
        ("--batch-size=0", "give 1 at least"),
        ("--batch-size=10001", "10001 rows are too many for one transaction"),
        ("--batch-size=many", "'many' is no whole number"),
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
        ({"days": 0}, "0 days would delete everything there is"),
        ({"days": -1}, "-1 days would delete everything there is"),
        ({"batch_size": 0}, "A batch of 0 rows deletes nothing"),
        ({"batch_size": -1}, "A batch of -1 rows deletes nothing"),
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
