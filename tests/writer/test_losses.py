"""What is lost is known afterwards: how many, since when, and why."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone, translation

from request_images import health
from request_images.capture.examine import CapturedRequest
from request_images.capture.payload import Payload, Upload
from request_images.dashboard.health import look, recent_losses
from request_images.db.destination import Destination
from request_images.models import ImageContent, Loss, RequestLog
from request_images.models.losses import BURST, reports_of
from request_images.writer import jobs, loss_file, losses, rows
from request_images.writer.losses import ledger, lost
from tests.dashboard.test_health import PAGE, Ran
from tests.db.databases import OTHER, second_database
from tests.factories import make_log, make_superuser, tables_missing
from tests.image_files import draw
from tests.servers.running import CARELESS, wait_for

N = 7
DASHBOARD = "/admin/request_images/dashboard/"


@pytest.fixture(autouse=True)
def _no_counters():
    yield
    health.reset()


@pytest.fixture
def away(monkeypatch):
    """The database refuses all rows, until the returned function is called."""

    def refuse(*args):
        raise OperationalError("connection refused\nIs the server running?")

    patch = pytest.MonkeyPatch()
    patch.setattr(rows, "save_many", refuse)
    patch.setattr(losses, "save_losses", refuse)
    yield patch.undo
    patch.undo()


@pytest.fixture
def folder(tmp_path, settings):
    """A spool folder that has no room for a request."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    settings.REQUEST_IMAGES_SPOOL_MAX_MB = 0.0001
    return tmp_path / "spool"


def post(number=1):
    """Send requests, each with an image of its own."""
    for seed in range(number):
        data = draw(seed=seed)
        response = Client().post("/body/", data, content_type="image/png")
        assert response.status_code == 200


def totals():
    return list(Loss.objects.values_list("requests", "images", "reason"))


@pytest.mark.django_db(transaction=True)
class TestRequests:
    """The database is away, and comes back."""

    REASON = "OperationalError in store (connection refused)"

    def test_exactly_those_that_were_lost(self, away):
        """Also those that the breaker did not let through."""
        begin = timezone.now()
        post(N)
        end = timezone.now()
        ledger.tick()
        assert not Loss.objects.exists()
        assert "store:OperationalError" in health.faults()
        assert health.faults()["store:OperationalError"] < N
        away()
        ledger.tick(is_last=True)
        assert totals() == [(N, N, self.REASON)]
        loss = Loss.objects.get()
        assert begin <= loss.since < loss.until <= end
        ledger.tick(is_last=True)
        assert totals() == [(N, N, self.REASON)]

    def test_health_until_it_is_acknowledged(self, away):
        """Exit status 1, then 0, and 1 again for what comes after."""
        post(N)
        away()
        ledger.tick()
        jobs.breakers.reset()
        loss = Loss.objects.get()
        ran = Ran()
        assert ran.status == 1
        assert ran.err == (
            f"Unhealthy: {N} requests were lost from {clock(loss.since)} to "
            f"{clock(loss.until)}: {self.REASON}\n"
        )
        [told] = json.loads(Ran("--json").out)["losses"]
        assert (told["requests"], told["images"]) == (N, N)
        assert (told["reason"], told["acknowledged"]) == (self.REASON, False)
        ran = Ran("--acknowledge")
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.startswith("Acknowledged 1 losses.\n")
        assert json.loads(Ran("--json").out)["losses"][0]["acknowledged"]
        ledger.add("store", OperationalError("again"), 1, 0, Destination())
        ledger.tick()
        assert Ran().status == 1

    def test_health_for_a_day(self, away):
        """Older losses are known, and no problem any more."""
        post()
        away()
        ledger.tick()
        assert Ran().status == 1
        day = timezone.now() - timedelta(days=1, seconds=1)
        Loss.objects.update(since=day, until=day)
        assert Ran().status == 0
        assert len(look(48).losses) == 1
        assert look(1).losses == []

    def test_image_of_a_request_that_has_a_row(self, monkeypatch):
        """The row says it, and so does health."""

        def refuse(*args):
            raise OperationalError("packet too large")

        monkeypatch.setattr(ImageContent, "holding", refuse)
        post(2)
        ledger.tick()
        assert RequestLog.objects.filter(capture_status="store_failed").count() == 2
        assert totals() == [(0, 2, "OperationalError (packet too large)")]
        assert "2 images were lost from " in Ran("--max-failed=100").err

    def test_missing_tables(self):
        """A real database refuses for a reason of its own."""
        with tables_missing():
            post(N)
            ledger.tick()
        ledger.tick(is_last=True)
        [(requests, images, reason)] = totals()
        assert (requests, images) == (N, N)
        assert "Error in store (" in reason

    def test_full_queue(self, settings, monkeypatch):
        """An image for which the queue has no room, and a request."""
        monkeypatch.setattr(jobs.queue, "put", lambda *args, **rest: bool(has_room()))
        has_room = iter([False, True]).__next__
        job = job_of(draw())
        jobs._enqueue(job, is_last_use=True)
        has_room = iter([False, False]).__next__
        jobs._enqueue(job_of(draw()), is_last_use=True)
        ledger.tick()
        reason = "StoreUnavailable in queue (there was no room in the queue)"
        assert sorted(totals()) == [(0, 1, reason), (1, 1, reason)]
        assert health.counts() == {"dropped": 2, "lost": 1}

    def test_queue_is_left_at_the_exit(self):
        jobs._give_up([job_of(draw(seed=seed)) for seed in range(3)])
        ledger.tick()
        [(requests, images, reason)] = totals()
        assert (requests, images) == (3, 3)
        assert reason.endswith("in exit (3 requests were not written in time)")

    def test_unknown_destination(self, monkeypatch):
        """Its losses are written to the default database."""
        job = job_of(draw())
        job.destination = None
        jobs.write(job, is_handled=True, is_last_use=False)
        ledger.tick()
        assert totals() == [(1, 1, "Unknown in destination")]

    def test_newer_losses_of_one_process_are_another_row(self, monkeypatch):
        """A minute without a loss ends one."""
        lost("store", "Gone: yesterday")
        ledger.tick()
        now = time.time() + 2 * BURST.total_seconds()
        monkeypatch.setattr(losses.time, "time", lambda: now)
        ledger.tick()
        lost("store", "Gone: today")
        ledger.tick()
        assert sorted(totals()) == [
            (1, 0, "Gone in store (today)"),
            (1, 0, "Gone in store (yesterday)"),
        ]


