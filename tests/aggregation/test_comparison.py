"""What separates failed requests from the others, and what only looks as if."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from request_images.aggregation.comparison import Comparison, Share, compare


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        # R: binom::binom.confint(x, n, methods = "wilson")
        (0, 10, 0.0, 0.2775328),
        (1, 10, 0.0178762, 0.4041500),
        (5, 10, 0.2365931, 0.7634069),
        (10, 10, 0.7224672, 1.0),
        (12, 100, 0.0699889, 0.1981167),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval(hits, count, low, high):
    """The interval equals published tables."""
    assert Share(hits, count).interval == pytest.approx((low, high), abs=1e-5)


@given(
    st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
)
def test_interval_contains_the_share(numbers):
    """The interval is within 0 and 1."""
    share = Share(*numbers)
    low, high = share.interval
    assert 0 <= low <= share.rate <= high <= 1


def test_cause_of_failures_is_first():
    """Of several properties the cause of the failures is first."""
    classes = {
        "mime_type": [("image/webp", Share(48, 400)), ("image/png", Share(12, 600))],
        "megapixels": [("0-1", Share(31, 500)), ("1-2", Share(29, 500))],
    }
    found = compare(classes)

    # Two classes are each other's rest: one has more, the other fewer.
    assert [(s.name, s.key, s.is_worse) for s in found] == [
        ("mime_type", "image/png", False),
        ("mime_type", "image/webp", True),
    ]
    webp = found[1]
    assert webp.rest == Share(12, 600)
    assert webp.lift == pytest.approx(0.12 / 0.06)
    assert webp.gap > 0


def test_small_groups_are_not_compared():
    """A group and its rest need thirty requests each."""
    assert not compare({"mime_type": [("a", Share(29, 29)), ("b", Share(0, 900))]})
    assert not compare({"mime_type": [("a", Share(900, 900)), ("b", Share(0, 29))]})
    assert compare({"mime_type": [("a", Share(30, 30)), ("b", Share(0, 30))]})
    assert not compare({"mime_type": [("a", Share(5, 900))], "color_mode": []})


def test_lift_of_zero_hits_is_none():
    """A multiple of 0 is undefined."""
    assert Comparison("mime_type", "a", Share(0, 40), Share(0, 40)).lift is None
    assert Share(0, 0).rate == 0


def test_equal_groups_keep_their_order():
    """The first of two properties with equal groups is first."""
    shares = [Share(30, 40), Share(0, 40)]
    for names in (("b", "a"), ("a", "b")):
        classes = {
            name: [(f"{name} {number}", share) for number, share in enumerate(shares)]
            for name in names
        }
        assert [s.name for s in compare(classes)] == [*names[:1] * 2, *names[1:] * 2]


def test_chance_rarely_stands_out():
    """At most one of a hundred groups with equal rates stands out."""
    draw = random.Random(4)
    names = [f"property {number}" for number in range(1000)]
    classes = {
        name: [
            (key, Share(sum(draw.random() < 0.1 for _ in range(100)), 100))
            for key in "ab"
        ]
        for name in names
    }
    assert len({comparison.name for comparison in compare(classes)}) <= 10
