"""``verify_image_contents``: what is missing, damaged or left over is found."""

from __future__ import annotations

import io

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import call_command
from django.db import IntegrityError
from django.utils import timezone

from request_images import verifying
from request_images.models import (
    ImageContent,
    PendingDeletion,
    RequestImage,
    RequestLog,
)
from request_images.retention import clean
from request_images.stores import key_of
from request_images.verifying import Problem, verify

from .factories import until
from .images import draw
from .storages import ALIAS, check, delete_now, keep, objects, raising, use_bucket

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

    def test_in_the_database(self):
        [content] = keep(1)
        ImageContent.objects.update(data=None)
        _, errors, fails = run()
        assert fails
        assert errors.startswith(f"database: {content.image_hash} is missing")
        assert run(repair=True)[2] is False
        assert not ImageContent.objects.exists()

    def test_a_disk_that_is_not_mounted(self, bucket):
        """Nothing at all is there: that is no reason to give up what may come back."""
        for content in keep(*range(10)):
            bucket.delete(content.name)
        out, _, fails = run(repair=True)
        assert fails
        assert "missing: 10" in out
        assert ImageContent.objects.count() == 10
        keep(11)
        assert run(repair=True)[2] is False
        assert ImageContent.objects.count() == 1

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
        let_go = verifying._let_go

        def late(finding):
            clean(until(timezone.now()), batch_size=10)
            let_go(finding)

        monkeypatch.setattr(verifying, "_let_go", late)
        assert run(repair=True)[2] is False
        assert not RequestLog.objects.filter(capture_status="store_failed").exists()

    @pytest.mark.parametrize("times", [2, 5])
    def test_somebody_refers_to_it_meanwhile(self, bucket, monkeypatch, times):
        """The database refuses, and the next try sees it."""
        [content] = keep(1)
        bucket.delete(content.name)
        delete_all, errors = ImageContent.delete_all, [IntegrityError("used")] * times

        def refused(contents):
            if errors:
                raise errors.pop()
            delete_all(contents)

        monkeypatch.setattr(ImageContent, "delete_all", refused)
        if times == 5:
            with pytest.raises(IntegrityError):
                run(repair=True)
            assert RequestImage.objects.get().content == content
        else:
            assert run(repair=True)[2] is False


class TestMismatch:
    @pytest.mark.parametrize("alias", [ALIAS, None])
    def test_is_told_and_repaired(self, bucket, settings, alias):
        """Damaged bytes are nobody's image."""
        settings.REQUEST_IMAGES_STORAGE = alias
        [content] = keep(1)
        if alias:
            bucket.delete(content.name)
            bucket.save(content.name, ContentFile(b"damaged"))
        else:
            ImageContent.objects.update(data=b"damaged")
        out, errors, fails = run()
        assert fails
        assert "mismatch: 1" in out
        assert "is not what was received (its SHA-256 is " in errors
        assert run(repair=True)[2] is False
        assert RequestLog.objects.get().capture_detail.startswith("mismatch: its SHA")
        check()
        delete_now()
        assert objects() == set()


class TestOrphans:
    @pytest.fixture
    def name(self, bucket):
        """An object that nobody knows."""
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
        assert objects() == {name}
        assert delete_now().deleted == 1
        assert objects() == set()

    def test_two_aliases_of_one_place(self, bucket, settings, tmp_path):
        """What the one keeps is no orphan of the other."""
        use_bucket(settings, tmp_path, "files")
        [content] = keep(1)
        settings.STORAGES = {**settings.STORAGES, "twin": settings.STORAGES[ALIAS]}
        settings.REQUEST_IMAGES_STORAGE = "twin"
        assert run()[2] is False
        assert storages["twin"].exists(content.name)

    def test_what_is_deleted_while_it_is_looked_at(self, bucket, name, monkeypatch):
        """It was on the list when the storage was listed."""
        PendingDeletion.objects.create(storage=ALIAS, name=name, due_at=timezone.now())
        orphans = verifying._orphans

        def late(*args):
            delete_now()
            return orphans(*args)

        monkeypatch.setattr(verifying, "_orphans", late)
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


def test_unreadable(bucket):
    """It may be back tomorrow: nothing is repaired."""
    [content] = keep(1)
    bucket.hooks["open"] = raising(OSError("away"))
    found = []
    verified = verify(repair=True, tell=found.append)
    assert [finding.problem for finding in found] == [Problem.UNREADABLE]
    assert verified.unrepaired == 1
    bucket.hooks.clear()
    assert content.read() == draw(seed=1)
    assert run()[2] is False


def test_goes_through_in_batches(bucket, monkeypatch):
    """And what goes between the list and the look is not looked at."""
    monkeypatch.setattr(verifying, "_BATCH", 2)
    contents = keep(*range(5))
    assert run()[0] == f"Read 5 images and listed 5 objects. {RIGHT}"

    def take_the_next(name):
        bucket.hooks.clear()
        images = RequestImage.objects.filter(content=contents[1])
        images.update(content=None)
        ImageContent.delete_all(ImageContent.objects.filter(pk=contents[1].pk))

    bucket.hooks["open"] = take_the_next
    assert run()[0] == f"Read 4 images and listed 5 objects. {RIGHT}"
