"""Copies of the bytes that a view reads; nothing is read that the view does not read.

Three ways, whichever fits the request:

* an upload handler in front of the request's own, which passes every chunk on;
* ``read`` and ``readline``, shadowed on the request instance;
* a copy of the files that were parsed before the view (by the CSRF check, say); their
  position is restored.

A fault in a tap never reaches the view: the tap misses some bytes, nothing more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from time import perf_counter
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from request_images.health import report
from request_images.images.formats import HEAD_SIZE

from .payload import Payload, Upload
from .upload_buffer import Limits, Rank, UploadBuffer

_BINARY = ("", "application/octet-stream")


class Tap:
    """A tap on the body of one request, made before its view.

    Of the files, those with the highest ranks are kept, within the limits.
    """

    def __init__(self, request: HttpRequest, limits: Limits, rank: Rank) -> None:
        content_type = (request.content_type or "").lower()
        self.payload = Payload(content_type=content_type)
        self._limit = limits.size
        self._buffer = UploadBuffer(rank, limits)
        self._is_multipart = content_type == "multipart/form-data"
        is_binary = content_type.startswith("image/") or content_type in _BINARY
        self._body_limit = limits.size if is_binary else limits.text_size
        self._chunks: list[bytes] = []  # of the raw body
        self._body_size = 0
        self._saw_end = False
        with contextlib.suppress(TypeError, ValueError):
            self.payload.expected_size = int(request.META.get("CONTENT_LENGTH") or "")
        if is_parsed(request):
            self._copy_parsed_files(request)
        elif self._is_multipart:
            request.upload_handlers.insert(0, TapUploadHandler(self))
        self._shadow(request, "read")
        self._shadow(request, "readline")
        if self._is_multipart:
            self._shadow_parser(request)

    def _shadow(self, request: HttpRequest, name: str) -> None:
        original = getattr(request, name)

        def watched(*args: Any, **kwargs: Any) -> bytes:
            started = perf_counter()
            try:
                data: bytes = original(*args, **kwargs)
            except OSError:
                self._saw_end = True  # the connection broke: no more bytes
                raise
            with _report_faults():
                self.payload.upload_seconds += perf_counter() - started
                self._feed(data)
                # Only a short read is a sign of the end; a line may always be short.
                size = -1 if not args or args[0] is None else args[0]
                is_short = name == "read" and (size < 0 or len(data) < size)
                self._saw_end = self._saw_end or is_short or not data
            return data

        setattr(request, name, watched)

    def _shadow_parser(self, request: HttpRequest) -> None:
        original = request.parse_file_upload

        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except (MultiPartParserError, SuspiciousOperation) as error:
                with _report_faults():
                    self.payload.problem = _message_of(error)
                raise

        # mypy: assigning to a method is the point, it shadows it on the instance.
        request.parse_file_upload = watched  # type: ignore[method-assign]

    def _feed(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._is_multipart:
            return  # the upload handler has the files
        self.payload.was_read = True
        self.payload.head = _extended(self.payload.head, data)
        if self._body_size > self._body_limit:
            self._chunks.clear()
        else:
            self._chunks.append(data)

    def receive(self, upload: Upload, data: bytes) -> None:
        """Take one chunk of an uploaded file."""
        before = upload.head
        if len(before) < HEAD_SIZE:  # then it is all that came before
            upload.head = _extended(before, data)
            self._buffer.offer(upload, before)
        upload.size = (upload.size or 0) + len(data)
        upload.too_large = upload.size > self._limit
        self._buffer.add(upload, data)

    def _copy_parsed_files(self, request: HttpRequest) -> None:
        # The client is waiting, so read only the heads of all files but the best.
        files = {}
        for field, file in parsed_files(request):
            upload = Upload(field, size=None, complete=True)
            self.payload.uploads.append(upload)
            files[id(upload)] = file
            with _report_faults():
                upload.size = file.size
                upload.head = first_bytes(file, HEAD_SIZE)
                self._buffer.offer(upload)
                upload.content_type = _text(file.content_type)
        for upload in self._buffer.best_first():
            with _report_faults():
                self._copy(upload, files[id(upload)])

    def _copy(self, upload: Upload, file: UploadedFile[Any]) -> None:
        upload.too_large = upload.size is not None and upload.size > self._limit
        if upload.too_large or not upload.head:
            return
        size = self._limit + 1 if upload.size is None else upload.size
        upload.over_budget = not self._buffer.has_room(min(size, self._limit))
        if upload.over_budget:
            return
        data = first_bytes(file, size)
        upload.too_large = len(data) > self._limit
        if upload.size is None and not upload.too_large:
            upload.size = len(data)
        self._buffer.add(upload, data)

    def collect(self, request: HttpRequest) -> Payload:
        """Remove the tap and return what it has seen; to be called once."""
        _unshadow(request)
        self.payload.fields = parsed_fields(request)
        if self._is_multipart:
            self._collect_files(request)
        else:
            self._collect_body(request)
        payload = self.payload
        self._forget()
        return payload

    def remove(self, request: HttpRequest) -> None:
        """Remove the tap and drop what it has seen."""
        _unshadow(request)
        # Not by the property, which would make handlers that refer to the request.
        handlers = request.__dict__.get("_upload_handlers")
        if isinstance(handlers, list):  # gone once the body is parsed
            handlers[:] = [h for h in handlers if getattr(h, "_tap", None) is not self]
        self._forget()

    @property
    def size(self) -> int:
        """Bytes seen, which the request holds as long as it lives."""
        uploads = (upload.size or 0 for upload in self.payload.uploads)
        return self._body_size + sum(uploads)

    def _forget(self) -> None:
        # The request and its upload handlers may live on; the bytes should not.
        self.payload, self._chunks = Payload(), []
        self._buffer.clear()

    def _collect_files(self, request: HttpRequest) -> None:
        payload = self.payload
        payload.was_read = is_parsed(request) or bool(payload.uploads)
        if not payload.uploads and is_parsed(request):
            # The view replaced our upload handler, or another parser did the work:
            # files that are still open can still be read.
            self._copy_parsed_files(request)
        elif not payload.uploads and (body := read_body(request)):
            # Only the raw body was read. To parse it here costs the view nothing.
            payload.was_read = True
            handlers = [TapUploadHandler(self)]
            try:
                parser = MultiPartParser(request.META, BytesIO(body), handlers)
                payload.fields = dict(parser.parse()[0].lists())
            except (MultiPartParserError, SuspiciousOperation) as error:
                payload.problem = _message_of(error)
        self._note_view_stopped(request)
        payload.uploads = [self._with_data(upload) for upload in payload.uploads]

    def _note_view_stopped(self, request: HttpRequest) -> None:
        # Why is a file incomplete: did the client cut it off, or did the view's upload
        # handler stop?
        body, expected = read_body(request), self.payload.expected_size
        size = self._body_size if body is None else len(body)
        ended = self._saw_end or body is not None
        is_cut_off = ended and expected is not None and size < expected
        for upload in self.payload.uploads:
            is_last = upload is self.payload.uploads[-1]
            upload.view_stopped = not upload.complete and not (is_last and is_cut_off)

    def _with_data(self, upload: Upload) -> Upload:
        # A copy: Django keeps the handler, which refers to the original, in a cycle
        # with the request, where the bytes would wait for the garbage collector.
        data = self._buffer.take(upload)
        if data is None or not upload.complete:
            return upload
        return replace(upload, data=data)

    def _collect_body(self, request: HttpRequest) -> None:
        payload = self.payload
        body = read_body(request)
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
        # Under WSGI, a truncated body is short, without any error.
        expected = payload.expected_size
        payload.complete = (
            self._saw_end if expected is None else payload.size >= expected
        )
        payload.view_stopped = not payload.complete and not self._saw_end


class TapUploadHandler(FileUploadHandler):
    """Passes every chunk on, with a copy to the tap."""

    # None: Django ignores it in its search for the smallest chunk size.
    chunk_size = None  # type: ignore[assignment]

    def __init__(self, tap: Tap) -> None:
        super().__init__()
        self._tap = tap
        self._upload = Upload("")

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        """Begin the next file."""
        # After the file's name; parsers other than Django's may leave it out.
        declared = args[1] if len(args) > 1 else kwargs.get("content_type")
        self._upload = Upload(field_name, content_type=_text(declared))
        self._tap.payload.uploads.append(self._upload)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the chunk on unchanged."""
        with _report_faults():
            self._tap.receive(self._upload, raw_data)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Note that the file is complete; the handlers after this one make the file."""
        self._upload.complete = True


def _unshadow(request: HttpRequest) -> None:
    for name in ("read", "readline", "parse_file_upload"):
        # As with ``close``: a remaining shadow keeps the body in memory.
        request.__dict__.pop(name, None)


def _message_of(error: Exception) -> str:
    return str(error) or type(error).__name__


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _extended(head: bytes, data: bytes) -> bytes:
    return head + data[: max(0, HEAD_SIZE - len(head))]


@contextlib.contextmanager
def _report_faults() -> Iterator[None]:
    try:
        yield
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("tap", exception)


def is_parsed(request: HttpRequest) -> bool:
    """Tell whether the form was parsed."""
    return "_files" in request.__dict__


def parsed_files(request: HttpRequest) -> Iterator[tuple[str, UploadedFile[Any]]]:
    """Return the files of a parsed form, each with its field's name."""
    # From the attribute: ``request.FILES`` would parse.
    for field, files in request.__dict__["_files"].lists():
        for file in files:
            yield field, file


def parsed_fields(request: HttpRequest) -> Mapping[str, Sequence[str]] | None:
    """Return the text fields of a form; None if it was not parsed."""
    post = request.__dict__.get("_post")
    return None if post is None else dict(post.lists())


def read_body(request: HttpRequest) -> bytes | None:
    """Return the body, if Django has read it as a whole; else None."""
    body: bytes | None = request.__dict__.get("_body")
    return body


def first_bytes(file: UploadedFile[Any], size: int) -> bytes:
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