class TestLedger:
    """Nothing goes missing between the request and the row."""

    pytestmark = pytest.mark.django_db(transaction=True)

    def test_threads_add_while_another_writes(self):
        stop = threading.Event()

        def work():
            for _ in range(500):
                lost("store", "Gone", images=2)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ledger.tick()
        stop.set()
        ledger.tick(is_last=True)
        assert totals() == [(4000, 8000, "Gone in store")]
        assert health.counts() == {"lost": 4000}

    def test_commit_that_may_have_succeeded_counts_once(self, monkeypatch):
        """The connection is lost behind the commit: the total is written again."""
        lost("store", "Gone")
        save = losses.save_at

        def in_doubt(*args):
            save(*args)
            raise OperationalError("lost connection")

        with monkeypatch.context() as patch:
            patch.setattr(losses, "save_at", in_doubt)
            ledger.tick()
        assert health.faults() == {"losses:OperationalError": 1}
        ledger.tick()
        assert totals() == [(1, 0, "Gone in store")], "it waits a second"
        ledger.succeeded(Destination())
        lost("store", "Gone")
        ledger.tick()
        assert totals() == [(2, 0, "Gone in store")]

    def test_one_database_that_refuses_stops_no_other(self, tmp_path):
        """Each loss is written where its requests belonged."""
        lost("store", "Gone", where=Destination("nowhere"))
        lost("store", "Gone", requests=2, where=Destination())
        ledger.tick()
        assert totals() == [(2, 0, "Gone in store")]
        assert health.faults() == {"losses:ConnectionDoesNotExist": 1}

    def test_fault_of_ours_harms_nobody(self, monkeypatch):
        def broken(*args):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(ledger, "add", broken)
        lost("store", "Gone")
        assert health.counts() == {"lost": 1}
        assert health.faults() == {"losses:ZeroDivisionError": 1}

    def test_nothing_is_no_loss(self):
        lost("queue", "No room", requests=0)
        ledger.tick()
        assert totals() == []

    def test_reason_has_no_values_of_a_row(self):
        """Databases give them in further lines; a text that cannot be is a type."""

        class Odd(Exception):
            def __str__(self):
                raise ValueError("no text")

        lost("store", OperationalError("x" * 400 + "\nDETAIL: secret"))
        lost("begin", Odd())
        ledger.tick()
        reasons = sorted(reason for _, _, reason in totals())
        assert reasons[0] == "Odd in begin (<Odd: ValueError>)"
        assert len(reasons[1]) == 300
        assert "secret" not in reasons[1]


