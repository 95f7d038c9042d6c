"""Watch a request's bytes go by, without reading any that the view does not read.

Three taps, whichever fits:

* an upload handler at the front of the request's own, which passes every chunk on;
* ``read`` and ``readline`` shadowed on the request instance;
* files that were parsed before us (by the CSRF check, say) are copied, and their
  position is put back.

A fault in a tap never reaches the view: the tap goes blind, and that is all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from time import perf_counter
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from .formats import HEAD_SIZE
from .health import report
from .payload import Payload, Upload

Rank = Callable[[Upload], tuple[int, ...]]
"""Tells from an upload's field and head how much its bytes are worth keeping."""


class Tap:
    """What goes by of one request's body.

    Args:
        request: The request, before its view.
        limit: Keep at most this many bytes of one uploaded file or of a raw body;
            twice as many of a body of text, where base64 makes an image longer.
        rank: Which upload to keep: the first of those with the highest rank.
    """

    def __init__(self, request: HttpRequest, limit: int, rank: Rank) -> None:
        content_type = (request.content_type or "").lower()
        self.payload = Payload(content_type=content_type)
        self._limit = limit
        self._rank = rank
        self._is_multipart = content_type == "multipart/form-data"
        self._body_limit = limit if _is_binary(content_type) else 2 * limit
        self._chosen: Upload | None = None
        self._chunks: list[bytes] = []  # of the chosen upload, or of the raw body
        self._body_size = 0
        self._saw_end = False
        with contextlib.suppress(TypeError, ValueError):
            self.payload.expected_size = int(request.META.get("CONTENT_LENGTH") or "")
        if "_files" in request.__dict__:
            self._copy_parsed_files(request)
        elif self._is_multipart:
            request.upload_handlers.insert(0, TapUploadHandler(self))
        self._shadow(request, "read")
        self._shadow(request, "readline")

    def _shadow(self, request: HttpRequest, name: str) -> None:
        original = getattr(request, name)

        def watched(*args: Any, **kwargs: Any) -> bytes:
            started = perf_counter()
            data: bytes = original(*args, **kwargs)
            with _blind_on_fault():
                self.payload.upload_seconds += perf_counter() - started
                self._feed(data)
                # A line may be short for another reason, a read is so at the end.
                asked = -1 if not args or args[0] is None else args[0]
                is_short = name == "read" and (asked < 0 or len(data) < asked)
                self._saw_end = self._saw_end or is_short or not data
            return data

        setattr(request, name, watched)

    def _feed(self, data: bytes) -> None:
        if self._is_multipart:
            return  # the upload handler has the files; all of it would be twice
        self.payload.was_read = True
        if not self._body_size:
            self.payload.head = data[:HEAD_SIZE]
        self._body_size += len(data)
        if self._body_size > self._body_limit:
            self._chunks.clear()
        else:
            self._chunks.append(data)

    def receive(self, upload: Upload, data: bytes) -> None:
        """Take one chunk of an uploaded file."""
        if not upload.size:
            upload.head = data[:HEAD_SIZE]
            self._choose(upload)
        upload.size += len(data)
        upload.too_large = upload.size > self._limit
        if upload is self._chosen:
            if upload.too_large:
                self._chunks.clear()
            else:
                self._chunks.append(data)

    def _choose(self, upload: Upload) -> None:
        # The bytes of one file are enough.
        if self._chosen is None or self._rank(upload) > self._rank(self._chosen):
            self._chosen = upload
            self._chunks = []

    def _copy_parsed_files(self, request: HttpRequest) -> None:
        for field, file in _parsed_files(request):
            upload = Upload(field, complete=True)
            self.payload.uploads.append(upload)
            with _blind_on_fault():
                self._copy(upload, file)

    def _copy(self, upload: Upload, file: UploadedFile[Any]) -> None:
        size = file.size or 0
        if file.closed:
            upload.size = size
            return
        position = file.tell()
        try:
            file.seek(0)
            # A file over the limit is not read: its head and its size are enough.
            self.receive(upload, file.read(HEAD_SIZE if size > self._limit else size))
        finally:
            file.seek(position)
        upload.size = size
        upload.too_large = size > self._limit

    def collect(self, request: HttpRequest) -> Payload:
        """Take the taps off and return what was seen. Called once, after the view."""
        _unshadow(request)
        self.payload.fields = _parsed_fields(request)
        if self._is_multipart:
            self._collect_files(request)
        else:
            self._collect_body(request)
        payload = self.payload
        self._forget()
        return payload

    def remove(self, request: HttpRequest) -> None:
        """Take the taps off a request whose body is not to be watched any more."""
        _unshadow(request)
        # Not by the property, which would make handlers that know the request.
        handlers = request.__dict__.get("_upload_handlers")
        if isinstance(handlers, list):  # no more when the body is parsed
            handlers[:] = [h for h in handlers if getattr(h, "_tap", None) is not self]
        self._forget()

    @property
    def size(self) -> int:
        """Bytes that went by, and that the request holds as long as it lives."""
        return self._body_size + sum(upload.size for upload in self.payload.uploads)

    def _forget(self) -> None:
        # The request and its upload handlers may live on; the bytes should not.
        self.payload, self._chosen, self._chunks = Payload(), None, []

    def _collect_files(self, request: HttpRequest) -> None:
        payload = self.payload
        is_parsed = "_files" in request.__dict__
        payload.was_read = is_parsed or bool(payload.uploads)
        if not payload.uploads and is_parsed:
            # The view put upload handlers of its own in our place, or another
            # parser did the work: what is still open can still be read.
            self._copy_parsed_files(request)
        elif not payload.uploads and (body := request.__dict__.get("_body")):
            # Only the raw body was read. Parsed here it costs the view nothing.
            payload.was_read = True
            handlers = [TapUploadHandler(self)]
            try:
                parser = MultiPartParser(request.META, BytesIO(body), handlers)
                payload.fields = dict(parser.parse()[0].lists())
            except (MultiPartParserError, SuspiciousOperation) as error:
                payload.problem = str(error)  # or beyond Django's limits
        payload.uploads = [self._with_data(upload) for upload in payload.uploads]

    def _with_data(self, upload: Upload) -> Upload:
        # A copy: Django keeps the handler that knows the original in a cycle with the
        # request, and the bytes would stay there until the garbage collector comes by.
        is_whole = upload.complete and not upload.too_large and bool(self._chunks)
        if upload is not self._chosen or not is_whole:
            return upload
        return replace(upload, data=b"".join(self._chunks))

    def _collect_body(self, request: HttpRequest) -> None:
        payload = self.payload
        body: bytes | None = request.__dict__.get("_body")
        if body is not None:
            payload.was_read = self._saw_end = True
            payload.size = len(body)
            payload.head = body[:HEAD_SIZE]
        elif payload.was_read:
            payload.size = self._body_size
            body = b"".join(self._chunks)
        else:
            return
        payload.too_large = payload.size > self._body_limit
        payload.body = None if payload.too_large else body
        # A body that is cut off arrives short, without any error, under WSGI.
        expected = payload.expected_size
        payload.complete = (
            self._saw_end if expected is None else payload.size >= expected
        )
        payload.was_left = not payload.complete and not self._saw_end


