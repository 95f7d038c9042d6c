"""The search for images at a source, in the bytes that were read of one request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from request_images.health import report
from request_images.images.formats import HEAD_SIZE

from . import body_text
from .base64_text import Text, text_of, unescape
from .body_text import Place, path_to
from .payload import Payload, Upload

IsImage = Callable[[bytes], bool]
"""Tells from the first bytes whether they are an image."""

# Also in UTF-16 and UTF-32, which JSON tells by itself; and after RS, in a sequence.
_JSON_START = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|(?:\0\0)?\xfe\xff)?[\s\0\x1e]*[\[{\"]"
)
_MAX_NESTING = 2  # levels of JSON in a text
_FORM_START = re.compile(rb"\s*[^\s=&<]{1,200}=")

_Number: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True)
class Source:
    """One place to look: a kind, and a field name or path within it."""

    kind: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        if self.kind == "json":
            return _json_source(self.path)
        return ".".join((self.kind, *self.path))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Data found at a source, an image or not.

    Attributes:
        source: Its exact source, such as ``files.photo``.
        data: The bytes; None if they were not kept.
        head: The first bytes, as far as known.
        size: Number of bytes; None if unknown.
        complete: Whether all of it was seen.
        view_stopped: Whether the view stopped reading before the end.
        missing: Why the rest is missing; empty if that is not known.
        too_large: Whether the bytes were dropped because it is too large.
        over_budget: Why they were dropped, if there was no room for them.
        problem: Why the data cannot be read; empty for no problem.
        number: Distinguishes candidates with the same source: the number of a file or
            field, or the identity of a text in JSON.
        declared: The media type that the client declared, as written; empty for none.
    """

    source: str
    data: bytes | None = None
    head: bytes = b""
    size: int | None = None
    complete: bool = True
    view_stopped: bool = False
    missing: str = ""
    too_large: bool = False
    over_budget: str = ""
    problem: str = ""
    number: _Number = ()
    declared: str = ""


_Candidates = tuple[Iterable[Candidate], int]
_Fields = Iterator[tuple[str, Text]]


def fitting(payload: Payload, is_image: IsImage) -> list[tuple[Source, ...]]:
    """Return the sources that fit a body: by its declared type, then by its bytes.

    Many clients declare a wrong type, or leave it to a tool's default.
    """
    if is_image(payload.head) and not payload.uploads:
        return [(Source("body"),)]
    declared: tuple[Source, ...] = (Source("body"),)
    if payload.content_type == "multipart/form-data":
        declared = Source("files"), Source("form")
    elif payload.uploads:
        declared = (Source("files"), *([Source("form")] if payload.fields else []))
    elif payload.content_type == "application/x-www-form-urlencoded":
        declared = (Source("form"),)
    elif "json" in payload.content_type:  # also of JSON lines, and of other formats
        declared = (Source("json"),)
    elif payload.fields:
        declared = (Source("form"),)
    shown = [Source("body")]
    body = payload.body or b""
    if _JSON_START.match(body):
        shown = [Source("json")]
    elif _FORM_START.match(body):
        shown = [Source("body"), Source("form")]
    return [declared, *((source,) for source in shown if source not in declared)]


