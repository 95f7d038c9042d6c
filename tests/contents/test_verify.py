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
    """Return what the command says, and whether it fails."""
    out, errors, fails = io.StringIO(), io.StringIO(), False
    try:
        call_command("verify_image_contents", stdout=out, stderr=errors, **options)
    except SystemExit as end:
        fails = end.code == 1
    return out.getvalue(), errors.getvalue(), fails


@contextmanager
def between_looks(act):
    """Do something before the second look at a table for the names of objects."""
    looks = []

    def wrapper(execute, sql, params, many, context):
        looks.extend(re.findall(r"^SELECT .*name. IN \(", sql))
        if len(looks) == 2:
            looks.append("that is enough")
            act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield


def test_nothing_is_wrong(bucket, settings):
    """In either store; what is on the list is no orphan; others' files are theirs."""
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


def test_nothing_is_there(bucket):
    """Before the first image, a folder does not exist yet."""
    assert run() == (f"Read 0 images and listed 0 objects. {RIGHT}", "", False)


class TestMissing:
    def test_is_told(self, bucket):
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        out, errors, fails = run()
        assert fails
        assert "missing: 1; mismatch: 0" in out
        name = content.name
        assert errors == f"bucket: {name} is missing (bucket has no {name}).\n"
        assert RequestImage.objects.filter(content=None).count() == 0

    def test_is_repaired(self, bucket):
        """Its requests say so, and the same image can be kept again."""
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

    def test_is_kept_anew_when_it_next_comes(self, bucket):
        """Behind the repair, not before: nobody looks into the storage for it."""

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

    def test_in_the_database(self):
        [content] = keep(1)
        ImageContent.objects.update(data=None)
        _, errors, fails = run()
        assert fails
        assert errors.startswith(f"database: {content.image_hash} is missing")
        assert run(repair=True)[2] is False
        assert not ImageContent.objects.exists()

    @pytest.mark.parametrize("since", [0, 1, 90])
    def test_a_disk_that_is_not_mounted(self, bucket, since):
        """That is no reason to give up what may come back, but for a small part."""
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

    def test_much_that_is_lost_for_good(self, bucket):
        """A person can say so."""
        for content in keep(*range(10)):
            bucket.delete(content.name)
        _, errors, fails = run(repair=True, force=True)
        assert not fails
        assert errors.count("; repaired.") == 10
        assert not ImageContent.objects.exists()

    @pytest.mark.parametrize("lost", [1, 9])
    def test_all_that_there_was(self, bucket, lost):
        """However little it was: a storage of which nothing is there is doubted."""
        for content in keep(*range(lost)):
            bucket.delete(content.name)
        assert "Use --force to repair it" in run(repair=True)[1]
        assert ImageContent.objects.count() == lost

    def test_comes_back_after_it_was_given_up(self, bucket):
        """Nobody has it deleted unseen: it belongs to no image, and that is told."""
        [content, _] = keep(1, 2)
        data = content.read()
        bucket.delete(content.name)
        assert not run(repair=True)[2]
        bucket.save(content.name, ContentFile(data))
        delete_now()
        assert content.name in objects()
        assert f"{content.name} belongs to no image" in run()[1]

    def test_comes_back_before_the_end_of_the_run(self, bucket, monkeypatch):
        """It is looked at again right before it would be given up."""
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

    def test_does_not_answer_at_the_second_look(self, bucket, monkeypatch):
        """Then it stays as it is."""
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
    def test_what_is_not_much(self, bucket, lost, there):
        """A few, or a small part, are given up without a question."""
        contents = keep(*range(lost + there))
        for content in contents[:lost]:
            bucket.delete(content.name)
        assert run(repair=True)[2] is False
        assert ImageContent.objects.count() == there

    def test_what_does_not_answer_is_no_sign_of_life(self, bucket):
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

    def test_is_told_at_once(self, bucket):
        """Whoever stops a long run has heard what was found."""
        for content in keep(1, 2):
            bucket.delete(content.name)
        seen = []

        def look(name):
            seen.append(len(told))

        told = []
        bucket.hooks["open"] = look
        verify(repair=False, on_found=told.append)
        assert seen == [0, 1]

    def test_what_goes_while_it_is_looked_at(self, bucket):
        """Cleanup has taken it: nothing is wrong."""
        keep(1, 2)

        def open_late(name):
            bucket.hooks.clear()
            clean(until(timezone.now()), batch_size=10)
            delete_now()

        bucket.hooks["open"] = open_late
        assert run() == (f"Read 1 images and listed 0 objects. {RIGHT}", "", False)

    def test_what_goes_before_it_is_repaired(self, bucket, monkeypatch):
        """There is nothing left to do."""
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        let_go = contents_verify._detach

        def late(finding):
            clean(until(timezone.now()), batch_size=10)
            let_go(finding)

        monkeypatch.setattr(contents_verify, "_detach", late)
        assert run(repair=True)[2] is False
        assert not RequestLog.objects.filter(capture_status="store_failed").exists()

    def test_what_comes_back_before_it_is_repaired(self, bucket, monkeypatch):
        """Somebody has put the bytes elsewhere: it is not given up."""
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
    def test_somebody_is_in_the_way(self, bucket, monkeypatch, error, times):
        """The database refuses, and the next try sees why; or a later run does."""
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

    def test_a_database_that_is_away(self, bucket, monkeypatch):
        """Nothing more can be told then."""
        [content, _] = keep(1, 2)
        bucket.delete(content.name)
        monkeypatch.setattr(
            ImageContent, "delete_all", raising(OperationalError("away"))
        )
        with pytest.raises(OperationalError, match="away"):
            run(repair=True)


