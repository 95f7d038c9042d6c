"""Which numbers make a finding, and what it says."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from django.utils import translation

from request_images.aggregation.comparison import Comparison, Share
from request_images.aggregation.tallies import Tally
from request_images.charts import Notation
from request_images.dashboard.findings import ENOUGH, FindingWriter
from request_images.dashboard.overview import Newcomer
from request_images.query.links import Links

NOW = datetime(2026, 6, 10, tzinfo=timezone.utc)
WRITER = FindingWriter(Notation(), Links("/pictures/", {"days": "30"}))


def tally(count, *, failed=0, slow=0):
    """Return requests of 1 ms, and some of 100 ms."""
    found = Tally(count, failed)
    found.histogram[0] += count - slow
    found.histogram[232] += slow
    return found


def texts(findings):
    return [finding.text.replace("\u00a0", " ") for finding in findings]


def test_the_three_worst_groups_are_named_with_links():
    worse = [
        Comparison("mime_type", "image/webp", Share(12, 100), Share(20, 1000)),
        Comparison("release", "2.4.1", Share(12, 100), Share(20, 1000)),
        Comparison("file_size", "", Share(12, 100), Share(20, 1000)),
        Comparison("endpoint", "solve", Share(12, 100), Share(20, 1000)),
    ]
    better = Comparison("endpoint", "read", Share(2, 1000), Share(20, 100))
    found = list(WRITER.of_failing([better, *worse]))
    assert texts(found) == [
        "image/webp: 12 % of 100 requests failed, 2 % of the others",
        "release 2.4.1: 12 % of 100 requests failed, 2 % of the others",
        "file size unknown: 12 % of 100 requests failed, 2 % of the others",
    ]
    assert [finding.href for finding in found] == [
        "/pictures/?days=30&mime_type=image%2Fwebp&outcome=failed",
        "/pictures/?days=30&release=2.4.1&outcome=failed",
        "",
    ]


def test_slow_groups_are_named_with_the_limit_in_the_link():
    [found] = WRITER.of_slow(
        [Comparison("megapixels", "2", Share(5, 40), Share(1, 90))], 1250
    )
    text = "2–5 megapixels: 12.5 % of 40 requests are among the slowest"
    assert text in texts([found])[0]
    assert found.href == (
        "/pictures/?days=30&megapixels=2-5&duration=1250.000000-&sort=slowest"
    )


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        (
            (300, 30),
            (300, 0),
            "p95 is 99.9 ms, +9,791 % since release 2",
        ),
        ((300, 0), (300, 30), "p95 is 1 ms, \u221299 % since release 2"),
        ((300, 0), (300, 0), None),
        ((ENOUGH - 1, 30), (300, 0), None),
        ((300, 30), (ENOUGH - 1, 0), None),
    ],
)
def test_p95_since_a_release_needs_enough_requests_and_a_fifth_of_change(
    now, before, said
):
    of_now, of_before = (tally(count, slow=slow) for count, slow in (now, before))
    found = list(WRITER.of_release(Newcomer("2", NOW, of_now, of_before)))
    assert texts(found) == [f"{said} (300 requests)"] * (said is not None)
    for finding in found:
        assert finding.is_bad is ("+" in finding.text)
        assert "release=2" in finding.href


@pytest.mark.parametrize(
    ("now", "before", "is_bad"), [(60, 10, True), (10, 60, False), (20, 20, None)]
)
def test_failures_since_the_previous_period_need_a_change_beyond_chance(
    now, before, is_bad
):
    found = list(WRITER.of_period(tally(1000, failed=now), tally(1000, failed=before)))
    assert [finding.is_bad for finding in found] == [is_bad] * (is_bad is not None)
    for text in texts(found):
        assert re.fullmatch(
            r"[16] % of 1,000 requests failed, [16] % in the previous period", text
        )


def test_a_period_of_few_requests_has_no_finding():
    assert list(WRITER.of_period(tally(150, failed=100), tally(150))) == []


def test_images_that_were_not_stored_are_counted_by_reason():
    statuses = {"stored": tally(9), "too_large": tally(23), "truncated": tally(1)}
    found = list(WRITER.of_dropped(statuses))
    assert texts(found) == [
        "23 images were not stored: “Too large”",
        "1 image was not stored: “Truncated”",
    ]
    assert found[0].href == "/pictures/?days=30&capture_status=too_large"


def test_storage_limit_is_announced_in_days():
    assert texts([WRITER.of_storage(41, "/storage/")]) == [
        "At the current rate, the storage limit is reached in 41 days"
    ]


@pytest.mark.parametrize(
    ("ran", "waiting", "said"),
    [
        (None, 9, ["cleanup_old_images has never run"]),
        (3, 9, ["cleanup_old_images last ran 3 days ago"]),
        (1, 9, []),
        (None, 1, []),
    ],
)
def test_cleanup_is_late_when_images_expired_two_days_ago(ran, waiting, said):
    ran_at = None if ran is None else NOW - timedelta(days=ran)
    found = list(WRITER.of_cleanup(ran_at, timedelta(days=waiting), NOW, "/health/"))
    assert texts(found) == said
    assert {finding.href for finding in found} <= {"/health/"}


def test_findings_are_translated():
    with translation.override("de"):
        [found] = WRITER.of_failing(
            [Comparison("endpoint", "solve", Share(12, 100), Share(20, 1000))]
        )
    assert "fehlgeschlagen" in found.text
