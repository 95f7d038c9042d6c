"""The spool folder: nothing is lost when the database is away, nothing comes twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client

from request_images import health, spool, spooling, storing, writing
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.spool import Spool

from .images import draw


@pytest.fixture
def folder(tmp_path, settings):
    """A spool folder, looked into by every healthy write."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    spooling._next_look = 0.0
    return Spool(settings.REQUEST_IMAGES_SPOOL_DIR, 10**9)


@pytest.fixture
def database_away(monkeypatch):
    """Every write fails, until the returned function is called."""

    def save_many(records):
        raise OperationalError("server closed the connection")

    patch = pytest.MonkeyPatch()
    patch.setattr(storing, "save_many", save_many)
    patch.setattr(spooling, "save_many", save_many)
    yield patch.undo
    patch.undo()
    health.reset()


def post(url="/body/", data=None):
    data = draw() if data is None else data
    return Client().post(url, data, content_type="image/png")


class TestFolder:
    """Files and bytes, and nothing of requests."""

    def test_first_in_first_out(self, tmp_path):
        """Entries come back whole and in order, and are gone then."""
        tested = Spool(tmp_path / "a" / "b", 10_000)
        for number in range(3):
            assert tested.put({"number": number}, bytes([number]) * number)
        assert tested.count() == 3
        assert [(e.document["number"], e.data) for e in tested.take(2)] == [
            (0, b""),
            (1, b"\1"),
        ]
        assert [e.document["number"] for e in tested.take()] == [2]
        assert (tested.count(), tested.size()) == (0, 0)

    def test_is_bounded(self, tmp_path):
        """What does not fit is refused, and what is there stays."""
        tested = Spool(tmp_path, 200)
        assert tested.put({}, bytes(100))
        assert not tested.put({}, bytes(100))
        assert tested.count() == 1

    def test_entry_that_was_not_dealt_with_stays(self, tmp_path):
        """An exception on the way leaves the entry where it is."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        entries = tested.take()
        next(entries)
        with pytest.raises(ZeroDivisionError):
            entries.throw(ZeroDivisionError())
        assert tested.count() == 1

    def test_entry_of_another_process(self, tmp_path):
        """Who holds an entry's lock is alone with it."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        first = tested.take()
        next(first)
        assert list(tested.take()) == []
        assert list(first) == []
        assert tested.count() == 0

    def test_entry_that_goes_meanwhile(self, tmp_path, monkeypatch):
        """A file that another process deletes at any moment is no error."""
        tested = Spool(tmp_path, 1000)
        for when in ("open", "lock"):
            tested.put({"a": when}, b"")
            (path,) = tmp_path.glob(f"*{spool.SUFFIX}")
            with monkeypatch.context() as patch:
                if when == "open":
                    files = list(tested._files())
                    path.unlink()
                    patch.setattr(tested, "_files", lambda found=files: found)
                else:
                    lock = spool.locks.lock
                    patch.setattr(
                        spool.locks,
                        "lock",
                        lambda *args, path=path, lock=lock: (
                            path.unlink() or lock(*args)
                        ),
                    )
                assert list(tested.take()) == []

    @pytest.mark.parametrize("content", [b"", b"short", b"\0" * 7 + b"\5{bad}"])
    def test_damaged_file(self, tmp_path, content):
        """A file that nobody can read is put aside and blocks no other."""
        tested = Spool(tmp_path, 1000)
        (tmp_path / f"0{spool.SUFFIX}").write_bytes(content)
        tested.put({"a": 1}, b"")
        assert [entry.document for entry in tested.take()] == [{"a": 1}]
        assert [path.name for path in tmp_path.iterdir()] == ["0.bad"]

    def test_disk_full(self, tmp_path, monkeypatch):
        """Nothing half-written is left."""

        def fsync(number):
            raise OSError("disk full")

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="disk full"):
            Spool(tmp_path, 1000).put({}, b"")
        assert list(tmp_path.iterdir()) == []

    def test_sweep(self, tmp_path):
        """What a killed process left is deleted, what one is writing is not."""
        old, new = tmp_path / "1.new", tmp_path / "2.new"
        for path in (old, new):
            path.write_bytes(b"")
        os.utime(old, (0, 0))
        Spool(tmp_path, 1000).sweep()
        assert [path.name for path in tmp_path.iterdir()] == ["2.new"]
        Spool(tmp_path / "none", 1000).sweep()


