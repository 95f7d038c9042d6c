"""``compress_image_contents`` and its task: smaller, and the same for all readers."""

from __future__ import annotations

import hashlib
import io
import random
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from request_images import health
from request_images.cleanup.retention import clean
from request_images.contents import compress as contents_compress
from request_images.contents import swap as contents_swap
from request_images.contents.attempts import GAVE_UP
from request_images.contents.compress import compress
from request_images.contents.derive import Fate, derive_missing
from request_images.contents.thumbnails import THUMBNAIL
from request_images.models import ImageContent, Lease, RequestImage
from request_images.models.job_locks import lease
from request_images.storage import encodings
from request_images.storage.stores import DatabaseStore
from tests.factories import make_image, make_superuser, until
from tests.image_files import draw
from tests.storage.test_encodings import OTHERS, needs_lepton
from tests.storages import (
    ALIAS,
    Killed,
    check,
    delete_now,
    kill_at,
    objects,
    raising,
    use_bucket,
)

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
BMPS = [draw("BMP", seed=seed) for seed in range(5)]
BMP, JPEG = BMPS[0], draw("JPEG", (64, 48))


@pytest.fixture(params=["database", "memory", "files"])
def bucket(request, settings, tmp_path):
    """Where the images are kept; None for the database."""
    if request.param == "database":
        return None
    return use_bucket(settings, tmp_path, request.param)


@pytest.fixture
def both(settings):
    """Both encodings are used."""
    settings.REQUEST_IMAGES_ENCODINGS = ("zlib", "lepton")


@pytest.fixture
def _faulty():
    yield
    health.reset()


faulty = pytest.mark.usefixtures("_faulty")


def post(*pictures):
    """Let requests bring some images, and return their contents."""
    for data in pictures:
        answer = Client().post("/body/", data, content_type="application/octet-stream")
        assert answer.status_code == 200
    hashes = [hashlib.sha256(data).hexdigest() for data in pictures]
    return [ImageContent.objects.get(image_hash=each) for each in hashes]


def run(**options):
    out = io.StringIO()
    options = {"stderr": io.StringIO()} | options
    call_command("compress_image_contents", stdout=out, **options)
    return out.getvalue()


def is_whole(*pictures):
    """Return whether each image is restored, in every store and encoding."""
    if ALIAS in ImageContent.objects.values_list("storage", flat=True):
        check()
    images = RequestImage.objects.exclude(content=None)
    assert {image.image_data for image in images} == set(pictures)
    out = io.StringIO()
    call_command("verify_image_contents", stdout=out)
    assert "missing: 0; mismatch: 0; orphan: 0; unreadable: 0." in out.getvalue()


