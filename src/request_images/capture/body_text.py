"""The texts in a body of JSON or of a form, within bounds of time and memory."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

MAX_NODES = 10_000
"""How many values of a JSON body are searched when no path is given."""
MAX_MARKS = 100_000
"""How many commas, quotes and opening brackets a JSON body may have."""
MAX_FIELDS = 1_000
"""How many fields a form may have."""
MAX_DEPTH = 32
"""How deep the values of a JSON body may be nested."""
MAX_TEXTS = 1_000
"""How many texts of a JSON body are looked into: the longest."""
MAX_WIDE_SIZE = 4_000_000
"""How many bytes a JSON body in another encoding than UTF-8 may have."""
SHORTEST = 32
"""Characters; the smallest GIF is longer than this in base64."""

_MAX_NAME = 1_000  # bytes of a field's name
_MARKS = b',"[{'

Path = tuple[str, ...]


def load_json(body: bytes) -> Any:
    """Return a JSON body as objects. Keys may be in disguise: see `at` and `strings`.

    Raises:
        ValueError: It is none, or more than is looked into.
    """
    # Counted before it is parsed: 20 MB of "[],[]," become half a gigabyte.
    if len(body) - len(body.translate(None, _MARKS)) > MAX_MARKS:
        raise ValueError(f"JSON of more than {MAX_MARKS} commas, quotes and brackets")
    try:
        # A number is of no interest, and a long one takes its time.
        return json.loads(_json_text(body), parse_int=len, parse_float=len)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _json_text(body: bytes) -> str:
    # One emoji, and Python takes four bytes for each character of a text. Read as
    # Latin-1 it is one byte, and what is of interest is ASCII: base64, and JSON itself.
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body.decode("latin-1")
    if encoding == "utf-8-sig":
        return str(memoryview(body)[3:], "latin-1")
    if len(body) > MAX_WIDE_SIZE:
        raise ValueError(f"more than {MAX_WIDE_SIZE} bytes of {encoding}")
    return body.decode(encoding)


def _disguised(key: str) -> str:
    return key.encode("utf-8", "replace").decode("latin-1")


def _undisguised(key: str) -> str:
    try:
        return key.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return key  # was escaped ("\u00e9"), or in another encoding


def at(document: Any, path: Iterable[str]) -> Any:
    """Return the value at a path of a JSON document, or None."""
    for key in path:
        if isinstance(document, dict):
            document = document.get(key, document.get(_disguised(key)))
        elif (
            isinstance(document, list) and key.isdecimal() and int(key) < len(document)
        ):
            document = document[int(key)]
        else:
            return None
    return document


def strings(document: Any, *, in_order: bool = False) -> Sequence[tuple[Path, str]]:
    """Return the strings of a JSON document that may hold an image, and their paths.

    Args:
        document: What `load_json` returned, or a part of it.
        in_order: Return them as they stand in the document; else the outer ones first.
    """
    values, children = _walk(document)
    order = _as_they_stand(children) if in_order else range(len(values))
    found = [
        (path, value)
        for path, value in map(values.__getitem__, order)
        if isinstance(value, str) and len(value) >= SHORTEST
    ]
    if len(found) > MAX_TEXTS:
        # Rather the longest than the first.
        longest = heapq.nlargest(
            MAX_TEXTS, range(len(found)), key=lambda number: len(found[number][1])
        )
        found = [found[number] for number in sorted(longest)]
    return [(tuple(map(_undisguised, path)), text) for path, text in found]


def _walk(document: Any) -> tuple[list[tuple[Path, Any]], list[range]]:
    """Return the values that are looked at, and of each which of them are in it."""
    # Breadth first with an own queue: a hostile nesting cannot overflow the stack, and
    # one long list does not hide what stands behind it.
    queue: list[tuple[Path, Any]] = [((), document)]
    children: list[range] = []
    for path, value in queue:
        begin = len(queue)
        room = MAX_NODES - begin if len(path) < MAX_DEPTH else 0
        if isinstance(value, dict):
            pairs = list(value.items())[:room]
            queue += [((*path, key), item) for key, item in pairs]
        elif isinstance(value, list):
            queue += [((*path, str(i)), item) for i, item in enumerate(value[:room])]
        children.append(range(begin, len(queue)))
    return queue, children


def _as_they_stand(children: Sequence[range]) -> Iterator[int]:
    stack = [0]
    while stack:
        number = stack.pop()
        yield number
        stack += reversed(children[number])


def form_fields(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and values of an urlencoded form, as escaped as they are.

    Raises:
        ValueError: They are more than are looked into.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise ValueError(f"a form of more than {MAX_FIELDS} fields")
    parts = (part.partition(b"=") for part in body.split(b"&"))
    return [(name[:_MAX_NAME], value) for name, _, value in parts]
