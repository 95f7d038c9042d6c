"""A period means the same requests wherever a number leads, and on every page."""

from __future__ import annotations

import csv
import re
from datetime import datetime, timedelta, timezone
from html import unescape
from urllib.parse import urlencode

import pytest
from django.utils import timezone as clock

from tests.factories import make_image, make_superuser, make_user

pytestmark = pytest.mark.django_db
APP = "/admin/request_images"
DASHBOARD = f"{APP}/dashboard/"
GALLERY = f"{APP}/gallery/"
LIST = f"{APP}/requestlog/"
CSV = f"{APP}/requestlog/csv/"
STATS = "/api/usage/image-performance-stats"
NOW = datetime(2026, 6, 10, 15, 20, tzinfo=timezone.utc)
TIMES = [
    *(NOW.replace(hour=10, minute=minute) for minute in (0, 15, 31, 40, 55)),
    NOW.replace(hour=9, minute=59),
    NOW.replace(hour=11, minute=0),
    NOW.replace(day=9, hour=18, minute=10),  # 23:40 in Kolkata
    NOW - timedelta(days=20),
    NOW - timedelta(days=60),
]
PERIODS = {
    "none": ({}, 9),
    "days": ({"days": "7"}, 8),
    "within an hour": ({"since": "2026-06-10T10:30Z", "until": "2026-06-10T10:50Z"}, 5),
    "a beginning alone": ({"since": "2026-06-10T10:30Z"}, 6),
    "an end alone": ({"until": "2026-06-10T10:30Z"}, 9),
    "an end before everything": ({"until": "2025-01-01"}, 0),
}


@pytest.fixture(autouse=True)
def _requests(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    for created_at in TIMES:
        make_image(created_at=created_at)


@pytest.fixture
def get(client):
    """Return a function that gets a page as an administrator."""
    client.force_login(make_superuser())
    return lambda url, **texts: client.get(
        f"{url}?{urlencode(texts)}" if texts else url
    )


def links(response):
    """Return the target of the number of requests, and the two buttons."""
    html = unescape(response.content.decode())
    return [
        *re.findall(rf'<a href="({GALLERY}\?[^"]*)">Gallery<', html),
        *re.findall(rf'<a href="({LIST}\?[^"]*)">List<', html),
        *[tile.href for tile in response.context.get("tiles", ())[:1]],
    ]


def shown(response):
    """Return the number of requests that a page shows."""
    if "cl" in response.context:
        return response.context["cl"].result_count
    return response.content.decode().count('<a class="ri-tile')


def lines(response):
    return len(list(csv.DictReader(response.getvalue().decode().splitlines())))


@pytest.mark.parametrize(("texts", "count"), PERIODS.values(), ids=PERIODS)
def test_numbers_link_to_as_many_requests(get, texts, count):
    """Any period, or none, has the same requests on each page."""
    page = get(DASHBOARD, **texts)
    found = links(page)
    assert len(found) == (3 if count else 2)
    assert [shown(get(url)) for url in found] == [count] * len(found)


@pytest.mark.parametrize(("texts", "count"), PERIODS.values(), ids=PERIODS)
def test_json_has_the_counted_period(get, texts, count):
    """The CSV file of that period has as many lines."""
    body = get(STATS, **texts).json()
    assert body["overall"]["request_count"] == count
    period = {name: body[name] for name in ("since", "until") if body[name]}
    assert ("since" in period) == (list(texts) != ["until"])
    assert lines(get(CSV, **period)) == count


def test_days_of_a_time_zone_with_half_hours(get, settings):
    """Statistics count hours of UTC, so the half hour before is included."""
    settings.TIME_ZONE = "Asia/Kolkata"
    page = get(DASHBOARD, since="2026-06-10", until="2026-06-10")
    assert [shown(get(url)) for url in links(page)] == [8] * 3
    body = get(STATS, since="2026-06-10", until="2026-06-10").json()
    assert body["overall"]["request_count"] == 8


def test_list_for_users_who_may_not_see_images(client):
    client.force_login(make_user("view_requestlog"))
    html = unescape(client.get(DASHBOARD).content.decode())
    assert "Gallery<" not in html
    assert f'<a href="{LIST}?days=30">List<' in html


@pytest.mark.parametrize("name", ["days", "release", "mime_type"])
def test_blank_parameters_are_ignored(get, name):
    """The CSV file and the statistics ignore them, too."""
    body = get(STATS, endpoint="solve", **{name: ""}).json()
    assert body["overall"]["request_count"] == 9
    assert body["filters"]["release"] is None
    assert lines(get(CSV, **{name: " "})) == len(TIMES)
    assert shown(get(GALLERY, **{name: ""})) == len(TIMES)


def test_requests_without_a_release_are_a_group(get):
    """The dashboard links to as many requests."""
    make_image(release="2.4.1", created_at=NOW)
    html = unescape(get(f"{DASHBOARD}properties/").content.decode())
    [url] = set(re.findall(rf'"({GALLERY}\?[^"]*release=-[^"]*)"', html))
    assert shown(get(url)) == 9
    body = get(STATS, release="-").json()
    assert [each["release"] for each in body["by_release"]] == [""]
