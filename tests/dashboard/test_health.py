"""Is the recording healthy? As the command says it, and as the admin shows it."""

from __future__ import annotations

import datetime
import io
import json
import re
from dataclasses import replace
from unittest.mock import Mock, patch

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone, translation

from request_images import health
from request_images.dashboard import health as dashboard_health
from request_images.dashboard.health import Limits, Vitals, look
from request_images.models import PendingDeletion, RequestLog
from request_images.outcome import CaptureStatus
from request_images.statistics import groups
from request_images.writer.spool import segment
from request_images.writer.spool.folder import Spool
from tests.factories import (
    make_image,
    make_log,
    make_superuser,
    make_user,
    tables_missing,
)
from tests.writer.test_probe import read_only

pytestmark = pytest.mark.django_db
PAGE = "/admin/request_images/requestlog/health/"


def make_logs(**counts: int) -> None:
    """Write a number of logs with each capture status."""
    for status, count in counts.items():
        for _ in range(count):
            make_log(capture_status=status)


@pytest.fixture
def spool(tmp_path, settings):
    """A spool folder."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    return Spool(tmp_path / "spool", 10**6)


@pytest.fixture
def broken(monkeypatch):
    """A database that cannot be queried."""

    def refuse(logs):
        raise OperationalError("no such table")

    monkeypatch.setattr(groups, "by_status", refuse)


def make_pending(*, hours_ago: float, tries: int = 0) -> None:
    """Put an object on the list of pending deletions."""
    now = timezone.now()
    PendingDeletion.objects.create(
        storage="bucket",
        name="ab/cd.png",
        created_at=now - datetime.timedelta(hours=hours_ago),
        due_at=now,
        tries=tries,
    )


class TestLook:
    def test_counts_the_last_hours(self):
        """The most frequent status is first; older requests do not count."""
        make_logs(no_image=1, stored=2)
        make_log(days_old=1.01, capture_status=CaptureStatus.TOO_LARGE)
        vitals = look()
        assert vitals.hours == 24
        assert list(vitals.capture_status.items()) == [("stored", 2), ("no_image", 1)]
        assert look(25).capture_status["too_large"] == 1

    def test_knows_the_last_request(self):
        """The last request may be old."""
        assert look().last_recorded is None
        log = make_log(days_old=40)
        make_log(days_old=50)
        assert look().last_recorded == log.created_at

    @pytest.mark.parametrize("value", [True, False, "yes"])
    def test_shows_whether_recording_is_on(self, settings, value):
        """A wrong value records nothing and breaks nothing."""
        settings.REQUEST_IMAGES_ENABLED = value
        assert look().enabled is (value is True)

    def test_survives_a_broken_database(self, broken):
        """Health must work if the database does not."""
        vitals = look()
        assert vitals.database_error == "OperationalError: no such table"
        assert vitals.capture_status == {}

    @pytest.mark.django_db(transaction=True)
    def test_survives_a_missing_table(self):
        """A real database has no table."""
        with tables_missing():
            vitals = look()
        assert re.match(r"(Operational|Programming)Error: ", vitals.database_error)

    def test_counts_spooled_requests(self, spool, settings):
        """The spool folder of this machine, if there is one."""
        assert look().spooled == 0
        spool.put({}, b"")
        spool.put({}, b"")
        assert look().spooled == 2
        settings.REQUEST_IMAGES_SPOOL_DIR = None
        assert look().spooled == 0

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_shows_the_state_of_the_spool_folder(self, spool, settings, use_tz):
        """The oldest file, bad files, and the last time it was full."""
        settings.USE_TZ = use_tz
        assert look().spooled_since is look().spool_full_at is None
        begin = timezone.now()
        spool.put({}, b"")
        spool.put({}, bytes(10**6))
        (spool.folder / "1.bad").write_bytes(b"")
        vitals = look()
        assert begin <= vitals.spooled_since <= vitals.spool_full_at <= timezone.now()
        assert (vitals.spooled, vitals.spool_bad) == (1, 1)
        assert len(vitals.problems(Limits())) == 2

    def test_survives_a_folder_that_cannot_be_read(self, settings):
        """A path that is no folder is reported."""
        settings.REQUEST_IMAGES_SPOOL_DIR = __file__
        vitals = look()
        assert vitals.spool_error.startswith("NotADirectoryError: ")
        [problem] = vitals.problems(Limits())
        assert problem.startswith("The spool folder cannot be read: NotADirectory")

    def test_costs_four_queries(self, django_assert_num_queries):
        """The number of rows does not matter."""
        make_logs(stored=3, no_image=2)
        with django_assert_num_queries(4):
            look()


class TestProblems:
    def vitals(self, last=None, error="", **counts):
        return Vitals(True, 24, last, counts, error)

    @pytest.mark.parametrize(
        ("counts", "percent"),
        [
            ({}, 0),
            ({"no_image": 5}, 0),
            ({"stored": 3, "store_failed": 1}, 25),
            ({"stored": 1, "duplicate": 1, "store_failed": 2}, 50),
            ({"expired": 2, "store_failed": 2, "too_large": 9}, 50),
            ({"store_failed": 1}, 100),
            ({"over_budget": 1}, 100),
            ({"stored": 2, "over_budget": 1, "store_failed": 1}, 50),
        ],
    )
    def test_share_of_failed_captures(self, counts, percent):
        """Requests without an image say nothing about the store."""
        vitals = self.vitals(**counts)
        assert vitals.failed_percent == percent
        assert vitals.problems(Limits(failed_percent=percent)) == []
        if percent:
            [problem] = vitals.problems(Limits(failed_percent=percent - 0.1))
            assert problem == f"{percent:.1f} % of the images could not be stored."

    def test_limit_of_silence(self):
        """Silence is a problem only if a limit is set."""
        now = timezone.now()
        two_hours_ago = now - datetime.timedelta(hours=2)
        for last in (None, two_hours_ago):
            vitals = self.vitals(last)
            assert vitals.problems(Limits()) == []
            [problem] = vitals.problems(Limits(silent_hours=1))
            assert problem == "No request was recorded in the last hour."
        assert self.vitals(two_hours_ago).problems(Limits(silent_hours=3)) == []

    def test_unreadable_database_is_the_only_problem(self):
        """Nothing else is known."""
        [problem] = self.vitals(error="gone").problems(Limits(silent_hours=1))
        assert problem == "The request logs cannot be read: gone"

    def test_read_only_database_is_a_problem(self):
        """Other problems are still reported."""
        vitals = replace(self.vitals(store_failed=1), write_error="read-only")
        assert vitals.problems(Limits())[0] == (
            "The database refuses new requests: read-only"
        )
        assert len(vitals.problems(Limits())) == 2

    @pytest.mark.parametrize(
        ("hours_ago", "limit", "problem"),
        [
            (0.9, 1, ""),
            (1.1, None, ""),
            (1.1, 1, "A request has waited in the spool folder for more than an hour."),
            (3, 2, "A request has waited in the spool folder for more than 2 hours."),
        ],
    )
    def test_old_spooled_requests_are_a_problem(self, hours_ago, limit, problem):
        """Healthy processes write them within seconds."""
        since = timezone.now() - datetime.timedelta(hours=hours_ago)
        vitals = replace(self.vitals(), spooled=1, spooled_since=since)
        found = vitals.problems(Limits(spooled_hours=limit))
        assert found == ([problem] if problem else [])

    def test_bad_files_are_a_problem(self):
        """Each bad file is a request without a row."""
        vitals = replace(self.vitals(), spool_bad=2)
        assert vitals.problems(Limits()) == ["2 files in the spool folder are damaged."]
        assert vitals.problems(Limits(spool_bad=2)) == []
        assert vitals.problems(Limits(spool_bad=None)) == []

    @pytest.mark.parametrize(
        ("hours_ago", "limit", "problem"),
        [
            (71, 72, ""),
            (100, None, ""),
            (1.1, 1, "An object has waited to be deleted for more than an hour."),
            (73, 72, "An object has waited to be deleted for more than 72 hours."),
        ],
    )
    def test_overdue_deletions_are_a_problem(self, hours_ago, limit, problem):
        """One missed cleanup is no problem yet."""
        since = timezone.now() - datetime.timedelta(hours=hours_ago)
        vitals = replace(self.vitals(), pending=1, pending_since=since)
        found = vitals.problems(Limits(pending_hours=limit))
        assert found == ([problem] if problem else [])

    def test_full_folder_is_a_problem(self):
        """The folder was full recently, or long ago."""
        at = timezone.now() - datetime.timedelta(hours=23)
        vitals = replace(self.vitals(), spool_full_at=at)
        [problem] = vitals.problems(Limits())
        assert problem == "The spool folder was full and refused a request."
        assert replace(vitals, hours=22).problems(Limits()) == []

    def test_folder_that_will_not_do(self, settings, tmp_path):
        """It is tried where a write is tried, and only there."""
        settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
        settings.REQUEST_IMAGES_SPOOL_MAX_MB = 10**12
        assert look().spool_problems == []
        vitals = look(tries_to_write=True)
        [problem] = vitals.problems(Limits())
        assert problem == (
            "The spool folder: its disk has less room than REQUEST_IMAGES_SPOOL_MAX_MB"
        )

    def test_each_problem_is_a_sentence(self):
        """Several problems are several sentences."""
        assert len(self.vitals(store_failed=1).problems(Limits(silent_hours=1))) == 2


class Ran:
    """The output of the command, and its exit status."""

    def __init__(self, *arguments: str, **options: object) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.status = 0
        try:
            call_command(
                "request_images_health", *arguments, stdout=out, stderr=err, **options
            )
        except SystemExit as left:
            self.status = left.code
        self.out, self.err = out.getvalue(), err.getvalue()


class TestCommand:
    def test_healthy(self):
        """The command counts stored and other images and finds no problem."""
        make_logs(stored=2, too_large=1)
        make_log(days_old=2)
        ran = Ran()
        assert ran.status == 0
        assert ran.err == ""
        assert ran.out == (
            "Recording is on.\n"
            "Requests are written by the thread of each request, after its response.\n"
            "The last request was recorded 0 minutes ago.\n"
            "Requests of the last 24 hours: 3.\n"
            "  stored: 2\n"
            "  too_large: 1\n"
            "Healthy.\n"
        )

    def test_nothing_yet(self, settings):
        """A new installation is healthy, and off by default."""
        settings.REQUEST_IMAGES_ENABLED = False
        ran = Ran("--hours", "48")
        assert ran.status == 0
        assert ran.out == (
            "Recording is off.\n"
            "No request has been recorded yet.\n"
            "Requests of the last 48 hours: 0.\n"
            "Healthy.\n"
        )

    def test_too_many_failures(self):
        """The reason is on stderr, and the exit status is 1."""
        make_logs(stored=9, store_failed=1)
        ran = Ran()
        assert ran.status == 1
        assert ran.err == "Unhealthy: 10.0 % of the images could not be stored.\n"
        assert "  store_failed: 1\n" in ran.out
        assert "Healthy" not in ran.out
        assert Ran("--max-failed", "10").status == 0
        assert Ran(max_failed=9.9).status == 1

    def test_silence_is_a_problem(self):
        """An endpoint that is always busy must not be silent."""
        make_log(days_old=1)
        assert Ran("--max-silence", "25").status == 0
        ran = Ran("--max-silence", "23")
        assert ran.status == 1
        assert ran.err == "Unhealthy: No request was recorded in the last 23 hours.\n"

    def test_unavailable_database(self, broken):
        """Nothing is reported that could not be read."""
        ran = Ran()
        assert ran.status == 1
        assert ran.out == (
            "Recording is on.\n"
            "Requests are written by the thread of each request, after its response.\n"
        )
        assert ran.err.endswith("cannot be read: OperationalError: no such table\n")

    @pytest.mark.django_db(transaction=True)
    def test_read_only_database(self):
        """No request can be recorded, and no row would show it."""
        make_logs(stored=1)
        with read_only():
            ran = Ran()
        assert ran.status == 1
        assert ran.err.startswith("Unhealthy: The database refuses new requests: ")
        assert "  stored: 1\n" in ran.out
        assert Ran().status == 0
        assert RequestLog.objects.count() == 1

    def test_dropped_images_count_as_failures(self):
        """An image dropped for lack of memory was not stored."""
        make_logs(over_budget=3)
        assert Ran().status == 1

    def test_neglected_spool_folder(self, spool):
        """Old requests, bad files and a full folder are problems."""
        with patch.object(segment, "time", Mock(time_ns=lambda: 0)):
            spool.put({}, b"")
        (spool.folder / "1.bad").write_bytes(b"")
        spool.put({}, bytes(10**6))
        ran = Ran()
        assert ran.status == 1
        assert ran.err == (
            "Unhealthy: A request has waited in the spool folder for more than an "
            "hour.\n"
            "Unhealthy: 1 file in the spool folder is damaged.\n"
            "Unhealthy: The spool folder was full and refused a request.\n"
        )
        assert "Bad files in the spool folder: 1.\n" in ran.out
        ran = Ran("--max-bad=1", "--max-spooled-hours=8784")
        assert ran.err.count("Unhealthy") == 2

    def test_spooled_requests_are_counted(self, spool):
        """They are a problem only beyond a limit."""
        spool.put({}, b"")
        ran = Ran("--max-spooled", "1")
        assert ran.status == 0
        assert "Requests in the spool folder: 1.\n" in ran.out
        ran = Ran("--max-spooled", "0")
        assert ran.status == 1
        assert ran.err == "Unhealthy: 1 request waits in the spool folder.\n"

    def test_pending_deletions_are_counted(self):
        """The output has the number, the oldest, and the attempts."""
        make_pending(hours_ago=2, tries=4)
        make_pending(hours_ago=80)
        ran = Ran()
        assert ran.status == 1
        assert ran.err == (
            "Unhealthy: An object has waited to be deleted for more than 72 hours.\n"
        )
        assert (
            "Objects to be deleted from storages: 2, the oldest for 3 days, 8 hours, "
            "after up to 4 attempts.\n"
        ) in ran.out
        assert Ran("--max-pending-hours=81").status == 0

    def test_object_that_nobody_has_tried_to_delete(self):
        make_pending(hours_ago=2)
        assert "the oldest for 2 hours, not tried yet.\n" in Ran().out

    @pytest.mark.parametrize("form", [(), ("--json",)])
    def test_verbosity_0_is_silent(self, form):
        """Only the exit status reports problems."""
        assert vars(Ran("--verbosity=0", *form)) == {"out": "", "err": "", "status": 0}
        make_logs(store_failed=1)
        assert vars(Ran("--verbosity=0", *form)) == {"out": "", "err": "", "status": 1}

    def test_json_is_one_document(self):
        """With and without problems."""
        make_logs(stored=1, store_failed=1)
        ran = Ran("--json")
        assert (ran.status, ran.err) == (1, "")
        told = json.loads(ran.out)
        assert datetime.datetime.fromisoformat(
            told.pop("last_recorded").replace("Z", "+00:00")
        )
        assert told == {
            "healthy": False,
            "problems": ["50.0 % of the images could not be stored."],
            "failed_percent": 50.0,
            "write_mode": (
                "Requests are written by the thread of each request, after its "
                "response."
            ),
            "enabled": True,
            "hours": 24,
            "capture_status": {"store_failed": 1, "stored": 1},
            "database_error": "",
            "write_error": "",
            "spooled": 0,
            "spooled_since": None,
            "spool_bad": 0,
            "spool_full_at": None,
            "spool_error": "",
            "pending": 0,
            "pending_since": None,
            "pending_tries": 0,
            "losses": [],
            "spool_problems": [],
        }
        RequestLog.objects.all().delete()
        told = json.loads(Ran("--json").out)
        assert (told["healthy"], told["last_recorded"]) == (True, None)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("--hours", "0"), "'0' is not a whole number from 1 to 8784"),
            (("--hours", "8785"), "'8785' is not a whole number"),
            (("--hours", "9" * 5000), "is not a whole number"),
            (("--hours", "1.5"), "'1.5' is not a whole number"),
            (("--hours", "\N{SUPERSCRIPT TWO}"), "is not a whole number"),
            (("--max-silence", "x"), "'x' is not a whole number"),
            (("--max-spooled-hours", "0"), "'0' is not a whole number"),
            (("--max-pending-hours", "0"), "'0' is not a whole number"),
            (("--max-bad", "x"), "'x' is not a whole number"),
            (("--max-spooled", "-1"), "'-1' is not a whole number"),
            (("--max-spooled", "9" * 5000), "is not a whole number"),
            (("--max-failed", "x"), "'x' is not a number from 0 to 100"),
            (("--max-failed", "101"), "'101' is not a number from 0 to 100"),
            (("--max-failed", "nan"), "'nan' is not a number from 0 to 100"),
        ],
    )
    def test_a_wrong_argument_is_refused(self, arguments, says):
        """A typing error must not look healthy in monitoring."""
        with pytest.raises(CommandError, match=says):
            call_command("request_images_health", *arguments)

    def test_output_is_english(self):
        """Programs may search the output."""
        make_logs(store_failed=1)
        with translation.override("de"):
            assert "could not be stored" in Ran().err


class TestPage:
    @pytest.fixture
    def boss(self, client):
        client.force_login(make_superuser())
        return client

    def text(self, response):
        assert response.status_code == 200
        return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())

    def test_page_is_linked_from_the_list(self, boss):
        """A link on the list of request logs."""
        assert reverse("admin:request_images_requestlog_health") == PAGE
        page = boss.get(reverse("admin:request_images_requestlog_changelist"))
        assert f'<a href="{PAGE}">Health</a>' in page.content.decode()

    def test_page_shows_the_last_day(self, boss):
        """The capture statuses of the last day are in words."""
        make_image()
        make_logs(too_large=2)
        text = self.text(boss.get(PAGE))
        assert "No problems found." in text
        assert "Requests of the last 24 hours" in text
        assert "Too large 2" in text
        assert "Stored 1" in text
        assert "never" not in text
        assert "Recording is off" not in text

    def test_page_shows_the_counters_of_the_process(self, boss):
        """Outcomes without a row, and faults by kind."""
        for name in ("stored", "rescued", "lost", "dropped", "spooled", "other"):
            health.count(name)
        health.report("store", OSError("disk full"))
        text = self.text(boss.get(PAGE))
        health.reset()
        assert (
            f"Counters of this process process id {health.of_process().pid} since"
            in text
        )
        for part in (
            "Ended by the watchdog 1",
            "Lost, no row could be written 1",
            "Dropped, the queue was full 1",
            "Saved in the spool folder 1",
            "other 1",
            "Faults store:OSError 1",
        ):
            assert part in text

    def test_page_shows_problems_first(self, boss, settings):
        """Problems are sentences."""
        settings.REQUEST_IMAGES_ENABLED = False
        make_logs(store_failed=1)
        text = self.text(boss.get(PAGE))
        assert "100.0 % of the images could not be stored." in text
        assert "Recording is off: REQUEST_IMAGES_ENABLED is not True." in text
        assert "No problems found." not in text

    def test_page_shows_spooled_requests(self, boss, spool):
        """Only with a spool folder."""
        spool.put({}, b"")
        (spool.folder / "1.bad").write_bytes(b"")
        text = self.text(boss.get(PAGE))
        assert "waiting in the spool folder 1" in text
        assert "damaged files in the spool folder 1" in text
        assert "1 file in the spool folder is damaged." in text

    def test_page_shows_pending_deletions(self, boss):
        """Only if there are any."""
        assert "objects waiting to be deleted" not in self.text(boss.get(PAGE))
        make_pending(hours_ago=73, tries=6)
        text = self.text(boss.get(PAGE))
        assert "objects waiting to be deleted 1 oldest of them waiting since" in text
        assert "most attempts for one object 6" in text
        assert "An object has waited to be deleted for more than 72 hours." in text

    def test_page_tests_a_write(self, boss, monkeypatch):
        """A readable database may refuse writes."""
        monkeypatch.setattr(dashboard_health, "try_write", lambda: OSError("disk full"))
        text = self.text(boss.get(PAGE))
        assert "The database refuses new requests: OSError: disk full" in text

    def test_page_of_an_empty_database(self, boss):
        """A health page without any request says "never" and works."""
        assert "last request never" in self.text(boss.get(PAGE))

    def test_without_time_zones(self, boss, settings):
        """A project with USE_TZ = False has naive times."""
        settings.USE_TZ = False
        make_log(created_at=datetime.datetime.now())
        assert "never" not in self.text(boss.get(PAGE))

    def test_page_in_german(self, boss, settings):
        """All messages of the app are translated."""
        settings.LANGUAGE_CODE = "de"
        make_logs(store_failed=1)
        text = self.text(boss.get(PAGE))
        assert "100,0 % der Bilder konnten nicht gespeichert werden." in text
        assert "Anfragen der letzten 24 Stunden" in text

    def test_page_needs_the_permission_to_see_logs(self, client):
        """It takes the permission to see request logs."""
        assert client.get(PAGE).status_code == 302
        client.force_login(make_user("view_requestimage"))
        assert client.get(PAGE).status_code == 403
        client.force_login(make_user("view_requestlog"))
        assert client.get(PAGE).status_code == 200

    def test_page_works_under_a_strict_csp(self, boss):
        """The policy is ``default-src 'self'``."""
        page = boss.get(PAGE).content.decode()
        assert " style=" not in page
        assert "<style" not in page
        assert re.findall(r"<script(?![^>]* src=)[^>]*>", page) == []

    def test_page_has_no_form(self, boss):
        """Nothing on the page changes anything."""
        form = re.findall(r"<form[^>]*>", boss.get(PAGE).content.decode())
        assert all("logout" in tag or "theme" in tag for tag in form)
