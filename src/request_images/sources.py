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

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, starmap
from typing import Any

from . import texts
from .decoding import Text, unescape
from .exceptions import SourceError
from .formats import HEAD_SIZE
from .payload import Payload, Upload

IsImage = Callable[[bytes], bool]
"""Tells from the first bytes whether an image begins here."""

SourceSpec = str | Sequence[str] | None

KINDS = ("files", "body", "json", "form")

_JSON_TYPE = re.compile(r"(application|text)/([\w.+-]+\+)?json")


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
    search = _Search(payload, is_image)
    candidates: list[Iterable[Candidate]] = []
    counts: dict[str, int] = {}
    for source in sources or _fitting(payload):
        found, counts[source.kind] = search.at(source)
        candidates.append(found)
    count = sum(counts.values())
    first = None
    # One by one: texts are decoded as they are asked for, and one is mostly enough.
    for candidate in chain.from_iterable(candidates):
        if is_image(candidate.head):
            return candidate, count
        first = first or candidate
    return first, count


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


Found = tuple[Iterable[Candidate], int]


class _Search:
    """A search through one payload. A text is taken apart once, however often."""

    def __init__(self, payload: Payload, is_image: IsImage) -> None:
        self._payload = payload
        self._is_image = is_image

    def at(self, source: Source) -> Found:
        """Return what is at a source, and how many images there are of its kind."""
        searches = {
            "files": self._files,
            "body": self._body,
            "json": self._json,
            "form": self._form,
        }
        return searches[source.kind](source.path)

    def _files(self, path: tuple[str, ...]) -> Found:
        payload = self._payload
        images = [u for u in payload.uploads if self._is_image(u.head)]
        named = [u for u in payload.uploads if not path or u.field == path[0]]
        named.sort(key=lambda upload: upload not in images)  # stable: images first
        if payload.problem:
            # What arrived whole before it broke is as good as ever.
            whole = [_uploaded(u) for u in named if u in images and u.complete]
            return [*whole, *self._malformed("files")], len(images)
        return [_uploaded(upload) for upload in named], len(images)

    def _body(self, path: tuple[str, ...]) -> Found:
        payload = self._payload
        if not payload.was_read or payload.size == 0:
            return [], 0
        candidate = Candidate(
            "body",
            payload.body,
            payload.head,
            payload.expected_size if payload.was_left else payload.size,
            complete=payload.complete,
            was_left=payload.was_left,
            too_large=payload.too_large,
        )
        return [candidate], int(self._is_image(payload.head))

    def _json(self, path: tuple[str, ...]) -> Found:
        document, instead = self._document
        images = self._images_in_json
        if not path:
            return instead or starmap(_decoded, images), len(images)
        value = texts.at(document, path)
        if value is None:
            return instead, len(images)
        source = _json_source(path)
        if not isinstance(value, str):
            problem = f"{type(value).__name__} where base64 text was expected"
            return [Candidate(source, problem=problem)], len(images)
        return map(_decoded, [source], [Text(value)]), len(images)

    @cached_property
    def _document(self) -> tuple[Any, list[Candidate]]:
        return self._taken_apart("json", texts.load_json)

    @cached_property
    def _images_in_json(self) -> list[tuple[str, Text]]:
        found = ((path, Text(text)) for path, text in texts.strings(self._document[0]))
        return [(_json_source(path), text) for path, text in found if self._is(text)]

    def _form(self, path: tuple[str, ...]) -> Found:
        fields, instead = self._fields
        images = [(name, text) for name, text in fields if self._is(text)]
        chosen = [(n, t) for n, t in fields if n == path[0]] if path else images
        decoded = (_decoded(f"form.{name}", text) for name, text in chosen)
        return instead or decoded, len(images)

    @cached_property
    def _fields(self) -> tuple[list[tuple[str, Text]], list[Candidate]]:
        payload = self._payload
        is_multipart = payload.content_type == "multipart/form-data"
        if payload.fields or is_multipart:
            return [
                (name, Text(value, has_spaces_for_plus=not is_multipart))
                for name, values in (payload.fields or {}).items()
                for value in values
            ], self._malformed("form") if not payload.fields else []
        fields, instead = self._taken_apart("form", texts.form_fields)
        return [
            (_field_name(name), Text(value, is_escaped=True))
            for name, value in fields or ()
        ], instead

    def _taken_apart(
        self, source: str, take_apart: Callable[[bytes], Any]
    ) -> tuple[Any, list[Candidate]]:
        """Return the body taken apart; or None, and what there is to say instead."""
        payload = self._payload
        if payload.body is None or not payload.complete:
            # Nothing to read in it, but why there is nothing is worth knowing.
            candidate = Candidate(
                source,
                complete=payload.complete,
                was_left=payload.was_left,
                too_large=payload.too_large,
            )
            return None, [candidate] if payload.was_read and payload.size else []
        try:
            return take_apart(payload.body), []
        except ValueError as error:
            return None, [Candidate(source, size=payload.size, problem=str(error))]

    def _malformed(self, source: str) -> list[Candidate]:
        problem = self._payload.problem
        return [Candidate(source, problem=problem)] if problem else []

    def _is(self, text: Text) -> bool:
        try:
            return self._is_image(text.start())
        except ValueError:
            return False


def _uploaded(upload: Upload) -> Candidate:
    return Candidate(
        f"files.{upload.field}",
        upload.data,
        upload.head,
        None if upload.was_left else upload.size,
        complete=upload.complete,
        was_left=upload.was_left,
        too_large=upload.too_large,
    )


def _json_source(path: tuple[str, ...]) -> str:
    """Write a path in JSON as the source that leads there."""
    if any("." in key or not key for key in path):
        return "json:/" + "/".join(
            key.replace("~", "~0").replace("/", "~1") for key in path
        )
    return ".".join(("json", *path))


def _field_name(escaped: bytes) -> str:
    return unescape(escaped.replace(b"+", b" ")).decode(errors="replace")


def _decoded(source: str, text: Text) -> Candidate:
    try:
        data = text.decode()
    except ValueError as error:
        return Candidate(source, problem=f"not base64: {error}")
    return Candidate(source, data, data[:HEAD_SIZE], len(data))