class Search:
    """A search through one payload, which parses each text once."""

    def __init__(self, payload: Payload, is_image: IsImage, *, takes_all: bool) -> None:
        self._payload = payload
        self._is_image = is_image
        self._takes_all = takes_all

    def at(self, source: Source) -> _Candidates:
        """Return the candidates at a source, and the number of images of its kind."""
        searches = {
            "files": self._files,
            "body": self._body,
            "json": self._json,
            "form": self._form,
        }
        return searches[source.kind](source.path)

    def _files(self, path: tuple[str, ...]) -> _Candidates:
        payload = self._payload
        uploads = [
            (number, upload, self._images_of_file(upload))
            for number, upload in enumerate(payload.uploads)
        ]
        count = sum(len(images) for *_, images in uploads)
        named = [each for each in uploads if not path or each[1].field == path[0]]
        if not self._takes_all:
            named.sort(key=lambda each: not each[2])  # stable: images first
        malformed: Iterable[Candidate] = ()
        if payload.problem or not named:
            # Files that were complete before the error are still good.
            named = [each for each in named if each[2] and each[1].complete]
            malformed = self._malformed("files")
        found = (
            _uploaded(upload, number)
            if text is None
            else _decoded(f"files.{upload.field}", text, (number, *inner))
            for number, upload, images in named
            if images or not upload.is_text
            for inner, text in images or [((), None)]
        )
        return chain(found, malformed), count

    def _images_of_file(self, upload: Upload) -> Sequence[tuple[_Number, Text | None]]:
        """Return the images of a file: itself, or those in the text that it is."""
        if self._is_image(upload.head):
            return [((), None)]
        data = upload.data
        if data is None or not rate_head(upload.head, self._is_image):
            return ()
        text = text_of(data)
        return [((), text)] if self._is(text) else self._images_of(Text(data))

    def _body(self, path: tuple[str, ...]) -> _Candidates:
        payload = self._payload
        if not payload.was_read or payload.size == 0 or payload.is_form:
            return [], 0
        if payload.body is None and payload.problem:
            return self._malformed("body"), 0
        if payload.body is not None and payload.complete:
            text = text_of(payload.body)
            if not self._is_image(payload.head) and self._is(text):
                return map(_decoded, ["body"], [text]), 1
        candidate = Candidate(
            "body",
            payload.body,
            payload.head,
            payload.expected_size if payload.view_stopped else payload.size,
            complete=payload.complete,
            view_stopped=payload.view_stopped,
            missing=payload.missing,
            too_large=payload.too_large,
            over_budget=payload.over_budget,
            declared=payload.content_type,
        )
        return [candidate], int(self._is_image(payload.head))

    def _json(self, path: tuple[str, ...]) -> _Candidates:
        document, instead = self._document
        images = self._images_in_json
        if not path:
            # A path is joined only for a text that is used.
            found = (
                _decoded_json(path_to(place), n, text) for place, n, text in images
            )
            return chain(found, instead), len(images)
        value = body_text.at(document, path)
        if value is None:
            return instead, len(images)
        if self._takes_all and isinstance(value, list):
            elements = enumerate(value)
            return chain.from_iterable(
                self._below((*path, str(at)), element) for at, element in elements
            ), len(images)
        return self._at_path(path, value), len(images)

    def _at_path(self, path: tuple[str, ...], value: Any) -> Iterable[Candidate]:
        if not isinstance(value, str):
            problem = f"{type(value).__name__} where base64 text was expected"
            return [Candidate(_json_source(path), problem=problem)]
        text = Text(value)
        images = self._images_of(text) or [((), text)]
        return (_decoded_json(path, (id(value), *n), image) for n, image in images)

    def _below(self, path: tuple[str, ...], value: Any) -> Iterable[Candidate]:
        """Return the candidates in an element of a list: a text, or an object."""
        if not isinstance(value, dict | list):
            return self._at_path(path, value)
        images = self._images_in(value)
        if not images:
            return self._at_path(path, value)
        return (
            _decoded_json((*path, *path_to(rest)), n, text) for rest, n, text in images
        )

    @cached_property
    def _document(self) -> tuple[Any, list[Candidate]]:
        return self._parsed("json", body_text.load_json)

    @cached_property
    def _images_in_json(self) -> list[tuple[Place, _Number, Text]]:
        return self._images_in(self._document[0])

    def _images_in(
        self, value: Any, *, has_spaces: bool = False, depth: int = 0
    ) -> list[tuple[Place, _Number, Text]]:
        # For one image, outer strings first; for all, in the order of the document.
        strings = body_text.strings(value, in_order=self._takes_all)
        texts = (
            (place, id(string), Text(string, has_spaces_for_plus=has_spaces))
            for place, string in strings
        )
        return [
            (place, (number, *inner), image)
            for place, number, text in texts
            for inner, image in self._images_of(text, depth)
        ]

    def _images_of(self, text: Text, depth: int = 0) -> Sequence[tuple[_Number, Text]]:
        """Return the images of a text: itself, or those in the JSON that it is."""
        try:
            return [((), text)] if self._is_image(text.start()) else ()
        except ValueError:  # as JSON is no base64
            is_json = _JSON_START.match(text.beginning()) is not None
        if not is_json or depth == _MAX_NESTING:
            return ()
        images: Sequence[tuple[Place, _Number, Text]] = ()
        with note_fault(self._payload):
            try:
                document = body_text.load_json(text.unescaped())
            except ValueError as error:
                document = getattr(error, "documents", None)
            has_spaces = text.is_escaped or text.has_spaces_for_plus
            images = self._images_in(document, has_spaces=has_spaces, depth=depth + 1)
        return [((number,), image) for number, (*_, image) in enumerate(images)]

    def _form(self, path: tuple[str, ...]) -> _Candidates:
        fields, instead = self._fields
        # Some parsers add the text of a part that is an upload here.
        known = {upload.field for upload in self._payload.uploads if upload.is_text}
        # Walked twice: an object for each field would cost many times the body.
        found = {
            number: images
            for number, (name, text) in enumerate(fields())
            if name not in known and (images := self._images_of(text))
        }
        decoded = (
            _decoded(f"form.{name}", image, (number, *inner))
            for number, (name, text) in enumerate(fields())
            if (name == path[0] if path else number in found)
            for inner, image in found.get(number) or [((), text)]
        )
        return instead or decoded, sum(map(len, found.values()))

    @cached_property
    def _fields(self) -> tuple[Callable[[], _Fields], list[Candidate]]:
        payload = self._payload
        is_multipart = payload.content_type == "multipart/form-data"
        if payload.fields or (is_multipart and payload.body is None):
            parsed = payload.fields or {}
            return lambda: (
                (name, Text(value, has_spaces_for_plus=not is_multipart))
                for name, values in parsed.items()
                for value in values
            ), self._malformed("form") if not parsed else []
        fields, instead = self._parsed("form", body_text.form_fields)
        return lambda: (
            (_field_name(name), Text(value, is_escaped=True))
            for name, value in fields or ()
        ), instead

    def _parsed(
        self, source: str, parse: Callable[[bytes], Any]
    ) -> tuple[Any, list[Candidate]]:
        """Return the parsed body; or None, and the candidate that tells the reason."""
        payload = self._payload
        if payload.body is None and payload.problem:
            return None, self._malformed(source)
        if payload.body is None or not payload.complete:
            # There is nothing to parse, but there is a reason.
            candidate = Candidate(
                source,
                complete=payload.complete,
                view_stopped=payload.view_stopped,
                missing=payload.missing,
                too_large=payload.too_large,
                over_budget=payload.over_budget,
            )
            has_reason = payload.was_read and payload.size and not payload.is_form
            return None, [candidate] if has_reason else []
        try:
            return parse(payload.body), []
        except ValueError as error:
            instead = Candidate(source, size=payload.size, problem=str(error))
            return getattr(error, "documents", None), [instead]

    def _malformed(self, source: str) -> list[Candidate]:
        problem, no_room = self._payload.problem, self._payload.over_budget
        if not problem and not no_room:
            return []
        return [Candidate(source, problem=problem, over_budget=no_room)]

    def _is(self, text: Text) -> bool:
        return _begins_as_image(text, self._is_image)