def test_database_of_the_request(tmp_path, django_db_blocker):
    """A loss is known where the request's rows would be."""
    with django_db_blocker.unblock(), second_database(tmp_path / "other.sqlite3"):
        lost("store", "Gone", where=Destination(OTHER))
        ledger.tick()
        assert Loss.objects.using(OTHER).get().requests == 1
    assert ledger._unwritten() == []


class TestLog:
    """One line at once, then one a minute, and all numbers are in one."""

    pytestmark = pytest.mark.django_db

    @pytest.fixture
    def lines(self, caplog):
        caplog.set_level(logging.ERROR, "request_images")
        return lambda: [record.getMessage() for record in caplog.records]

    def test_losses(self, lines, monkeypatch):
        lost("store", "Gone: away", images=1)
        ledger.tick()
        [line] = lines()
        assert line.startswith("Lost since ")
        assert line.endswith(
            " UTC: 1 requests and 1 images (1 and 1 since the last line): "
            "Gone in store (away)."
        )
        for _ in range(5):
            lost("store", "Gone: away", images=1)
            ledger.tick()
        assert len(lines()) == 1
        now = time.monotonic() + health.LOG_INTERVAL
        monkeypatch.setattr(losses.time, "monotonic", lambda: now)
        ledger.tick()
        assert "6 requests and 6 images (5 and 5 since" in lines()[1]
        lost("store", "Gone: away")
        ledger.tick(is_last=True)
        assert "7 requests and 6 images (1 and 0 since" in lines()[2]
        ledger.tick(is_last=True)
        assert len(lines()) == 3

    def test_faults(self, lines, monkeypatch):
        """Those that `report` does not log are in the next line."""
        for _ in range(40):
            health.report("store", OSError("disk full"))
        assert health.has_unlogged()
        ledger.tick()
        assert len(lines()) == 1
        now = time.monotonic() + health.LOG_INTERVAL
        monkeypatch.setattr(health.time, "monotonic", lambda: now)
        ledger.tick()
        assert lines()[1] == (
            "Capture fault store:OSError: 39 more since the last line, 40 in total."
        )
        assert not health.has_unlogged()
        health.report("store", OSError("disk full"))
        health.log_rest(is_last=True)
        assert "1 more since the last line, 41 in total" in lines()[2]


@pytest.mark.django_db(transaction=True)
class TestFolder:
    """While no database takes the number, the spool folder does."""

    REASON = "No room in spool (the folder has REQUEST_IMAGES_SPOOL_MAX_MB)"

    def test_full_folder_and_no_database(self, away, folder):
        post(2)
        ledger.tick()
        post(N - 2)
        ledger.tick()
        [(_, total)] = loss_file.read()
        assert (total.requests, total.images) == (N, N)
        ran = Ran()
        assert ran.status == 1
        assert f"{N} requests were lost from " in ran.err
        assert self.REASON in ran.err
        assert not Loss.objects.exists()
        away()
        Ran()
        assert totals() == [(N, N, self.REASON)]
        assert loss_file.read() == []
        ledger.tick(is_last=True)
        assert totals() == [(N, N, self.REASON)]
        assert Ran("--acknowledge").status == 1  # the folder is still full

    def test_unwritable_folder(self, away, folder):
        """A file is in its place: the requests are lost, and the number waits."""
        folder.write_bytes(b"")
        post(N)
        ledger.tick()
        assert health.faults()["losses:FileExistsError"] == 1
        away()
        ledger.tick(is_last=True)
        [(requests, _, reason)] = totals()
        assert requests == N
        assert reason.startswith("FileExistsError in spool ([Errno 17] File exists")

    def test_acknowledged_with_what_the_folder_has(self, away, folder):
        """Not while another process writes to the file, which may be a moment."""
        post()
        ledger.tick()
        away()
        with loss_file._locked(folder / "losses"):
            with pytest.raises(CommandError, match="Nothing is acknowledged: another"):
                call_command("request_images_health", "--acknowledge")
            assert "1 request was lost" in Ran().err
            lost("store", "Gone")
            ledger._file()
            assert health.faults()["losses:BlockingIOError"] == 1
            call_command("cleanup_old_images", "--verbosity=0")
            assert health.faults()["losses:BlockingIOError"] == 2
        assert "Acknowledged 1 losses" in Ran("--acknowledge").out
        assert "lost" not in Ran().err

    def test_lines_of_nobody_are_passed_over(self, folder):
        """A torn line, and lines that are not ours."""
        folder.mkdir()
        lines = b'{"key": "1", "since": 1\n[]\n7\n{"where": 1}\n\xff\n'
        (folder / "losses").write_bytes(lines)
        assert loss_file.read() == []
        assert look().losses == []

    def test_loss_of_another_database_stays(self, folder):
        """It is shown there, and moved when that takes it."""
        for alias in ("nowhere", "default"):
            lost("store", "Gone", where=Destination(alias))
        ledger._file()
        assert [loss.requests for loss in look().losses] == [1]
        losses.take_in()
        assert totals() == [(1, 0, "Gone in store")]
        [(where, _)] = loss_file.read()
        assert where == Destination("nowhere")

    def test_older_total_replaces_no_newer_one(self, folder):
        """The file may have what the database had before."""
        lost("store", "Gone")
        ledger._file()
        lost("store", "Gone")
        ledger.tick()
        assert [loss.requests for loss in look().losses] == [2]
        (folder / "losses").write_bytes(
            (folder / "losses").read_bytes().split(b"\n")[0]
        )
        losses.take_in()
        assert totals() == [(2, 0, "Gone in store")]

    def test_file_is_bounded(self, folder, monkeypatch):
        monkeypatch.setattr(loss_file, "_MAX_BYTES", 0)
        for _ in range(2):
            lost("store", "Gone")
            ledger._file()
        assert health.faults() == {"losses:OSError": 1}
        [(_, total)] = loss_file.read()
        assert total.requests == 1
        ledger.tick()
        assert totals() == [(2, 0, "Gone in store")]

    def test_folder_that_cannot_be_read(self, settings):
        """Health says so, and the dashboard shows the rest."""
        settings.REQUEST_IMAGES_SPOOL_DIR = __file__
        assert look().spool_error.startswith("NotADirectoryError")
        assert recent_losses() == []


