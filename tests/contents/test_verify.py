"""``verify_image_contents``: what is missing, damaged or left over is found."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection
from django.test import Client
from django.utils import timezone

from request_images.cleanup.retention import clean
from request_images.contents import verify as contents_verify
from request_images.contents.verify import Problem, verify
from request_images.db import walk
from request_images.db.retry import TRIES
from request_images.exceptions import ObjectMissing
from request_images.models import (
    ImageContent,
    PendingDeletion,
    RequestImage,
    RequestLog,
)
from request_images.storage.stores import key_of
from tests.factories import until
from tests.image_files import draw
from tests.storages import ALIAS, check, delete_now, keep, objects, raising, use_bucket

pytestmark = pytest.mark.django_db
RIGHT = "missing: 0; mismatch: 0; orphan: 0; unreadable: 0.\n"


@pytest.fixture(params=["memory", "files"])
def bucket(request, settings, tmp_path):
    """A storage for new images."""
    return use_bucket(settings, tmp_path, request.param)


def run(**options):
    """Return the output of the command, and whether it fails."""
    out, errors, fails = io.StringIO(), io.StringIO(), False
    try:
        call_command("verify_image_contents", stdout=out, stderr=errors, **options)
    except SystemExit as end:
        fails = end.code == 1
    return out.getvalue(), errors.getvalue(), fails


@contextmanager
def between_looks(act):
    """Do something before a table is read again for names of objects."""
    looks = []

    def wrapper(execute, sql, params, many, context):
        looks.extend(re.findall(r"^SELECT .*name. IN \(", sql))
        if len(looks) == 2:
            looks.append("that is enough")
            act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield


def test_whole_images_have_no_problem(bucket, settings):
    """Neither listed objects nor foreign files are orphans."""
    keep(1, 2)
    settings.REQUEST_IMAGES_STORAGE = None
    keep(3)
    settings.REQUEST_IMAGES_STORAGE = ALIAS
    name = bucket.save(key_of("ab" * 32, "image/png"), ContentFile(b"x"))
    PendingDeletion.objects.create(storage=ALIAS, name=name, due_at=timezone.now())
    bucket.save("ab/readme.txt", ContentFile(b"x"))
    bucket.save(f"other/{name[3:]}", ContentFile(b"x"))
    assert run() == (f"Read 3 images and listed 3 objects. {RIGHT}", "", False)
    assert run(verbosity=0) == ("", "", False)


def test_empty_storage_has_no_problem(bucket):
    """Before the first image the folder does not exist."""
    assert run() == (f"Read 0 images and listed 0 objects. {RIGHT}", "", False)


class TestMissing:
    def test_is_reported(self, bucket):
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        out, errors, fails = run()
        assert fails
        assert "missing: 1; mismatch: 0" in out
        name = content.name
        assert errors == f"bucket: {name} is missing (bucket has no {name}).\n"
        assert RequestImage.objects.filter(content=None).count() == 0

    def test_is_repaired(self, bucket):
        """Its requests are marked, and the same image can be stored again."""
        [content, _] = keep(1, 2)
        keep(1)
        bucket.delete(content.name)
        out, errors, fails = run(repair=True)
        assert not fails
        assert "missing: 1" in out
        assert errors.endswith("; repaired.\n")
        logs = RequestLog.objects.filter(capture_status="store_failed")
        assert logs.count() == 2
        assert logs[0].capture_detail == f"missing: bucket has no {content.name}"
        assert logs[0].image.image_data is None
        assert not ImageContent.objects.filter(pk=content.pk).exists()
        delete_now()
        assert run()[2] is False
        keep(1)
        check()

    def test_is_stored_again_after_the_repair(self, bucket):
        """A capture does not check the storage before the repair."""

        def post():
            Client().post("/body/", draw(), content_type="image/png")
            return RequestLog.objects.latest("pk")

        keep(7)
        lost = post()
        bucket.delete(ImageContent.objects.latest("pk").name)
        again = post()
        assert again.capture_status == "duplicate"
        with pytest.raises(ObjectMissing):
            _ = again.image.image_data
        assert not run(repair=True)[2]
        anew = post()
        assert anew.capture_status == "stored"
        assert anew.image.image_data == draw()
        for log in (lost, again):
            log.refresh_from_db()
            assert log.capture_status == "store_failed"
            assert RequestImage.objects.get(log=log).image_data is None
        check()

    def test_missing_in_the_database(self):
        [content] = keep(1)
        ImageContent.objects.update(data=None)
        _, errors, fails = run()
        assert fails
        assert errors.startswith(f"database: {content.image_hash} is missing")
        assert run(repair=True)[2] is False
        assert not ImageContent.objects.exists()

    @pytest.mark.parametrize("since", [0, 1, 90])
    def test_large_part_is_not_repaired(self, bucket, since):
        """An unmounted disk may return, so only a small part is repaired."""
        for content in keep(*range(11)):
            bucket.delete(content.name)
        keep(*range(11, 11 + since))  # into the bare folder
        out, errors, fails = run(repair=True)
        assert fails
        assert "missing: 11" in out
        assert "repaired" not in errors.replace("nothing was repaired", "")
        assert errors.endswith(
            "bucket: so many images are missing or damaged that nothing was repaired. "
            "Is the right disk mounted? Use --force to repair it nevertheless.\n"
        )
        assert ImageContent.objects.count() == 11 + since

    def test_large_part_is_repaired_on_request(self, bucket):
        """An option confirms that the bytes are lost."""
        for content in keep(*range(10)):
            bucket.delete(content.name)
        _, errors, fails = run(repair=True, force=True)
        assert not fails
        assert errors.count("; repaired.") == 10
        assert not ImageContent.objects.exists()

    @pytest.mark.parametrize("lost", [1, 9])
    def test_whole_storage_is_not_repaired(self, bucket, lost):
        """A storage without any of its objects may be the wrong one."""
        for content in keep(*range(lost)):
            bucket.delete(content.name)
        assert "Use --force to repair it" in run(repair=True)[1]
        assert ImageContent.objects.count() == lost

    def test_object_that_returns_after_the_repair_is_an_orphan(self, bucket):
        """The object is reported and not deleted unseen."""
        [content, _] = keep(1, 2)
        data = content.read()
        bucket.delete(content.name)
        assert not run(repair=True)[2]
        bucket.save(content.name, ContentFile(data))
        delete_now()
        assert content.name in objects()
        assert f"{content.name} belongs to no image" in run()[1]

    def test_object_that_returns_during_the_run_is_kept(self, bucket, monkeypatch):
        """The object is checked again right before the repair."""
        [content, _] = keep(1, 2)
        data = content.read()
        bucket.delete(content.name)
        mended = contents_verify._repair_contents

        def late(*given):
            bucket.save(content.name, ContentFile(data))
            return mended(*given)

        monkeypatch.setattr(contents_verify, "_repair_contents", late)
        out, errors, fails = run(repair=True)
        assert out == f"Read 2 images and listed 2 objects. {RIGHT}"
        assert (errors, fails) == ("", False)
        assert content.read() == draw(seed=1)

    def test_no_answer_at_the_second_check_changes_nothing(self, bucket, monkeypatch):
        """The content stays as it is."""
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        mended = contents_verify._repair_contents

        def late(*given):
            bucket.hooks["open"] = raising(OSError("away"))
            return mended(*given)

        monkeypatch.setattr(contents_verify, "_repair_contents", late)
        out, _, fails = run(repair=True)
        assert fails
        assert "missing: 0; mismatch: 0; orphan: 0; unreadable: 1." in out
        assert ImageContent.objects.count() == 2

    @pytest.mark.parametrize(("lost", "there"), [(9, 1), (10, 90)])
    def test_small_part_is_repaired(self, bucket, lost, there):
        """A few objects, or a small part, need no confirmation."""
        contents = keep(*range(lost + there))
        for content in contents[:lost]:
            bucket.delete(content.name)
        assert run(repair=True)[2] is False
        assert ImageContent.objects.count() == there

    def test_unreadable_objects_do_not_count_as_present(self, bucket):
        """A storage that has lost the rest may be the wrong one."""
        contents = keep(*range(11))
        for content in contents[:10]:
            bucket.delete(content.name)

        def away(name):
            if name == contents[10].name:
                raise OSError("away")

        bucket.hooks["open"] = away
        assert "nothing was repaired" in run(repair=True)[1]
        assert ImageContent.objects.count() == 11

    def test_is_reported_at_once(self, bucket):
        """An interrupted run has reported its findings."""
        for content in keep(1, 2):
            bucket.delete(content.name)
        seen = []

        def look(name):
            seen.append(len(told))

        told = []
        bucket.hooks["open"] = look
        verify(repair=False, on_found=told.append)
        assert seen == [0, 1]

    def test_content_deleted_during_the_check_is_no_problem(self, bucket):
        """Cleanup deleted the content."""
        keep(1, 2)

        def open_late(name):
            bucket.hooks.clear()
            clean(until(timezone.now()), batch_size=10)
            delete_now()

        bucket.hooks["open"] = open_late
        assert run() == (f"Read 1 images and listed 0 objects. {RIGHT}", "", False)

    def test_content_deleted_before_the_repair_is_skipped(self, bucket, monkeypatch):
        """There is nothing left to repair."""
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        let_go = contents_verify._detach

        def late(finding):
            clean(until(timezone.now()), batch_size=10)
            let_go(finding)

        monkeypatch.setattr(contents_verify, "_detach", late)
        assert run(repair=True)[2] is False
        assert not RequestLog.objects.filter(capture_status="store_failed").exists()

    def test_content_moved_before_the_repair_is_kept(self, bucket, monkeypatch):
        """The bytes are in another store by now."""
        [content] = keep(1)
        bucket.delete(content.name)
        let_go = contents_verify._detach

        def late(finding):
            ImageContent.objects.update(storage="", name="", data=draw(seed=1))
            let_go(finding)

        monkeypatch.setattr(contents_verify, "_detach", late)
        run(repair=True, force=True)
        assert RequestImage.objects.get().image_data == draw(seed=1)

    @pytest.mark.parametrize("times", [2, TRIES])
    @pytest.mark.parametrize(
        "error", [IntegrityError("used"), OperationalError("it is locked")], ids=repr
    )
    def test_locked_row_is_retried(self, bucket, monkeypatch, error, times):
        """The next attempt, or a later run, repairs the row."""
        [content, other, _] = keep(1, 2, 3)
        bucket.delete(content.name)
        bucket.delete(other.name)
        delete_all, errors = ImageContent.delete_all, [error] * times

        def refused(contents, **options):
            if errors:
                raise errors.pop()
            delete_all(contents, **options)

        monkeypatch.setattr(ImageContent, "delete_all", refused)
        assert run(repair=True)[2] is (times == TRIES)
        assert RequestImage.objects.exclude(content=None).count() == 1 + times // TRIES
        assert run(repair=True)[2] is False

    def test_unavailable_database_stops_the_run(self, bucket, monkeypatch):
        """Without the database nothing more can be checked."""
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        monkeypatch.setattr(
            ImageContent, "delete_all", raising(OperationalError("away"))
        )
        with pytest.raises(
            CommandError, match="cannot be used: OperationalError: away"
        ):
            run(repair=True)


class TestMismatch:
    @pytest.mark.parametrize("alias", [ALIAS, None])
    def test_is_reported_and_repaired(self, bucket, settings, alias):
        """Damaged bytes are deleted."""
        settings.REQUEST_IMAGES_STORAGE = alias
        [content, other] = keep(1, 2)
        if alias:
            bucket.delete(content.name)
            bucket.save(content.name, ContentFile(b"damaged"))
        else:
            ImageContent.objects.filter(pk=content.pk).update(data=b"damaged")
        out, errors, fails = run()
        assert fails
        assert "mismatch: 1" in out
        assert "differs from what was received (its SHA-256 is " in errors
        assert run(repair=True)[2] is False
        log = RequestLog.objects.get(capture_status="store_failed")
        assert log.capture_detail.startswith("mismatch: its SHA")
        check()
        delete_now()
        assert objects() == ({other.name} if alias else set())

    @pytest.mark.parametrize("right", [0, 90])
    def test_wrong_encryption_key_deletes_nothing(self, bucket, right):
        """With a wrong key all bytes seem damaged."""
        for content in keep(*range(11)):
            bucket.delete(content.name)
            bucket.save(content.name, ContentFile(b"of another key"))
        keep(*range(11, 11 + right))
        out, errors, fails = run(repair=True)
        assert fails
        assert "mismatch: 11" in out
        assert errors.endswith("Use --force to repair it nevertheless.\n")
        assert not PendingDeletion.objects.exists()
        assert ImageContent.objects.count() == 11 + right
        assert not run(repair=True, force=True)[2]
        assert ImageContent.objects.count() == right

    def test_mismatch_in_the_database(self):
        """The limit of a repair holds for the database, too."""
        keep(*range(10))
        ImageContent.objects.update(data=b"damaged")
        assert "database: so many images are missing or damaged" in run(repair=True)[1]
        assert ImageContent.objects.count() == 10


class TestOrphans:
    @pytest.fixture
    def name(self, bucket):
        """An object without a row, next to one with a row."""
        keep(9)
        return bucket.save(key_of("ab" * 32, "image/png"), ContentFile(b"x"))

    def test_is_reported(self, bucket, name):
        out, errors, fails = run()
        assert fails
        assert "orphan: 1" in out
        assert errors == f"bucket: {name} belongs to no image.\n"

    def test_is_repaired(self, bucket, name):
        """An orphan is deleted after an hour."""
        assert run(repair=True)[1] == f"bucket: {name} belongs to no image; repaired.\n"
        assert PendingDeletion.objects.get().due_at > timezone.now()
        assert name in objects()
        assert delete_now().deleted == 1
        assert objects() == set(ImageContent.objects.values_list("name", flat=True))

    @pytest.mark.parametrize("suffix", ["", ".zlib"])
    def test_renamed_object_is_an_orphan(self, bucket, suffix):
        """Django's storages choose another name if one is taken."""
        name = key_of("ab" * 32, "image/png", suffix)
        bucket.save(name, ContentFile(b"x"))
        renamed = bucket.save(name, ContentFile(b"y"))
        assert renamed != name
        assert f"{renamed} belongs to no image" in run()[1]

    def orphans(self, bucket, count):
        for number in range(count):
            bucket.save(key_of(f"{number:064x}", "image/png"), ContentFile(b"x"))

    @pytest.mark.parametrize(("known", "unknown"), [(0, 1), (1, 10), (80, 10)])
    def test_orphans_of_an_old_database_are_kept(
        self, bucket, monkeypatch, known, unknown
    ):
        """An empty database, or an old copy, does not know the objects."""
        monkeypatch.setattr(walk, "CHUNK", 7)
        keep(*range(known))
        self.orphans(bucket, unknown)
        out, errors, fails = run(repair=True)
        assert fails
        assert f"orphan: {unknown}" in out
        assert "repaired." not in errors
        assert errors.endswith(
            "bucket: so many objects belong to no image that none was deleted. Is this "
            "the right database, and is the storage used for nothing else? Use --force "
            "to delete them nevertheless.\n"
        )
        assert not PendingDeletion.objects.exists()
        assert not run(repair=True, force=True)[2]
        assert PendingDeletion.objects.count() == unknown

    @pytest.mark.parametrize("unknown", [9, 10])
    def test_orphans_in_a_shared_storage_are_kept(
        self, bucket, settings, tmp_path, unknown
    ):
        """The storage may belong to another project."""
        use_bucket(settings, tmp_path, "files", "second")
        keep(*range(100))
        bucket = use_bucket(settings, tmp_path, "files")
        settings.REQUEST_IMAGES_STORAGE = "second"
        self.orphans(bucket, unknown)
        out, errors, fails = run(repair=True, storage=[ALIAS])
        assert f"listed {100 + unknown} objects" in out
        assert f"orphan: {unknown}" in out
        assert fails is (unknown == 10)
        assert PendingDeletion.objects.count() == (0 if fails else unknown)
        assert ("bucket: so many objects belong to no image" in errors) is fails
        assert not run(repair=True, storage=[ALIAS], force=True)[2]
        assert PendingDeletion.objects.count() == unknown

    @pytest.mark.parametrize(("known", "unknown"), [(1, 9), (90, 10)])
    def test_few_orphans_are_deleted(self, bucket, known, unknown):
        """A few orphans, or a small part, need no confirmation."""
        keep(*range(known))
        self.orphans(bucket, unknown)
        assert not run(repair=True)[2]
        assert PendingDeletion.objects.count() == unknown

    def test_two_aliases_of_one_storage(self, bucket, settings, tmp_path):
        """An object of one alias is no orphan of the other."""
        use_bucket(settings, tmp_path, "files")
        [content] = keep(1)
        settings.STORAGES = {**settings.STORAGES, "twin": settings.STORAGES[ALIAS]}
        settings.REQUEST_IMAGES_STORAGE = "twin"
        assert run()[2] is False
        assert storages["twin"].exists(content.name)

    def test_orphans_in_a_former_storage(self, bucket, settings, name):
        """A former storage is checked while objects wait for deletion in it."""
        settings.REQUEST_IMAGES_STORAGE = None
        ImageContent.objects.update(storage="", data=draw(seed=9))
        assert run()[2] is False
        assert f"{name} belongs to no image" in run(storage=[ALIAS])[1]
        PendingDeletion.objects.create(
            storage=ALIAS, name="ab/x", due_at=timezone.now()
        )
        assert f"{name} belongs to no image" in run()[1]

    def test_unknown_storage_is_refused(self, bucket):
        with pytest.raises(CommandError, match="STORAGES has no alias 'elsewhere'"):
            run(storage=["elsewhere"])

    def test_object_deleted_between_two_queries_is_no_orphan(self, bucket):
        """Cleanup moves the name from the row to the list."""
        keep(1)

        def take():
            clean(until(timezone.now()), batch_size=10)

        with between_looks(take):
            assert run()[2] is False
        assert PendingDeletion.objects.exists()

    def test_object_written_between_two_queries_is_no_orphan(self, bucket):
        """A request moves the name from the list to its row."""
        [content, _] = keep(1, 2)
        RequestImage.objects.filter(content=content).update(content=None)
        ImageContent.delete_all(ImageContent.objects.filter(pk=content.pk))

        def write_row():
            content.save(force_insert=True)
            PendingDeletion.objects.all().delete()

        with between_looks(write_row):
            assert "orphan: 0" in run()[0]
        assert not PendingDeletion.objects.exists()

    def test_object_deleted_during_the_check_is_no_orphan(
        self, bucket, name, monkeypatch
    ):
        """The object was on the list when the storage was listed."""
        PendingDeletion.objects.create(storage=ALIAS, name=name, due_at=timezone.now())
        orphans = contents_verify._orphans

        def late(*args):
            delete_now()
            return orphans(*args)

        monkeypatch.setattr(contents_verify, "_orphans", late)
        assert run()[2] is False

    @pytest.mark.parametrize(
        "error", [OSError("away"), NotImplementedError("no list")], ids=repr
    )
    def test_storage_without_listing_is_not_checked(self, bucket, name, error):
        """Orphans cannot be found without a listing."""
        bucket.hooks["listdir"] = raising(error)
        out, errors, fails = run(repair=True)
        assert fails
        assert "unreadable: 1" in out
        assert errors == (
            f"bucket: the storage cannot be read (bucket: {type(error).__name__}: "
            f"{error}).\n"
        )

    def test_storage_without_an_answer_is_reported(self, bucket, name, monkeypatch):
        monkeypatch.setattr(bucket, "exists", raising(OSError("away")))
        assert "unreadable: 1" in run()[0]


