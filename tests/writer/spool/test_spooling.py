"""The spool folder: nothing is lost when the database is away, nothing comes twice."""

from __future__ import annotations

import contextlib
import decimal
import hashlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
import zlib
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connection
from django.http import HttpResponse
from django.test import Client, RequestFactory

from request_images import health, signals
from request_images.db.destination import Destination
from request_images.decorators import capture_images
from request_images.models import ImageContent, RequestImage, RequestLog
from request_images.outcome import annotate
from request_images.storage import breaker
from request_images.writer import jobs
from request_images.writer import rows as writer_rows
from request_images.writer.record import Record
from request_images.writer.spool import entry as writer_spool_entry
from request_images.writer.spool import folder as writer_spool_folder
from request_images.writer.spool import quota, spooling
from request_images.writer.spool.folder import Contents, Spool
from request_images.writer.spool.quota import open_account
from tests.factories import unsaved_record
from tests.image_files import draw
from tests.servers.running import CARELESS

START = writer_spool_entry._START.pack


@pytest.fixture
def folder(tmp_path, settings):
    """A spool folder, looked into by every healthy write."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    spooling._reset()
    return Spool(settings.REQUEST_IMAGES_SPOOL_DIR, 10**9)


@pytest.fixture
def database_away(monkeypatch):
    """Every write fails, until the returned function is called."""

    def save_many(records):
        raise OperationalError("server closed the connection")

    patch = pytest.MonkeyPatch()
    patch.setattr(writer_rows, "save_many", save_many)
    patch.setattr(spooling, "try_write", lambda: OperationalError("away"))
    yield patch.undo
    patch.undo()
    health.reset()


@pytest.fixture
def newer_column():
    """A column that only a newer version fills; the returned function drops it."""
    table = RequestLog._meta.db_table
    if connection.vendor == "sqlite":  # where no statement makes one
        refuse = "SELECT RAISE(ABORT, 'NOT NULL constraint failed: newer')"
        make = [f"CREATE TRIGGER newer BEFORE INSERT ON {table} BEGIN {refuse}; END"]
        drop = "DROP TRIGGER IF EXISTS newer"
    else:
        make = [
            f"ALTER TABLE {table} ADD newer integer NOT NULL DEFAULT 0",
            f"ALTER TABLE {table} ALTER newer DROP DEFAULT",
        ]
        drop = f"ALTER TABLE {table} DROP COLUMN IF EXISTS newer"

    def undo():
        with connection.cursor() as cursor:
            cursor.execute(drop)

    with connection.cursor() as cursor:
        for statement in make:
            cursor.execute(statement)
    yield undo
    undo()


def post(url="/body/", data=None):
    data = draw() if data is None else data
    return Client().post(url, data, content_type="image/png")


def call_with_metadata(data):
    """Call a view that adds metadata, and return the body of its response."""

    def view(request):
        annotate(request, street="Straße")
        return HttpResponse(request.body)

    request = RequestFactory().post("/", data, content_type="image/png")
    return capture_images(view)(request).content


def names(folder):
    """The files of a folder but for the one that all its processes share."""
    return sorted(path.name for path in folder.iterdir() if path.name != "account")


class TestFolder:
    """Files and bytes, and nothing of requests."""

    def test_first_in_first_out(self, tmp_path):
        """Entries come back whole and in order, and go when it is said so."""
        tested = Spool(tmp_path / "a" / "b", 10_000)
        for number in range(3):
            assert tested.put({"number": number}, bytes([number]) * number)
        assert tested.contents().entries == 3
        found = []
        for entry in tested.take():
            found.append((entry.document["number"], entry.data))
            if entry.document["number"] != 1:
                entry.remove()
        assert found == [(0, b""), (1, b"\1"), (2, b"\2\2")]
        [left] = tested.take()
        assert left.document == {"number": 1}
        left.remove()
        assert tested.contents() == Contents()

    def test_take_continues_after_an_early_end(self, tmp_path, monkeypatch):
        """Left early, it needs no other look at the folder."""
        tested = Spool(tmp_path, 10_000)
        for number in range(3):
            tested.put({"number": number}, b"")
        assert next(tested.take()).document == {"number": 0}
        monkeypatch.setattr(os, "listdir", _raise(AssertionError))
        assert [entry.document["number"] for entry in tested.take()] == [1, 2]

    def test_is_bounded(self, tmp_path):
        """A request beyond the limit is refused, and the entries in the folder stay."""
        tested = Spool(tmp_path, 200)
        before = time.time()
        assert tested.put({}, bytes(100))
        assert tested.contents().refused_at is None
        assert not tested.put({}, bytes(100))
        contents = tested.contents()
        assert contents.entries == 1
        assert before <= contents.oldest <= contents.refused_at <= time.time()

    def test_is_bounded_for_threads(self, tmp_path):
        """However many put something at once."""
        tested = Spool(tmp_path, 20_000_000)
        barrier, kept = threading.Barrier(16), []

        def put():
            barrier.wait()
            kept.append(tested.put({}, bytes(5_000_000)))

        threads = [threading.Thread(target=put) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (sum(kept), len(names(tmp_path))) == (3, 3)

    @pytest.mark.processes
    def test_is_bounded_for_processes(self, tmp_path):
        """The bound is that of the folder, not of each process."""
        script = (
            "import sys\n"
            "from multiprocessing import get_context\n"
            "from request_images.writer.spool.folder import Spool\n"
            "fork = get_context('fork')\n"
            "barrier = fork.Barrier(5)\n"
            "def put(_):\n"
            "    barrier.wait()\n"
            "    return Spool(sys.argv[1], 20_000_000).put({}, bytes(5_000_000))\n"
            "with fork.Pool(5) as processes:\n"
            "    print(*sorted(processes.map(put, range(5), chunksize=1)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert done.stdout == "False False True True True\n"

    def test_removed_entries_make_room(self, tmp_path):
        """Removed entries make room at once, files deleted by others after a while."""
        tested = Spool(tmp_path, 200)
        assert tested.put({}, bytes(100))
        [entry] = tested.take()
        entry.remove()
        assert tested.put({}, bytes(100))
        for path in tmp_path.glob(f"*{writer_spool_folder.SUFFIX}"):
            path.unlink()
        assert not tested.put({}, bytes(100))
        with open_account(tmp_path / "account") as account:
            account.counted_at -= 11
        assert tested.put({}, bytes(100))

    def test_put_does_not_list_the_folder(self, tmp_path, monkeypatch):
        """An entry costs as much in a folder of fifty thousand as in an empty one."""
        tested = Spool(tmp_path, 10_000)
        tested.put({}, b"")
        for name in ("listdir", "scandir"):
            monkeypatch.setattr(os, name, _raise(AssertionError))
        assert tested.put({}, b"")

    @pytest.mark.parametrize("content", [b"", b"torn", b"{}{}", b"[]", b'{"size": ""}'])
    def test_damaged_account_is_counted_again(self, tmp_path, content):
        """The folder is counted anew."""
        tested = Spool(tmp_path, 200)
        tested.put({}, bytes(100))
        (tmp_path / "account").write_bytes(content)
        assert tested.contents().size > 100
        assert not tested.put({}, bytes(100))

    def test_locked_account_is_waited_for_briefly(self, tmp_path, monkeypatch):
        """A process that was stopped is not waited for for ever."""
        monkeypatch.setattr(quota, "LOCK_SECONDS", 0.01)
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        [entry] = tested.take()
        with open_account(tmp_path / "account"):
            with pytest.raises(TimeoutError):
                tested.put({}, b"")
            entry.postpone()
            entry.quarantine()
            assert [e.document for e in tested.take()] == [{"a": 1}]
            entry.remove()  # it was dealt with, and would come again
        assert names(tmp_path) == []
        assert health.faults() == {"spool:TimeoutError": 3}
        health.reset()

    def test_files_are_readable_by_the_owner_only(self, tmp_path):
        """Also in a folder that others may look into: they hold users' images."""
        tmp_path.chmod(0o755)
        Spool(tmp_path, 1000).put({}, b"")
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert (len(list(tmp_path.iterdir())), modes) == (2, {0o600})

    def test_files_of_root_belong_to_the_folders_owner(self, tmp_path, monkeypatch):
        """Cron's command must not close the folder to the processes that serve."""
        given, fstat = [], os.fstat

        def of_another(descriptor):
            found = list(fstat(descriptor))
            if stat.S_ISDIR(found[0]):
                found[4:6] = 65534, 65533
            return os.stat_result(found)

        monkeypatch.setattr(os, "fstat", of_another)
        monkeypatch.setattr(os, "fchown", lambda fd, *owner: given.append(owner))
        Spool(tmp_path, 1000).put({}, b"")
        assert set(given) == {(65534, 65533)}

    def test_untouched_entry_stays(self, tmp_path):
        """An exception on the way leaves the entry where it is."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        entries = tested.take()
        next(entries)
        with pytest.raises(ZeroDivisionError):
            entries.throw(ZeroDivisionError())
        assert [entry.document for entry in tested.take()] == [{"a": 1}]

    def test_postponed_entry_is_last(self, tmp_path):
        """It comes behind all others, and is as old as it was."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        oldest = tested.contents().oldest
        tested.put({"a": 2}, b"")
        next(tested.take()).postpone()
        list(tested.take())
        assert [entry.document["a"] for entry in tested.take()] == [2, 1]
        assert tested.contents().oldest == oldest

    def test_locked_entry_is_skipped(self, tmp_path):
        """Only the process that holds an entry's lock writes it."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        first = tested.take()
        entry = next(first)
        assert list(Spool(tmp_path, 1000).take()) == []
        entry.remove()
        assert list(first) == []
        assert tested.contents().entries == 0

    def test_entry_removed_meanwhile_is_skipped(self, tmp_path, monkeypatch):
        """A file that another process deletes at any moment is no error."""
        tested = Spool(tmp_path, 1000)
        for when in ("open", "lock"):
            tested.put({"a": when}, b"")
            (path,) = tmp_path.glob(f"*{writer_spool_folder.SUFFIX}")
            with monkeypatch.context() as patch:
                if when == "open":
                    path.unlink()
                    patch.setattr(tested, "_names", lambda *_, path=path: [path.name])
                else:
                    lock = writer_spool_entry.locks.lock
                    patch.setattr(
                        writer_spool_entry.locks,
                        "lock",
                        lambda *args, path=path, lock=lock: (
                            path.unlink() or lock(*args)
                        ),
                    )
                assert list(tested.take()) == []

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"short",
            START(1, 0, 0) + b"{bad}",
            START(2, 5, zlib.crc32(b"{}")) + b"{}1234",  # cut off
            START(2, 5, zlib.crc32(b"{}")) + b"{}123456",  # and the contrary
            START(2, 0, zlib.crc32(b"{}")) + b"[]",  # not what was written
            START(2, 0, zlib.crc32(b"[]")) + b"[]",
            START(4, 0, zlib.crc32(b"{bad")) + b"{bad",
            START(200_000, 0, zlib.crc32(b"[" * 200_000)) + b"[" * 200_000,
        ],
        ids=range(9),
    )
    def test_damaged_file_is_quarantined(self, tmp_path, content):
        """A file that is no whole entry is put aside and blocks no other."""
        tested = Spool(tmp_path, 1_000_000)
        (tmp_path / f"0{writer_spool_folder.SUFFIX}").write_bytes(content)
        tested.put({"a": 1}, b"")
        [entry] = tested.take()
        assert entry.document == {"a": 1}
        entry.remove()
        assert names(tmp_path) == ["0.bad"]
        contents = tested.contents()
        assert (contents.bad, contents.entries, contents.oldest) == (1, 0, None)
        assert contents.size == len(content)
        assert health.counts() == {"spool_bad": 1}
        health.reset()

    @pytest.mark.parametrize("when", ["open", "read"])
    def test_unreadable_file_is_reported(self, tmp_path, monkeypatch, when):
        """Another user's is reported, left alone, and blocks no other."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        (foreign,) = names(tmp_path)
        tested.put({"a": 2}, b"")
        module, name = {
            "open": (writer_spool_entry, "open_file"),
            "read": (writer_spool_folder, "unpack"),
        }[when]
        original = getattr(module, name)

        def refuse(file, *args):
            if foreign in str(getattr(file, "name", file)):
                raise PermissionError("not yours")
            return original(file, *args)

        monkeypatch.setattr(module, name, refuse)
        assert [entry.document for entry in tested.take()] == [{"a": 2}]
        assert foreign in names(tmp_path)
        assert health.faults() == {"spool:PermissionError": 1}
        health.reset()

    def test_removed_file_is_no_error(self, tmp_path):
        """Deleted twice, it makes room once."""
        tested = Spool(tmp_path, 1000)
        for number in range(2):
            tested.put({"a": number}, b"")
        whole = tested.contents().size
        entry = next(tested.take())
        entry.remove()
        entry.remove()
        assert tested.contents().size == whole // 2

    def test_foreign_file_name_is_no_error(self, tmp_path):
        """It does not tell its age, and is not taken to be old."""
        before = time.time()
        (tmp_path / f"0{writer_spool_folder.SUFFIX}").write_bytes(b"")
        assert before <= Spool(tmp_path, 1000).contents().oldest <= time.time()

    def test_undeletable_file_is_reported(self, tmp_path, monkeypatch):
        """An entry that cannot be deleted is reported, and will be found again."""
        tested = Spool(tmp_path, 1000)
        tested.put({"a": 1}, b"")
        [entry] = tested.take()
        with monkeypatch.context() as patch:
            patch.setattr(writer_spool_folder.Path, "unlink", _raise(PermissionError))
            entry.remove()
        assert tested.contents().entries == 1
        assert health.faults() == {"spool:PermissionError": 1}
        health.reset()

    def test_full_disk_leaves_no_file(self, tmp_path, monkeypatch):
        """A write that fails leaves no part of a file."""

        def fsync(number):
            raise OSError("disk full")

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="disk full"):
            Spool(tmp_path, 1000).put({}, b"")
        assert names(tmp_path) == []
        assert Spool(tmp_path, 1000).contents().size == 0

    def test_sweep(self, tmp_path):
        """The sweep deletes files of killed processes, not those being written."""
        old, new = tmp_path / "1.new", tmp_path / "2.new"
        for path in (old, new):
            path.write_bytes(b"")
        os.utime(old, (0, 0))
        Spool(tmp_path, 1000).sweep(None)
        assert names(tmp_path) == ["2.new"]
        Spool(tmp_path / "none", 1000).sweep(None)
        assert not (tmp_path / "none").exists()

    def test_sweep_deletes_old_bad_files(self, tmp_path):
        """They go by age, and the oldest of more than a quarter of the room."""
        tested = Spool(tmp_path, 4000)
        now = time.time()
        for age in range(1, 6):
            path = tmp_path / f"{age}.bad"
            path.write_bytes(bytes(300))
            os.utime(path, (now - age * 100, now - age * 100))
        tested.sweep(None)
        assert names(tmp_path) == ["1.bad", "2.bad", "3.bad"]
        tested.sweep(250)
        assert names(tmp_path) == ["1.bad", "2.bad"]
        assert tested.contents().size == 600

    def test_sweep_reports_undeletable_files(self, tmp_path, monkeypatch):
        """It is reported, and the rest goes."""
        (tmp_path / "1.bad").write_bytes(b"")
        os.utime(tmp_path / "1.bad", (0, 0))
        monkeypatch.setattr(writer_spool_folder.Path, "unlink", _raise(PermissionError))
        Spool(tmp_path, 1000).sweep(10)
        assert health.faults() == {"spool:PermissionError": 1}
        health.reset()


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
        assert folder.contents().entries == 2
        assert health.counts()["spooled"] == 2
        assert not RequestLog.objects.exists()
        database_away()
        jobs.breakers.reset()
        post("/nothing/")  # a healthy write; it looks into the folder
        assert folder.contents().entries == 0
        handled, body, nothing = RequestLog.objects.order_by("created_at")
        assert (handled.endpoint, handled.error_type) == ("handled", "no_barcode")
        assert handled.metadata == {"confidence": 0.25, "tries": 3}
        assert (handled.user, handled.username) == (user, "ann")
        assert body.image.image_data == draw()
        assert (body.capture_status, body.capture_detail) == ("stored", "")
        assert body.created_at == body.image.created_at
        assert nothing.capture_status == "unread"

    def test_image_stored_meanwhile_is_a_duplicate(self, folder, database_away):
        """Deduplication holds for what is written later, too."""
        post()
        database_away()
        jobs.breakers.reset()
        spooling._next_look = time.monotonic() + 60
        post()
        assert spooling.write_spooled().written == 1
        assert ImageContent.objects.count() == 1
        assert RequestImage.objects.count() == 2

    def test_kill_after_the_row_writes_once(self, folder, database_away, monkeypatch):
        """Exactly once: a row that is there already is not written again."""
        post()
        database_away()
        with monkeypatch.context() as patch:
            patch.setattr(writer_spool_folder.Path, "unlink", _raise(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                spooling.write_spooled()
        assert (RequestLog.objects.count(), folder.contents().entries) == (1, 1)
        result = spooling.write_spooled()
        assert (result.written, result.known, result.failed) == (0, 1, 0)
        assert (RequestLog.objects.count(), folder.contents().entries) == (1, 0)

    def test_entries_stay_while_the_database_is_away(self, folder, database_away):
        """Entries that cannot be written stay in the folder, in order."""
        post()
        post()
        result = spooling.write_spooled()
        assert (result.written, result.failed) == (0, 1)
        assert folder.contents().entries == 2

    def test_full_folder_is_counted(self, folder, database_away, settings):
        """Beyond its bound the folder takes nothing; that is counted."""
        settings.REQUEST_IMAGES_SPOOL_MAX_MB = 0.0001
        assert post().status_code == 200
        assert folder.contents().entries == 0
        counts = health.counts()
        assert (counts["spool_full"], counts["lost"]) == (1, 1)

    def test_unwritable_folder(self, folder, database_away, settings, tmp_path):
        """A folder that is none is a fault of ours, and not the request's."""
        (tmp_path / "file").write_bytes(b"")
        settings.REQUEST_IMAGES_SPOOL_DIR = str(tmp_path / "file")
        assert post().status_code == 200
        assert health.counts()["lost"] == 1
        assert "spool:FileExistsError" in health.faults()

    def test_without_a_folder_the_request_is_lost(self, database_away):
        """Without a folder what cannot be written is counted."""
        assert post().status_code == 200
        assert health.counts()["lost"] == 1
        assert spooling.write_spooled().written == 0
        assert spooling.spool_contents() == Contents()

    def test_open_breaker_spools(self, database_away, folder):
        """A store that keeps failing is not tried for each request."""
        for _ in range(10):
            post()
        assert folder.contents().entries == 10
        assert health.faults() == {"store:OperationalError": 5}

    def test_row_that_is_refused_in_all_sizes_is_spooled(self, folder, refusing):
        """It may be the database that refuses them all, and not one value."""
        refusing(lambda record: True)
        post()
        assert folder.contents().entries == 1
        assert "lost" not in health.counts()

    def test_refused_connection_costs_no_image(self, folder, monkeypatch):
        """Kind: what is spooled is what was captured, though the next try succeeds."""
        save_many, faults = writer_rows.save_many, [OperationalError("refused")]

        def refused_once(records):
            if faults:
                raise faults.pop()
            save_many(records)

        monkeypatch.setattr(writer_rows, "save_many", refused_once)
        spooling._next_look = time.monotonic() + 60
        assert call_with_metadata(draw()) == draw()
        assert (folder.contents().entries, RequestLog.objects.count()) == (1, 0)
        assert spooling.write_spooled().written == 1
        log = RequestLog.objects.get()
        assert (log.capture_status, log.image.image_data) == ("stored", draw())
        assert log.metadata == {"street": "Straße"}
        health.reset()

    def test_column_of_a_newer_version(self, folder, newer_column, monkeypatch):
        """Kind: the old code beside a newer schema serves on, and loses nothing.

        Each request tries once, and after five failures none tries for a second.
        """
        tries = []
        place_and_insert = writer_rows._place_and_insert

        def counted(records, using):
            tries.append(len(records))
            place_and_insert(records, using)

        monkeypatch.setattr(writer_rows, "_place_and_insert", counted)
        monkeypatch.setattr(breaker, "time", SimpleNamespace(monotonic=lambda: 1000.0))
        for seed in range(8):
            assert call_with_metadata(draw(seed=seed)) == draw(seed=seed)
        assert (tries, folder.contents().entries) == ([1] * 5, 8)
        result = spooling.write_spooled()
        assert (result.written, result.bad) == (0, 0)
        newer_column()
        health.reset()
        assert spooling.write_spooled().written == 8
        for log in RequestLog.objects.all():
            assert log.capture_status == "stored"
            assert log.metadata == {"street": "Straße"}

    def test_metadata_with_odd_keys_is_restored(self, folder, database_away):
        """Values unknown to JSON become text; rows that are gone are left out."""
        log = RequestLog(created_at=None, user_id=uuid.UUID(int=5))
        values = spooling._dump(log)
        assert values["user_id"] == str(uuid.UUID(int=5))
        assert spooling._load(RequestLog, {"path": "/x", "gone": 1}).path == "/x"


@pytest.fixture
def told():
    """The signals that receivers get, in order."""
    heard = []
    names = ("image_saved", "image_skipped", "capture_failed")

    def listener(name):
        def listen(sender, log, exception=None, **kwargs):
            assert sender is RequestLog
            pk = None if log is None else log.pk
            heard.append((name, pk, type(exception).__name__))

        return listen

    listeners = {name: listener(name) for name in names}
    for name, listen in listeners.items():
        getattr(signals, name).connect(listen)
    yield heard
    for name, listen in listeners.items():
        getattr(signals, name).disconnect(listen)


@pytest.fixture
def refusing(monkeypatch):
    """Have the database refuse the rows of which something is true."""

    def refuse(is_refused, error=DataError):
        def save_many(records):
            if any(is_refused(record) for record in records):
                raise error("refused") if isinstance(error, type) else error
            save_all(records)

        monkeypatch.setattr(writer_rows, "save_many", save_many)

    save_all = writer_rows.save_many
    yield refuse
    health.reset()


def aside(**values):
    """Put a request with an image into the folder."""
    record = unsaved_record(values.pop("seed", 0))
    for name, value in values.items():
        setattr(record.log, name, value)
    assert spooling.save_to_spool(record)
    return record


@pytest.mark.django_db(transaction=True)
class TestRefused:
    """One row that the database does not take stops no other."""

    def test_refused_metadata_is_left_out(self, folder, refusing, told):
        """Everything else of the request is kept, and why they are not."""
        refusing(lambda record: "deep" in record.log.metadata)
        aside(metadata={"deep": [[]]}, path="/p/\N{GRINNING FACE}", username="Zoë")
        aside(seed=1)
        result = spooling.write_spooled()
        assert (result.written, result.failed, result.bad) == (2, 0, 0)
        first, second = RequestLog.objects.order_by("created_at")
        assert first.metadata == {"left_out": "the database refused it"}
        assert (first.path, first.username) == ("/p/\\U0001f600", "Zo\\xeb")
        assert first.image.image_data == draw()
        assert first.capture_status == "stored"
        assert second.metadata == {}
        assert told == [
            ("image_saved", first.pk, "NoneType"),
            ("image_saved", second.pk, "NoneType"),
        ]

    def test_fault_of_ours_costs_one_request(self, folder, monkeypatch, refusing, told):
        """It is set aside for a person, and those behind it are written."""
        monkeypatch.setattr(spooling, "smaller_copies", Mock(side_effect=KeyError))
        aside()
        result = spooling.write_spooled()
        assert (result.written, result.failed, result.bad) == (0, 0, 1)
        assert told == [("capture_failed", None, "KeyError")]

    def test_refused_bytes_are_left_out(self, folder, refusing, told):
        """The facts about the image and the texts of the log are kept."""
        refusing(lambda record: record.data is not None)
        aside(metadata={"a": 1}, path="/\N{GRINNING FACE}")
        assert spooling.write_spooled().written == 1
        log = RequestLog.objects.get()
        assert (log.metadata, log.path) == ({"a": 1}, "/\N{GRINNING FACE}")
        assert (log.capture_status, log.capture_detail) == (
            "store_failed",
            "DataError: refused",
        )
        assert log.image.image_data is None
        assert log.image.file_size == len(draw())
        assert told == [("capture_failed", log.pk, "DataError")]
        assert health.counts()["store_failed"] == 1

    def test_refused_image_is_left_out(self, folder, refusing, told):
        """The log alone still says that there was a request."""
        refusing(lambda record: record.image is not None)
        aside()
        record = unsaved_record(1)
        record.pictures[0].data = None
        record.log.capture_status = "too_large"
        assert spooling.save_to_spool(record)
        assert spooling.write_spooled().written == 2
        first, second = RequestLog.objects.order_by("created_at")
        assert first.capture_status == "store_failed"
        assert second.capture_status == "too_large"
        assert not RequestImage.objects.exists()
        assert told == [
            ("capture_failed", first.pk, "DataError"),
            ("image_skipped", second.pk, "NoneType"),
        ]

    @pytest.mark.parametrize("has_image", [True, False])
    def test_entry_refused_in_all_sizes(self, folder, refusing, told, has_image):
        """It is put aside, which is told, and those behind it are written."""
        refusing(lambda record: record.log.endpoint == "poison")
        if has_image:
            aside(endpoint="poison")
        else:
            record = unsaved_record(0)
            record.log.endpoint = "poison"
            assert spooling.save_to_spool(Record(record.log, Destination()))
        aside(seed=1)
        result = spooling.write_spooled()
        assert (result.written, result.failed, result.bad) == (1, 0, 1)
        assert told[0] == ("capture_failed", None, "DataError")
        assert [told[1][0], RequestLog.objects.get().pk] == ["image_saved", told[1][1]]
        assert (folder.contents().entries, folder.contents().bad) == (0, 1)
        assert spooling.write_spooled() == spooling.SpoolResult()

    def test_raising_receiver_costs_no_entry(self, folder, told):
        """It stops neither the others nor the next entry."""

        def raising(sender, **kwargs):
            raise ZeroDivisionError

        aside()
        aside(seed=1)
        signals.image_saved.connect(raising)
        try:
            assert spooling.write_spooled().written == 2
        finally:
            signals.image_saved.disconnect(raising)
        assert len(told) == 2
        assert list(health.faults().values()) == [2]
        health.reset()

    def test_locked_row_is_postponed(self, folder, refusing, told):
        """A locked row is tried again after all others, and written whole."""
        error = OperationalError("database is locked")
        refusing(lambda record: record.log.endpoint == "locked", error)
        aside(endpoint="locked", metadata={"a": 1})
        aside(seed=1)
        result = spooling.write_spooled()
        assert (result.written, result.failed, result.bad) == (1, 1, 0)
        aside(seed=2)
        refusing(lambda record: False)
        assert spooling.write_spooled().written == 2
        log = RequestLog.objects.get(endpoint="locked")
        assert log.metadata == {"a": 1}
        assert log.image.image_data == draw()

    def test_lost_connection(self, folder, refusing, monkeypatch):
        """It is written over a new one; once, also when the old one had done it."""
        calls = []

        def save_many(records):
            calls.append(records)
            if len(calls) == 2:
                save_all(records)
            if len(calls) < 3:
                raise OperationalError("server has gone away")
            save_all(records)

        save_all = writer_rows.save_many
        monkeypatch.setattr(writer_rows, "has_lost", lambda before: True)
        monkeypatch.setattr(writer_rows, "save_many", save_many)
        aside()
        aside(seed=1)
        calls.append("so that the first one fails before it is written")
        result = spooling.write_spooled()
        assert (result.written, result.known) == (1, 1)
        assert RequestLog.objects.count() == 2
        assert health.faults() == {}

    def test_nested_metadata(self, folder):
        """MariaDB takes no JSON that is nested deeper than 32."""
        deep = 1
        for _ in range(40):
            deep = [deep]
        aside(metadata={"deep": deep})
        aside(seed=1)
        assert spooling.write_spooled().written == 2
        first = RequestLog.objects.order_by("created_at").first()
        plain = {"left_out": "the database refused it"}
        is_refused = connection.vendor == "mysql"
        assert first.metadata == (plain if is_refused else {"deep": deep})
        health.reset()
        assert first.image.image_data == draw()

    @pytest.mark.parametrize(
        "change",
        [
            lambda document: document.clear(),
            lambda document: document.update(log=[]),
            lambda document: document["image"].update(width=[]),
            lambda document: document["log"].update(created_at="yesterday"),
            lambda document: document["image"].update(image_hash="0" * 64),
            lambda document: document.update(image=None),
        ],
    )
    def test_foreign_document_is_quarantined(self, folder, change, told):
        """It is put aside, and stops nobody."""
        document = spooling.document_of(unsaved_record(0))
        change(document)
        folder.put(document, draw())
        aside(seed=1)
        result = spooling.write_spooled()
        assert (result.written, result.bad, folder.contents().bad) == (1, 1, 1)
        assert not ImageContent.objects.exclude(data=draw(seed=1)).exists()
        assert [name for name, *_ in told] == ["capture_failed", "image_saved"]
        health.reset()

    def test_truncated_file_is_quarantined(self, folder):
        """Wrong bytes never come under an image's hash."""
        aside()
        (path,) = folder.folder.glob(f"*{writer_spool_folder.SUFFIX}")
        path.write_bytes(path.read_bytes()[:-10])
        assert spooling.write_spooled() == spooling.SpoolResult()
        assert folder.contents().bad == 1
        assert not ImageContent.objects.exists()
        health.reset()


@pytest.mark.django_db(transaction=True)
class TestWriteSpooledIfDue:
    """A healthy process writes spooled requests beside its own."""

    def test_unfinished_folder_is_continued_soon(self, folder, monkeypatch):
        """It holds the thread only so long, and comes back half a second later."""
        for seed in range(3):
            aside(seed=seed)
        monkeypatch.setattr(spooling, "SECONDS_AT_ONCE", 0)
        listed = []
        listdir = os.listdir
        monkeypatch.setattr(os, "listdir", lambda p: listed.append(p) or listdir(p))
        for left in (2, 1, 0):
            spooling.write_spooled_if_due()
            assert folder.contents().entries == left
            wait = spooling._next_look - time.monotonic()
            assert 0 < wait <= spooling.AGAIN_SECONDS
            spooling._next_look = 0
            listed.clear()
        spooling.write_spooled_if_due()
        assert spooling._next_look - time.monotonic() > spooling.AGAIN_SECONDS
        assert RequestLog.objects.count() == 3

    def test_folder_is_listed_once_for_each_batch(self, folder, monkeypatch):
        """Not into a folder of fifty thousand, every half second."""
        for seed in range(3):
            aside(seed=seed)
        monkeypatch.setattr(spooling, "SECONDS_AT_ONCE", 0)
        spooling.write_spooled_if_due()
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", _raise(AssertionError))
            for _ in range(2):
                spooling._next_look = 0
                spooling.write_spooled_if_due()
        assert folder.contents().entries == 0

    def test_changed_folder(self, folder, monkeypatch, settings, tmp_path):
        """Entries half read from the old folder are not counted in the new one."""
        for seed in range(2):
            aside(seed=seed)
        monkeypatch.setattr(spooling, "SECONDS_AT_ONCE", 0)
        spooling.write_spooled_if_due()
        settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "other"
        spooling._next_look = 0
        spooling.write_spooled_if_due()
        assert folder.contents().entries == 1

    def test_one_thread_at_a_time(self, folder):
        """A second one goes its way."""
        aside()
        with spooling._lock:
            spooling.write_spooled_if_due()
        assert folder.contents().entries == 1

    def test_never_raises(self, folder, settings, monkeypatch):
        """No error of the spool reaches the request that was written."""
        monkeypatch.setattr(Spool, "take", _raise(ZeroDivisionError))
        assert post().status_code == 200
        assert (health.counts()["stored"], health.counts().get("lost")) == (1, None)
        assert health.faults() == {"spool:ZeroDivisionError": 1}
        settings.REQUEST_IMAGES_SPOOL_DIR = 5
        spooling.write_spooled_if_due()
        assert health.faults()["spool:ImproperlyConfigured"] == 1
        health.reset()

    def test_folder_switched_off_meanwhile_is_no_error(self, folder, monkeypatch):
        """A setting that changes meanwhile."""
        monkeypatch.setattr(spooling, "_spool", lambda: None)
        spooling.write_spooled_if_due()

    def test_bad_files_go_with_the_images(self, folder, settings):
        """After the same time; the folder is tidied up once an hour."""
        old = _bad_file(folder, days=31)
        spooling.write_spooled_if_due()
        assert not old.exists()
        old = _bad_file(folder, days=31)
        spooling._next_look = 0
        spooling.write_spooled_if_due()
        assert old.exists()
        settings.REQUEST_IMAGES_RETENTION_DAYS = None
        spooling.write_spooled()
        assert old.exists()
        settings.REQUEST_IMAGES_RETENTION_DAYS = 30
        spooling.write_spooled()
        assert not old.exists()


@pytest.mark.django_db
class TestSaveToSpool:
    """It never raises: the rest of a batch is the caller's to look after."""

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (decimal.Decimal("1.5"), "1.5"),
            ({(1, 2): {3}}, {"(1, 2)": [3]}),
            (float("nan"), "nan"),
        ],
    )
    def test_values_unknown_to_json_become_text(self, folder, value, kept):
        """A project's SHOULD_KEEP may put anything into the metadata."""
        aside(metadata={"a": value})
        result = spooling.write_spooled()
        assert (result.written, result.bad) == (1, 0)
        assert RequestLog.objects.get().metadata == {"a": kept}
        health.reset()

    def test_value_without_a_text_is_left_out(self, folder):
        """A fault of ours, and counted."""

        class Odd:
            __str__ = _raise(ZeroDivisionError)

        record = unsaved_record(0)
        record.log.path = Odd()
        assert not spooling.save_to_spool(record)
        assert health.faults() == {"spool:ZeroDivisionError": 1}
        health.reset()

    def test_wrong_setting(self, settings):
        """The same."""
        settings.REQUEST_IMAGES_SPOOL_DIR = 5
        assert not spooling.save_to_spool(unsaved_record(0))
        assert health.faults() == {"spool:ImproperlyConfigured": 1}
        health.reset()


