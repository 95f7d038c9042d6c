"""``WRITE_MODE = "spool"``: requests go to a folder, and another one writes them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import threading
import time
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.forms import model_to_dict
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import resolve
from django.utils import timezone

from request_images import health, signals
from request_images.capture import examine
from request_images.capture.examine import CapturedRequest
from request_images.capture.payload import Payload, Upload
from request_images.capture.sources import Source
from request_images.db.destination import Destination
from request_images.decorators import capture_images
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.outcome import CaptureStatus, Decision, annotate, opt_out
from request_images.writer import jobs, rows
from request_images.writer.spool import drain, segment, spooling
from request_images.writer.spool.folder import Spool
from tests.capture.test_examine_unusable import BROKEN
from tests.db.databases import received
from tests.image_files import draw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(settings, tmp_path, transactional_db):
    """The folder of the mode, whose thread ends before the tables are emptied."""
    settings.REQUEST_IMAGES_WRITE_MODE = "spool"
    settings.REQUEST_IMAGES_SPOOL_DIR = tmp_path / "spool"
    yield Spool(tmp_path / "spool", 10**9)
    spooling._drainer.stop()
    jobs.queue.close(10)
    jobs.queue.reset()


@pytest.fixture
def thread(folder, monkeypatch):
    """The thread may run, and does not wait for long."""
    monkeypatch.setattr(spooling, "POLL_SECONDS", 0.01)
    spooling._reset()


def serve(request=None, view=None, seed=0, **options):
    """Serve a request as a server does."""
    request = received(draw(seed=seed)) if request is None else request
    with contextlib.suppress(ZeroDivisionError):
        capture_images(**options)(view or (lambda r: HttpResponse(r.body)))(request)
    request.close()


@pytest.fixture
def away(monkeypatch):
    """The database takes nothing while there is an error in this list."""
    errors, place_and_insert = [], rows._place_and_insert

    def fail(records, using):
        if errors:
            raise errors[0]
        place_and_insert(records, using)

    monkeypatch.setattr(rows, "_place_and_insert", fail)
    monkeypatch.setattr(drain, "try_write", lambda: errors[0] if errors else None)
    return errors


def wait_for(condition):
    """Wait until something is true, but of a table: SQLite would be locked by that."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def captured(**values):
    """A request with nothing in it."""
    log = RequestLog(created_at=timezone.now(), duration_ms=1, **values)
    log.duration_bucket = 1
    return CapturedRequest(log, destination=Destination())


def statuses():
    return sorted(RequestLog.objects.values_list("capture_status", flat=True))


def posted(data, **options):
    """Return a request as a server makes it, with a form or of another type."""
    environ = RequestFactory().post("/", data, **options).environ
    body = io.BytesIO(environ["wsgi.input"].read())
    request = WSGIRequest({**environ, "wsgi.input": body})
    request.resolver_match = resolve("/body/")
    return request


def annotating(request):
    annotate(
        request,
        error_type="zu_dunkel",
        error_message="Straße, ein Bild \N{GRINNING FACE}\udce4",
        release="v1-ü",
        text="Größe \N{GRINNING FACE} \udce4",
        nested={"list": [1, 2.5, None, True, {"ключ": "値"}]},
        number=2**70,
        small=1e-300,
    )
    return HttpResponse(request.body)


def reading_files(request):
    return HttpResponse(str(sorted(request.FILES)))


def raising(request):
    return HttpResponse(str(len(request.body) / 0))


def opting_out(request):
    opt_out(request)
    return HttpResponse(request.body)


def files():
    return {
        "größe": "Straße",
        "photo": SimpleUploadedFile("ü.png", draw(seed=1), "image/png"),
        "text": SimpleUploadedFile("a.txt", b"no image"),
        "second": SimpleUploadedFile("b.jpg", draw("JPEG", seed=2), "image/jpeg"),
    }


def in_json():
    text = base64.b64encode(draw()).decode()
    return json.dumps({"ä": {"image": text}}, ensure_ascii=False).encode()


