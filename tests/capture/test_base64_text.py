"""Text to bytes, piece by piece: the same bytes wherever a piece ends."""

from __future__ import annotations

import base64
import itertools
import random
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest

from request_images.capture import base64_text
from request_images.capture.base64_text import Text, unescape
from tests.image_files import draw

SPELLINGS = {
    "plain": lambda data: base64.b64encode(data).decode(),
    "bytes": base64.b64encode,
    "urlsafe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "lines": lambda data: base64.encodebytes(data).decode(),
    "unpadded": lambda data: base64.b64encode(data).decode().rstrip("="),
    "spaces": lambda data: " ".join(base64.b64encode(data).decode()),
    "data URI": lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}",
    "escaped data URI": lambda data: f"data:image/png,{quote_from_bytes(data)}",
    "white space before it": lambda data: (
        f"\r\n\t data:image/png;BASE64,{base64.b64encode(data).decode()}\n"
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_every_variant_decodes_alike(spelling, cut, monkeypatch):
    """Each spelling of base64, of each length modulo three, in pieces of any size."""
    data = draw(seed=0xFBFF) + b"=%+ "[:cut]
    text = Text(SPELLINGS[spelling](data))
    start = text.start()
    assert data.startswith(start)
    assert len(start) >= 64
    for size in (60, 61, 62, 63, 1 << 16):
        monkeypatch.setattr(base64_text, "_PIECE", size)
        assert text.decode() == data


@pytest.mark.parametrize("size", [61, 1 << 16])
def test_escaped_text_of_a_form_decodes(size, monkeypatch):
    """The escapes of a form are resolved first, also those of a data URI's head."""
    monkeypatch.setattr(base64_text, "_PIECE", size)
    data = draw(seed=0xFBFF)
    for spelling in SPELLINGS.values():
        text = spelling(data)
        escaped = quote_from_bytes(text if isinstance(text, bytes) else text.encode())
        assert Text(escaped.encode(), is_escaped=True).decode() == data
        assert data.startswith(Text(escaped.encode(), is_escaped=True).start())


def test_space_is_read_as_unescaped_plus():
    """In a form that somebody else has taken apart."""
    data = b"\xfb\xef\xbe" * 50
    text = base64.b64encode(data).decode().replace("+", " ")
    assert " " in text
    assert Text(text, has_spaces_for_plus=True).decode() == data
    assert Text(text, has_spaces_for_plus=True).start() == data[:66]


@pytest.mark.parametrize(
    "text",
    ["AAA!", "AA=A", "A", "AAAAA", "AAAA" * 50 + "é", "AAAA=\nAAAA", "====A", "AA%3D"],
)
def test_text_outside_of_the_alphabet_is_refused(text):
    """What is not of the alphabet is refused, wherever it is."""
    for size in (3, 1 << 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base64_text, "_PIECE", size)
            with pytest.raises(ValueError, match=r"alphabet|ASCII|padding"):
                Text(text).decode()


def test_start_of_a_text_outside_of_the_alphabet_is_refused():
    """A text that is wrong at its start has none."""
    for text in ("Ä" * 100, "data:" + "x" * 300, "%" * 100):
        with pytest.raises(ValueError, match=r"alphabet|comma"):
            Text(text).start()
    assert Text("").start() == Text("").decode() == b""


def test_unescape_equals_unquote_to_bytes():
    """The same as Python's own, of whatever a client may escape."""
    numbers = random.Random(1)
    for _ in range(500):
        data = numbers.randbytes(numbers.randrange(80))
        escaped = quote_from_bytes(data, safe="=\r\n &?").encode()
        lower = escaped.lower() if numbers.random() < 0.5 else escaped
        assert unescape(lower) == unquote_to_bytes(lower)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_escapes_split_between_pieces_are_resolved(size):
    """An escape that is cut in two is one."""
    escaped = quote_from_bytes(bytes(range(256))).encode() + b"%4"
    pieces = [escaped[at : at + size] for at in range(0, len(escaped), size)]
    assert b"".join(base64_text._unescaped(pieces)) == bytes(range(256)) + b"%4"


def repetitions(pattern):
    """Return what a pattern repeats without end, as matches of patterns of one byte."""
    return list(re.finditer(rb"(\[[^]]+\]|\\\w|[^)])[*+]", pattern.pattern))


def test_search_for_the_end_of_a_head_begins_where_each_repetition_ends():
    """Kind: a single call is bounded by the length of the text, too.

    A head of spaces took 0.1 s when the search began at each space, and went on to the
    last one from there.
    """
    begin = base64_text._BASE64.pattern[:1]
    assert begin == b";"
    found = repetitions(base64_text._BASE64)
    assert len(found) == 4
    assert [each[1] for each in found if re.match(each[1], begin)] == []


@pytest.mark.parametrize("pattern", [base64_text._DATA, base64_text._BASE64])
def test_each_byte_of_a_head_belongs_to_one_repetition(pattern):
    """Of two repetitions in a row, each end of one would be tried with each other."""
    every_byte = [bytes([number]) for number in range(256)]
    [(one, other)] = [
        (one[1], other[1])
        for one, other in itertools.pairwise(repetitions(pattern))
        if one.end() == other.start()
    ]
    assert [b for b in every_byte if re.match(one, b) and re.match(other, b)] == []