@pytest.mark.django_db
class TestCommand:
    """``write_spooled_requests``."""

    def test_writes(self, folder, database_away, capsys):
        """It says what it wrote and what waits."""
        post()
        database_away()
        call_command("write_spooled_requests")
        assert capsys.readouterr().out == (
            "Wrote 1 requests; 0 were already written; 0 are still waiting; 0 files "
            "are bad (0 bytes in total).\n"
        )
        assert RequestLog.objects.count() == 1
        call_command("write_spooled_requests", verbosity=0)
        assert capsys.readouterr().out == ""

    def test_refused(self, folder, database_away):
        """It fails where the database does."""
        post()
        with pytest.raises(CommandError, match="refused"):
            call_command("write_spooled_requests", verbosity=0)

    def test_command_reports_quarantined_files(self, folder, capsys):
        """It fails where a request is lost but for its file, and says how many are."""
        folder.put({}, b"")
        with pytest.raises(
            CommandError,
            match="1 requests cannot be written, and were set",
        ):
            call_command("write_spooled_requests")
        assert "0 are still waiting; 1 files are bad (" in capsys.readouterr().out
        health.reset()

    def test_folder_is_none(self, settings):
        """It fails where there is nothing that could be read."""
        settings.REQUEST_IMAGES_SPOOL_DIR = __file__
        with pytest.raises(CommandError, match="NotADirectoryError"):
            call_command("write_spooled_requests")

    def test_without_a_folder_the_request_is_lost(self):
        """Without a folder there is nothing to do, and that is an error."""
        with pytest.raises(CommandError, match="SPOOL_DIR"):
            call_command("write_spooled_requests")