class TestCommand:
    def test_compressed_images_can_be_restored(self, bucket):
        """Compress and decompress all rows, bytes and sizes."""
        png = draw()
        post(*BMPS, png)
        size = 5 * len(BMP)
        said = run(dry_run=True)
        assert said.startswith(
            f"Would compress 5 images, 5 with zlib, from {size // 1024}"
        )
        assert not ImageContent.objects.exclude(encoding="").exists()
        is_whole(*BMPS, png)
        assert run() == did(said)
        contents = ImageContent.objects.filter(encoding="zlib")
        assert [c.received_size for c in contents] == [len(BMP)] * 5
        smaller = sum(c.stored_size for c in contents)
        assert f"({size} bytes) to " in said
        assert said.endswith(f" to {smaller} bytes.\n")
        assert smaller < size / 4
        is_whole(*BMPS, png)
        if bucket is not None:
            assert {name.endswith(".bmp.zz") for name in contents_names()} == {True}
            assert delete_now().deleted == 5
            is_whole(*BMPS, png)
        assert run().startswith("Compressed 0 images, from 0 bytes")
        assert run(undo="zlib").startswith("Decompressed 5 images, 5 with zlib")
        assert not ImageContent.objects.exclude(received_size=None).exists()
        is_whole(*BMPS, png)

    @needs_lepton
    def test_jpegs_are_compressed_with_lepton(self, both, bucket):
        """JPEG uses Lepton if the setting enables it."""
        other = draw("JPEG", (64, 48), seed=3)
        post(JPEG, other, BMP)
        assert "2 with lepton" in run(batch_size=1)
        assert "1 with lepton" not in run()
        content = ImageContent.objects.filter(encoding="lepton").first()
        assert content.stored_size < content.received_size
        is_whole(JPEG, other, BMP)
        if bucket is not None:
            assert content.name.endswith(".jpg.lep")
        run(undo="lepton")
        assert ImageContent.objects.filter(encoding="").count() == 2
        is_whole(JPEG, other, BMP)

    def test_jpegs_are_skipped_by_default(self):
        """Without the Lepton package, no JPEG is tried."""
        [content] = post(JPEG)
        run()
        content.refresh_from_db()
        assert (content.encoding, content.encoding_error) == ("", "")

    @needs_lepton
    def test_refused_images_are_counted_and_remembered(self, both):
        """A refused image is reported by reason and not tried again."""
        noise = b"BM" + BMP[2:54] + random.Random(5).randbytes(3000)
        cmyk = draw_cmyk()
        post(noise, cmyk, OTHERS)
        said = run(dry_run=True)
        assert not ImageContent.objects.exclude(encoding_error="").exists()
        for reason in (
            "1 images stay as they are (zlib: it saves less than 5%).",
            "1 images stay as they are (lepton: Unsupported4Colors).",
            "1 images stay as they are (lepton: other bytes would come back).",
        ):
            assert reason in said
        assert run() == did(said)
        assert "left" not in run()
        kept = ImageContent.objects.exclude(encoding_error="")
        assert kept.count() == 3
        assert kept.filter(
            encoding_error="lepton: Unsupported4Colors: doesn't support 4 color "
            "channels"
        ).exists()
        is_whole(noise, cmyk, OTHERS)

    def test_limit_bounds_the_number_of_images(self):
        post(*BMPS)
        assert run(limit=2).startswith("Compressed 2 images")
        assert run().startswith("Compressed 3 images")

    def test_batch_size_of_the_command_line_is_used(self):
        """The command line sets the batch size."""
        post(*BMPS)
        options = ("--batch-size", "2", "--limit", "5", "--verbosity", "0")
        call_command("compress_image_contents", *options)
        assert ImageContent.objects.filter(encoding="zlib").count() == 5

    def test_verbosity_0_prints_nothing(self):
        post(BMP)
        assert run(verbosity=0) == ""
        assert ImageContent.objects.get().encoding == "zlib"

    def test_progress_is_shown_on_a_terminal(self):
        """The command shows progress on a terminal only."""
        post(*BMPS[:2])
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        run(stderr=terminal)
        assert "] 1 of 2 images\r[" in terminal.getvalue()
        assert terminal.getvalue().endswith(f"[{'#' * 30}] 2 of 2 images\n")
        nothing_to_do = io.StringIO()
        nothing_to_do.isatty = lambda: True
        run(stderr=nothing_to_do)
        assert nothing_to_do.getvalue() == ""

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--limit", "0"),
            ("--limit", "x"),
            ("--limit", "9" * 5000),
            ("--batch-size", "10001"),
            ("--undo", "brotli"),
        ],
    )
    def test_invalid_options_are_refused(self, option, value):
        with pytest.raises(CommandError, match=f"argument {option}: "):
            call_command("compress_image_contents", option, value)

    @pytest.mark.parametrize("option", ["limit", "batch_size"])
    def test_batch_size_0_is_refused_in_calls(self, option):
        """`call_command` refuses a batch size that does nothing."""
        with pytest.raises(CommandError, match=f"{option} must be at least 1, not 0"):
            run(**{option: 0})

    def test_second_run_is_refused(self):
        """Only one of two concurrent runs does the work."""
        post(BMP)
        with lease("compression"):
            assert run().endswith("Nothing was done.\n")
            assert "Would compress 1 images" in run(dry_run=True)
        assert ImageContent.objects.get().encoding == ""

    def test_missing_package_is_named(self, settings, monkeypatch):
        """The command names a missing package before it starts."""
        settings.REQUEST_IMAGES_ENCODINGS = ("zlib", "lepton")
        post(BMP)
        monkeypatch.setattr(encodings, "find_spec", lambda name: None)
        with pytest.raises(CommandError, match=r"django-request-images\[lepton\]"):
            run()
        assert ImageContent.objects.get().encoding == ""


def did(said):
    """Return the output of a real run for that of a dry run."""
    return said.replace("Would compress", "Compressed")


def contents_names():
    return ImageContent.objects.filter(encoding="zlib").values_list("name", flat=True)


def draw_cmyk():
    out = io.BytesIO()
    Image.new("CMYK", (64, 48)).save(out, "JPEG")
    return out.getvalue()


