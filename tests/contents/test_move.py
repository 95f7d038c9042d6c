"""``move_image_contents``: from one store to another, whatever comes in between."""

from __future__ import annotations

import hashlib
import io
import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.utils import timezone

from request_images.aggregation.periods import Period
from request_images.cleanup.retention import clean
from request_images.contents import swap
from request_images.contents.delete_objects import delete_pending
from request_images.contents.move import move
from request_images.management.commands.move_image_contents import Command
from request_images.models import ImageContent, PendingDeletion
from request_images.statistics.summarize import summarize
from tests.factories import capture_queries, until
from tests.image_files import draw
from tests.storages import (
    ALIAS,
    Killed,
    check,
    delete_now,
    keep,
    kill_at,
    objects,
    raising,
    use_bucket,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["memory", "files"])
def bucket(request, settings, tmp_path):
    """A storage as the target of moves; new images go to the database."""
    storage = use_bucket(settings, tmp_path, request.param)
    settings.REQUEST_IMAGES_STORAGE = None
    return storage


class Terminal(io.StringIO):
    """A terminal that records its output at once."""

    def isatty(self):
        return True


def run(to=ALIAS, stderr=None, **options):
    out, errors = io.StringIO(), stderr or io.StringIO()
    call_command("move_image_contents", to=to, stdout=out, stderr=errors, **options)
    return out.getvalue()


def all_is_there(*seeds):
    check()
    data = {c.image_hash: c.read() for c in ImageContent.objects.all()}
    assert set(data.values()) == {draw(seed=seed) for seed in seeds}
    assert all(hashlib.sha256(d).hexdigest() == h for h, d in data.items())


