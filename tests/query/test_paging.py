"""Pages of many rows: the same rows in the same order by either plan."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.http import QueryDict

from request_images.exceptions import TooManyRequests
from request_images.gallery.gallery import images
from request_images.models import RequestImage
from request_images.query import paging
from request_images.query.criteria import Criteria
from request_images.query.paging import SORTS, Walk
from request_images.statistics import live
from tests.factories import make_images
from tests.image_files import draw

pytestmark = pytest.mark.django_db
KEYS = {
    "newest": lambda row: row.created_at,
    "oldest": lambda row: row.created_at,
    "slowest": lambda row: row.log.duration_ms,
    "fastest": lambda row: row.log.duration_ms,
    "largest": lambda row: row.file_size,
    "smallest": lambda row: row.file_size,
}


@pytest.fixture(params=[10_000, 3], ids=["few", "many"])
def _plan(request, monkeypatch):
    """Let seven rows count as few or as many."""
    monkeypatch.setattr(paging, "MANY", request.param)


@pytest.fixture
def rows(_plan):
    """Images with ties in every order, and one of unknown size."""
    make_images(
        {
            "data": draw(seed=number),
            "days_old": number // 2,
            "duration_ms": 10 * (number % 3),
            "image": {"file_size": None if number == 6 else 100 * (number % 2)},
            "endpoint": "even" if number % 2 == 0 else "odd",
        }
        for number in range(7)
    )
    same = RequestImage.objects.order_by("pk")[1]
    # The very same time, and so the primary key decides.
    RequestImage.objects.filter(pk__lte=same.pk).update(created_at=same.created_at)


def walk(sort: str, query: str = "") -> Walk:
    return Walk(images(), Criteria.of(QueryDict(query)), SORTS[sort])


def ordered(sort: str) -> list[RequestImage]:
    """Sort in Python; the primary key decides in the same direction."""
    key = KEYS[sort]
    known = [row for row in images() if key(row) is not None]
    return sorted(
        known, key=lambda row: (key(row), row.pk), reverse=SORTS[sort].descending
    )


@pytest.mark.usefixtures("rows")
class TestWalk:
    @pytest.mark.parametrize("sort", SORTS)
    def test_pages_have_all_rows_in_order(self, sort):
        """Read from each row on, after each row, and before it."""
        expected = ordered(sort)
        assert walk(sort).page(100) == expected
        for place, row in enumerate(expected):
            assert walk(sort).page(2, at=row) == expected[place : place + 2]
            assert walk(sort).after(row, 2) == expected[place + 1 : place + 3]
            assert walk(sort).before(row, 2) == expected[max(0, place - 2) : place]

    @pytest.mark.parametrize("sort", SORTS)
    def test_pages_match_the_criteria(self, sort):
        expected = [row for row in ordered(sort) if row.log.endpoint == "odd"]
        assert walk(sort, "endpoint=odd").page(100) == expected
        # From a row that does not match, too.
        other = next(row for row in ordered(sort) if row.log.endpoint == "even")
        found = walk(sort, "endpoint=odd")
        assert found.before(other, 9) + found.after(other, 9) == expected

    def test_row_without_a_value_has_no_page(self):
        """A row of unknown size is not among the sizes."""
        [unknown] = images().filter(file_size=None)
        assert walk("largest").page(9, at=unknown) == []
        assert walk("largest").after(unknown) == []

    def test_counts_up_to_a_bound(self):
        assert walk("newest").count == min(7, paging.MANY + 1)
        assert walk("newest", "endpoint=odd").count == 3

    def test_since_is_the_oldest_of_the_newest(self):
        newest = ordered("newest")
        expected = newest[2].created_at if paging.MANY == 3 else None
        assert walk("newest").since() == expected


@pytest.mark.usefixtures("rows")
class TestLimits:
    @pytest.mark.parametrize("sort", SORTS)
    def test_slow_walk_is_replaced_by_a_sort(self, sort, monkeypatch):
        """All matching rows are sorted: same rows, same order."""
        monkeypatch.setattr(paging, "limited", too_slow(0.25))
        found = Walk(images(), Criteria({}, {}), SORTS[sort], 1.0)
        assert found.page(3) == ordered(sort)[:3]
        assert found.after(ordered(sort)[2], 9) == ordered(sort)[3:]

    def test_slow_query_is_refused(self, monkeypatch):
        """A slow query raises an error."""
        monkeypatch.setattr(paging, "limited", too_slow(1.0))
        with pytest.raises(TooManyRequests):
            Walk(images(), Criteria({}, {}), SORTS["newest"], 1.0).page(3)


def too_slow(most: float):
    """Return time limits that are always exceeded up to some seconds."""

    @contextmanager
    def limits(using, seconds):
        with live.limited(using, seconds):
            yield
        if seconds <= most:
            raise TooManyRequests("To look at them takes too long.")

    return limits
