"""What is written fits every column of every supported database."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid

import pytest
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from request_images.db.columns import MAX_JSON_LENGTH, clean_json, clean_text
from tests.factories import make_log

ANY_TEXT = st.text(st.characters())
# Beyond 2**53 PostgreSQL gives a float back as the whole number that is written alike.
FLOATS = st.floats(-(2**53), 2**53) | st.sampled_from([float("inf"), float("nan")])


class Speechless:
    """What no `str` can be had of."""

    def __str__(self) -> str:
        raise RuntimeError


class TestText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("abcd", "abcd"),
            ("abcde", "abc…"),
            ("a\x00b\x00", "ab"),
            ("\ud800", "?"),
            (None, "None"),
            (17, "17"),
            (ValueError("no"), "no"),
        ],
    )
    def test_text_is_made_to_fit(self, value, text):
        """NUL goes, half a surrogate pair is replaced, the rest is cut with a sign."""
        assert clean_text(value, 4) == text

    def test_value_whose_str_raises_becomes_its_type(self):
        """A ``__str__`` that raises costs its own text and no more."""
        assert clean_text(Speechless(), 200) == "<Speechless: RuntimeError>"

    @given(ANY_TEXT, st.integers(1, 50))
    def test_text_is_never_too_long_or_unwritable(self, value, limit):
        """Any text comes out within its limit, in valid UTF-8, without NUL."""
        text = clean_text(value, limit)
        assert len(text) <= limit
        assert "\x00" not in text
        text.encode()


class TestJson:
    def test_keeps_what_json_can_hold(self):
        """Plain values come through as they are."""
        value = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}
        assert clean_json(value) == value

    def test_other_values_become_text(self):
        """Dates, decimals, sets, objects, infinities: readable, never an error."""
        naive = datetime.datetime(2026, 11, 22, 1, 2, 3)
        aware_time = datetime.time(1, 2, tzinfo=datetime.timezone.utc)
        value = {
            "when": naive,
            "aware time": aware_time,
            "price": decimal.Decimal("1.50"),
            "id": uuid.UUID(int=5),
            "lazy": lazystr("l\x00azy"),
            "tuple": (1, "\x00"),
            "set": {7},
            "inf": float("inf"),
            "bytes": b"x",
            "type": Speechless,
            "speechless": Speechless(),
            3: "number as a key",
        }
        assert clean_json(value) == {
            "when": "2026-11-22T01:02:03",
            "aware time": "01:02:00+00:00",
            "price": "1.50",
            "id": "00000000-0000-0000-0000-000000000005",
            "lazy": "lazy",
            "tuple": [1, ""],
            "set": [7],
            "inf": "inf",
            "bytes": "b'x'",
            "type": str(Speechless),
            "speechless": "<Speechless: RuntimeError>",
            "3": "number as a key",
        }

    def test_document_that_contains_itself_is_left_out(self):
        """A circle is noted, not followed for ever."""
        circle = {}
        circle["again"] = [circle]
        assert clean_json(circle) == {"left_out": "nested too deeply"}

    def test_too_large_document_is_left_out(self):
        """A row does not grow without bound."""
        value = {"text": "x" * MAX_JSON_LENGTH}
        expected = len(json.dumps(value))
        assert clean_json(value) == {"left_out": f"{expected} characters of JSON"}

    def test_number_with_too_many_digits_is_left_out(self):
        """An integer of 5,000 digits is beyond Python's own limit."""
        assert "digits" in clean_json({"n": 10**5000})["left_out"]

    @pytest.mark.django_db
    @given(
        st.dictionaries(
            ANY_TEXT,
            st.recursive(
                st.none() | st.booleans() | st.integers() | FLOATS | ANY_TEXT,
                lambda children: st.lists(children, max_size=3),
                max_leaves=5,
            ),
            max_size=3,
        )
    )
    def test_document_is_read_back_unchanged(self, value):
        """Whatever comes out, the database takes it and gives back the same."""
        cleaned = clean_json(value)
        log = make_log(metadata=cleaned, error_message=clean_text(str(value), 2000))
        log.refresh_from_db()
        assert log.metadata == cleaned