@pytest.mark.django_db(transaction=True)
class TestRequests:
    """Requests that could not be written, and are."""

    def test_nothing_is_lost(self, folder, database_away):
        """The row that is written later is the row that could not be written."""
        client = Client()
        user = get_user_model().objects.create_user("ann")
        client.force_login(user)
        client.post("/handled/?who", draw(), content_type="image/png")
        post("/body/")
        assert folder.count() == 2
        assert health.counts()["spooled"] == 2
        assert not RequestLog.objects.exists()
        database_away()
        writing.breaker.reset()
        post("/nothing/")  # a healthy write; it looks into the folder
        assert folder.count() == 0
        handled, body, nothing = RequestLog.objects.order_by("created_at")
        assert (handled.endpoint, handled.error_type) == ("handled", "no_barcode")
        assert handled.metadata == {"confidence": 0.25, "tries": 3}
        assert (handled.user, handled.username) == (user, "ann")
        assert body.image.image_data == draw()
        assert (body.capture_status, body.capture_detail) == ("stored", "")
        assert body.created_at == body.image.created_at
        assert nothing.capture_status == "unread"

    def test_image_that_is_known_by_then(self, folder, database_away):
        """Deduplication holds for what is written later, too."""
        post()
        database_away()
        writing.breaker.reset()
        spooling._next_look = time.monotonic() + 60
        post()
        assert spooling.write_spooled().written == 1
        assert ImageContent.objects.count() == 1
        assert RequestImage.objects.count() == 2

    def test_killed_between_row_and_file(self, folder, database_away, monkeypatch):
        """Exactly once: a row that is there already is not written again."""
        post()
        database_away()
        with monkeypatch.context() as patch:
            patch.setattr(spool.Path, "unlink", _raise(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                spooling.write_spooled()
        assert (RequestLog.objects.count(), folder.count()) == (1, 1)
        result = spooling.write_spooled()
        assert (result.written, result.known, result.failed) == (0, 1, 0)
        assert (RequestLog.objects.count(), folder.count()) == (1, 0)

    def test_database_still_away(self, folder, database_away):
        """What cannot be written stays, in its order."""
        post()
        post()
        result = spooling.write_spooled()
        assert (result.written, result.failed) == (0, 1)
        assert folder.count() == 2

    def test_folder_is_full(self, folder, database_away, settings):
        """Beyond its bound the folder takes nothing; that is counted."""
        settings.REQUEST_IMAGES_SPOOL_MAX_MB = 0.0001
        assert post().status_code == 200
        assert folder.count() == 0
        counts = health.counts()
        assert (counts["spool_full"], counts["lost"]) == (1, 1)

    def test_folder_cannot_be_written(self, folder, database_away, settings, tmp_path):
        """A folder that is none is a fault of ours, and not the request's."""
        (tmp_path / "file").write_bytes(b"")
        settings.REQUEST_IMAGES_SPOOL_DIR = str(tmp_path / "file")
        assert post().status_code == 200
        assert health.counts()["lost"] == 1
        assert "spool:FileExistsError" in health.faults()

    def test_no_folder(self, database_away):
        """Without a folder what cannot be written is counted."""
        assert post().status_code == 200
        assert health.counts()["lost"] == 1
        assert spooling.write_spooled().written == 0
        assert spooling.spooled() == (0, 0)

    def test_breaker(self, database_away, folder):
        """A store that keeps failing is not tried for each request."""
        for _ in range(10):
            post()
        assert folder.count() == 10
        assert health.faults() == {"store:OperationalError": 5}

    def test_odd_keys(self, folder, database_away):
        """What JSON does not know is written as text, and what is gone is left out."""
        log = RequestLog(created_at=None, user_id=uuid.UUID(int=5))
        values = spooling._dump(log)
        assert values["user_id"] == str(uuid.UUID(int=5))
        assert spooling._load(RequestLog, {"path": "/x", "gone": 1}).path == "/x"


@pytest.mark.django_db
class TestCommand:
    """``write_spooled_requests``."""

    def test_writes(self, folder, database_away, capsys):
        """It says what it wrote and what waits."""
        post()
        database_away()
        call_command("write_spooled_requests")
        assert capsys.readouterr().out == (
            "Wrote 1 requests; 0 were there already; 0 wait (0 bytes).\n"
        )
        assert RequestLog.objects.count() == 1
        call_command("write_spooled_requests", verbosity=0)
        assert capsys.readouterr().out == ""

    def test_refused(self, folder, database_away):
        """It fails where the database does."""
        post()
        with pytest.raises(CommandError, match="refused"):
            call_command("write_spooled_requests", verbosity=0)

    def test_no_folder(self):
        """Without a folder there is nothing to do, and that is an error."""
        with pytest.raises(CommandError, match="SPOOL_DIR"):
            call_command("write_spooled_requests")


def test_kill_9_leaves_no_half_file(tmp_path):
    """Killed at any moment, a process leaves whole entries and nothing else to read."""
    script = (
        "import os, sys\n"
        "from request_images.spool import Spool\n"
        "spool = Spool(sys.argv[1], 10**9)\n"
        "number = 0\n"
        "while True:\n"
        "    spool.put({'number': number}, bytes([number % 256]) * 300_000)\n"
        "    number += 1\n"
        "    print(number, flush=True)\n"
    )
    confirmed = 0
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
        )
        with process:
            for _ in range(round_ + 1):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            confirmed += round_ + 1 + len(process.stdout.readlines())
    entries = list(Spool(tmp_path, 10**9).take())
    assert len(entries) >= confirmed  # renamed, and killed before it could say so
    for entry in entries:
        assert entry.data == bytes([entry.document["number"] % 256]) * 300_000
    assert not list(tmp_path.glob(f"*{spool.SUFFIX}"))


def test_kill_9_writes_each_entry_exactly_once(tmp_path):
    """Killed at any moment while it writes entries, it loses none and doubles none."""
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SPOOL": str(tmp_path / "spool"),
    }
    begin = "import os, django; django.setup()\n"
    fill = begin + (
        "from django.core.management import call_command\n"
        "from request_images import spooling\n"
        "from tests.factories import unsaved_record\n"
        "call_command('migrate', verbosity=0)\n"
        "for seed in range(60): assert spooling.set_aside(unsaved_record(seed % 40))\n"
    )
    write = begin + (
        "print('ready', flush=True)\n"
        "from request_images import spooling\n"
        "print(spooling.write_spooled().failed, flush=True)\n"
    )

    def run(script):
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    with run(fill) as process:
        process.wait()
    assert process.returncode == 0
    for round_ in range(1, 8):
        with run(write) as process:
            process.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.03 * round_)
            process.kill()
    with run(write) as process:
        assert process.stdout.read().split() == ["ready", "0"]
    assert list((tmp_path / "spool").iterdir()) == []
    with contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        count = "SELECT COUNT(*), COUNT(DISTINCT request_id) FROM request_images_"
        assert database.execute(count + "requestlog").fetchone() == (60, 60)
        rows = database.execute(
            "SELECT data, image_hash FROM request_images_imagecontent"
        ).fetchall()
    assert len(rows) == 40
    for data, image_hash in rows:
        assert hashlib.sha256(data).hexdigest() == image_hash


def _raise(exception):
    def broken(*args, **kwargs):
        raise exception

    return broken