class TestPages:
    pytestmark = pytest.mark.django_db

    @pytest.fixture
    def boss(self, client):
        client.force_login(make_superuser())
        return client

    @pytest.fixture
    def loss(self):
        """What three processes have lost."""
        for requests in (1000, 200, 24):
            lost("store", "OperationalError: refused", requests=requests, images=5)
            ledger.tick()
            ledger.reset()
        return Loss.objects.earliest("since")

    def test_dashboard(self, boss, loss):
        """At the top, also where no request has a row."""
        page = boss.get(DASHBOARD).content.decode()
        sentence = (
            f"1,224 requests were lost from {clock(loss.since)} to "
            f"{clock(Loss.objects.latest('until').until)}: "
            "OperationalError in store (refused)"
        )
        assert f'<p class="errornote" role="alert">{sentence}</p>' in page
        assert sentence in boss.get(PAGE).content.decode()
        Loss.objects.update(acknowledged_at=timezone.now())
        assert "were lost" not in boss.get(DASHBOARD).content.decode()
        assert "were lost" not in boss.get(PAGE).content.decode()

    def test_in_german(self, boss, loss):
        lost("", "OSError: disk full", requests=0, images=1)
        ledger.tick()
        with translation.override("de"):
            page = boss.get(DASHBOARD).content.decode()
        assert "1.224 Anfragen gingen verloren, von " in page
        assert "1 Bild ging verloren, von " in page

    def test_json(self, boss, loss):
        make_log()
        answer = boss.get("/api/usage/image-performance-stats").json()
        [told] = answer["health"]["losses"]
        assert (told["requests"], told["images"]) == (1224, 15)
        assert told["reason"] == "OperationalError in store (refused)"
        assert told["since"] < told["until"]
        assert told["acknowledged"] is False

    def test_without_time_zones(self, boss, settings):
        settings.USE_TZ = False
        lost("store", "Gone")
        ledger.tick()
        assert "1 request was lost" in boss.get(DASHBOARD).content.decode()

    def test_losses_far_apart_are_not_added_up(self):
        now = timezone.now()
        many = [
            Loss(since=now - ago, until=now - ago, requests=1, images=0, reason=reason)
            for reason in ("a", "b")
            for ago in (timedelta(0), BURST, 3 * BURST)
        ]
        found = [(r.reason, r.requests) for r in reports_of(many)]
        assert sorted(found) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]

    def test_has_a_text(self):
        loss = Loss(requests=2, images=1, reason="Gone")
        assert str(loss) == "2 requests, 1 images: Gone"