class TestReaders:
    """Every reader gets the bytes as received."""

    @needs_lepton
    def test_pages_show_compressed_images(self, both, client, bucket):
        post(BMP, JPEG)
        run()
        client.force_login(make_superuser())
        for image in RequestImage.objects.all():
            url = reverse("admin:request_images_requestimage_original", args=[image.pk])
            assert client.get(url).content in (BMP, JPEG)
        options = {"oldest_first": False, "limit": None, "batch_size": 9}
        assert list(derive_missing(THUMBNAIL, **options)) == [Fate.MADE, Fate.MADE]

    def test_row_compressed_during_a_read_is_read(self):
        """The place and the encoding of the bytes are read in one query."""
        post(BMP)
        row = ImageContent.objects.defer("data").get()
        run()
        assert row.read() == BMP

    def test_object_compressed_during_a_read_is_read(self, settings, tmp_path):
        """The old object is kept for a while."""
        use_bucket(settings, tmp_path)
        post(BMP)
        row = ImageContent.objects.get()
        run()
        assert row.read() == BMP
        assert len(objects()) == 2

    @faulty
    @pytest.mark.parametrize("what", ["damaged", "unknown"])
    def test_undecodable_bytes_fail_no_page(self, client, what):
        """The page says that the bytes cannot be read."""
        post(BMP)
        run()
        if what == "damaged":
            ImageContent.objects.update(data=b"others")
        else:
            ImageContent.objects.update(encoding="brotli")
        client.force_login(make_superuser())
        image = RequestImage.objects.get()
        for view in ("original", "thumbnail"):
            url = reverse(f"admin:request_images_requestimage_{view}", args=[image.pk])
            answer = client.get(url)
            assert answer.status_code == 503
            assert answer.content == b"This image cannot be read back."
        assert not ImageContent.objects.exclude(thumbnail_error="").exists()

    def test_repair_deletes_damaged_bytes_only(self, capsys):
        """Bytes that only this process cannot decode are kept."""
        post(*BMPS[:2], JPEG)
        run()
        first, second, _jpeg = ImageContent.objects.order_by("pk")
        ImageContent.objects.filter(pk=first.pk).update(data=b"others")
        ImageContent.objects.filter(pk=second.pk).update(encoding="brotli")
        with pytest.raises(SystemExit):
            call_command("verify_image_contents", repair=True)
        assert "mismatch: 1; orphan: 0; unreadable: 1." in capsys.readouterr().out
        assert set(ImageContent.objects.all()) == {second, _jpeg}

    def test_compressed_bytes_are_moved_unchanged(self, settings, tmp_path):
        """A move verifies the hash of the decoded bytes."""
        use_bucket(settings, tmp_path)
        settings.REQUEST_IMAGES_STORAGE = None
        post(*BMPS)
        run()
        stored = {bytes(c.data) for c in ImageContent.objects.all()}
        call_command("move_image_contents", to=ALIAS, verbosity=0)
        assert {name.endswith(".bmp.zz") for name in objects()} == {True}
        is_whole(*BMPS)
        call_command("move_image_contents", to="database", verbosity=0)
        assert {bytes(c.data) for c in ImageContent.objects.all()} == stored
        is_whole(*BMPS)

    def test_damage_is_not_moved(self, settings, tmp_path):
        use_bucket(settings, tmp_path)
        settings.REQUEST_IMAGES_STORAGE = None
        post(*BMPS)
        run()
        ImageContent.objects.update(data=b"others")
        with pytest.raises(CommandError, match="5 images could not be moved"):
            call_command("move_image_contents", to=ALIAS)
        assert objects() == set()

    def test_cleanup_counts_compressed_bytes(self):
        """Cleanup deletes the bytes with their last image."""
        post(*BMPS)
        run()
        stored = sum(ImageContent.objects.values_list("stored_size", flat=True))
        done = clean(until(timezone.now()), batch_size=10)
        assert (done.total.freed, ImageContent.objects.count()) == (stored, 0)

    def test_duplicate_of_a_compressed_image_is_found(self):
        """The hash is the hash of the received bytes."""
        post(BMP)
        run()
        post(BMP)
        assert ImageContent.objects.get().encoding == "zlib"
        assert RequestImage.objects.count() == 2
        is_whole(BMP)