class TestRowsWithoutRequests:
    """Contents that stayed after somebody deleted the logs by hand."""

    @pytest.fixture(params=[ALIAS, None])
    def contents(self, request, bucket, settings):
        """Two of three images, whose logs are deleted."""
        settings.REQUEST_IMAGES_STORAGE = request.param
        contents = keep(1, 2, 3)
        RequestLog.objects.exclude(image__content=contents[2]).delete()
        return contents[:2]

    def test_are_reported(self, contents):
        out, errors, fails = run()
        assert fails
        assert "orphan: 2" in out
        first = contents[0]
        where = f"{first.storage or 'database'}: {first.name or first.image_hash}"
        assert errors.startswith(
            f"{where} belongs to no image (its requests were deleted).\n"
        )
        assert ImageContent.objects.count() == 3

    def test_are_repaired(self, contents, monkeypatch):
        """The row and its object are deleted; contents with a request stay."""
        monkeypatch.setattr(walk, "CHUNK", 1)
        assert run(repair=True)[1].count("; repaired.\n") == 2
        assert ImageContent.objects.get().read() == draw(seed=3)
        check()
        delete_now()
        assert len(objects()) == ImageContent.objects.exclude(storage="").count()
        assert run()[2] is False

    def test_content_of_a_new_request_is_kept(self, contents, monkeypatch):
        """A new request refers to the content, so it is no orphan."""
        drop = contents_verify._delete_orphan

        def late(finding):
            keep(1)
            drop(finding)

        monkeypatch.setattr(contents_verify, "_delete_orphan", late)
        run(repair=True)
        left = ImageContent.objects.values_list("image_hash", flat=True)
        assert contents[0].image_hash in left
        assert contents[1].image_hash not in left
        assert not PendingDeletion.objects.filter(name=contents[0].name).exists()
        check()


