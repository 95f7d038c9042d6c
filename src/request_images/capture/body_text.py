"""The texts in a body of JSON or of a form, within limits of time and memory."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

MAX_NODES = 10_000
"""Maximum number of values that are searched in a JSON body without a path."""
MAX_MARKS = 100_000
"""Maximum number of commas, quotes and opening brackets of a JSON body."""
MAX_FIELDS = 1_000
"""Maximum number of fields of a form."""
MAX_DEPTH = 32
"""Maximum depth of nested values in a JSON body."""
MAX_TEXTS = 1_000
"""Maximum number of texts of a JSON body that are decoded: the longest ones."""
MAX_WIDE_SIZE = 4_000_000
"""Maximum bytes of a JSON body in another encoding than UTF-8."""
SHORTEST = 32
"""Minimum number of characters of a text; the smallest GIF has more in base64."""

_MAX_NAME = 1_000  # bytes of a field's name
_MAX_KEY = 200  # characters of a key, as many as the log keeps of a whole path
_MARKS = b',"[{'
_NOT_JSON = (ValueError, RecursionError)


Place: TypeAlias = "tuple[str | int, Place | None, int]"
"""The place of a value in a JSON document: its key or index in its container, the place
of the container (None for the document), and the depth. It has no copy of the path."""


def path_to(place: Place) -> tuple[str, ...]:
    """Return the keys from the document on, each with its first 200 characters."""
    keys: list[str] = []
    key, outer, _ = place
    while outer is not None:
        keys.append(_from_latin_1(str(key)))
        key, outer, _ = outer
    return tuple(reversed(keys))


class BrokenLinesError(ValueError):
    """A body of several JSON documents has others that are not JSON.

    Args:
        problem: The reason, in words.
        documents: Those that are.
    """

    def __init__(self, problem: str, documents: list[Any]) -> None:
        super().__init__(problem)
        self.documents = documents


def load_json(body: bytes) -> Any:
    """Parse a JSON body, or one of several documents: JSON lines, or RFC 7464.

    Keys may be decoded as Latin-1; `at` and `strings` know that.

    Raises:
        ValueError: It is not JSON, or beyond the limits.
    """
    # Counted before it is parsed: 20 MB of "[],[]," become half a gigabyte.
    if len(body) - len(body.translate(None, _MARKS)) > MAX_MARKS:
        raise ValueError(f"JSON of more than {MAX_MARKS} commas, quotes and brackets")
    text = _json_text(body)
    del body  # which may be a copy
    try:
        return _parsed(text)
    except _NOT_JSON as error:
        return _documents(text, f"not JSON: {error}")


def _parsed(text: str) -> Any:
    # Numbers are not needed, and a long one takes long to parse.
    return json.loads(text, parse_int=len, parse_float=len)


def _documents(text: str, problem: str) -> list[Any]:
    """Parse the documents of JSON lines or of a JSON sequence (RFC 7464).

    Raises:
        BrokenLinesError: Others follow that are not JSON, or too many.
        ValueError: The first is not JSON.
    """
    records = re.finditer("[^\x1e]+" if "\x1e" in text else "[^\n]+", text)
    documents: list[Any] = []
    later = ""  # the first problem after a good document
    for record in islice(records, MAX_NODES):
        try:
            if not record[0].isspace():
                documents.append(_parsed(record[0]))
        except _NOT_JSON as error:
            if not documents:
                raise ValueError(problem) from None
            at = len(documents)
            later = later or f"document {at} is followed by no JSON: {error}"
    if next(records, None) is not None:
        later = later or f"more than {MAX_NODES} documents"
    if later:
        raise BrokenLinesError(later, documents)
    return documents


def _json_text(body: bytes) -> str:
    # With one emoji, Python takes four bytes for each character of a text. Latin-1
    # takes one, and base64 and JSON itself are ASCII.
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body.decode("latin-1")
    if encoding == "utf-8-sig":
        return str(memoryview(body)[3:], "latin-1")
    if len(body) > MAX_WIDE_SIZE:
        raise ValueError(f"more than {MAX_WIDE_SIZE} bytes of {encoding}")
    return body.decode(encoding, "replace")


def _as_latin_1(key: str) -> str:
    return key.encode("utf-8", "replace").decode("latin-1")


def _from_latin_1(key: str) -> str:
    some = key[: 4 * _MAX_KEY]
    try:
        data = some.encode("latin-1")
        # The last character may be cut.
        text = data.decode("utf-8", "strict" if len(some) == len(key) else "ignore")
    except UnicodeError:
        text = some  # it was escaped ("\u00e9"), or in another encoding
    return text[:_MAX_KEY]


def at(document: Any, path: Iterable[str]) -> Any:
    """Return the value at a path of a JSON document, or None."""
    for key in path:
        if isinstance(document, dict):
            document = document.get(key, document.get(_as_latin_1(key)))
        elif (
            isinstance(document, list) and key.isdecimal() and int(key) < len(document)
        ):
            document = document[int(key)]
        else:
            return None
    return document


def strings(document: Any, *, in_order: bool = False) -> Sequence[tuple[Place, str]]:
    """Return the strings of a JSON document that may be images, and their places.

    Args:
        document: The result of `load_json`, or a part of it.
        in_order: Whether to keep the order of the document; else outer strings first.
    """
    values, children = _walk(document)
    order = _document_order(children) if in_order else range(len(values))
    found = [
        (place, value)
        for place, value in map(values.__getitem__, order)
        if isinstance(value, str) and len(value) >= SHORTEST
    ]
    if len(found) > MAX_TEXTS:
        longest = heapq.nlargest(
            MAX_TEXTS, range(len(found)), key=lambda number: len(found[number][1])
        )
        found = [found[number] for number in sorted(longest)]
    return found


def _walk(document: Any) -> tuple[list[tuple[Place, Any]], list[range]]:
    """Return the values of a document, and for each the range of its children."""
    # Breadth first with a queue: a hostile nesting cannot overflow the stack, and a
    # long list does not hide the values after it.
    queue: list[tuple[Place, Any]] = [(("", None, 0), document)]
    children: list[range] = []
    for place, value in queue:
        begin, depth = len(queue), place[2] + 1
        room = MAX_NODES - begin if depth <= MAX_DEPTH else 0
        items: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, list):
            items = enumerate(value)
        queue += [((key, place, depth), item) for key, item in islice(items, room)]
        children.append(range(begin, len(queue)))
    return queue, children


def _document_order(children: Sequence[range]) -> Iterator[int]:
    stack = [0]
    while stack:
        number = stack.pop()
        yield number
        stack += reversed(children[number])


def form_fields(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and values of an urlencoded form, still escaped.

    Raises:
        ValueError: The form has too many fields.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise ValueError(f"a form of more than {MAX_FIELDS} fields")
    fields, begin = [], 0
    while begin <= len(body):
        end = body.find(b"&", begin)
        end = len(body) if end < 0 else end
        equals = body.find(b"=", begin, end)
        equals = end if equals < 0 else equals
        name = body[begin : min(equals, begin + _MAX_NAME)]
        fields.append((name, body[equals + 1 : end]))
        begin = end + 1
    return fields