@pytest.mark.django_db
@pytest.mark.parametrize(("setting", "days"), [(30, 31), (None, 366)])
def test_cleanup_deletes_old_losses(settings, setting, days, capsys):
    """They are kept as long as logs are, or for a year."""
    settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = setting
    settings.REQUEST_IMAGES_RETENTION_DAYS = 20
    for _ in range(2):
        lost("store", "Gone")
        ledger.tick()
        ledger.reset()
    day = timezone.now() - timedelta(days=days)
    Loss.objects.filter(pk=Loss.objects.earliest("pk").pk).update(until=day)
    call_command("cleanup_old_images")
    assert "Deleted 1 records of losses." in capsys.readouterr().out
    assert Loss.objects.count() == 1
    call_command("cleanup_old_images")
    assert "losses" not in capsys.readouterr().out


BEGIN = """
import io, os, signal, sys, threading, time
import django
django.setup()
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.test import RequestFactory
from request_images.models import Loss, RequestLog
from request_images.writer import losses
from tests.image_files import draw

settings.REQUEST_IMAGES_BACKLOG_MAX_REQUESTS = 3

def post(number):
    for seed in range(number):
        data = draw(seed=seed)
        made = RequestFactory().post("/plain/", data, content_type="image/png")
        environ = {**made.environ, "wsgi.input": io.BytesIO(data)}
        response = WSGIHandler()(environ, lambda status, headers: None)
        assert b"".join(response) == str(len(data)).encode()
        response.close()

def wait_for(ask):
    while not ask():
        time.sleep(0.01)

"""


class TestThread:
    """In a process that runs no tests, a thread writes."""

    @pytest.fixture
    def saved(self, monkeypatch):
        """What it writes, without a database."""
        found = []

        def save_at(where, totals):
            found.extend(total.requests for total in totals)

        monkeypatch.setattr(losses, "is_in_tests", lambda: False)
        monkeypatch.setattr(losses, "TICK_SECONDS", 0.001)
        monkeypatch.setattr(losses, "save_at", save_at)
        yield found
        monkeypatch.setattr(losses, "BURST", timedelta(0))
        wait_for(lambda: ledger.thread is None, "the thread")

    def test_runs_while_there_is_something(self, saved, monkeypatch):
        """It ends, and the next loss starts another."""
        for number in (1, 2):
            lost("store", "Gone", requests=number)
            thread = ledger.thread
            with monkeypatch.context() as patch:
                patch.setattr(losses, "BURST", timedelta(0))
                wait_for(lambda: ledger.thread is None, "the thread")
            assert not thread.join(60)
        assert saved == [1, 2]

    def test_database_that_is_back_is_tried_at_once(self, saved, monkeypatch):
        """Although the pause after a failure is long."""
        monkeypatch.setattr(losses, "LONGEST_PAUSE", 3600)
        monkeypatch.setattr(losses, "TICK_SECONDS", 3600)
        fail = Mock(side_effect=OperationalError("away"))
        with monkeypatch.context() as patch:
            patch.setattr(losses, "save_at", fail)
            lost("store", "Gone")
            ledger._wake.set()
            wait_for(lambda: ledger._pause, "a failure")
        ledger.succeeded(Destination())
        wait_for(lambda: saved == [1], "a success")
        ledger.close()

    def test_exit(self, saved, monkeypatch):
        """It writes without waiting for its time, and starts no more."""
        ledger.close()  # nothing was ever there
        monkeypatch.setattr(losses, "TICK_SECONDS", 3600)
        lost("store", "Gone", requests=3)
        ledger.close()
        assert saved == [3]
        lost("store", "Gone")
        assert ledger.thread is None

    def test_exit_without_a_thread(self, saved, monkeypatch):
        """The system starts none."""
        start = Mock(side_effect=RuntimeError("can't start new thread"))
        monkeypatch.setattr(threading.Thread, "start", start)
        lost("store", "Gone", requests=3)
        assert saved == []
        ledger.close()
        assert saved == [3]

    def test_exit_waits_for_no_silent_database(
        self, saved, folder, settings, monkeypatch
    ):
        """The folder has the number."""
        settings.REQUEST_IMAGES_SHUTDOWN_SECONDS = 0.01
        is_waiting, answer = threading.Event(), threading.Event()

        def save_at(*args):
            is_waiting.set()
            assert answer.wait(60)

        monkeypatch.setattr(losses, "save_at", save_at)
        lost("store", "Gone", requests=3)
        assert is_waiting.wait(60)
        ledger.close()
        [(_, total)] = loss_file.read()
        assert total.requests == 3
        answer.set()


