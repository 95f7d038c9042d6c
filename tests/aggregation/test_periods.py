"""Periods and the pieces they are composed of."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from request_images.aggregation.periods import HOUR, UTC, Built, Span, cover, cover_each

START = datetime(2026, 2, 26, tzinfo=UTC)
HOURS = st.integers(-800, 1600).map(lambda number: START + number * HOUR)


@given(HOURS, HOURS, HOURS, HOURS, st.sets(HOURS, max_size=5))
def test_missing_hours_are_those_that_no_piece_covers(since, until, first, last, stale):
    """They are counted without a walk over centuries that have no statistics."""
    first, last = sorted((first, last))
    built = Built(first, last, sorted(h for h in stale if first <= h < last))
    _, missing = cover(since, min(until, last), built)
    assert built.missing(since, until) == len(missing)


def test_centuries_before_the_first_request_have_no_pieces():
    """A period from the first year on takes as many pieces as the last day alone."""
    built = Built(START, START + 48 * HOUR)
    slots = [(datetime(1970, 1, 1, 1, tzinfo=UTC), START + 36 * HOUR)]
    pieces = cover_each(slots, built, subtracts=True)
    assert set(pieces) == {(Span.DAY, START)} | {
        (Span.HOUR, START + hour * HOUR) for hour in range(24, 36)
    }
