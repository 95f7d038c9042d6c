"""Which of several releases is the newest, and what is said of it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape

import pytest
from django.utils import timezone

from request_images.dashboard import overview
from request_images.dashboard.overview import Overview
from request_images.query.criteria import Criteria, summaries
from tests.factories import capture_queries, make_logs, make_superuser

pytestmark = pytest.mark.django_db
PAGE = "/admin/request_images/dashboard/"
ENOUGH = 200


def midnight(days_ago: int) -> datetime:
    """Return when a day began, in the current time zone."""
    now = timezone.localtime() - timedelta(days=days_ago)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def came():
    """Return a function that writes requests of a release."""

    def came(release, days_ago, hour=12, *, ms=100, count=1):
        at = midnight(days_ago) + timedelta(hours=hour, minutes=10)
        make_logs([{"created_at": at, "release": release, "duration_ms": ms}] * count)

    return came


def looked_at(**texts):
    """Return the numbers of the last thirty days, or of other days."""
    criteria = Criteria({}, {}).having(**({"days": "30"} | texts))
    period = criteria.period()
    return Overview(*summaries(criteria, [period, period.before]))


def names(numbers):
    return [each.name for each in numbers.arrivals]


def show(client, **parameters):
    client.force_login(make_superuser())
    page = client.get(PAGE, parameters).content.decode()
    return unescape(page).replace("\u00a0", " ")


@pytest.mark.parametrize(("first", "second"), [("2.9.0", "2.10.0"), ("b", "a")])
def test_two_releases_of_a_day(client, came, first, second):
    """The later one of the day is the newest; its name does not matter."""
    came("2.8.0", 5, count=ENOUGH)
    came(first, 3, 1, count=ENOUGH)
    came(second, 3, 11, ms=1000, count=ENOUGH)
    assert names(looked_at()) == [first, second]
    page = show(client)
    found = re.findall(r"p95 is [^<]* since release [^<]*", page)
    assert len(found) == 1
    assert re.fullmatch(
        rf"p95 is \S+ m?s, \+\d+ % since release {second} \({ENOUGH} requests\)",
        found[0],
    )
    # Markers are in this order, too, and those of a day are told together.
    assert f"{first}, {second}" in page


def test_two_releases_of_an_hour_have_no_order(client, came):
    """Their order is unknown, so there is no finding."""
    came("2.8.0", 5, count=ENOUGH)
    came("2.9.0", 3, 11, count=ENOUGH)
    came("2.10.0", 3, 11, ms=1000, count=ENOUGH)
    assert looked_at().newest_release() is None
    page = show(client)
    assert "since release" not in page
    assert "2.9.0" in page


def test_release_after_two_of_an_hour_is_newest(came):
    """The one that came after both is the newest."""
    came("1", 9)
    came("3", 5)
    came("2", 5)
    came("4", 1)
    assert looked_at().newest_release().name == "4"


@pytest.mark.parametrize("days", [200, 800])
def test_releases_of_a_week_are_ordered_by_hour(came, days):
    """Days decide first, then hours."""
    came("1", 150)
    for name, days_ago, hour in (("9", 30, 3), ("10", 29, 3), ("11", 28, 9)):
        came(name, days_ago, hour)
    came("100", 28, 10)
    numbers = looked_at(days=str(days))
    assert names(numbers) == ["9", "10", "11", "100"]
    assert numbers.arrivals[-1].since == midnight(28) + timedelta(hours=10)
    assert numbers.newest_release().name == "100"


def test_releases_of_single_requests(came):
    """The order is right if requests are read one by one."""
    came("1", 9)
    came("3", 5, 3)
    came("2", 5, 4)
    assert names(looked_at(status="200")) == ["3", "2"]


def test_time_zone_with_half_hours(came, settings):
    settings.TIME_ZONE = "Asia/Kathmandu"  # 5:45 hours from UTC
    came("1", 9)
    came("3", 5, 0)
    came("2", 5, 1)
    assert names(looked_at()) == ["3", "2"]


def test_order_needs_few_queries(came):
    """Only the newest slots are read, in one query for each step."""
    came("0", 28)
    for day in range(25, 5, -1):
        came(f"{day}-b", day, 3)
    with capture_queries() as alone:
        assert len(names(looked_at())) == 20
    for day in range(25, 5, -1):
        came(f"{day}-a", day, 5)
    looked_at()  # adds up
    with capture_queries() as crowded:
        found = names(looked_at())
    assert len(crowded) - len(alone) <= 4
    assert found[:2] == ["25-a", "25-b"]  # as they are called
    assert found[-2:] == ["6-b", "6-a"]


def test_release_deleted_during_the_read_keeps_its_day(came, monkeypatch):
    """Its hour is unknown, so its day is the time of arrival."""
    came("1", 9)
    came("3", 5, 3)
    came("2", 5, 4)
    numbers = looked_at()
    assert numbers.releases
    monkeypatch.setattr(
        numbers.now, "by_slot", lambda slots, facet: [{} for _ in slots]
    )
    assert names(numbers) == ["2", "3"]
    assert numbers.newest_release() is None


def test_slots_are_divided():
    """Weeks into days, days into hours, hours into nothing."""
    numbers = looked_at(days="7")
    period, day = numbers.period, numbers.slots[1]
    week = numbers.slots[0][0], numbers.slots[-1][1]
    assert len(overview._parts_of(week, period)) == len(numbers.slots)
    assert len(overview._parts_of(day, period)) in (23, 24, 25)
    assert overview._parts_of((day[0], day[0] + timedelta(hours=1)), period) == []


def test_hours_are_not_divided(came):
    """No shorter time has statistics."""
    came("1", 1, 1)
    came("3", 1, 2)
    came("2", 1, 2)
    numbers = looked_at(days="2")
    assert numbers.releases
    with capture_queries() as queries:
        assert names(numbers) == ["2", "3"]
    assert queries == []
