"""Text to bytes, piece by piece: the same bytes wherever a piece ends."""

from __future__ import annotations

import base64
import random
import time
from contextlib import suppress
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


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png" + " " * 8100,
        "data:image/png" + "; " * 4050,
        "data:image/png;base64" + " " * 8100,
        "data:image/png" + ";base64" * 1100,
        "data:image/png;base64;" + "w" * 8000,
        "image/" + "w" * 8100,
    ],
)
def test_hostile_head_costs_as_much_as_any(head):
    """Kind: what is one call is bounded by its length, too.

    A head of spaces took 0.1 s, a thousand times as much as one of letters.
    """

    def seconds(text):
        found = []
        for _ in range(3):
            begin = time.thread_time()
            for _ in range(20):
                with suppress(ValueError):
                    Text(text).start()
            found.append(time.thread_time() - begin)
        return min(found)

    letters = "data:" + "x" * len(head)
    assert seconds(head + "y" * 90) < 50 * seconds(letters + "y" * 90) + 0.01
