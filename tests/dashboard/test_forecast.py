"""How much is stored, and when there will be no room."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from request_images.aggregation.periods import Period
from request_images.dashboard.forecast import Stock, since_ever, stock_of
from request_images.models import ImageContent
from request_images.statistics.summarize import summarize


def stock(older=0, days=(10,) * 30, daily=10.0, limit=None, keeps_days=None):
    now = timezone.now()
    ends = [now - timedelta(days=back) for back in reversed(range(len(days)))]
    return Stock(older, list(zip(ends, days, strict=True)), daily, limit, keeps_days)


class TestProjection:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, 300 + 50),
            ({"keeps_days": 30}, 300),
            ({"keeps_days": 10}, 100),
            ({"keeps_days": 3}, 30),
            ({"keeps_days": 60, "older": 7}, 357),
            ({"keeps_days": 20, "daily": 30.0}, 150 + 150),
        ],
    )
    def test_expected_bytes_in_five_days(self, given, expected):
        """New bytes arrive at the past rate, and old ones expire."""
        assert stock(**given).expected(5) == expected

    @pytest.mark.parametrize(
        ("given", "days"),
        [
            ({}, None),
            ({"limit": 400}, 10),
            ({"limit": 300}, 0),
            ({"limit": 301, "keeps_days": 30}, None),
            ({"limit": 400, "keeps_days": 90}, 10),
            ({"limit": 1e9}, None),
        ],
    )
    def test_date_of_the_limit(self, given, days):
        """The limit is never reached if as much expires as arrives."""
        assert stock(**given).days_left() == days

    def test_levels_include_older_bytes(self):
        """Bytes from before the period are the base of the levels."""
        found = stock(older=5, days=(1, 2))
        assert [level for _, level in found.levels()] == [6, 8]
        assert found.total == 8


@pytest.mark.django_db
class TestStock:
    def made(self, days_old, size):
        created_at = timezone.now() - timedelta(days=days_old)
        return ImageContent.objects.create(
            image_hash=f"{days_old}", stored_size=size, created_at=created_at
        )

    def test_stock_by_day(self, settings):
        """Bytes count on their day; those before the period are one sum."""
        settings.REQUEST_IMAGES_MAX_STORED_MB = 1
        for days_old, size in ((45, 5), (3, 70), (0, 7)):
            self.made(days_old, size)
        period = Period.last_days(30)
        found = stock_of(summarize(since_ever(period)), period)
        assert (found.older, found.total) == (5, 82)
        assert found.levels()[-1][1] == 82
        assert found.daily == 77 / 4
        assert (found.limit, found.keeps_days) == (1024 * 1024, 30)
        settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = 20
        assert stock_of(summarize(since_ever(period)), period).keeps_days == 20

    def test_empty_stock(self, settings):
        settings.REQUEST_IMAGES_RETENTION_DAYS = None
        settings.REQUEST_IMAGES_LOG_RETENTION_DAYS = None
        period = Period.last_days(30)
        found = stock_of(summarize(since_ever(period)), period)
        assert (found.total, found.daily, found.limit) == (0, 0.0, None)
        assert found.keeps_days is None