class TestCommand:
    def test_images_can_be_moved_and_moved_back(self, bucket):
        """Move all rows, bytes and sizes to a storage and back."""
        keep(1, 2, 3)
        size = sum(len(draw(seed=seed)) for seed in (1, 2, 3))
        words = f"3 images, {size} bytes,"
        assert run(dry_run=True) == f"Would move {words} to bucket.\n"
        assert objects() == set()
        assert run(batch_size=2) == f"Moved {words} to bucket.\n"
        assert not ImageContent.objects.exclude(data=None).exists()
        assert not PendingDeletion.objects.exists()
        assert len(objects()) == 3
        all_is_there(1, 2, 3)
        assert run(verbosity=0) == ""
        assert run(to="database") == f"Moved {words} to database.\n"
        assert delete_pending().deleted == 0, "who has loaded a row may still read"
        assert len(objects()) == 3
        all_is_there(1, 2, 3)
        assert set(ImageContent.objects.values_list("storage", "name")) == {("", "")}
        assert delete_now().deleted == 3
        assert objects() == set()
        assert run() == f"Moved {words} to bucket.\n"

    def test_loads_no_thumbnails(self, bucket):
        """Thumbnails are not moved."""
        keep(1)
        with capture_queries() as queries:
            run()
        assert not [sql for sql in queries if re.search('["`]thumbnail["`]', sql)]

    def test_move_between_storages_renames_objects(self, bucket, settings, tmp_path):
        """Each object gets a new name."""
        use_bucket(settings, tmp_path, alias="other")
        keep(1, 2)
        run()
        assert set(ImageContent.objects.values_list("storage", flat=True)) == {ALIAS}
        all_is_there(1, 2)
        check("other")
        delete_now()
        assert objects("other") == set()

    def test_unknown_alias_is_refused(self, bucket):
        with pytest.raises(CommandError, match="STORAGES has no alias 'nowhere'"):
            run(to="nowhere")

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_unusable_storage_is_refused(self, bucket, settings, dry_run):
        """A missing package is reported before anything is written."""
        keep(1)
        settings.STORAGES = {**settings.STORAGES, "broken": {"BACKEND": "no.such"}}
        with pytest.raises(CommandError, match="Stopped: broken: InvalidStorage"):
            run(to="broken", dry_run=dry_run)
        assert not PendingDeletion.objects.exists()

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_folder_beside_manage_py_needs_confirmation(
        self, bucket, settings, tmp_path, monkeypatch, dry_run
    ):
        """Kind: images must not land where a process happens to be started."""
        monkeypatch.chdir(tmp_path)
        settings.MEDIA_ROOT = ""
        settings.REQUEST_IMAGES_STORAGE = None
        keep(1)
        with pytest.raises(CommandError, match=r"among the code.*--public"):
            run(to="default", dry_run=dry_run)
        assert list(tmp_path.iterdir()) == []
        assert "1 images" in run(to="default", dry_run=dry_run, public=True)

    @pytest.mark.parametrize("root", ["MEDIA_ROOT", "STATIC_ROOT"])
    @pytest.mark.parametrize("dry_run", [True, False])
    def test_public_folder_needs_confirmation(
        self, bucket, settings, tmp_path, dry_run, root
    ):
        """A folder that the web server serves needs an option."""
        setattr(settings, root, str(tmp_path / "public"))
        use_bucket(settings, tmp_path / "public", "files", alias="open")
        settings.REQUEST_IMAGES_STORAGE = None
        keep(1)
        with pytest.raises(CommandError, match=rf"'open' are below {root}.*--public"):
            run(to="open", dry_run=dry_run)
        assert objects("open") == set()
        assert not PendingDeletion.objects.exists()
        run()
        assert "1 images" in run(to="open", dry_run=dry_run, public=True)
        assert len(objects("open")) == (not dry_run)
        run(to="database")  # and the way out is open
        all_is_there(1)

    @pytest.mark.parametrize("size", ["0", "x", "10001"])
    def test_invalid_batch_size_is_refused(self, bucket, size):
        with pytest.raises(CommandError, match="not a whole number from 1 to 10000"):
            call_command("move_image_contents", "--to", ALIAS, "--batch-size", size)

    def test_batch_size_0_is_refused_in_calls(self, bucket):
        """`call_command` refuses a batch size that does nothing."""
        with pytest.raises(CommandError, match="batch_size must be at least 1, not 0"):
            run(to=ALIAS, batch_size=0)

    def test_progress_is_shown_on_a_terminal(self, bucket):
        """The command shows progress on a terminal only."""
        keep(1, 2)
        terminal = Terminal()
        run(stderr=terminal)
        assert terminal.getvalue() == (
            f"\r[{'#' * 15}{' ' * 15}] 1 of 2 images\r[{'#' * 30}] 2 of 2 images\n"
        )
        nothing_to_do = Terminal()
        run(stderr=nothing_to_do)
        assert nothing_to_do.getvalue() == ""
        quiet = Terminal()
        run(to="database", stderr=quiet, verbosity=0)
        assert quiet.getvalue() == ""

    def test_progress_counts_new_images(self, bucket):
        """Images that arrive during a move raise the total."""
        keep(1)

        def another(name):
            bucket.hooks.clear()
            keep(2)

        bucket.hooks["save"] = another
        terminal = Terminal()
        run(stderr=terminal)
        assert "\r[" + "#" * 30 + "] 1 of 1 images" in terminal.getvalue()
        assert "\r[" + "#" * 30 + "] 2 of 2 images" in terminal.getvalue()

    def test_progress_has_no_error_style(self, bucket):
        """Warnings are not overwritten by the progress bar."""
        keep(1, 2)
        ImageContent.objects.filter(pk=keep(1)[0].pk).update(data=b"others")
        terminal = Terminal()
        with pytest.raises(CommandError, match=r"1 images could not be moved\."):
            call_command(Command(stderr=terminal, force_color=True), to=ALIAS)
        complaint, bar = terminal.getvalue().split("\n")[:2]
        assert complaint.startswith("\x1b[")
        assert "was not moved" in complaint
        assert bar.removeprefix("\x1b[0m") == (
            f"\r[{'#' * 15}{' ' * 15}] 1 of 2 images\r[{'#' * 30}] 2 of 2 images"
        )


