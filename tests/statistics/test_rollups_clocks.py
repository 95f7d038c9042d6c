"""Hosts whose clocks differ: no request is missing in the statistics."""

from __future__ import annotations

from datetime import datetime, timedelta
from datetime import timezone as tz

import pytest
from django.utils import timezone

from request_images.aggregation.periods import HOUR, Period
from request_images.models import RequestLog
from request_images.models.statistics import StatisticsRollup
from request_images.statistics import rollups
from request_images.statistics.summarize import summarize
from tests.image_files import draw

pytestmark = pytest.mark.django_db

END = datetime(2026, 3, 4, 11, tzinfo=tz.utc)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("of_writer", "of_reader"), [(-15, 0), (15, 0), (0, -15), (0, 15)]
)
def test_no_request_is_missing(client, monkeypatch, of_writer, of_reader):
    """One host writes around the end of an hour while another adds it up."""

    def at(minutes):
        monkeypatch.setattr(timezone, "now", lambda: END + minutes * MINUTE)

    for minute in range(-30, 50, 4):
        at(minute + of_writer)
        client.post("/body/", draw(), content_type="image/png")
        at(minute + of_reader)
        rollups.update()
    at(24 * 60)
    rollups.update()
    summary = summarize(Period(END - 3 * HOUR, END + 3 * HOUR))
    assert StatisticsRollup.objects.exists()
    assert summary.missing_hours == 0
    assert summary.overall().request_count == RequestLog.objects.count() == 20