@pytest.mark.processes
def test_kill_9_leaves_no_half_file(tmp_path):
    """Killed at any moment, a process leaves whole entries and nothing else to read."""
    script = (
        "import os, sys\n"
        "from request_images.writer.spool.folder import Spool\n"
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
    tested, found = Spool(tmp_path, 10**9), 0
    for entry in tested.take():
        assert entry.data == bytes([entry.document["number"] % 256]) * 300_000
        entry.remove()
        found += 1
    assert found >= confirmed  # renamed, and killed before it could say so
    assert not list(tmp_path.glob(f"*{writer_spool_folder.SUFFIX}"))
    assert not list(tmp_path.glob("*.bad"))
    tested.sweep(None)
    on_the_way = sum(path.stat().st_size for path in tmp_path.glob("*.new"))
    assert tested.contents().size == on_the_way


@pytest.mark.processes
def test_kill_9_writes_each_entry_exactly_once(tmp_path):
    """Killed at any moment while it writes entries, it loses none and doubles none."""
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3?{CARELESS}",
        # Of a project that starts in a third of the time.
        "DJANGO_SETTINGS_MODULE": "tests.servers.settings",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "SERVERS_SPOOL": str(tmp_path / "spool"),
    }
    begin = "import os, django; django.setup()\n"
    fill = begin + (
        "from django.core.management import call_command\n"
        "from request_images.writer.spool import spooling\n"
        "from tests.factories import unsaved_record\n"
        "call_command('migrate', verbosity=0)\n"
        "for seed in range(60):\n"
        "    assert spooling.save_to_spool(unsaved_record(seed % 40))\n"
    )
    write = begin + (
        "print('ready', flush=True)\n"
        "from request_images.writer.spool import spooling\n"
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
    for round_ in (1, 3, 6):
        with run(write) as process:
            process.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.03 * round_)
            process.kill()
    with run(write) as process:
        assert process.stdout.read().split() == ["ready", "0"]
    assert names(tmp_path / "spool") == []
    with contextlib.closing(sqlite3.connect(tmp_path / "db.sqlite3")) as database:
        count = "SELECT COUNT(*), COUNT(DISTINCT request_id) FROM request_images_"
        assert database.execute(count + "requestlog").fetchone() == (60, 60)
        rows = database.execute(
            "SELECT data, image_hash FROM request_images_imagecontent"
        ).fetchall()
    assert len(rows) == 40
    for data, image_hash in rows:
        assert hashlib.sha256(data).hexdigest() == image_hash


def _bad_file(folder, *, days):
    folder.folder.mkdir(exist_ok=True)
    path = folder.folder / "1.bad"
    path.write_bytes(b"")
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))
    return path


def _raise(exception):
    def broken(*args, **kwargs):
        raise exception

    return broken