class TestConcurrency:
    """Requests and cleanup during a move."""

    def test_deletion_before_the_swap(self, bucket):
        """Cleanup deletes the content between the copy and the swap."""
        keep(1, 2)
        bucket.hooks["open"] = lambda name: (
            clean(until(timezone.now()), batch_size=10) and None
        )
        assert "1 images were deleted or changed meanwhile." in run()
        check()
        delete_now()
        assert objects() == set()

    def test_deletion_before_the_database_copy(self, bucket):
        """Cleanup deletes the content between the read and the update."""
        keep(1)
        call_command("move_image_contents", "--to", ALIAS, "--batch-size", "3")

        def late(name):
            clean(until(timezone.now()), batch_size=10)

        bucket.hooks["open"] = late
        assert "1 images were deleted or changed meanwhile." in run(to="database")
        check()
        delete_now()
        assert objects() == set()

    def test_concurrent_move_keeps_one_copy(self, bucket):
        """Two runs move the same content; one copy is kept."""
        keep(1)

        def other(name):
            bucket.hooks.clear()
            move(ALIAS, batch_size=10)

        bucket.hooks["open"] = other
        assert "1 images were deleted or changed meanwhile." in run()
        all_is_there(1)
        assert delete_pending().deleted == 1  # at once
        all_is_there(1)

    def test_deletion_during_the_read_is_no_error(self, bucket):
        """Cleanup deleted the object with its row."""
        keep(1)
        run()

        def gone(name):
            clean(until(timezone.now()), batch_size=10)
            delete_now()

        bucket.hooks["open"] = gone
        assert "1 images were deleted or changed meanwhile." in run(to="database")
        assert objects() == set()

    def test_deadlock_is_retried(self, bucket, monkeypatch):
        """A deadlock is retried without a second upload."""
        keep(1)
        switch, left = swap._switch, [OperationalError(1213, "Deadlock found")] * 3

        def failing(*args):
            if left:
                raise left.pop()
            return switch(*args)

        monkeypatch.setattr(swap, "_switch", failing)
        assert "Moved 1 images" in run()
        all_is_there(1)

    def test_claimed_copy_is_not_used(self, bucket):
        """The upload took so long that its object is being deleted."""
        keep(1)
        bucket.hooks["open"] = lambda name: delete_now() and None
        with pytest.raises(CommandError, match="1 images could not be moved"):
            run()
        bucket.hooks.clear()
        run()
        all_is_there(1)


class TestFaults:
    def test_damaged_copy_is_discarded(self, bucket):
        """The old object is kept, and the new one is deleted."""
        keep(1)
        bucket.hooks["open"] = lambda name: b"something else"
        errors = io.StringIO()
        with pytest.raises(CommandError, match="1 images could not be moved"):
            run(stderr=errors)
        image_hash = ImageContent.objects.get().image_hash
        assert errors.getvalue().startswith(f"database: {image_hash} was not moved (")
        assert errors.getvalue().endswith("does not hold what was put there).\n")
        assert ImageContent.objects.get().storage == ""
        del bucket.hooks["open"]
        all_is_there(1)
        assert delete_pending().deleted == 1  # at once

    def test_damaged_bytes_are_not_moved(self, bucket):
        """All other images are moved."""
        keep(*range(8))
        contents = ImageContent.objects.order_by("pk")
        pks = list(contents.values_list("pk", flat=True)[:7])
        ImageContent.objects.filter(pk__in=pks).update(data=b"others")
        errors = io.StringIO()
        with pytest.raises(CommandError, match="7 images could not be moved"):
            run(stderr=errors)
        assert ImageContent.objects.filter(storage=ALIAS).count() == 1
        told = [line.split()[1] for line in errors.getvalue().splitlines()]
        assert told == [content.image_hash for content in contents[:7]]

    def test_single_failures_do_not_stop_the_run(self, bucket):
        """Only consecutive failures stop a run."""
        contents = keep(*range(10))
        hashes = [content.image_hash for content in contents]
        hashes.sort(key=lambda h: ImageContent.objects.get(image_hash=h).pk)
        del hashes[4]

        def fail(name):
            if any(image_hash in name for image_hash in hashes):
                raise OSError("now and then")

        bucket.hooks["open"] = fail
        with pytest.raises(CommandError, match="Stopped"):
            run()
        assert bucket.calls.count("open") == 10
        assert ImageContent.objects.filter(storage=ALIAS).count() == 1

    def test_storage_that_loses_everything_stops_the_run(self, bucket):
        """The run stops before it has uploaded all images."""
        keep(*range(8))
        bucket.hooks["open"] = raising(FileNotFoundError())
        with pytest.raises(
            CommandError, match=r"Stopped: bucket has no .* after writing"
        ):
            run()
        assert bucket.calls.count("saved") == 5
        assert set(ImageContent.objects.values_list("storage", flat=True)) == {""}
        check()

    def test_lost_bytes_are_reported(self, bucket, settings):
        """All other images are moved."""
        settings.REQUEST_IMAGES_STORAGE = ALIAS
        contents = keep(*range(8))
        for content in contents[:7]:
            bucket.delete(content.name)
        errors = io.StringIO()
        with pytest.raises(CommandError, match="7 images could not be moved"):
            run(to="database", stderr=errors)
        assert errors.getvalue().count("(bucket has no ") == 7
        assert ImageContent.objects.get(storage="").pk == contents[7].pk

    def test_database_copy_is_read_back(self, bucket, monkeypatch):
        """A row counts after it was read back."""
        keep(1)
        run()
        with monkeypatch.context() as patch:
            put = swap.store_of("").put

            def other_bytes(content, data):
                put(content, b"others")

            patch.setattr(swap.store_of(""), "put", other_bytes)
            with pytest.raises(CommandError, match="1 images could not be moved"):
                run(to="database")
        assert ImageContent.objects.get().storage == ALIAS
        all_is_there(1)

    def test_unavailable_storage_stops_the_run(self, bucket):
        """The next run finishes the move."""
        keep(*range(7))
        bucket.hooks["save"] = raising(OSError("away"))
        with pytest.raises(CommandError, match="Stopped: bucket: OSError: away"):
            run()
        assert bucket.calls.count("save") == 5
        check()
        bucket.hooks.clear()
        swap.store_of(ALIAS).breaker.succeeded()
        assert "Moved 7 images" in run()
        all_is_there(*range(7))

    def test_locked_row_is_postponed(self, bucket, monkeypatch):
        """A locked content does not stop the run."""
        keep(1, 2)
        switch, fails = swap._switch, [OperationalError("locked")]

        def failing(*args):
            if fails:
                raise fails.pop()
            return switch(*args)

        monkeypatch.setattr(swap, "_switch", failing)
        with pytest.raises(CommandError, match="1 images could not be moved"):
            run()
        assert ImageContent.objects.filter(storage=ALIAS).count() == 1
        check()

    def test_content_deleted_before_its_turn_is_skipped(self, bucket):
        """A content that is deleted before its turn is not moved."""
        keep(1, 2)
        moved = move(
            ALIAS,
            batch_size=10,
            on_progress=lambda moved: clean(until(timezone.now()), batch_size=10),
        )
        assert (moved.contents, moved.changed, moved.failed) == (1, 0, 0)