class TestMismatch:
    @pytest.mark.parametrize("alias", [ALIAS, None])
    def test_is_told_and_repaired(self, bucket, settings, alias):
        """Damaged bytes are nobody's image."""
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
    def test_the_wrong_key(self, bucket, right):
        """Of a storage that encrypts: all is damaged, and nothing is deleted."""
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

    def test_in_the_database(self):
        """It cannot be another disk; but so many may be another fault."""
        keep(*range(10))
        ImageContent.objects.update(data=b"damaged")
        assert "database: so many images are missing or damaged" in run(repair=True)[1]
        assert ImageContent.objects.count() == 10


class TestOrphans:
    @pytest.fixture
    def name(self, bucket):
        """An object that nobody knows, beside one that is known."""
        keep(9)
        return bucket.save(key_of("ab" * 32, "image/png"), ContentFile(b"x"))

    def test_is_told(self, bucket, name):
        out, errors, fails = run()
        assert fails
        assert "orphan: 1" in out
        assert errors == f"bucket: {name} belongs to no image.\n"

    def test_is_repaired(self, bucket, name):
        """It is deleted after an hour."""
        assert run(repair=True)[1] == f"bucket: {name} belongs to no image; repaired.\n"
        assert PendingDeletion.objects.get().due_at > timezone.now()
        assert name in objects()
        assert delete_now().deleted == 1
        assert objects() == set(ImageContent.objects.values_list("name", flat=True))

    @pytest.mark.parametrize("suffix", ["", ".zlib"])
    def test_that_is_taken_for_another(self, bucket, suffix):
        """Django's storages rename what they are given where a name is taken."""
        name = key_of("ab" * 32, "image/png", suffix)
        bucket.save(name, ContentFile(b"x"))
        renamed = bucket.save(name, ContentFile(b"y"))
        assert renamed != name
        assert f"{renamed} belongs to no image" in run()[1]

    def orphans(self, bucket, count):
        for number in range(count):
            bucket.save(key_of(f"{number:064x}", "image/png"), ContentFile(b"x"))

    @pytest.mark.parametrize(("known", "unknown"), [(0, 1), (1, 10), (80, 10)])
    def test_of_another_database(self, bucket, monkeypatch, known, unknown):
        """An empty one, or an old copy: what it does not know is not deleted."""
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
    def test_beside_what_is_known_elsewhere(self, bucket, settings, tmp_path, unknown):
        """Of a storage that somebody names, which may be another project's."""
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
    def test_that_are_few(self, bucket, known, unknown):
        """Or a small part."""
        keep(*range(known))
        self.orphans(bucket, unknown)
        assert not run(repair=True)[2]
        assert PendingDeletion.objects.count() == unknown

    def test_two_aliases_of_one_place(self, bucket, settings, tmp_path):
        """What the one keeps is no orphan of the other."""
        use_bucket(settings, tmp_path, "files")
        [content] = keep(1)
        settings.STORAGES = {**settings.STORAGES, "twin": settings.STORAGES[ALIAS]}
        settings.REQUEST_IMAGES_STORAGE = "twin"
        assert run()[2] is False
        assert storages["twin"].exists(content.name)

    def test_in_a_storage_that_is_left(self, bucket, settings, name):
        """As long as there is something to be deleted from it."""
        settings.REQUEST_IMAGES_STORAGE = None
        ImageContent.objects.update(storage="", data=draw(seed=9))
        assert run()[2] is False
        assert f"{name} belongs to no image" in run(storage=[ALIAS])[1]
        PendingDeletion.objects.create(
            storage=ALIAS, name="ab/x", due_at=timezone.now()
        )
        assert f"{name} belongs to no image" in run()[1]

    def test_in_a_storage_that_is_none(self, bucket):
        with pytest.raises(CommandError, match="--storage: elsewhere"):
            run(storage=["elsewhere"])

    def test_what_goes_from_the_rows_to_the_list(self, bucket):
        """Between two looks: cleanup takes it."""
        keep(1)

        def take():
            clean(until(timezone.now()), batch_size=10)

        with between_looks(take):
            assert run()[2] is False
        assert PendingDeletion.objects.exists()

    def test_what_goes_from_the_list_to_the_rows(self, bucket):
        """Between two looks, a request writes its row: the list is looked at first."""
        [content, _] = keep(1, 2)
        RequestImage.objects.filter(content=content).update(content=None)
        ImageContent.delete_all(ImageContent.objects.filter(pk=content.pk))

        def write_row():
            content.save(force_insert=True)
            PendingDeletion.objects.all().delete()

        with between_looks(write_row):
            assert "orphan: 0" in run()[0]
        assert not PendingDeletion.objects.exists()

    def test_what_is_deleted_while_it_is_looked_at(self, bucket, name, monkeypatch):
        """It was on the list when the storage was listed."""
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
    def test_a_storage_that_cannot_be_listed(self, bucket, name, error):
        """That is not to be told right or wrong."""
        bucket.hooks["listdir"] = raising(error)
        out, errors, fails = run(repair=True)
        assert fails
        assert "unreadable: 1" in out
        assert errors == (
            f"bucket: the storage cannot be read (bucket: {type(error).__name__}: "
            f"{error}).\n"
        )

    def test_a_storage_that_cannot_be_asked(self, bucket, name, monkeypatch):
        monkeypatch.setattr(bucket, "exists", raising(OSError("away")))
        assert "unreadable: 1" in run()[0]