class TestConcurrency:
    """Requests, cleanup and moves during a compression."""

    def between(self, monkeypatch, act):
        """Do something between the read of the bytes and the swap."""
        encode = contents_compress.encode

        def encoding(data, chosen):
            monkeypatch.setattr(contents_compress, "encode", encode)
            act()
            return encode(data, chosen)

        monkeypatch.setattr(contents_compress, "encode", encoding)

    def test_deletion_before_the_swap(self, bucket, monkeypatch):
        post(BMP)
        self.between(monkeypatch, lambda: clean(until(timezone.now()), batch_size=10))
        assert "1 images were deleted or changed meanwhile." in run()
        delete_now()
        assert not ImageContent.objects.exists()
        if bucket is not None:
            assert objects() == set()

    @pytest.mark.parametrize("undo", [None, "zlib"])
    def test_deletion_before_the_read_is_no_error(
        self, settings, tmp_path, monkeypatch, undo
    ):
        """Cleanup deleted the row and the object, so nothing is wrong."""
        use_bucket(settings, tmp_path)
        post(BMP)
        if undo:
            run()
            delete_now()
        read_whole = contents_compress.read_whole

        def late(content):
            clean(until(timezone.now()), batch_size=10)
            assert delete_now().deleted == 1
            return read_whole(content)

        monkeypatch.setattr(contents_compress, "read_whole", late)
        assert "1 images were deleted or changed meanwhile." in run(undo=undo)

    def test_missing_object_is_an_error(self, settings, tmp_path):
        """The row exists without its object."""
        bucket = use_bucket(settings, tmp_path)
        [content] = post(BMP)
        bucket.delete(content.name)
        with pytest.raises(CommandError, match="1 images could not be read or changed"):
            run()

    def test_success_after_another_run_gave_up(self, monkeypatch):
        """Another run assumed a crash, but this one succeeds."""
        [content] = post(BMP)
        ImageContent.objects.update(encoding_tries=2)
        self.between(monkeypatch, run)
        assert compress(content.pk, ["zlib"]).value == "compressed"
        content = ImageContent.objects.get()
        assert (content.encoding, content.encoding_error) == ("zlib", "")

    def test_concurrent_compression_keeps_one_copy(self, bucket, monkeypatch):
        """A task compresses the same content; one copy is kept."""
        [content] = post(BMP)
        self.between(monkeypatch, lambda: compress(content.pk, ["zlib"]))
        assert "1 images were deleted or changed meanwhile." in run()
        delete_now()
        is_whole(BMP)
        assert ImageContent.objects.get().encoding_tries == 0

    def test_move_before_the_swap(self, settings, tmp_path, monkeypatch):
        use_bucket(settings, tmp_path)
        settings.REQUEST_IMAGES_STORAGE = None
        post(BMP)
        self.between(
            monkeypatch,
            lambda: call_command("move_image_contents", to=ALIAS, verbosity=0),
        )
        assert "1 images were deleted or changed meanwhile." in run()
        is_whole(BMP)

    def test_move_and_return_before_the_swap(self, settings, tmp_path, monkeypatch):
        """The content is in the same store again, in another object."""
        use_bucket(settings, tmp_path)
        post(BMP)

        def move_twice():
            for to in ("database", ALIAS):
                call_command("move_image_contents", to=to, verbosity=0)

        self.between(monkeypatch, move_twice)
        assert "1 images were deleted or changed meanwhile." in run()
        is_whole(BMP)
        delete_now()
        is_whole(BMP)
        assert len(objects()) == 1

    def test_compression_during_a_move(self, settings, tmp_path):
        """The encoding distinguishes two forms in the database."""
        bucket = use_bucket(settings, tmp_path)
        settings.REQUEST_IMAGES_STORAGE = None
        post(BMP)

        def act(name):
            del bucket.hooks["save"]
            run()

        bucket.hooks["save"] = act
        call_command("move_image_contents", to=ALIAS, verbosity=0)
        assert ImageContent.objects.get().encoding == "zlib"
        delete_now()
        is_whole(BMP)

    def test_concurrent_decompression(self, monkeypatch):
        """Two runs decompress the same content, and one of them is first."""
        post(BMP)
        run()
        swap = contents_compress.swap

        def late(content, form):
            swap(content, form)
            return swap(content, form)

        monkeypatch.setattr(contents_compress, "swap", late)
        assert "1 images were deleted or changed meanwhile." in run(undo="zlib")
        is_whole(BMP)

    def test_task_of_a_deleted_content_does_nothing(self):
        assert compress(0, ["zlib"]).value == "skipped"