CASES = {
    "body": ({}, lambda: received(draw()), annotating),
    "files": ({}, lambda: posted(files()), reading_files),
    "all files": (
        {"source": "files", "images": "all"},
        lambda: posted(files()),
        reading_files,
    ),
    "a source": ({"source": "files.second"}, lambda: posted(files()), reading_files),
    "not there": (
        {"source": ["files.none", "json.x"]},
        lambda: posted(files()),
        reading_files,
    ),
    "json": (
        {},
        lambda: posted(in_json(), content_type="application/json"),
        annotating,
    ),
    "form": (
        {},
        lambda: posted({"img": base64.b64encode(draw()).decode(), "ß": "é"}),
        lambda r: HttpResponse(r.POST["ß"]),
    ),
    "broken": ({}, lambda: received(BROKEN["PNG"]), raising),
    "none": ({}, lambda: received(b""), annotating),
    "text": ({}, lambda: received("kein Bild: ü".encode()), annotating),
    "opted out": ({}, lambda: received(draw()), opting_out),
    "unread": ({}, lambda: received(draw()), lambda r: HttpResponse()),
}


def written():
    """Everything that is in the rows, but what differs between two requests."""
    left_out = {"id", "log", "request_image", "content", "pk"}
    left_out |= {"duration_ms", "duration_bucket", "upload_ms", "is_pinned"}
    found = []
    for model in (RequestLog, RequestImage, FurtherImage):
        for row in model.objects.order_by("pk"):
            values = {f.attname: getattr(row, f.attname) for f in row._meta.fields}
            found.append(
                {
                    k: v
                    for k, v in values.items()
                    if k not in left_out and not k.endswith(("_id", "created_at"))
                }
            )
            if model is not RequestLog:
                found[-1]["bytes"] = row.image_data
    return found


def empty_tables():
    for model in (FurtherImage, RequestImage, RequestLog, ImageContent):
        model.objects.all().delete()


class TestSame:
    """What is written later is what would have been written at once."""

    @pytest.mark.parametrize("name", CASES)
    def test_rows_are_the_same(self, folder, settings, name):
        options, make, view = CASES[name]
        settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
        serve(make(), view, **options)
        expected = written()
        assert expected
        empty_tables()
        settings.REQUEST_IMAGES_WRITE_MODE = "spool"
        serve(make(), view, **options)
        assert not RequestLog.objects.exists()
        assert folder.contents().entries == 1
        assert spooling.write_spooled().written == 1
        assert written() == expected

    def test_every_value_is_kept(self):
        """Whatever a capture may hold is in the document, which is JSON."""
        upload = Upload(
            field="größe \udce4",
            size=None,
            head=b"\x89PNG\xff",
            data=bytes(range(256)),
            complete=True,
            view_stopped=True,
            missing="fehlt: ü",
            too_large=True,
            over_budget="voll",
            content_type="image/png",
            is_body=True,
            is_text=True,
        )
        payload = Payload(
            content_type="multipart/form-data",
            uploads=[upload, Upload("leer", head=b"", data=b"")],
            fields={"ü": ["1", "\N{GRINNING FACE}"], "": []},
            head=b"--x",
            body=b"",
            size=3,
            expected_size=7,
            is_chunked=True,
            was_read=True,
            complete=False,
            view_stopped=True,
            is_cut_off=True,
            missing="ä",
            part="Teil 1",
            problem="ö",
            too_large=True,
            over_budget="ü",
            upload_seconds=1.25,
        )
        job = CapturedRequest(
            RequestLog(path="/\N{GRINNING FACE}", metadata={"a": [1.5, None]}),
            [Source("files", ("größe",)), Source("json", ("a", "b.c")), Source("body")],
            5,
            Decision(CaptureStatus.SAMPLED_OUT, "détail"),
            Destination("other", "mandant-ü"),
            payload,
            OSError(5, "kaputt"),
        )
        payload.failure = ValueError("auch")
        document, data = job.dump()
        found = CapturedRequest.load(
            json.loads(segment._encode(document)), b"".join(data)
        )
        for own, loaded in ((job, found), (job.payload, found.payload)):
            assert type(loaded.failure).__name__ == type(own.failure).__name__
            assert str(loaded.failure) == str(own.failure)
            own.failure = loaded.failure = None
        assert found.payload == job.payload
        assert model_to_dict(found.log) == model_to_dict(job.log)
        assert list(found.sources) == list(job.sources)
        for name in ("limit", "decision", "destination", "record"):
            assert getattr(found, name) == getattr(job, name)

    def test_bytes_of_another_length_are_refused(self):
        document, _ = CapturedRequest(RequestLog(), payload=Payload(body=b"1")).dump()
        with pytest.raises(ValueError, match="not the bytes"):
            CapturedRequest.load(document, b"12")

    def test_fault_of_ours_is_told_later(self, folder):
        """The row has it, and so has the signal."""
        heard = []
        signals.capture_failed.connect(
            lambda exception, **_: heard.append(exception), weak=False, dispatch_uid="x"
        )
        try:
            with patch.object(examine, "inspect", side_effect=KeyError("ü")):
                serve()
                spooling.write_spooled()
        finally:
            signals.capture_failed.disconnect(dispatch_uid="x")
        assert [str(exception) for exception in heard] == [str(KeyError("ü"))]
        assert statuses() == ["store_failed"]
        health.reset()

    def test_request_examines_nothing(self, folder, settings):
        """No hash, no header, and no function of the project before it is written."""
        asked = []
        settings.REQUEST_IMAGES_SHOULD_KEEP = lambda log: (
            bool(asked.append(log.path)) or 0.5
        )
        with patch.object(examine, "find", side_effect=AssertionError):
            serve()
        assert asked == []
        spooling.write_spooled()
        assert asked == ["/"]
        assert RequestLog.objects.get().sample_probability == 0.5