class TestRowsWithoutRequests:
    """Somebody has deleted logs by hand, and their contents stayed."""

    @pytest.fixture(params=[ALIAS, None])
    def contents(self, request, bucket, settings):
        """Two of three images, whose logs are gone."""
        settings.REQUEST_IMAGES_STORAGE = request.param
        contents = keep(1, 2, 3)
        RequestLog.objects.exclude(image__content=contents[2]).delete()
        return contents[:2]

    def test_are_told(self, contents):
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
        """The row goes, and its object; what has a request stays."""
        monkeypatch.setattr(walk, "CHUNK", 1)
        assert run(repair=True)[1].count("; repaired.\n") == 2
        assert ImageContent.objects.get().read() == draw(seed=3)
        check()
        delete_now()
        assert len(objects()) == ImageContent.objects.exclude(storage="").count()
        assert run()[2] is False

    def test_somebody_sends_the_same_image_meanwhile(self, contents, monkeypatch):
        """Then it is no orphan any more."""
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


def test_unreadable(bucket):
    """It may be back tomorrow: nothing is repaired."""
    [content] = keep(1)
    bucket.hooks["open"] = raising(OSError("away"))
    found = []
    verified = verify(repair=True, on_found=found.append)
    assert [finding.problem for finding in found] == [Problem.UNREADABLE]
    assert verified.unrepaired == 1
    bucket.hooks.clear()
    assert content.read() == draw(seed=1)
    assert run()[2] is False


def test_a_storage_that_is_away(bucket, settings):
    """It is given up, and that said once; what is elsewhere is read all the same."""
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


def test_a_storage_that_is_away_to_the_end(bucket):
    """It is given up although nothing more was to be read from it."""
    keep(*range(5))
    bucket.save(key_of("ab" * 32, "image/png"), ContentFile(b"x"))
    bucket.hooks["open"] = raising(TimeoutError("slow"))
    out, errors, fails = run(repair=True)
    assert fails
    assert "listed 0 objects" in out
    assert "orphan: 0; unreadable: 6" in out
    assert errors.endswith("(given up after 5 failures; 0 images not read).\n")


def test_a_storage_that_hesitates(bucket):
    """Failures with answers between them are no reason to give up."""
    keep(*range(8))
    bucket.hooks["open"] = lambda name: (
        raising(TimeoutError("slow"))() if bucket.calls.count("open") % 4 else None
    )
    assert "Read 8 images" in run()[0]


def test_goes_through_in_batches(bucket, monkeypatch):
    """And what goes between the list and the look is not looked at."""
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