class TestFaults:
    def test_unavailable_storage_stops_the_run(self, settings, tmp_path):
        """The run stops, and no image is marked as failed."""
        bucket = use_bucket(settings, tmp_path)
        more = [draw("BMP", seed=seed) for seed in range(7)]
        post(*more)
        bucket.hooks["save"] = raising(OSError("away"))
        with pytest.raises(CommandError, match="Stopped: bucket: OSError: away"):
            run()
        bucket.hooks.clear()
        contents_swap.store_of(ALIAS).breaker.succeeded()
        assert run().startswith("Compressed 7 images")
        is_whole(*more)

    def test_damaged_copy_is_discarded(self, settings, tmp_path):
        """The old form is kept."""
        bucket = use_bucket(settings, tmp_path)
        post(BMP)
        bucket.hooks["saved"] = lambda name: bucket.hooks.update(
            open=lambda name: b"others"
        )
        with pytest.raises(CommandError, match="1 images could not be read or changed"):
            run()
        bucket.hooks.clear()
        assert ImageContent.objects.get().encoding == ""
        is_whole(BMP)
        assert delete_now().deleted == 1
        is_whole(BMP)

    def test_database_that_alters_bytes_is_detected(self, monkeypatch):
        """The bytes are read back in the transaction; the old form is kept."""
        post(BMP)
        put = DatabaseStore.put

        def cut(store, content, data):
            put(store, content, data[:-1])

        monkeypatch.setattr(DatabaseStore, "put", cut)
        told = io.StringIO()
        with pytest.raises(CommandError, match="1 images could not be read or changed"):
            run(stderr=told)
        assert "the database does not hold what was put there" in told.getvalue()
        assert ImageContent.objects.get().encoding == ""
        is_whole(BMP)

    def test_damaged_bytes_are_not_compressed(self):
        """Damaged bytes do not get a valid form."""
        make_image(BMP)
        ImageContent.objects.update(mime_type="image/bmp", data=b"others" * 99)
        told = io.StringIO()
        with pytest.raises(CommandError, match="1 images could not be read or changed"):
            run(stderr=told)
        assert "stays as it is (the bytes of" in told.getvalue()
        assert ImageContent.objects.get().encoding_error == ""

    def test_locked_row_is_postponed(self, monkeypatch):
        post(BMP)
        monkeypatch.setattr(
            contents_compress, "swap", raising(OperationalError("locked"))
        )
        with pytest.raises(CommandError, match="1 images could not be read or changed"):
            run()
        assert ImageContent.objects.get().encoding_tries == 0

    def test_lost_lease_stops_the_run(self, monkeypatch):
        """The run stops when another one takes over its lease."""
        post(*BMPS)
        encode = contents_compress.encode

        def slow(data, encoding):
            Lease.objects.all().delete()
            return encode(data, encoding)

        monkeypatch.setattr(contents_compress, "encode", slow)
        monkeypatch.setattr(
            "request_images.models.job_locks._RENEW_EVERY", timedelta(0)
        )
        with pytest.raises(CommandError, match="taken over the compression"):
            run()

    def test_image_that_kills_three_runs_is_skipped(self, monkeypatch):
        """An image that kills the process is tried three times."""
        [content] = post(BMP)
        encode, seen = contents_compress.encode, []

        def look(data, encoding):
            seen.append(ImageContent.objects.get().encoding_tries)
            return encode(data, encoding)

        monkeypatch.setattr(contents_compress, "encode", look)
        ImageContent.objects.update(encoding_tries=2)  # by two who were killed
        run()
        assert seen == [3]
        assert ImageContent.objects.get().encoding_tries == 0
        run(undo="zlib")
        ImageContent.objects.update(encoding_tries=3)
        assert compress(content.pk, ["zlib"]).value == "skipped"
        assert run(dry_run=True).startswith("Would compress 0 images")
        assert ImageContent.objects.get().encoding_error == ""
        assert run().startswith("Compressed 0 images")
        assert ImageContent.objects.get().encoding_error == GAVE_UP
        is_whole(BMP)


class TestCrash:
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(
        "name", ["place", "_compare", "_switch", "take_over", "schedule_deletions"]
    )
    @pytest.mark.parametrize("undo", [None, "zlib"])
    def test_crash_between_any_two_steps(self, bucket, name, when, undo):
        """After a crash each content is whole and no object is unknown."""
        post(*BMPS[:2])
        if undo:
            run()
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, contents_swap, name, when)
            try:
                run(undo=undo)
            except Killed:
                pass
            else:  # a step that there is with storages only
                assert bucket is None
        is_whole(*BMPS[:2])
        run(undo=undo)
        is_whole(*BMPS[:2])
        delete_now()
        is_whole(*BMPS[:2])
        wanted = "" if undo else "zlib"
        assert ImageContent.objects.filter(encoding=wanted).count() == 2