class TestCrash:
    @pytest.mark.skipif(connection.vendor != "postgresql", reason="a setting of its")
    @pytest.mark.django_db(transaction=True)
    @pytest.mark.usefixtures("_waiting_for_the_disk")
    @pytest.mark.parametrize("to", [ALIAS, "database"])
    def test_crash_of_the_server(self, bucket, settings, to):
        """The list of objects is written before the object and its row."""
        settings.REQUEST_IMAGES_STORAGE = None if to == ALIAS else ALIAS
        keep(1)
        waited = []

        def look(execute, sql, params, many, context):
            if sql.startswith(("INSERT", "UPDATE", "DELETE")):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT current_setting('synchronous_commit')")
                    waited.append((sql.split('"')[1], cursor.fetchone()[0]))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(look):
            run(to=to)
        lease = ("request_images_lease", "on")
        entry = "request_images_pendingdeletion"
        assert [each for each in waited if each != lease] == [
            *([(entry, "on")] if to == ALIAS else []),
            ("request_images_imagecontent", "off"),
            (entry, "off"),
        ]
        assert waited[-1] == lease

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(
        "name", ["place", "_compare", "_switch", "take_over", "schedule_deletions"]
    )
    @pytest.mark.parametrize("to", [ALIAS, "database", "other"])
    def test_crash_between_any_two_steps(
        self, bucket, settings, tmp_path, name, when, to
    ):
        """Each content is in one store, and no object is unknown."""
        use_bucket(settings, tmp_path, "files", alias="other")
        settings.REQUEST_IMAGES_STORAGE = None if to == ALIAS else ALIAS
        keep(1, 2)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, swap, name, when)
            try:
                run(to=to)
            except Killed:
                pass
            else:  # a step that this way has not
                assert name in ("place", "take_over", "schedule_deletions")
        all_is_there(1, 2)
        check("other")
        run(to=to)
        all_is_there(1, 2)
        delete_now()
        all_is_there(1, 2)
        assert len(objects()) + len(objects("other")) == (0 if to == "database" else 2)


def test_statistics_follow_a_move(bucket):
    """Statistics count the bytes of each store by the hour of storing."""
    keep(1)
    ImageContent.objects.update(created_at=timezone.now() - timedelta(days=2))
    [size] = ImageContent.objects.values_list("stored_size", flat=True)
    period = Period.last_days(5)
    assert summarize(period).stored_bytes() == {"": size}
    run()
    assert summarize(period).stored_bytes() == {ALIAS: size}