def test_unreadable_bytes_are_not_repaired(bucket):
    """Unreadable bytes may be readable tomorrow."""
    [content] = keep(1)
    bucket.hooks["open"] = raising(OSError("away"))
    found = []
    verified = verify(repair=True, on_found=found.append)
    assert [finding.problem for finding in found] == [Problem.UNREADABLE]
    assert verified.unrepaired == 1
    bucket.hooks.clear()
    assert content.read() == draw(seed=1)
    assert run()[2] is False


def test_unavailable_storage_is_reported_once(bucket, settings):
    """Other stores are still checked."""
    keep(*range(8))
    settings.REQUEST_IMAGES_STORAGE = None
    keep(8)
    bucket.save(key_of("ab" * 32, "image/png"), ContentFile(b"x"))
    bucket.hooks["open"] = raising(TimeoutError("slow"))
    out, errors, fails = run(repair=True)
    assert fails
    assert "Read 6 images and listed 0 objects" in out
    assert "orphan: 0; unreadable: 6" in out
    assert bucket.calls.count("open") == 5
    assert errors.endswith(
        "bucket: the storage cannot be read (given up after 5 failures; 3 images not "
        "read).\n"
    )


def test_unavailable_storage_at_the_end_is_reported(bucket):
    """The storage is reported even if no object is left to read."""
    keep(*range(5))
    bucket.save(key_of("ab" * 32, "image/png"), ContentFile(b"x"))
    bucket.hooks["open"] = raising(TimeoutError("slow"))
    out, errors, fails = run(repair=True)
    assert fails
    assert "listed 0 objects" in out
    assert "orphan: 0; unreadable: 6" in out
    assert errors.endswith("(given up after 5 failures; 0 images not read).\n")


