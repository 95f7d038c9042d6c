"""Erasure on demand deletes all data of the requests, and nothing else."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError

from request_images.cleanup import batches, references
from request_images.cleanup.retention import clean
from request_images.db import walk
from request_images.erasure import Cleaned, Reason, Report, erase
from request_images.models import (
    FurtherImage,
    GoneRequests,
    ImageContent,
    PendingDeletion,
    RequestImage,
    RequestLog,
    StaleHour,
)
from request_images.models.cutoffs import Retention
from tests.cleanup.test_retention import check_that_nothing_dangles
from tests.factories import (
    add_further,
    capture_queries,
    loading_bytes,
    make_image,
    make_log,
)
from tests.host.models import Complaint, Order
from tests.image_files import draw
from tests.storages import keep, use_bucket

pytestmark = pytest.mark.django_db


def image_of(name: str, seed: int, **values: object) -> RequestImage:
    """Write a request of a user, with an image."""
    image = make_image(draw(seed=seed), **values)
    RequestLog.objects.filter(pk=image.log_id).update(username=name)
    return image


def of(name: str):
    """Return the requests of a user."""
    return RequestLog.objects.filter(username=name)


def test_all_data_of_one_person_is_deleted():
    """Logs with and without images, and further images; shared bytes stay."""
    own, shared = image_of("ann", 1), image_of("ann", 2)
    add_further(own, draw(seed=3))
    add_further(own, draw(seed=2))
    kept = image_of("ben", 2)
    make_log(username="ann")
    sizes = [
        content.stored_size
        for content in ImageContent.objects.exclude(pk=shared.content_id)
    ]
    with capture_queries() as queries:
        went = erase(of("ann"))
    assert went == Report({Reason.ERASURE: Cleaned(4, 2, 3, sum(sizes))})
    assert loading_bytes(queries) == []
    assert RequestImage.objects.get() == kept
    assert kept.image_data == draw(seed=2)
    assert not FurtherImage.objects.exists()
    assert RequestLog.objects.get().username == "ben"
    check_that_nothing_dangles()


def test_pinned_requests_are_deleted_too():
    """Cleanup still spares pinned requests that are not erased."""
    image_of("ann", 1)
    RequestLog.objects.update(is_pinned=True)
    kept = image_of("ben", 2, days_old=900)
    RequestLog.objects.filter(pk=kept.log_id).update(is_pinned=True)
    assert erase(of("ann")).total.logs == 1
    assert RequestImage.objects.get() == kept
    clean(Retention.of_days(30, 30), batch_size=10)
    assert RequestImage.objects.get() == kept


def test_no_requests_is_no_error():
    """An empty queryset is no error."""
    image_of("ben", 1)
    assert erase(of("ann")) == Report()


def test_objects_of_a_storage_are_listed_for_deletion(settings, tmp_path):
    """Objects in a storage are deleted by the next cleanup."""
    use_bucket(settings, tmp_path)
    [content] = keep(1)
    erase(RequestLog.objects.all())
    assert PendingDeletion.objects.get().name == content.name


@pytest.mark.parametrize(("at_once", "images"), [(1, 100), (2, 100), (100, 3)])
def test_batches_of_any_size_delete_everything(monkeypatch, at_once, images):
    """The size of the batches and the number of images make no difference."""
    monkeypatch.setattr(walk, "CHUNK", at_once)
    monkeypatch.setattr(references, "_IMAGES_AT_ONCE", images)
    for seed in range(4):
        image = image_of("ann", seed)
        for other in range(seed * 2):
            add_further(image, draw(seed=10 + other))
        make_log(username="ann")
    assert erase(of("ann")).total.logs == 8
    check_that_nothing_dangles()
    assert not ImageContent.objects.exists()


def test_request_recorded_meanwhile_stays(monkeypatch):
    """Otherwise the erasure might never end."""
    monkeypatch.setattr(walk, "CHUNK", 1)
    image_of("ann", 1)
    image_of("ann", 2)
    remove = batches.remove

    def meanwhile(*arguments):
        image_of("ann", 3)
        return remove(*arguments)

    monkeypatch.setattr(batches, "remove", meanwhile)
    assert erase(of("ann")).total.logs == 2
    assert of("ann").count() == 2


def test_request_selected_twice_counts_once():
    """A condition on related rows may return a request twice."""
    image = image_of("ann", 1)
    add_further(image, draw(seed=2))
    add_further(image, draw(seed=3))
    found = RequestLog.objects.filter(image__further__position__gt=0)
    assert found.count() == 2
    assert erase(found).total == Cleaned(
        3, 3, 1, sum(len(draw(seed=n)) for n in (1, 2, 3))
    )


@pytest.mark.parametrize(
    "error", [IntegrityError("one came"), OperationalError("database is locked")]
)
def test_collision_is_retried(monkeypatch, error):
    """A batch that collides with another process is repeated."""
    image_of("ann", 1)
    remove, left = batches.remove, [error, error]

    def disturbed(*arguments):
        if left:
            raise left.pop()
        return remove(*arguments)

    monkeypatch.setattr(batches, "remove", disturbed)
    assert erase(of("ann")).total.logs == 1


def test_erased_request_leaves_the_statistics():
    """Its hour is summed up again without it, unlike after a cleanup."""
    image = image_of("ann", 1, days_old=2)
    image_of("ben", 1, days_old=2)  # the bytes stay
    StaleHour.objects.all().delete()
    erase(of("ann"))
    hour = image.created_at.replace(minute=0, second=0, microsecond=0)
    assert StaleHour.objects.get().hour == hour
    assert not GoneRequests.objects.exists()


def test_referring_rows_follow_their_on_delete():
    """Referring rows follow their `on_delete`."""
    Order.objects.create(log=image_of("ann", 1).log)
    erase(of("ann"))
    assert not Order.objects.exists()
    assert not RequestLog.objects.exists()


@pytest.mark.parametrize("is_pinned", [False, True])
def test_protected_request_loses_its_bytes(is_pinned):
    """The report counts it, and everything else is deleted."""
    held, _ = image_of("ann", 1), image_of("ann", 2)
    add_further(held, draw(seed=3))
    RequestLog.objects.update(is_pinned=is_pinned)
    Complaint.objects.create(log=held.log)
    went = erase(of("ann"))
    assert went.held == {"host.Complaint": 1}
    assert went[Reason.ERASURE].logs == 1
    assert went[Reason.ERASED_BYTES].contents == 2
    assert RequestLog.objects.get().capture_status == "erased"
    assert FurtherImage.objects.get().capture_status == "erased"
    assert not ImageContent.objects.exists()
    assert erase(of("ann")) == Report(held={"host.Complaint": 1})
    Complaint.objects.all().delete()
    assert erase(of("ann")).total.logs == 1
