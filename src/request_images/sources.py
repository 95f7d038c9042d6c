"""Where in a request an image is: an uploaded file, the raw body, base64 in text.

A source is written as a short string::

    files           the first uploaded file that is an image
    files.photo     the file of the form field "photo"
    body            the raw body
    json            the first string in a JSON body that holds an image
    json.input.image    the string at that path ("json.images.0" for a list)
    json:/input/image   the same as a JSON pointer (RFC 6901), for keys with dots
    form            the first text field of a form that holds an image
    form.photo      the text field "photo"

Without a source, whichever of these fits the request's content type is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from .decoding import decode_text
from .exceptions import SourceError
from .formats import HEAD_SIZE
from .payload import Payload, Upload

IsImage = Callable[[bytes], bool]
"""Tells from the first bytes whether an image begins here."""

SourceSpec = str | Sequence[str] | None

KINDS = ("files", "body", "json", "form")
MAX_NODES = 10_000
"""How many values of a JSON body are searched when no path is given."""
MAX_VALUES = 100_000
"""How many values a JSON body, and fields a form, may have to be looked into at all."""
MAX_DEPTH = 32
"""How deep they may be nested."""

_JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json")
_SHORTEST_TEXT = 32  # characters; the smallest GIF is longer than this in base64


@dataclass(frozen=True)
class Source:
    """One place to look: a kind of `KINDS`, and a field name or path within it."""

    kind: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """What was found at a source, an image or not.

    Attributes:
        source: Where it was, written as a source, such as ``files.photo``.
        data: The bytes, or None when they were not kept.
        head: The first bytes, as far as known.
        size: Number of bytes, or None when unknown.
        complete: Whether all of it was seen.
        was_left: Whether the view stopped reading before the end.
        too_large: Whether the bytes were dropped for their number.
        problem: Why the text there is no image; empty for none.
    """

    source: str
    data: bytes | None = None
    head: bytes = b""
    size: int | None = None
    complete: bool = True
    was_left: bool = False
    too_large: bool = False
    problem: str = ""


def parse(spec: SourceSpec) -> tuple[Source, ...]:
    """Read a source, or several that are tried in order. None gives an empty tuple.

    Raises:
        SourceError: It is none; the text says what may be written.
    """
    if spec is None:
        return ()
    if not isinstance(spec, str):
        return tuple(source for item in spec for source in parse(item))
    if spec.startswith("json:/"):
        segments = spec.removeprefix("json:/").split("/")
        return (
            Source(
                "json", tuple(s.replace("~1", "/").replace("~0", "~") for s in segments)
            ),
        )
    kind, *path = spec.split(".")
    # A field name may hold dots, a path in JSON is divided by them.
    parts = path if kind == "json" else [".".join(path)] if path else []
    if kind not in KINDS or not all(parts) or (kind == "body" and parts):
        raise SourceError(
            f"{spec!r} is no source. Write 'files', 'files.<field>', 'body', 'json', "
            "'json.<path>', 'json:/<pointer>', 'form' or 'form.<field>'."
        )
    return (Source(kind, tuple(parts)),)


def find(
    payload: Payload, sources: Sequence[Source], is_image: IsImage
) -> tuple[Candidate | None, int]:
    """Find the image in what was seen of a request.

    Args:
        payload: What the tap saw.
        sources: Where to look, in order; empty for "wherever it fits".
        is_image: Tells from the first bytes whether an image begins there.

    Returns:
        The chosen candidate (the first that is an image, else the first that is
        there at all, else None), and how many images the request holds.
    """
    candidates: list[Candidate] = []
    counts: dict[str, int] = {}
    for source in sources or _fitting(payload):
        found, counts[source.kind] = _SEARCHES[source.kind](
            payload, source.path, is_image
        )
        candidates += found
    count = sum(counts.values())
    for candidate in candidates:
        if is_image(candidate.head):
            return candidate, count
    return (candidates[0] if candidates else None), count


def upload_rank(
    upload: Upload, sources: Sequence[Source], is_image: IsImage
) -> tuple[int, ...]:
    """Tell how much an upload is worth keeping: the highest rank is `find`'s choice.

    Args:
        upload: A file whose head has arrived.
        sources: Where the image is looked for.
        is_image: Tells from the first bytes whether an image begins there.
    """
    paths = [source.path for source in sources if source.kind == "files"]
    named = [at for at, path in enumerate(paths) if path in ((), (upload.field,))]
    return bool(named), is_image(upload.head), -min(named, default=0)


def _fitting(payload: Payload) -> tuple[Source, ...]:
    if payload.content_type == "multipart/form-data":
        return Source("files"), Source("form")
    if payload.content_type == "application/x-www-form-urlencoded":
        return (Source("form"),)
    if _JSON_TYPE.fullmatch(payload.content_type):
        return (Source("json"),)
    return (Source("body"),)


Found = tuple[list[Candidate], int]


def _search_files(payload: Payload, path: tuple[str, ...], is_image: IsImage) -> Found:
    images = [upload for upload in payload.uploads if is_image(upload.head)]
    named = [u for u in payload.uploads if not path or u.field == path[0]]
    named.sort(key=lambda upload: not is_image(upload.head))  # stable: images first
    if payload.problem:
        return [Candidate("files", problem=payload.problem)], len(images)
    return [_uploaded(upload) for upload in named], len(images)


def _uploaded(upload: Upload) -> Candidate:
    return Candidate(
        f"files.{upload.field}",
        upload.data,
        upload.head,
        upload.size,
        complete=upload.complete,
        too_large=upload.too_large,
    )


def _search_body(payload: Payload, path: tuple[str, ...], is_image: IsImage) -> Found:
    if not payload.was_read or payload.size == 0:
        return [], 0
    candidate = _whole_body(payload, "body")
    return [candidate], int(is_image(payload.head))


def _whole_body(payload: Payload, source: str) -> Candidate:
    return Candidate(
        source,
        payload.body,
        payload.head,
        payload.expected_size if payload.was_left else payload.size,
        complete=payload.complete,
        was_left=payload.was_left,
        too_large=payload.too_large,
    )


def _search_json(payload: Payload, path: tuple[str, ...], is_image: IsImage) -> Found:
    if payload.body is None or not payload.complete:
        # Nothing to read in it, but why there is nothing is worth knowing.
        known = payload.was_read and bool(payload.size)
        return ([_without_data(payload, "json")] if known else []), 0
    try:
        document = _load_json(payload.body)
    except ValueError as error:
        return [Candidate("json", size=payload.size, problem=str(error))], 0
    texts = list(_walk(document))
    images = sum(_holds_image(text, is_image) for _, text in texts)
    if not path:
        held = [(place, text) for place, text in texts if _holds_image(text, is_image)]
        return [_decoded(_json_source(place), text) for place, text in held], images
    value = _at(document, path)
    if value is None:
        return [], images
    source = _json_source(path)
    if not isinstance(value, str):
        problem = f"{type(value).__name__} where base64 text was expected"
        return [Candidate(source, problem=problem)], images
    return [_decoded(source, value)], images


def _load_json(body: bytes) -> Any:
    # Counted before it is parsed: 20 MB of "[],[]," become half a gigabyte.
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError(f"JSON of more than {MAX_VALUES} values")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None


def _without_data(payload: Payload, source: str) -> Candidate:
    return Candidate(
        source,
        complete=payload.complete,
        was_left=payload.was_left,
        too_large=payload.too_large,
    )


def _at(document: Any, path: Iterable[str]) -> Any:
    for key in path:
        if isinstance(document, dict):
            document = document.get(key)
        elif (
            isinstance(document, list) and key.isdecimal() and int(key) < len(document)
        ):
            document = document[int(key)]
        else:
            return None
    return document


def _json_source(path: tuple[str, ...]) -> str:
    """Write a path in JSON as the source that leads there."""
    if any("." in key or not key for key in path):
        return "json:/" + "/".join(
            key.replace("~", "~0").replace("/", "~1") for key in path
        )
    return ".".join(("json", *path))


def _walk(document: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    # Breadth first with an own queue: a hostile nesting cannot overflow the stack.
    queue: list[tuple[tuple[str, ...], Any]] = [((), document)]
    for path, value in queue:
        if isinstance(value, str):
            yield path, value
        room = MAX_NODES - len(queue) if len(path) < MAX_DEPTH else 0
        if isinstance(value, dict):
            pairs = list(value.items())[:room]
            queue += [((*path, key), item) for key, item in pairs]
        elif isinstance(value, list):
            queue += [((*path, str(i)), item) for i, item in enumerate(value[:room])]


def _search_form(payload: Payload, path: tuple[str, ...], is_image: IsImage) -> Found:
    fields = payload.fields
    if not fields and payload.content_type != "multipart/form-data":
        if payload.body is None or not payload.complete:
            known = payload.was_read and bool(payload.size)
            return ([_without_data(payload, "form")] if known else []), 0
        body = payload.body.decode("ascii", errors="replace")
        try:
            fields = parse_qs(body, max_num_fields=MAX_VALUES // 100)
        except ValueError as error:
            return [Candidate("form", size=payload.size, problem=str(error))], 0
    texts = [(name, text) for name, all_ in (fields or {}).items() for text in all_]
    if payload.content_type != "multipart/form-data":
        # A "+" that nobody escaped has arrived as a space.
        texts = [(name, text.replace(" ", "+")) for name, text in texts]
    images = [(name, text) for name, text in texts if _holds_image(text, is_image)]
    chosen = [(n, t) for n, t in texts if n == path[0]] if path else images
    return [_decoded(f"form.{name}", text) for name, text in chosen], len(images)


_SEARCHES = {
    "files": _search_files,
    "body": _search_body,
    "json": _search_json,
    "form": _search_form,
}


def _holds_image(text: str, is_image: IsImage) -> bool:
    if len(text) < _SHORTEST_TEXT:
        return False
    # Enough for a long data URI's own head and then the image's.
    try:
        return is_image(decode_text(text[:400], partial=True)[:HEAD_SIZE])
    except ValueError:
        return False


def _decoded(source: str, text: str) -> Candidate:
    try:
        data = decode_text(text)
    except ValueError as error:
        return Candidate(source, problem=f"not base64: {error}")
    return Candidate(source, data, data[:HEAD_SIZE], len(data))