@contextmanager
def note_fault(payload: Payload) -> Iterator[None]:
    """Report a fault within the context; it costs what is looked for there."""
    try:
        yield
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report_fault(payload, exception)


def report_fault(payload: Payload, exception: Exception) -> None:
    """Report a fault of ours, which may have hidden an image."""
    report("search", exception)
    payload.failure = exception


def rate_head(head: bytes, is_image: IsImage) -> int:
    """Rate a file by its first bytes.

    Returns:
        3 for an image, 2 for one in base64, 1 for a text that may hold one, 0 for none.
    """
    text = text_of(head)
    if is_image(head):
        return 3
    if _begins_as_image(text, is_image):
        return 2
    return int(text.is_data_uri or _JSON_START.match(head) is not None)


def _begins_as_image(text: Text, is_image: IsImage) -> bool:
    try:
        return is_image(text.start())
    except ValueError:
        return False


def _uploaded(upload: Upload, number: int) -> Candidate:
    return Candidate(
        f"files.{upload.field}",
        upload.data,
        upload.head,
        None if upload.view_stopped else upload.size,
        complete=upload.complete,
        view_stopped=upload.view_stopped,
        missing=upload.missing,
        too_large=upload.too_large,
        over_budget=upload.over_budget,
        number=(number,),
        declared=upload.content_type,
    )


def _decoded_json(path: tuple[str, ...], number: _Number, text: Text) -> Candidate:
    return _decoded(_json_source(path), text, number)


def _json_source(path: tuple[str, ...]) -> str:
    """Return the source of a path in JSON."""
    if any("." in key or not key for key in path):
        return "json:/" + "/".join(
            key.replace("~", "~0").replace("/", "~1") for key in path
        )
    return ".".join(("json", *path))


def _field_name(escaped: bytes) -> str:
    return unescape(escaped.replace(b"+", b" ")).decode(errors="replace")


def _decoded(source: str, text: Text, number: _Number = ()) -> Candidate:
    try:
        data = text.decode()
    except ValueError as error:
        return Candidate(source, problem=f"not base64: {error}", number=number)
    head, declared = data[:HEAD_SIZE], text.media_type()
    return Candidate(source, data, head, len(data), number=number, declared=declared)
