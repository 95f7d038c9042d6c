"""Statistics of clients that send something new each time: bounded, and still true."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from request_images.aggregation import gather
from request_images.aggregation.periods import Period, floor
from request_images.aggregation.properties import ALL, DIMENSIONS, ERROR
from request_images.aggregation.tallies import unpack
from request_images.cleanup.delete_rows import Going, remove
from request_images.cleanup.report import Reason
from request_images.models import GoneRequests, RequestLog, StatisticsRollup
from request_images.statistics import live, rollups, summarize
from tests.factories import make_images, make_logs

HOUR = timedelta(hours=1)
MOST = 20


@pytest.fixture
def hour():
    """The hour before last."""
    return floor(timezone.now()) - 2 * HOUR


@pytest.fixture
def _few(monkeypatch):
    monkeypatch.setattr(gather, "MOST_COUNTED", MOST)


def everything_new(hour, count, usual=0):
    """Return requests with an error and dimensions of their own, and usual ones."""
    return [
        {
            "created_at": hour,
            "status_code": 500,
            "error_type": f"E{number}" if number < count else "Usual",
            "image": {"width": number + 1 if number < count else 640, "height": 480},
        }
        for number in range(count + usual)
    ]


def rows_of_everything_new(count, endpoints=1):
    """Yield what is read of requests with an error and dimensions of their own."""
    moment = floor(timezone.now())
    names = gather.FIELDS[len(gather.LOG_FIELDS) :]
    for number in range(count):
        of_log = (moment, 5.0, 3, f"solve{number % endpoints}", 500)
        own = {"image__width": number + 1, "image__height": 480}
        image = (own.get(name, number if "size" in name else 1) for name in names)
        yield *of_log, f"E{number}", "", "stored", *image


def test_memory_does_not_grow_with_the_values():
    """Kind: as many tallies for 30,000 error types and dimensions as for a thousand."""
    parts = gather.gather(rows_of_everything_new(30_000))
    values = Counter(place.facet for place in parts)
    # And one tally for the rest.
    assert values[ERROR] == values[DIMENSIONS] == gather.MOST_COUNTED + 1
    for facet in (ALL, ERROR, DIMENSIONS):
        own = [tally for place, tally in parts.items() if place.facet is facet]
        assert sum(tally.count for tally in own) == 30_000
        assert sum(tally.failed for tally in own) == 30_000


def test_memory_does_not_grow_with_values_of_many_endpoints(monkeypatch):
    """Kind: the bound is one of the hour; 60 endpoints had 60 of them."""
    monkeypatch.setattr(gather, "MOST_OF_ALL", 50)
    monkeypatch.setattr(gather, "MOST_VALUES", 5)
    parts = gather.gather(rows_of_everything_new(1200, endpoints=10))
    values = Counter(place.facet for place in parts)
    # The first endpoint takes all; the others have five, and each one for the rest.
    assert values[ERROR] == values[DIMENSIONS] == 51 + 9 * 6
    for facet in (ALL, ERROR, DIMENSIONS):
        own = [tally for place, tally in parts.items() if place.facet is facet]
        assert sum(tally.count for tally in own) == 1200


@pytest.mark.django_db
@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("is_live", [True, False])
def test_frequent_values_are_exact_among_many(hour, is_live):
    """Kind: a bound takes rare values together; no number becomes wrong."""
    if is_live:
        hour += 2 * HOUR
    make_images(everything_new(hour, 3 * MOST, usual=7))
    summary = summarize.summarize(Period(hour, hour + HOUR))
    assert summary.overall().request_count == 3 * MOST + 7
    [first, *others] = summary.by(ERROR, top=1000)
    assert (first.key["error_type"], first.request_count) == ("Usual", 7)
    assert {each.request_count for each in others} == {1}
    [first, *_] = summary.by(DIMENSIONS)
    assert (first.key, first.request_count) == ({"width": 640, "height": 480}, 7)
    if not is_live:
        row = StatisticsRollup.objects.get(span="hour", facet="error", is_total=True)
        cells = unpack(row.tallies)
        assert len(cells) == MOST + 1
        assert sum(tally.count for tally in cells.values()) == 3 * MOST + 7


@pytest.mark.django_db
@pytest.mark.usefixtures("_few")
def test_deleted_requests_are_bounded_too(hour):
    """Kind: what cleanup adds up is bounded in a batch, and when batches are merged."""
    made = make_images(everything_new(hour, 4 * MOST))
    for half in (made[: 2 * MOST], made[2 * MOST :]):
        remove([Going.of(Reason.LOG, i.log_id, i.pk, [i.content_id]) for i in half])
    assert not RequestLog.objects.exists()
    rollups.update(hour)
    [row] = GoneRequests.objects.filter(hour=hour)
    facets = Counter(json.loads(text)[1] for text in unpack(row.tallies))
    assert facets["error"] == facets["dimensions"] == MOST + 1
    summary = summarize.summarize(Period(hour, hour + HOUR))
    assert summary.overall().request_count == 4 * MOST


@pytest.mark.django_db
def test_reader_leaves_a_long_hour_to_the_command(hour, monkeypatch):
    """Kind: a page never adds up more rows than it may read."""
    monkeypatch.setattr(summarize, "MOST_ROWS", 5)
    monkeypatch.setattr(live, "MOST_ROWS", 5)
    make_logs({"created_at": hour} for _ in range(6))
    period = Period(hour, hour + HOUR)
    summary = summarize.summarize(period)
    assert summary.missing_hours == 1
    assert summary.overall().request_count == 0
    rollups.update(hour)
    summary = summarize.summarize(period)
    assert summary.missing_hours == 0
    assert summary.overall().request_count == 6
