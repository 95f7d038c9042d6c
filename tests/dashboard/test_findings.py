"""What is said of which numbers, and when nothing is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.utils import translation

from request_images.aggregation.standouts import Share, Standout
from request_images.aggregation.tallies import Tally
from request_images.charts import Notation
from request_images.dashboard.findings import ENOUGH, Writer
from request_images.dashboard.overview import Newcomer
from request_images.query.links import Links

NOW = datetime(2026, 6, 10, tzinfo=timezone.utc)
WRITER = Writer(Notation(), Links("/pictures/", {"days": "30"}))


def tally(count, *, failed=0, slow=0):
    """Return requests of 1 ms, and some of 100 ms."""
    found = Tally(count, failed)
    found.histogram[0] += count - slow
    found.histogram[232] += slow
    return found


def texts(sentences):
    return [sentence.text.replace("\u00a0", " ") for sentence in sentences]


def test_classes_that_fail_more_often():
    """The first three of them, with where they are to be seen."""
    worse = [
        Standout("mime_type", "image/webp", Share(12, 100), Share(20, 1000)),
        Standout("release", "2.4.1", Share(12, 100), Share(20, 1000)),
        Standout("file_size", "", Share(12, 100), Share(20, 1000)),
        Standout("endpoint", "solve", Share(12, 100), Share(20, 1000)),
    ]
    better = Standout("endpoint", "read", Share(2, 1000), Share(20, 100))
    found = list(WRITER.of_failing([better, *worse]))
    assert texts(found) == [
        "image/webp: 12 % fail, against 2 % of the others (100 requests)",
        "release 2.4.1: 12 % fail, against 2 % of the others (100 requests)",
        "files unknown: 12 % fail, against 2 % of the others (100 requests)",
    ]
    assert [sentence.href for sentence in found] == [
        "/pictures/?days=30&mime_type=image%2Fwebp&outcome=failed",
        "/pictures/?days=30&release=2.4.1&outcome=failed",
        "",
    ]


def test_classes_that_are_slow():
    [found] = WRITER.of_slow(
        [Standout("megapixels", "2", Share(5, 40), Share(1, 90))], 1250
    )
    assert "2–5 megapixels: 12.5 % are among the slowest tenth" in texts([found])[0]  # noqa: RUF001
    assert found.href == (
        "/pictures/?days=30&megapixels=2-5&duration=1250.000000-&sort=slowest"
    )


@pytest.mark.parametrize(
    ("now", "before", "said"),
    [
        ((300, 30), (300, 0), "p95 99.9 ms, up 9,791 % since release 2 (300 requests)"),
        ((300, 0), (300, 30), "p95 1 ms, down 99 % since release 2 (300 requests)"),
        ((300, 0), (300, 0), None),
        ((ENOUGH - 1, 30), (300, 0), None),
        ((300, 30), (ENOUGH - 1, 0), None),
    ],
)
def test_p95_since_a_release(now, before, said):
    """Of enough requests, and when it changed by a fifth."""
    of_now, of_before = (tally(count, slow=slow) for count, slow in (now, before))
    found = list(WRITER.of_release(Newcomer("2", NOW, of_now, of_before)))
    assert texts(found) == [said] * (said is not None)
    for sentence in found:
        assert sentence.is_bad is (" up " in sentence.text)
        assert "release=2" in sentence.href


@pytest.mark.parametrize(
    ("now", "before", "is_bad"), [(60, 10, True), (10, 60, False), (20, 20, None)]
)
def test_failures_since_the_period_before(now, before, is_bad):
    """A change that chance rarely makes."""
    found = list(WRITER.of_period(tally(1000, failed=now), tally(1000, failed=before)))
    assert [sentence.is_bad for sentence in found] == [is_bad] * (is_bad is not None)
    for text in texts(found):
        assert text.endswith("did before (1,000 requests)")


def test_a_period_of_few_requests():
    assert list(WRITER.of_period(tally(150, failed=100), tally(150))) == []


def test_images_that_were_not_kept():
    statuses = {"stored": tally(9), "too_large": tally(23), "truncated": tally(1)}
    found = list(WRITER.of_dropped(statuses))
    assert texts(found) == [
        "23 images were not kept: too large",
        "1 image was not kept: cut off",
    ]
    assert found[0].href == "/pictures/?days=30&capture_status=too_large"


def test_storage():
    assert texts([WRITER.of_storage(41, "/storage/")]) == [
        "The storage is full in 41 days, if it goes on like this"
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
def test_cleanup(ran, waiting, said):
    """Only when there has been something to do for two days."""
    ran_at = None if ran is None else NOW - timedelta(days=ran)
    found = list(WRITER.of_cleanup(ran_at, timedelta(days=waiting), NOW, "/health/"))
    assert texts(found) == said
    assert {sentence.href for sentence in found} <= {"/health/"}


def test_in_german():
    with translation.override("de"):
        [found] = WRITER.of_failing(
            [Standout("endpoint", "solve", Share(12, 100), Share(20, 1000))]
        )
    assert "schlagen fehl" in found.text