class TestOrder:
    def test_oldest_first(self, folder):
        """In the order of the requests, which have one transaction."""
        for seed in range(5):
            serve(seed=seed)
        with patch.object(
            rows, "bounded_transaction", wraps=rows.bounded_transaction
        ) as one:
            assert spooling.write_spooled().written == 5
        assert one.call_count == 1
        images = RequestImage.objects.order_by("log_id").select_related("log")
        assert [image.image_data for image in images] == [
            draw(seed=s) for s in range(5)
        ]
        times = list(
            RequestLog.objects.order_by("pk").values_list("created_at", flat=True)
        )
        assert times == sorted(times)

    def test_batches_are_bounded(self, folder, monkeypatch):
        """By their number and their bytes; no more is in memory."""
        monkeypatch.setattr(drain, "BATCH_ITEMS", 3)
        sizes, save_many = [], rows.save_many
        monkeypatch.setattr(
            rows,
            "save_many",
            lambda records: sizes.append(len(records)) or save_many(records),
        )
        for seed in range(7):
            serve(seed=seed)
        assert spooling.write_spooled().written == 7
        assert sizes == [3, 3, 1]
        monkeypatch.setattr(drain, "BATCH_BYTES", 1)
        for seed in range(2):
            serve(seed=seed)
        assert spooling.write_spooled().written == 2
        assert sizes[3:] == [1, 1]


class TestFallback:
    @pytest.mark.parametrize("kind", ["full", "unwritable", "none"])
    def test_request_without_room_is_queued(self, folder, settings, tmp_path, kind):
        """The database may be well: the background thread writes it."""
        if kind == "full":
            settings.REQUEST_IMAGES_SPOOL_MAX_MB = 0.0001
        elif kind == "none":
            settings.REQUEST_IMAGES_SPOOL_DIR = None
        else:
            (tmp_path / "file").write_bytes(b"")
            settings.REQUEST_IMAGES_SPOOL_DIR = str(tmp_path / "file")
        serve()
        assert jobs.queue.wait_until_empty(60)
        assert statuses() == ["stored"]
        assert health.counts().get("spool_full", 0) == (kind == "full")
        health.reset()

    def test_test_client_is_written_at_once(self, folder, client):
        client.post("/body/", draw(), content_type="image/png")
        assert statuses() == ["stored"]

    def test_capture_that_is_not_loaded(self, folder, monkeypatch):
        """Nothing is put aside as bad then."""
        serve()
        monkeypatch.setattr(drain, "_load", None)
        with pytest.raises(RuntimeError, match="capture"):
            spooling.write_spooled()
        assert folder.contents().entries == 1


