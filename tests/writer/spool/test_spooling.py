"""The spool folder: nothing is lost when the database is away, nothing comes twice."""

from __future__ import annotations

import contextlib
import decimal
import hashlib
import os
import sqlite3
import subprocess
import sys
import uuid
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
from request_images.writer.spool import documents, drain, segment, spooling
from request_images.writer.spool.folder import Contents, Spool
from tests.factories import examined_job, unsaved_record
from tests.image_files import draw
from tests.servers.running import CARELESS


@pytest.fixture
def folder(tmp_path, settings):
    """A spool folder."""
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    return Spool(settings.REQUEST_IMAGES_SPOOL_DIR, 10**9)


@pytest.fixture
def database_away(monkeypatch):
    """Every write fails, until the returned function is called."""

    def save_many(records):
        raise OperationalError("server closed the connection")

    patch = pytest.MonkeyPatch()
    patch.setattr(writer_rows, "save_many", save_many)
    patch.setattr(drain, "try_write", lambda: OperationalError("away"))
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
    """The files of a folder but for those that all its processes share."""
    return sorted({path.name for path in folder.iterdir()} - {"account", "reader"})


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
        post("/nothing/")
        assert spooling.write_spooled().written == 2
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
        post()
        assert spooling.write_spooled().written == 1
        assert ImageContent.objects.count() == 1
        assert RequestImage.objects.count() == 2

    def test_kill_after_the_row_writes_once(self, folder, database_away, monkeypatch):
        """Exactly once: a row that is there already is not written again."""
        post()
        database_away()
        with monkeypatch.context() as patch:
            patch.setattr(segment.Segment, "mark_done", _raise(KeyboardInterrupt))
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
        values = documents.dump_row(log)
        assert values["user_id"] == str(uuid.UUID(int=5))
        assert documents.load_row(RequestLog, {"path": "/x", "gone": 1}).path == "/x"


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
    assert spooling.save_to_spool(examined_job(record))
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
        monkeypatch.setattr(drain, "smaller_copies", Mock(side_effect=KeyError))
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
        assert spooling.save_to_spool(examined_job(record))
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
            assert spooling.save_to_spool(
                examined_job(Record(record.log, Destination()))
            )
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

    @pytest.mark.parametrize("is_written", [True, False])
    def test_lost_connection(self, folder, refusing, monkeypatch, is_written):
        """It is written over a new one; once, also when the old one had done it."""
        calls = []

        def save_many(records):
            calls.append(records)
            if len(calls) > 1 or is_written:
                save_all(records)
            if len(calls) == 1:
                raise OperationalError("server has gone away")

        save_all = writer_rows.save_many
        monkeypatch.setattr(writer_rows, "has_lost", lambda before: True)
        monkeypatch.setattr(writer_rows, "save_many", save_many)
        aside()
        aside(seed=1)
        result = spooling.write_spooled()
        assert (result.written, result.known) == ((0, 2) if is_written else (2, 0))
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
            lambda document: document["images"][0][0].update(width=[]),
            lambda document: document["log"].update(created_at="yesterday"),
            lambda document: document["images"][0][0].update(image_hash="0" * 64),
            lambda document: document.pop("images"),
            lambda document: document.update(destination=5),
        ],
    )
    def test_foreign_document_is_quarantined(self, folder, change, told):
        """It is put aside, and stops nobody."""
        document, data = examined_job(unsaved_record(0)).dump()
        change(document)
        folder.put(document, *data)
        aside(seed=1)
        result = spooling.write_spooled()
        assert (result.written, result.bad, folder.contents().bad) == (1, 1, 1)
        assert not ImageContent.objects.exclude(data=draw(seed=1)).exists()
        assert [name for name, *_ in told] == ["capture_failed", "image_saved"]
        health.reset()


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
        assert not spooling.save_to_spool(examined_job(record))
        assert health.faults() == {"spool:ZeroDivisionError": 1}
        health.reset()

    def test_wrong_setting(self, settings):
        """The same."""
        settings.REQUEST_IMAGES_SPOOL_DIR = 5
        assert not spooling.save_to_spool(examined_job(unsaved_record(0)))
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

    @pytest.mark.parametrize("follow", [False, True])
    def test_command_without_a_folder(self, follow):
        """There is nothing to do, and that is an error."""
        with pytest.raises(CommandError, match="SPOOL_DIR"):
            call_command("write_spooled_requests", follow=follow)


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
        "from tests.factories import examined_job, unsaved_record\n"
        "call_command('migrate', verbosity=0)\n"
        "for seed in range(60):\n"
        "    assert spooling.save_to_spool(examined_job(unsaved_record(seed % 40)))\n"
    )
    write = begin + (
        "import request_images.capture.examine\n"
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


def _raise(exception):
    def broken(*args, **kwargs):
        raise exception

    return broken