def test_single_failures_do_not_stop_the_run(bucket):
    """Failures with successes in between do not stop the run."""
    keep(*range(8))
    bucket.hooks["open"] = lambda name: (
        raising(TimeoutError("slow"))() if bucket.calls.count("open") % 4 else None
    )
    assert "Read 8 images" in run()[0]


def test_batches_skip_deleted_contents(bucket, monkeypatch):
    """Contents that are deleted before their turn are skipped."""
    monkeypatch.setattr(walk, "CHUNK", 2)
    contents = keep(*range(5))
    assert run()[0] == f"Read 5 images and listed 5 objects. {RIGHT}"

    def take_the_next(name):
        bucket.hooks.clear()
        images = RequestImage.objects.filter(content=contents[1])
        images.update(content=None)
        ImageContent.delete_all(ImageContent.objects.filter(pk=contents[1].pk))

    bucket.hooks["open"] = take_the_next
    assert run()[0] == f"Read 4 images and listed 5 objects. {RIGHT}"


@pytest.mark.django_db
def test_force_without_repair_is_refused():
    """It would change nothing, and whoever gives it expects a change."""
    with pytest.raises(CommandError, match="--force needs --repair"):
        call_command("verify_image_contents", force=True)


@pytest.mark.django_db
def test_storage_that_cannot_be_made_is_a_sentence(settings):
    broken = {"BACKEND": "nowhere.Storage"}
    settings.STORAGES = {**settings.STORAGES, "broken": broken}
    with pytest.raises(CommandError, match=r"^--storage: .*nowhere"):
        call_command("verify_image_contents", storage=["broken"])