@pytest.mark.usefixtures("thread")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestThread:
    """A project that only sets the mode loses nothing."""

    def test_thread_writes_what_comes(self, folder):
        """Also later requests, and without another request."""
        for seed in range(3):
            serve(seed=seed)
            wait_for(lambda: folder.is_empty)
            assert RequestLog.objects.count() == seed + 1

    def test_thread_ends_when_nothing_comes(self, folder, monkeypatch):
        """And begins again with the next request."""
        monkeypatch.setattr(spooling, "IDLE_SECONDS", 0)
        for seed in range(2):
            serve(seed=seed)
            wait_for(lambda: spooling._drainer.thread is None)
            assert RequestLog.objects.count() == seed + 1

    def test_thread_does_not_write_while_another_process_does(self, folder):
        """It takes over when that has ended."""
        folder.folder.mkdir()
        with folder.reading() as is_ours:
            assert is_ours
            serve()
            with patch.object(spooling, "write_waiting", side_effect=AssertionError):
                spooling._drainer._round(spooling.Rounds(lambda: False))
        spooling.drain_soon(is_healthy=True)
        wait_for(lambda: folder.is_empty)

    def test_outage_ends_without_another_request(self, folder, settings, away):
        """Kind: whatever waits is written as soon as the database is back."""
        settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
        away.append(OperationalError("server is gone"))
        for seed in range(3):
            serve(seed=seed)
        assert folder.contents().entries == 3
        away.clear()
        wait_for(lambda: folder.is_empty)
        assert RequestLog.objects.count() == 3
        assert statuses() == ["stored"] * 3
        health.reset()

    def test_success_ends_a_pause(self, folder, settings, monkeypatch, away):
        """Once something is written, the others need not wait for half a minute."""
        monkeypatch.setattr(spooling, "FIRST_PAUSE_SECONDS", 600)
        away.append(OperationalError("server is gone"))
        serve(seed=1)
        wait_for(lambda: "spool:OperationalError" in health.faults())
        away.clear()
        monkeypatch.setattr(spooling, "FIRST_PAUSE_SECONDS", 0)
        settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
        serve(seed=2)
        assert jobs.queue.wait_until_empty(60)  # the thread may hold a lock meanwhile
        wait_for(lambda: folder.is_empty)
        assert RequestLog.objects.count() == 2
        health.reset()

    def test_fresh_process_finds_what_waits(self, folder, settings):
        """What a process left that has ended is written after the first request."""
        settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
        spooling.save_to_spool(captured())
        spooling._drainer.is_wanted = False
        serve()
        wait_for(lambda: folder.is_empty)
        assert RequestLog.objects.count() == 2

    def test_nothing_to_find(self, folder, settings):
        """Where nothing waits no thread begins."""
        settings.REQUEST_IMAGES_WRITE_MODE = "after_response"
        serve()
        assert spooling._drainer.thread is None

    def test_thread_survives_a_fault(self, folder, settings):
        """A folder that cannot be read, and one that is no more."""
        with patch.object(Spool, "take", _raise(OSError("broken disk"))):
            serve()
            wait_for(lambda: "spool:OSError" in health.faults())
        wait_for(lambda: folder.is_empty)
        settings.REQUEST_IMAGES_SPOOL_DIR = None
        rounds = spooling.Rounds(lambda: False)
        assert spooling._drainer._round(rounds) == drain.SpoolResult()
        health.reset()

    def test_no_thread_to_be_had(self, folder):
        """It is counted; the request is in the folder."""
        with patch.object(threading.Thread, "start", _raise(RuntimeError("no thread"))):
            serve()
        assert folder.contents().entries == 1
        assert health.faults() == {"spool:RuntimeError": 1}
        health.reset()

    def test_exit_waits_for_the_batch(self, folder):
        """And for no other: the rest stays in the folder."""
        is_writing, save_many = threading.Event(), rows.save_many

        def slow(records):
            is_writing.set()
            time.sleep(0.1)
            save_many(records)

        with (
            patch.object(rows, "save_many", slow),
            patch.object(drain, "BATCH_ITEMS", 1),
        ):
            for seed in range(50):
                spooling.save_to_spool(captured(request_id=str(seed)))
            spooling.drain_soon()
            assert is_writing.wait(60)
            spooling._drainer.stop()
            left = folder.contents().entries
        assert 0 < left < 50
        assert RequestLog.objects.count() == 50 - left
        spooling.drain_soon()
        assert spooling._drainer.thread is None


