"""The example's demo: real requests to a real server, and its report."""

import io
import socket
import urllib.request

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from config import environment
from request_images.models import RequestImage, RequestLog
from solver import demo, report
from solver.barcodes import NotAnImage, read_barcodes
from solver.management.commands import demo as command
from solver.samples import draw_samples
from tests.image_files import draw


@pytest.fixture
def _database_file(tmp_path, transactional_db):
    """Use an SQLite file: threads cannot share a database in memory."""
    usual, connection = connections.settings["default"], connections["default"]
    file = environment.database("NO_SUCH_VARIABLE", default=tmp_path / "db.sqlite3")
    connections.settings["default"] = {**usual, **file}
    del connections["default"]
    ContentType.objects.clear_cache()
    yield
    connections["default"].close()
    connections.settings["default"] = usual
    connections["default"] = connection
    ContentType.objects.clear_cache()


@pytest.fixture
def run(_database_file, settings):
    """Return a function that runs the demo and returns its output."""
    settings.REQUEST_IMAGES_ENABLED = False
    settings.ALLOWED_HOSTS = []

    def run(*arguments):
        out = io.StringIO()
        call_command("demo", *arguments, stdout=out)
        return out.getvalue()

    return run


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two pictures, one of them in a subfolder."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / '#5 "ä".webp').write_bytes(draw("WEBP"))
    (folder / "one.unknown").write_bytes(draw("PNG"))
    (folder / "one.TXT").write_text("What the picture says.")
    return folder


def samples():
    return list(draw_samples(command.SEED, kept_limit=3_000_000))


class TestSamples:
    def test_equal_seeds_draw_equal_bytes(self):
        assert samples() == samples()
        assert samples() != list(draw_samples(command.SEED + 1))

    def test_names_are_unique(self):
        assert len({sample.name for sample in samples()}) == len(samples()) == 62

    def test_solver_reads_the_drawn_text(self):
        for sample in samples():
            try:
                # Now and then zxing finds one barcode in two places.
                found = {b.text for b in read_barcodes(sample.content).barcodes}
            except NotAnImage:
                found = set()
            expected = set() if sample.text is None else {sample.text}
            assert found == expected, sample.name

    def test_one_sample_is_over_the_given_limit(self):
        [large] = [sample for sample in samples() if len(sample.content) > 3_000_000]
        assert large.name == "over-limit.png"
        assert len(large.content) == 3_000_001
        assert len(list(draw_samples(command.SEED))) == 61


