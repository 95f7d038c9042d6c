"""Work that only one process does at a time."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.utils import timezone

from request_images.exceptions import LeaseLost, WorkTaken
from request_images.models import Lease, job_locks
from request_images.models.job_locks import lease
from tests.factories import capture_queries

pytestmark = pytest.mark.django_db


def make_lease(*, ends_in: timedelta) -> Lease:
    """Write the lease of another process."""
    now = timezone.now()
    return Lease.objects.create(
        work="cleanup", holder="another", since=now, until=now + ends_in
    )


def test_second_process_is_refused():
    """The error names the holder; afterwards the lock is free."""
    with lease("cleanup"):
        with (
            pytest.raises(
                WorkTaken, match=r"The cleanup already runs on .*process \d+ .*since 20"
            ),
            lease("cleanup"),
        ):
            pytest.fail("two at once")  # pragma: no cover
        with lease("moving"):
            assert Lease.objects.count() == 2
    assert not Lease.objects.filter(until__gt=timezone.now()).exists()


def test_lock_works_without_time_zones(settings):
    """A project with `USE_TZ = False` has naive times."""
    settings.USE_TZ = False
    with (
        lease("cleanup"),
        pytest.raises(WorkTaken, match=r"since [0-9-]+ \d\d:\d\d:\d\d\.$"),
        lease("cleanup"),
    ):
        pytest.fail("two at once")  # pragma: no cover


def test_lock_is_released_after_an_error():
    """The next process need not wait."""
    with pytest.raises(RuntimeError), lease("cleanup"):
        raise RuntimeError
    assert not Lease.objects.filter(until__gt=timezone.now()).exists()


def test_lock_of_a_killed_process_expires():
    """It expires ten minutes after its last renewal."""
    make_lease(ends_in=timedelta(seconds=5))
    with (
        pytest.raises(WorkTaken, match="The cleanup already runs on another"),
        lease("cleanup"),
    ):
        pytest.fail("too early")  # pragma: no cover
    Lease.objects.update(until=timezone.now() - timedelta(seconds=1))
    with lease("cleanup"):
        assert Lease.objects.get().holder != "another"
        assert Lease.objects.get().until > timezone.now() + timedelta(minutes=9)


def test_renewal_is_rate_limited(monkeypatch):
    """A renewal costs a query only now and then."""
    with lease("cleanup") as held:
        with capture_queries() as queries:
            held.renew()
        assert queries == []
        now = timezone.now() + timedelta(minutes=8)
        monkeypatch.setattr(job_locks.timezone, "now", lambda: now)
        held.renew()
        assert Lease.objects.get().until == now + job_locks.LEASE_DURATION
        with capture_queries() as queries:
            held.renew()
        assert queries == []


def test_lost_lock_is_reported(monkeypatch):
    """A process that slept too long does not release the other's lock."""
    with lease("cleanup") as held:
        Lease.objects.update(holder="another")
        now = timezone.now() + timedelta(minutes=20)
        monkeypatch.setattr(job_locks.timezone, "now", lambda: now)
        with pytest.raises(LeaseLost, match="taken over the cleanup"):
            held.renew()
    assert Lease.objects.get().holder == "another"


def test_lock_released_during_the_request(monkeypatch):
    """The lock was taken when requested, so the request is refused."""
    monkeypatch.setattr(QuerySet, "bulk_create", lambda *_, **__: [])
    with pytest.raises(WorkTaken, match="has just ended the cleanup"), lease("cleanup"):
        pytest.fail("nobody's")  # pragma: no cover


@pytest.mark.parametrize(
    ("method", "nth"), [("bulk_create", 1), ("update", 1), ("update", 2), ("update", 3)]
)
def test_deadlock_is_retried(monkeypatch, method, nth):
    """A database may report concurrent requests as a deadlock."""
    statement, calls = getattr(QuerySet, method), []

    def failing(rows, *args, **kwargs):
        calls.append(method)
        if rows.model is Lease and len(calls) == nth:
            raise OperationalError(1213, "Deadlock found")
        return statement(rows, *args, **kwargs)

    monkeypatch.setattr(QuerySet, method, failing)
    monkeypatch.setattr(job_locks, "_RENEW_EVERY", timedelta(0))
    with lease("cleanup") as held:
        held.renew()
    assert len(calls) > nth
    assert not Lease.objects.filter(until__gt=timezone.now()).exists()


@pytest.mark.skipif(
    connection.vendor == "sqlite",
    reason="an in-memory database makes nobody wait, it refuses",
)
@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_gets_the_lock():  # pragma: no cover  # see skipif
    """One process gets a free lock, or an expired one."""
    number = 8
    for round_ in range(4):
        Lease.objects.all().delete()
        if round_ % 2:
            make_lease(ends_in=timedelta(seconds=-1))
        start, all_tried = threading.Barrier(number), threading.Barrier(number)
        outcomes: list[str] = []

        def run(start=start, all_tried=all_tried, outcomes=outcomes):
            try:
                start.wait()
                try:
                    with lease("cleanup"):
                        outcomes.append("held")
                        all_tried.wait()
                except WorkTaken:
                    outcomes.append("taken")
                    all_tried.wait()
            finally:
                connection.close()

        threads = [threading.Thread(target=run) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["held"] + ["taken"] * (number - 1)
        assert not Lease.objects.filter(until__gt=timezone.now()).exists()