@pytest.mark.processes
class TestProcess:
    """A process of its own, whose database has no tables at first.

    Its queue has room for three of the requests that cannot be written.
    """

    @pytest.fixture
    def project(self, tmp_path):
        environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3?{CARELESS}",
            "DJANGO_SETTINGS_MODULE": "tests.servers.settings",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SERVERS_SIGNS": str(tmp_path),
        }

        def run(script, status=0, **variables):
            done = subprocess.run(
                [sys.executable, "-c", BEGIN + textwrap.dedent(script)],
                check=False,
                env=environment | variables,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == status, done.stderr
            done.found, done.kept = [], 0
            with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
                names = "SELECT 1 FROM sqlite_master WHERE name LIKE '%_loss'"
                if database.execute(names).fetchall():
                    ask = "SELECT requests FROM request_images_loss ORDER BY 1"
                    done.found = [number for (number,) in database.execute(ask)]
                    ask = "SELECT COUNT(*) FROM request_images_requestlog"
                    [(done.kept,)] = database.execute(ask)
            return done

        return run

    def test_thread_writes_when_the_database_is_back(self, project):
        """Without another request; and it logs the true number."""
        done = project("""
            post(9)
            call_command("migrate", verbosity=0)
            wait_for(Loss.objects.exists)
            wait_for(lambda: RequestLog.objects.count() == 3)
        """)
        assert done.found == [6]
        assert re.findall(r"(\d+) requests and \d+ images \(", done.stderr)[-1] == "6"

    def test_exit_writes(self, project):
        """What the thread has not written yet; also faults that are not logged."""
        done = project("""
            losses.TICK_SECONDS = 600
            post(9)
            call_command("migrate", verbosity=0)
        """)
        [number] = done.found
        # Those in the queue are lost, too, if the breaker lets none through.
        assert number >= 6
        assert number + done.kept == 9
        assert f": {number} requests and {number} images (" in done.stderr
        assert "more since the last line" in done.stderr

    def test_exit_without_a_thread_writes(self, project):
        """The system starts none."""
        done = project("""
            def start(self):
                raise RuntimeError("can't start new thread")
            call_command("migrate", verbosity=0)
            threading.Thread.start = start
            losses.lost("store", "Gone", requests=9)
        """)
        assert done.found == [9]

    def test_silent_database_holds_no_exit(self, project, tmp_path):
        """The folder takes the number."""
        began = time.monotonic()
        project(
            """
            settings.REQUEST_IMAGES_SHUTDOWN_SECONDS = 0.1
            is_waiting = threading.Event()
            def save_at(*args):
                is_waiting.set()
                time.sleep(600)
            losses.save_at = save_at
            losses.TICK_SECONDS = 0.01
            losses.lost("store", "Gone", requests=9)
            is_waiting.wait()
            """,
            SERVERS_SPOOL=str(tmp_path / "spool"),
        )
        assert time.monotonic() - began < 60
        [line] = (tmp_path / "spool" / "losses").read_text().splitlines()
        assert json.loads(line)["requests"] == 9

    def test_fork(self, project):
        """The child begins with nothing, and its parent's are its parent's."""
        done = project("""
            losses.TICK_SECONDS = 600
            call_command("migrate", verbosity=0)
            losses.lost("store", "Gone", requests=3)
            if os.fork() == 0:
                losses.lost("store", "Gone", requests=2)
            else:
                assert os.wait()[1] == 0
        """)
        assert done.found == [2, 3]

    def test_kill_9_costs_the_last_second(self, project, tmp_path):
        """The folder has what was lost before."""
        path = tmp_path / "spool" / "losses"
        project(
            f"""
            losses.TICK_SECONDS = 0.01
            losses.lost("store", "Gone", requests=9)
            wait_for(lambda: os.path.exists({str(path)!r}))
            wait_for(lambda: open({str(path)!r}).read())
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            status=-signal.SIGKILL,
            SERVERS_SPOOL=str(path.parent),
        )
        assert json.loads(path.read_text().splitlines()[-1])["requests"] == 9


def job_of(data):
    """Return a request with an image, as the capture hands it over."""
    log = RequestLog(request_id="1", created_at=timezone.now(), duration_ms=1)
    job = CapturedRequest(log, destination=Destination())
    upload = Upload("photo", len(data), data[:64], data, complete=True)
    job.payload = Payload(uploads=[upload], was_read=True)
    return job


def clock(moment):
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"
