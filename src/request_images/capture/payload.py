"""The bytes seen of a request's body: filled by the tap, searched by sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from request_images.writer.spool.documents import dump_error, load_error


@dataclass(slots=True)
class Upload:
    """One file of a multipart form.

    Attributes:
        field: The form field's name.
        size: Bytes seen, also if none were kept; None if unknown.
        head: The first bytes, enough to recognise an image's format.
        data: All bytes; None if they were not kept.
        complete: Whether all of the file was seen.
        view_stopped: Whether the view stopped reading before the end.
        missing: Why the rest is missing; empty if that is not known.
        too_large: Whether the bytes were dropped because the file is too large.
        over_budget: Why they were dropped, if there was no room for them.
        content_type: The media type that the client declared; empty for none.
        is_body: Whether a parser treated the whole body as this file.
        is_text: Whether it has no file name, so that Django decodes it as text.
    """

    field: str
    size: int | None = 0
    head: bytes = b""
    data: bytes | None = None
    complete: bool = False
    view_stopped: bool = False
    missing: str = ""
    too_large: bool = False
    over_budget: str = ""
    content_type: str = ""
    is_body: bool = False
    is_text: bool = False


@dataclass
class Payload:
    """The bytes seen of one request's body.

    Attributes:
        content_type: The media type that the client declared, lower case.
        uploads: The files of a multipart form, in order.
        fields: The text fields of a form; None if it was not parsed.
        head: The first bytes of a raw body.
        body: The raw body; None if it was not read or is too large.
        size: Bytes read of the body; None if unknown.
        expected_size: The size that the client announced, or that the server has
            received, in bytes; None if unknown.
        is_chunked: Whether the body is chunked and has no length under WSGI, so that
            Django does not read it.
        was_read: Whether the view read the body, as far as a tap can see that.
        complete: Whether all of the body was seen.
        view_stopped: Whether the view stopped reading before the end.
        is_cut_off: Whether the client sent less than it announced, or a form without
            its end.
        missing: Why a part of the body is missing; empty if no part is, or if the
            reason is unknown.
        part: Which part of an upload this is, in words; empty if it is the whole.
        problem: Why a form could not be parsed; empty if there was no error.
        too_large: Whether the raw body was dropped because it is too large.
        over_budget: Why it was dropped, if there was no room for it.
        upload_seconds: Seconds that the view waited for the client's bytes.
        failure: Our own fault in looking at a part of the request, if any.
    """

    content_type: str = ""
    uploads: list[Upload] = field(default_factory=list)
    fields: Mapping[str, Sequence[str]] | None = None
    head: bytes = b""
    body: bytes | None = None
    size: int | None = None
    expected_size: int | None = None
    is_chunked: bool = False
    was_read: bool = False
    complete: bool = True
    view_stopped: bool = False
    is_cut_off: bool = False
    missing: str = ""
    part: str = ""
    problem: str = ""
    too_large: bool = False
    over_budget: str = ""
    upload_seconds: float = 0.0
    failure: Exception | None = None

    @property
    def is_form(self) -> bool:
        """Whether a parser has read the body as the files and fields of a form."""
        return self.body is None and bool(self.uploads or self.fields)

    @property
    def shows_form(self) -> bool:
        """Whether it is a multipart form, as its files or its first bytes show."""
        return bool(self.uploads) or self.head.lstrip().startswith(b"--")

    def dump(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return it as a JSON document, and bytes."""
        data: list[bytes] = []
        values = _dump(self, _PAYLOAD, data)
        values["uploads"] = [_dump(upload, _UPLOAD, data) for upload in self.uploads]
        values["failure"] = dump_error(self.failure)
        return values, data

    @classmethod
    def load(cls, values: Mapping[str, Any], data: bytes) -> Payload:
        """Return the payload of a document.

        Raises:
            Exception: The document is malformed.
        """
        start = 0

        def read(size: int) -> bytes:
            nonlocal start
            start += size
            return data[start - size : start]

        payload = cls(**_load(values, _PAYLOAD, read))
        payload.uploads = [
            Upload(**_load(upload, _UPLOAD, read)) for upload in values["uploads"]
        ]
        payload.failure = load_error(values["failure"])
        if start != len(data):
            raise ValueError("not the bytes of the document")
        return payload


_BYTES = ("head", "data", "body")
_UPLOAD = tuple(field.name for field in fields(Upload))
_PAYLOAD = tuple(field.name for field in fields(Payload))


def _dump(row: object, names: Sequence[str], data: list[bytes]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    for name in _BYTES:
        if (value := values.get(name)) is not None:
            values[name] = len(value)
            data.append(value)
    return values


def _load(
    values: Mapping[str, Any], names: Sequence[str], read: Callable[[int], bytes]
) -> dict[str, Any]:
    known = {name: values[name] for name in names if name in values}
    for name in _BYTES:
        if (size := known.get(name)) is not None:
            known[name] = read(size)
    return known