class TestFollow:
    """``write_spooled_requests --follow``."""

    @pytest.fixture
    def following(self, folder, monkeypatch, capsys):
        """Run the command, and a function beside it; then end the command."""
        monkeypatch.setattr(spooling, "POLL_SECONDS", 0.01)

        def follow(beside):
            failures = []

            def run():
                try:
                    beside()
                except BaseException as error:  # pragma: no cover  # noqa: BLE001
                    failures.append(error)  # raised below
                finally:
                    connection.close()
                    os.kill(os.getpid(), signal.SIGTERM)

            other = threading.Thread(target=run)
            other.start()
            call_command("write_spooled_requests", "--follow")
            other.join()
            if failures:
                raise failures[0]  # pragma: no cover  # see above
            return capsys.readouterr().out

        return follow

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_writes_what_comes(self, folder, following):
        """Until it is told to end; there is no folder at first."""

        def beside():
            for seed in range(3):
                serve(seed=seed)
                wait_for(lambda: folder.folder.exists() and folder.is_empty)

        out = following(beside)
        assert statuses() == ["stored"] * 3
        assert out == (
            f"Writing the requests that come into {folder.folder}.\n"
            "Stopped. Wrote 3 requests; 0 were already written; 0 were set aside as "
            "bad.\n"
        )

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_waits_for_the_database(self, folder, following, monkeypatch):
        """It says so once, and when it is back."""
        serve()
        tries, save_many = [], rows.save_many

        def away(records):
            tries.append(records)
            if len(tries) < 3:
                raise OperationalError("server is gone")
            save_many(records)

        monkeypatch.setattr(rows, "save_many", away)
        monkeypatch.setattr(drain, "try_write", lambda: OperationalError("gone"))
        monkeypatch.setattr(spooling, "FIRST_PAUSE_SECONDS", 0.01)
        out = following(lambda: wait_for(lambda: len(tries) >= 3 and folder.is_empty))
        assert out.splitlines()[1:3] == [spooling._WAITS, spooling._GOES_ON]
        assert statuses() == ["stored"]
        health.reset()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_survives_a_fault_of_the_folder(self, folder, following):
        serve()
        with patch.object(drain, "sweep"), patch.object(Spool, "take") as take:
            take.side_effect = OSError("broken disk")

            def beside():
                wait_for(lambda: take.call_count >= 2)

            following(beside)
        assert health.faults().keys() == {"spool:OSError"}
        health.reset()

    def test_pauses_are_longer_and_longer(self, folder, monkeypatch):
        """For each destination by itself: one that is down holds up no other."""
        clock = SimpleNamespace(now=1000.0)
        monkeypatch.setattr(
            spooling, "time", SimpleNamespace(monotonic=lambda: clock.now)
        )
        serve()
        tried = []

        def write_waiting(spool, refused, **_):
            groups = {"down", "up"} - refused
            tried.extend([clock.now - 1000] * ("down" in groups))
            return {
                group: drain.SpoolResult(failed=group == "down", written=group == "up")
                for group in groups
            }

        monkeypatch.setattr(spooling, "write_waiting", write_waiting)
        rounds = spooling.Rounds(lambda: False)
        for _ in range(150):
            assert rounds.run(folder).written == 1
            assert rounds.is_pausing
            clock.now += 1
        assert tried == [0, 1, 3, 7, 15, 31, 61, 91, 121]
        assert rounds.run(folder, is_back=True).failed == 1

    def test_second_drainer_does_nothing(self, folder, capsys):
        """Each request is written by one process."""
        serve()
        with folder.reading() as is_ours:
            assert is_ours
            call_command("write_spooled_requests")
        assert capsys.readouterr().out == (
            "Another process writes the requests of the spool folder. Nothing was "
            "done.\n"
        )
        assert not RequestLog.objects.exists()

    def test_second_follower_waits_for_the_first(self, folder):
        """It takes over when the first one has ended."""
        serve()
        stopping = threading.Event()
        with folder.reading():
            other = threading.Thread(target=_follow, args=(stopping,))
            other.start()
            other.join(0.1)
            assert not RequestLog.objects.exists()
        wait_for(lambda: folder.is_empty)
        stopping.set()
        other.join()

    def test_follower_that_is_stopped_while_it_waits(self, folder):
        """It ends at once, and writes nothing."""
        serve()
        stopping = threading.Event()
        with folder.reading():
            other = threading.Thread(target=_follow, args=(stopping,))
            other.start()
            stopping.set()
            other.join()
        assert not RequestLog.objects.exists()


def _follow(stopping):
    spooling.follow(stopping, print)
    connection.close()


def _raise(exception):
    def broken(*args, **kwargs):
        raise exception

    return broken
