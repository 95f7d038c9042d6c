"""The parsed form on a request: its texts and files, whichever parser made it.

Django's parser leaves two ``MultiValueDict``. A parser of REST framework may leave any
object instead: nested dicts and lists, with files among the texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import IOBase
from typing import Any

from django.core.files.base import File
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict

MAX_VALUES = 10_000
"""Maximum number of values that are looked at."""
MAX_DEPTH = 32
"""Maximum depth of nested values."""

_MAX_NAME = 200  # characters of a nested field's name, as in the column of sources


def is_parsed(request: HttpRequest) -> bool:
    """Tell whether the form was parsed."""
    return "_files" in request.__dict__


def is_made_by_hand(request: HttpRequest) -> bool:
    """Tell whether its fields and files are attributes, which plain code has set."""
    return "FILES" in request.__dict__


def texts(request: HttpRequest) -> Mapping[str, Sequence[str]] | None:
    """Return the text fields of a form; None if it was not parsed."""
    # From the attribute: ``request.POST`` would parse, unless it was made by hand.
    post = request.__dict__.get("_post", request.__dict__.get("POST"))
    if post is None:
        return None
    found: dict[str, list[str]] = {}
    for name, value in _values(post):
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
    return found


def files(request: HttpRequest) -> Iterator[tuple[str, Any]]:
    """Yield the files of a parsed form, each with its field's name."""
    seen = set()
    for attribute in ("_files", "_post", "FILES"):
        for name, value in _values(request.__dict__.get(attribute)):
            if isinstance(value, File | IOBase) and id(value) not in seen:
                seen.add(id(value))
                yield name, value


def read_body(request: HttpRequest) -> bytes | None:
    """Return the body, if Django has read it as a whole; else None."""
    body: bytes | None = request.__dict__.get("_body")
    return body


def first_bytes(file: Any, size: int) -> bytes:
    """Return a file's first bytes and restore its position; empty if unreadable."""
    if file.closed:
        return b""
    try:
        position = file.tell()
        file.seek(0)
        try:
            return bytes(file.read(size))
        finally:
            file.seek(position)
    except (OSError, ValueError):
        return b""


def _values(data: object) -> Iterator[tuple[str, object]]:
    """Yield the values of a form in order, each with its field's name."""
    stack: list[Iterator[tuple[str, object]]] = [iter([("", data)])]
    left = MAX_VALUES
    while stack and left:
        named = next(stack[-1], None)
        if named is None:
            stack.pop()
            continue
        name, value = named
        left -= 1
        children = _children(name, value)
        if children is None:
            yield name, value
        elif len(stack) < MAX_DEPTH:
            stack.append(children)


def _children(name: str, value: object) -> Iterator[tuple[str, object]] | None:
    if isinstance(value, MultiValueDict):
        return ((_below(name, key), values) for key, values in value.lists())
    if isinstance(value, Mapping):
        return ((_below(name, key), item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return ((name, item) for item in value)
    return None


def _below(name: str, key: object) -> str:
    return f"{name}.{key}"[:_MAX_NAME] if name else str(key)
