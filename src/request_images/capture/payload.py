"""What was seen of a request's body: the shape that taps fill and sources search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Upload:
    """One file of a multipart form, as it went by.

    Attributes:
        field: The form field's name.
        size: Bytes that went by, also when none was kept; None when unknown.
        head: The first bytes, enough to tell an image's type.
        data: All bytes; None when they were not kept.
        complete: Whether the file arrived whole.
        was_left: Whether the view stopped reading before the end.
        too_large: Whether the bytes were dropped for their number.
        over_budget: Whether they were dropped for the number of all files' together.
        content_type: What the client said it is; empty when it said nothing.
    """

    field: str
    size: int | None = 0
    head: bytes = b""
    data: bytes | None = None
    complete: bool = False
    was_left: bool = False
    too_large: bool = False
    over_budget: bool = False
    content_type: str = ""


@dataclass
class Payload:
    """What was seen of one request's body.

    Attributes:
        content_type: The media type that the client declared, lower case.
        uploads: The files of a multipart form, in order.
        fields: The text fields of a form, when the view had them parsed.
        head: The first bytes of a raw body.
        body: The raw body, when it was read and was small enough.
        size: Bytes read of the body, or None when it cannot be told.
        expected_size: The client's Content-Length in bytes, or None.
        was_read: Whether the view read the body, where that could be watched.
        complete: Whether all of the body went by.
        was_left: Whether the view stopped reading before the end.
        problem: Why a form could not be read; empty when it could, or nobody tried.
        too_large: Whether the raw body was dropped for its number of bytes.
        upload_seconds: Time that the view waited for the client's bytes.
    """

    content_type: str = ""
    uploads: list[Upload] = field(default_factory=list)
    fields: Mapping[str, Sequence[str]] | None = None
    head: bytes = b""
    body: bytes | None = None
    size: int | None = None
    expected_size: int | None = None
    was_read: bool = False
    complete: bool = True
    was_left: bool = False
    problem: str = ""
    too_large: bool = False
    upload_seconds: float = 0.0
