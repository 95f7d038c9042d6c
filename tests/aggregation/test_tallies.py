"""Counted requests: packed, merged, and percentiles that are exact to one per cent."""

from __future__ import annotations

import math
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from request_images.aggregation.gather import FIELDS, gather
from request_images.aggregation.percentiles import bucket_of, percentiles
from request_images.aggregation.properties import (
    ALL,
    DIMENSIONS,
    FILE_SIZE,
    IMAGE_PROPERTIES,
    MEASURES,
    MEGAPIXELS,
)
from request_images.aggregation.tallies import (
    Tally,
    add_packed,
    add_to,
    capped,
    pack,
    take_from,
    unpack,
)

DURATIONS = st.lists(st.floats(0.001, 1e8), min_size=1, max_size=50)
CELLS = st.dictionaries(
    st.none() | st.text(max_size=5),
    st.builds(
        Tally,
        st.integers(0, 2**40),
        st.integers(0, 2**40),
        st.floats(0, 1e12),
        st.integers(0, 2**60),
        st.dictionaries(st.integers(-350, 1300), st.integers(1, 2**40), max_size=9),
    ),
    max_size=5,
)


def add_up(many):
    """Return the sums of the tallies of each value."""
    sums = {}
    for cells in many:
        add_to(sums, cells)
    return sums


SOME = CELLS.map(lambda cells: {v: tally for v, tally in cells.items() if tally.count})


@given(CELLS)
def test_pack_round_trip(cells):
    """Any values and sums survive packing."""
    assert unpack(pack(cells)) == cells
    assert unpack(memoryview(pack(cells))) == cells


@given(SOME, SOME)
def test_subtraction_reverses_addition(cells, others):
    """No value and no bucket is left."""
    both = add_up([cells, others])
    take_from(both, others)
    assert both.keys() == cells.keys()
    for value, tally in both.items():
        assert tally.count == cells[value].count
        assert tally.histogram == cells[value].histogram


@given(st.lists(DURATIONS, min_size=1, max_size=10), st.sampled_from([0.5, 0.95, 0.99]))
def test_merged_percentiles_are_within_one_percent_of_the_exact_ones(hours, share):
    """Requests may be spread over hours in any way."""
    sums = {}
    for durations in hours:
        tally = Tally(len(durations))
        for duration in durations:
            tally.histogram[bucket_of(duration)] += 1
        add_packed(sums, pack({"": tally}))
    everything = sorted(duration for durations in hours for duration in durations)
    exact = everything[math.ceil(share * len(everything)) - 1]
    [found] = percentiles(sums[""].histogram, [share])
    assert found == pytest.approx(exact, rel=0.01)
    assert sums[""].count == len(everything)


@given(st.lists(CELLS, max_size=4))
def test_order_of_addition_does_not_matter(many):
    """Hours may be added to days and months, or at once."""

    def counts(cells):
        return {
            value: (tally.count, tally.failed, tally.total_bytes, dict(tally.histogram))
            for value, tally in cells.items()
        }

    in_steps = add_up([add_up(many[:2]), add_up(many[2:])])
    assert counts(in_steps) == counts(add_up(reversed(many)))


def test_later_version_is_refused():
    """The format of a later release raises an error."""
    with pytest.raises(ValueError, match="later version"):
        unpack(b"\x02")


def test_rest_of_an_hour_is_in_the_rest_of_the_day():
    """Values that an hour does not list are not listed for its day."""
    cells = {f"{number:03}": Tally(1) for number in range(101)} | {None: Tally(7)}
    found = capped(cells)
    assert len(found) == 101
    assert found[None].count == 8
    assert "100" not in found
    assert capped(found) is not found
    assert capped(found)[None].count == 8


@pytest.mark.parametrize(
    ("size", "width", "height", "megapixels", "bytes_"),
    [
        (1, 1, 1, (0, 0.5), (0, 102_400)),
        (102_400, 1000, 500, (0.5, 1), (102_400, 512_000)),
        (10**9, 10_000, 10_000, (20, None), (10_485_760, None)),
        (None, None, None, (None, None), (None, None)),
        (None, 5, None, (None, None), (None, None)),
    ],
)
def test_bounds_belong_to_the_upper_bin(size, width, height, megapixels, bytes_):
    """A bin includes its lower bound."""
    moment = datetime(2026, 6, 10, 15, 20, tzinfo=timezone.utc)
    known = {
        "created_at": moment,
        "duration_ms": 5.0,
        "duration_bucket": 80,
        "endpoint": "solve",
        "image__pk": 1,
        "image__file_size": size,
        "image__width": width,
        "image__height": height,
    }
    row = tuple(known.get(name) for name in FIELDS)
    values = {place.facet: place.value for place in gather([row])}

    def bounds(facet):
        return tuple(facet.key(values[facet]).values())

    assert bounds(MEGAPIXELS) == megapixels
    assert bounds(FILE_SIZE) == bytes_
    assert ALL.key(values[ALL]) == {}
    has_size = width is not None and height is not None
    assert DIMENSIONS.key(values[DIMENSIONS]) == {
        "width": width if has_size else None,
        "height": height if has_size else None,
    }


def test_bins_are_in_order():
    """Each bin ends where the next begins."""
    for each in (*IMAGE_PROPERTIES, *MEASURES.values()):
        bounds = getattr(each, "bounds", ())
        assert list(bounds) == sorted(bounds)