class TestDemo:
    def test_every_drawn_picture_is_kept_or_has_a_reason(self, run, settings):
        settings.REQUEST_IMAGES_MAX_SIZE_MB = 2
        printed = run()
        assert RequestLog.objects.count() == 62
        assert "62 images sent\n  59 kept byte for byte" in printed
        assert "  0 lost\n" in printed
        assert "1 too_large" in printed
        assert "By dimensions (first 10 of " in printed
        assert "By hour (last 10 of 24)" in printed
        assert "no_barcode" in printed
        assert "/admin/request_images/requestimage/" in printed
        assert "/admin/request_images/dashboard/" in printed
        assert "manage.py runserver" in printed
        assert "\x1b" not in printed
        large = RequestImage.objects.get(log__capture_status="too_large")
        assert large.file_size == 2 * 1024 * 1024 + 1

    def test_no_picture_is_too_large_if_the_solver_takes_less(self, run, settings):
        settings.SOLVER_MAX_UPLOAD_MB = settings.REQUEST_IMAGES_MAX_SIZE_MB
        assert "too_large" not in run()

    def test_folder_can_be_sent_twice(self, run, folder):
        first = run("--images", str(folder))
        assert "2 images sent\n  2 kept byte for byte" in first
        names = {image.source for image in RequestImage.objects.all()}
        assert names == {"files.image"}
        second = run("--images", str(folder))
        assert "2 images sent\n  2 kept byte for byte" in second
        assert "duplicate" in second
        admin = get_user_model().objects.get(username="admin")
        assert admin.is_superuser
        passwords = [line.split()[1] for line in second.splitlines() if "Passw" in line]
        assert [admin.check_password(password) for password in passwords] == [True]

    def test_lost_image_is_an_error(self, run, folder, monkeypatch):
        send = demo.Sender.send

        def send_and_lose(sender, name, content):
            send(sender, name, content)
            sender.sent.append(demo.Sent("[lost]", "never-sent", 200, ""))

        monkeypatch.setattr(demo.Sender, "send", send_and_lose)
        monkeypatch.setattr(command, "WAIT_SECONDS", 0.2)
        with pytest.raises(CommandError, match=r"^2 of 4 images were lost\.$"):
            run("--images", str(folder))

    def test_serve_ends_with_an_interrupt(self, run, folder, monkeypatch):
        with socket.socket() as probe:
            probe.bind((demo.HOST, 0))
            port = probe.getsockname()[1]
        answers = []

        def visit_and_interrupt(_seconds):
            page = f"http://{demo.HOST}:{port}/static/solver/upload.css"
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(page) as response:
                answers.append(response.status)
            raise KeyboardInterrupt

        monkeypatch.setattr(command, "sleep", visit_and_interrupt)
        printed = run("--images", str(folder), "--serve", "--port", str(port))
        assert answers == [200]
        assert printed.endswith("Serving until Ctrl-C.\n")
        assert f"http://127.0.0.1:{port}/api/usage/" in printed
        assert "runserver" not in printed

    def test_port_in_use_is_an_error(self, run):
        with socket.socket() as taken:
            taken.bind((demo.HOST, 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(CommandError, match=rf"^Port {port} cannot be served"):
                run("--serve", "--port", str(port))

    def test_port_out_of_range_is_an_error(self, run):
        with pytest.raises(CommandError, match=r"^Port 70000 cannot be served"):
            run("--serve", "--port", "70000")

    def test_missing_folder_is_an_error(self, run, tmp_path):
        with pytest.raises(CommandError, match=r"missing does not exist\.$"):
            run("--images", str(tmp_path / "missing"))

    def test_folder_without_files_is_an_error(self, run, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "only.txt").touch()
        with pytest.raises(CommandError, match=r"empty has no files to send\.$"):
            run("--images", str(tmp_path / "empty"))


@pytest.mark.django_db
class TestComparisons:
    """The comparison of each request's row with the sent image."""

    def comparison(self, log=True, image_hash="", **fields):
        if log:
            row = RequestLog.objects.create(
                request_id="demo-1",
                created_at=timezone.now(),
                duration_ms=1,
                duration_bucket=0,
                **fields,
            )
            RequestImage.objects.create(
                log=row, created_at=row.created_at, image_hash=image_hash
            )
        sender = demo.Sender("http://127.0.0.1:1")
        sender.sent.append(demo.Sent("one.png", "demo-1", 200, "ab" * 32))
        [comparison] = sender.comparisons()
        return comparison

    def test_missing_row_is_a_fault(self):
        assert self.comparison(log=False).fault == "no row"

    def test_row_without_a_reason_is_a_fault(self):
        assert self.comparison(capture_status="").fault == "no reason"

    def test_image_not_kept_with_a_reason_is_no_fault(self):
        comparison = self.comparison(capture_status="unreadable")
        assert (comparison.kept, comparison.fault) == (False, "")

    def test_other_bytes_are_a_fault(self):
        comparison = self.comparison(capture_status="stored", image_hash="ab" * 32)
        assert (comparison.kept, comparison.fault) == (False, "other bytes")


def test_report_names_the_lost_image():
    out = io.StringIO()
    sent = demo.Sent("[odd] name.png", "demo-1", 200, "")
    fault = demo.Comparison(sent, "", kept=False, fault="no row")
    report.verification(report.Console(file=out), [fault])
    assert "  1 lost\n    [odd] name.png: no row" in out.getvalue()