class TapUploadHandler(FileUploadHandler):
    """Passes every chunk on, and tells the tap."""

    # None: Django leaves us out when it looks for the smallest chunk size.
    chunk_size = None  # type: ignore[assignment]

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self._tap = tap
        self._upload = Upload("")

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        """Begin the next file."""
        self._upload = Upload(field_name)
        self._tap.payload.uploads.append(self._upload)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the chunk on unchanged."""
        with _blind_on_fault():
            self._tap.receive(self._upload, raw_data)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Note that the file arrived whole; the handlers behind us make the file."""
        self._upload.complete = True


def _unshadow(request: HttpRequest) -> None:
    for name in ("read", "readline"):
        # As with ``close``: a shadow left behind keeps the body in memory.
        request.__dict__.pop(name, None)


def _is_binary(content_type: str) -> bool:
    return content_type.startswith("image/") or content_type in (
        "",
        "application/octet-stream",
    )


def _parsed_files(request: HttpRequest) -> Iterator[tuple[str, UploadedFile[Any]]]:
    # Straight from the attribute: ``request.FILES`` would parse if nobody had yet.
    for field, files in request.__dict__["_files"].lists():
        for file in files:
            yield field, file


def _parsed_fields(request: HttpRequest) -> Mapping[str, Sequence[str]] | None:
    post = request.__dict__.get("_post")
    return None if post is None else dict(post.lists())


@contextlib.contextmanager
def _blind_on_fault() -> Iterator[None]:
    # Whatever happens in here, the view is reading and must go on.
    try:
        yield
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("tap", exception)
