"""How much of a body was read, and who ended it: client, server or view."""

from __future__ import annotations

import contextlib
from io import SEEK_END

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest

from request_images.db.columns import clean_text

from .parsed_form import is_parsed, read_body
from .payload import Payload

UNCLOSED = "the form ends without its closing boundary"

_TAIL = 4096  # bytes in which a form's closing boundary is looked for


class BodyEnd:
    """The end of one request's body.

    Attributes:
        size: Bytes read so far.
        has_ended: Whether there are no more bytes to read.
        broken: Why the connection broke, in words; empty if it did not.
        error: The exception of the view, its parser or upload handler, in words.
    """

    def __init__(self) -> None:
        self.size = 0
        self.has_ended = False
        self.broken = ""
        self.error = ""
        self._tail = bytearray()

    def begin(self, request: HttpRequest, payload: Payload) -> None:
        """Record in the payload the announced size, or what was read before."""
        if getattr(request, "_read_started", False):
            # A middleware has read it. Django parses a form to its end.
            payload.was_read, self.has_ended = True, is_parsed(request)
            self.size = getattr(request._stream, "_pos", 0)
        with contextlib.suppress(TypeError, ValueError):
            payload.expected_size = int(request.META.get("CONTENT_LENGTH") or "")
        if payload.expected_size is not None:
            return
        if not isinstance(request, ASGIRequest):
            encoding = request.META.get("HTTP_TRANSFER_ENCODING", "")
            payload.is_chunked = "chunked" in encoding.lower()
        elif not isinstance(request._stream, LimitedStream):  # of a test client
            # The server has received all of it, into a file.
            position = request._stream.tell()
            request._stream.seek(0, SEEK_END)
            payload.expected_size = request._stream.tell()
            request._stream.seek(position)

    def note_read(self, data: bytes, *, is_end: bool) -> None:
        """Note bytes that the view has read."""
        self.has_ended = self.has_ended or is_end
        if not data:  # a parser reads on until it gets nothing
            return
        self.size += len(data)
        self._tail += data[-_TAIL:]
        if len(self._tail) > 2 * _TAIL:  # seldom, as a line may be short
            del self._tail[:-_TAIL]

    def describe(self, request: HttpRequest, payload: Payload) -> None:
        """Record in the payload how much of the body was seen, and why not all of it.

        Args:
            request: The request, when its view has ended.
            payload: The payload, and the size that `begin` found.
        """
        body = read_body(request)
        if body is not None:
            self.has_ended = payload.was_read = True
            self.size, self._tail = len(body), bytearray(body[-_TAIL:])
        payload.size, expected = self.size, payload.expected_size
        payload.complete = self.has_ended if expected is None else self.size >= expected
        if not payload.complete and self.has_ended:
            # Under WSGI, a truncated body is short, without any error.
            payload.is_cut_off = True
            payload.missing = self.broken or f"{self.size} of {expected} bytes came"
        elif not payload.complete:
            payload.view_stopped = True
            payload.missing = self.error
            if is_parsed(request) and not request.META.get("CONTENT_LENGTH"):
                payload.missing = "a form without a length, which Django does not parse"
        elif self._tail and not self._is_closed(request, payload):
            payload.is_cut_off = True
            payload.missing = UNCLOSED
        if payload.is_chunked and not self.size:
            payload.was_read = False
            payload.missing = "a chunked body, which Django does not read under WSGI"

    def _is_closed(self, request: HttpRequest, payload: Payload) -> bool:
        boundary = (request.content_params or {}).get("boundary", "").encode()
        is_form = request.content_type == "multipart/form-data" and payload.shows_form
        return not (is_form and boundary) or b"--%b--" % boundary in self._tail


def in_words(error: BaseException) -> str:
    """Return the class and the text of an exception, whose text may raise another."""
    return f"{type(error).__name__}: {clean_text(error, 200)}"
