"""``update_image_statistics``: what it says, what it refuses, and several at once."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from request_images.aggregation.periods import Period
from request_images.aggregation.properties import ALL
from request_images.management.commands import update_image_statistics
from request_images.models import StaleHour, StatisticsRollup
from request_images.statistics import rollups
from request_images.statistics.summarize import summarize
from tests.factories import make_image, make_log
from tests.servers.running import ROOT, Database

HOUR = datetime.timedelta(hours=1)
FILL = """
import django
django.setup()
from tests.factories import make_image
from tests.image_files import draw
for n in range(12):
    status_code = 500 if n % 3 == 0 else 200
    make_image(draw(seed=n // 2), days_old=1 + n / 2, status_code=status_code)
"""
STOPS = """
import time
import django
django.setup()
from request_images.statistics import rollups
def stop(cells):
    print("in the middle", flush=True)
    time.sleep(600)
rollups.pack = stop  # between the two
"""
UPDATE = """
import sys
import django
django.setup()
from django.core.management import call_command
print("ready", flush=True)
call_command("update_image_statistics", *sys.argv[1:])
"""


def update(*arguments, out=None, **options):
    out = out or io.StringIO()
    call_command("update_image_statistics", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def now(monkeypatch):
    now = datetime.datetime(2026, 6, 10, 15, 20, tzinfo=datetime.timezone.utc)
    monkeypatch.setattr(timezone, "now", lambda: now)
    return now


@pytest.mark.django_db
class TestCommand:
    def test_adds_up_everything(self, now):
        """Once; a second time there is nothing left to do."""
        make_log(created_at=now - 50 * HOUR)
        assert update() == "Updated the statistics of 50 hours; 0 are left.\n"
        assert update() == "Updated the statistics of 0 hours; 0 are left.\n"
        assert update(verbosity=0) == ""

    def test_from_a_day_on(self, now):
        """Or a moment, in the project's time zone."""
        make_log(created_at=now - 50 * HOUR)
        assert "Updated the statistics of 15 hours" in update(
            "--since", "2026-06-10T02:00"
        )
        assert "Updated the statistics of 26 hours" in update(
            "--since", "2026-06-09T00:00+02:00"
        )

    def test_adds_up_again(self, now):
        """All of it, or some days."""
        make_log(created_at=now - 50 * HOUR)
        update()
        StatisticsRollup.objects.filter(facet=ALL.name).delete()
        told = update("--rebuild")
        assert told == "Updated the statistics of 50 hours; 0 are left.\n"
        assert summarize(Period.last_days(3)).overall().request_count == 1
        told = update("--rebuild", "--since=2026-06-09", "--until=2026-06-10")
        assert "Updated the statistics of 24 hours" in told

    def test_without_time_zones(self, settings):
        """A moment with one is turned into the wall clock's."""
        settings.USE_TZ = False
        moment = update_image_statistics._moment("2026-06-09T00:00+02:00")
        assert moment == datetime.datetime(2026, 6, 9)
        assert update_image_statistics._moment("2026-06-09") == moment

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["--since=yesterday"], "is not a day or time"),
            (["--since=0001-01-01"], "is not within the years 1970 to 8999"),
            (["--since=9999-12-31"], "is not within the years 1970 to 8999"),
            (["--until=2026-06-10"], "needs --rebuild"),
            (["--rebuild", "--since=2026-06-10", "--until=2026-06-10"], "before"),
        ],
    )
    def test_refuses(self, arguments, text):
        with pytest.raises(CommandError, match=text):
            update(*arguments)

    def test_others_were_quicker(self, now, monkeypatch):
        """It fails, and says that this is all there is to it."""
        make_log(created_at=now - 3 * HOUR)
        monkeypatch.setattr(rollups, "_do", lambda work, version: False)
        with pytest.raises(CommandError, match="kept changing the statistics"):
            update()

    def test_shows_how_far_it_is_on_a_terminal(self, now):
        make_log(created_at=now - 3 * HOUR)
        err = io.StringIO()
        err.isatty = lambda: True
        update(stderr=err)
        assert err.getvalue() == f"\r[{'#' * 15}{' ' * 15}] 3 of 6 hours\n"

    def test_cleanup_keeps_the_statistics_up_to_date(self, now, settings):
        """What it took something of is added up again; what is too old goes."""
        settings.REQUEST_IMAGES_STATISTICS_RETENTION_DAYS = 100
        make_image(days_old=40)
        update()
        settings.REQUEST_IMAGES_STATISTICS_RETENTION_DAYS = 20
        told, out = [], io.StringIO()
        for dry_run in (True, False):
            call_command("cleanup_old_images", dry_run=dry_run, stdout=out)
            told.append(out.getvalue())
        rows = [line for line in out.getvalue().splitlines() if "rows of" in line]
        assert "Statistics are kept for 20 days." in told[0]
        assert rows[0].replace("Would delete", "Deleted") == rows[1]
        assert "Deleted 0" not in rows[1]

    def test_cleanup_adds_up_what_it_changed(self, now):
        make_image(days_old=40)
        update()
        out = io.StringIO()
        call_command("cleanup_old_images", stdout=out)
        assert "Updated the statistics of 1 hours." in out.getvalue()
        assert not StaleHour.objects.exists()


@pytest.fixture(scope="module")
def tables(tmp_path_factory, django_db_blocker):
    """The database that all processes work on."""
    with django_db_blocker.unblock():
        database = Database(tmp_path_factory.mktemp("statistics"), "statistics")
        try:
            database.create()
            ended(start(database, "-c", FILL))
            yield database
        finally:
            database.remove()


def start(database: Database, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=database.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a process, which must be a good one."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output


def figures(tables):
    """Return what the rows of statistics hold, in any order."""
    rows = tables.query(
        "SELECT span, start, is_total, endpoint, facet, tallies"
        " FROM request_images_statisticsrollup"
    )
    return sorted((*map(str, row[:-1]), bytes(row[-1])) for row in rows)


@pytest.mark.processes
def test_several_at_once(tables):
    """Each hour is added up once, and wholly; and anew it is the same."""
    command = ("-c", UPDATE)
    for process in [start(tables, *command) for _ in range(2)]:
        process.communicate(timeout=120)  # one may give up
    ended(start(tables, *command))
    before = figures(tables)
    assert before
    ended(start(tables, *command, "--rebuild"))
    assert figures(tables) == before


@pytest.mark.processes
def test_killed_in_the_middle(tables):
    """When the old rows are gone and no new one is there: nobody ever sees that."""
    ended(start(tables, "-c", UPDATE))
    before = figures(tables)
    process = start(tables, "-c", STOPS + UPDATE, "--rebuild")
    try:
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline() == "in the middle\n"
        assert figures(tables) == before
    finally:
        process.kill()
        process.communicate(timeout=120)
    assert figures(tables) == before
    ended(start(tables, "-c", UPDATE))
    assert figures(tables) == before
