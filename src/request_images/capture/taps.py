"""Copies of the bytes that a view reads; nothing is read that the view does not read.

Three ways, whichever fits the request:

* the methods of the upload handlers, shadowed on their instances;
* ``read`` and ``readline``, shadowed on the request instance;
* a copy of the files that were parsed before the view (by the CSRF check, say); their
  position is restored.

A fault in a tap never reaches the view: the tap misses some bytes, nothing more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from time import perf_counter
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from request_images.health import report, report_faults
from request_images.images.formats import HEAD_SIZE

from . import parsed_form
from .body_end import UNCLOSED, BodyEnd, in_words
from .chunks import Chunks
from .content_encoding import decompressed, is_text
from .form_parts import FormParts, boundary_of
from .held import Held
from .parsed_form import first_bytes, is_made_by_hand, is_parsed, read_body
from .partial import part_of_upload
from .payload import Payload, Upload
from .upload_buffer import Limits, Rank, UploadBuffer
from .upload_handlers import TapUploadHandler, WatchedHandlers


class Tap:
    """A tap on the body of one request, made before its view.

    Of the files, those with the highest ranks are kept, within the limits.
    """

    def __init__(self, request: HttpRequest, limits: Limits, rank: Rank) -> None:
        content_type = (request.content_type or "").lower()
        self.payload = Payload(content_type=content_type)
        self._limits = limits
        self._held = Held(limits.running_size)
        self._buffer = UploadBuffer(rank, limits, self._held)
        self._is_multipart = content_type == "multipart/form-data"
        self._chunks = Chunks()  # of the raw body
        self._end = BodyEnd()
        self._has_handler = False  # whether upload handlers get the files
        self._handlers = WatchedHandlers(self)
        boundary = str((request.content_params or {}).get("boundary", ""))
        self._boundary = boundary.encode()
        self._parts = FormParts(self._boundary, self._receive_part)
        with report_faults("tap"):
            self._end.begin(request, self.payload)
        if is_parsed(request) or is_made_by_hand(request):
            with report_faults("tap"):
                self._copy_parsed_files(request)
        elif self._is_multipart:
            self._handlers.watch(request.upload_handlers)
        self._shadow(request, "read")
        self._shadow(request, "readline")
        if self._is_multipart:
            self._shadow_parser(request)

    def _shadow(self, request: HttpRequest, name: str) -> None:
        original = getattr(request, name)

        def watched(*args: Any, **kwargs: Any) -> bytes:
            started = perf_counter()
            self.payload.was_read = True
            try:
                data: bytes = original(*args, **kwargs)
            except OSError as error:
                self._end.has_ended = True  # no more bytes
                self._end.broken = in_words(error)
                raise
            with report_faults("tap"):
                self.payload.upload_seconds += perf_counter() - started
                # Only a short read is a sign of the end; a line may always be short.
                size = -1 if not args or args[0] is None else args[0]
                is_short = name == "read" and (size < 0 or len(data) < size)
                self._end.note_read(data, is_end=is_short or not data)
                if data or self._chunks.size:
                    self._feed(data)
            return data

        setattr(request, name, watched)

    def _shadow_parser(self, request: HttpRequest) -> None:
        original = request.parse_file_upload

        def watched(*args: Any, **kwargs: Any) -> Any:
            with report_faults("tap"):  # the view may have set others
                self._handlers.watch(request.upload_handlers)
            try:
                return original(*args, **kwargs)
            except (MultiPartParserError, SuspiciousOperation) as error:
                self.payload.problem = _message_of(error)
                raise
            except Exception as error:
                self._end.error = in_words(error)
                raise

        # mypy: assigning to a method is the point, it shadows it on the instance.
        request.parse_file_upload = watched  # type: ignore[method-assign]

    def _feed(self, data: bytes) -> None:
        if len(self.payload.head) < HEAD_SIZE:
            self.payload.head = _extended(self.payload.head, data)
        uploads = self.payload.uploads
        if self._has_handler and self.payload.shows_form:
            if not (uploads and uploads[0].is_body):
                if self._chunks.size:
                    # What came before its first file, if it does not begin as a form.
                    self._parts.feed(self._chunks.join())
                    self._drop_chunks()
                self._parts.feed(data)
            return
        # A view may read in lines, so a line must cost little.
        is_large = self._end.size > self._limits.size
        if (is_large and self._end.size > self._body_limit) or self.payload.over_budget:
            self._drop_chunks()
        elif self._held.take(len(data)):
            self._chunks.append(data)
        else:
            self.payload.over_budget = self._limits.too_busy
            self._drop_chunks()

    @property
    def _body_limit(self) -> int:
        # By its bytes: clients declare wrong types.
        limits, head = self._limits, self.payload.head
        return limits.text_size if is_text(head) else limits.size

    def _drop_chunks(self) -> None:
        if self._chunks.size:
            self._held.give_back(self._chunks.size)
            self._chunks.clear()

    def expect_files(self) -> None:
        """Keep files from now on, and no raw body."""
        self._has_handler = True
        self._drop_chunks()

    def begin_file(self, upload: Upload) -> None:
        """Take another file."""
        self.payload.uploads.append(upload)

    def receive(self, upload: Upload, data: bytes) -> None:
        """Take one chunk of an uploaded file."""
        self._parts.take_file(data)
        self._receive(upload, data)

    def end_file(self, upload: Upload) -> None:
        """Note that an uploaded file is complete."""
        upload.complete = True
        self._parts.end_file()

    def _receive(self, upload: Upload, data: bytes) -> None:
        before = upload.head
        if len(before) < HEAD_SIZE:  # then it is all that came before
            upload.head = _extended(before, data)
            self._buffer.offer(upload, before)
        upload.size = (upload.size or 0) + len(data)
        upload.too_large = upload.size > self._limits.size
        self._buffer.add(upload, data)

    def _receive_part(self, upload: Upload, data: bytes) -> None:
        if not upload.size:
            self.payload.uploads.append(upload)
        self._receive(upload, data)

    def _copy_parsed_files(self, request: HttpRequest) -> None:
        # The client is waiting, so read only the heads of all files but the best.
        files = {}
        for field, file in parsed_form.files(request):
            upload = Upload(field, size=None, complete=True)
            self.payload.uploads.append(upload)
            files[id(upload)] = file
            with report_faults("tap"):
                upload.size = getattr(file, "size", None)
                upload.head = first_bytes(file, HEAD_SIZE)
                self._buffer.offer(upload)
                upload.content_type = _text(getattr(file, "content_type", ""))
        for upload in self._buffer.best_first():
            with report_faults("tap"):
                self._copy(upload, files[id(upload)])

    def _copy(self, upload: Upload, file: Any) -> None:
        upload.too_large = upload.size is not None and upload.size > self._limits.size
        if upload.too_large or not upload.head:
            return
        size = self._limits.size + 1 if upload.size is None else upload.size
        if not self._buffer.has_room(min(size, self._limits.size)):
            upload.over_budget = self._limits.too_many
            return
        data = first_bytes(file, size)
        upload.too_large = len(data) > self._limits.size
        if upload.size is None and not upload.too_large:
            upload.size = len(data)
        self._buffer.add(upload, data)

    def collect(self, request: HttpRequest, error: str = "") -> Payload:
        """Remove the tap and return what it has seen; to be called once.

        Args:
            request: The request whose body was watched.
            error: The exception that the view raised, in words; empty for none.
        """
        _unshadow(request)
        self._end.error = self._end.error or error
        payload = self.payload
        # A fault in one part costs that part.
        with self._note_fault():
            payload.fields = parsed_form.texts(request)
        with self._note_fault():
            body = read_body(request)
            if body is None and self._chunks.size:
                body = self._chunks.join()
            payload.head = payload.head or (body or b"")[:HEAD_SIZE]
            self._end.describe(request, payload)
            size = payload.size or 0
            body, found_before = self._decompressed(request, body), len(payload.uploads)
            if self._is_multipart:
                self._collect_files(request, body)
            self._collect_parts(body or b"")
            found_now = payload.uploads[found_before:]
            if payload.complete and not all(upload.complete for upload in found_now):
                payload.is_cut_off, payload.missing = True, UNCLOSED
            for upload in payload.uploads:
                self._note_missing(upload)
            is_form = self._is_multipart and (payload.uploads or payload.fields)
            if not is_form and (body or not payload.problem):
                self._collect_body(body)
        with self._note_fault():
            payload.part = part_of_upload(request, payload.fields or {}, size)
        payload.uploads = [self._with_data(upload) for upload in payload.uploads]
        self._forget()
        return payload

    @contextlib.contextmanager
    def _note_fault(self) -> Iterator[None]:
        try:
            yield
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("tap", exception)
            self.payload.failure = exception

    def remove(self, request: HttpRequest) -> None:
        """Remove the tap and drop what it has seen."""
        _unshadow(request)
        self._forget()

    @property
    def size(self) -> int:
        """Bytes seen, which the request holds as long as it lives."""
        uploads = (upload.size or 0 for upload in self.payload.uploads)
        return self._end.size + sum(uploads)

    def _forget(self) -> None:
        # The request and its upload handlers may live on; the bytes should not.
        self._handlers.unwatch()
        self.payload, self._chunks, self._end = Payload(), Chunks(), BodyEnd()
        self._parts = FormParts(b"", self._receive_part)
        self._buffer.clear()
        self._held.clear()

    def _decompressed(self, request: HttpRequest, body: bytes | None) -> bytes | None:
        payload, encoding = self.payload, request.META.get("HTTP_CONTENT_ENCODING", "")
        if not body or not payload.complete:
            return body
        try:
            decoded = decompressed(body, encoding, self._limits.text_size)
        except ValueError as error:
            payload.problem = str(error)
            return None
        if decoded is not body:
            payload.size, payload.head = len(decoded), decoded[:HEAD_SIZE]
        return decoded

    def _collect_body(self, body: bytes | None) -> None:
        payload = self.payload
        if not payload.was_read:
            return
        payload.too_large = (payload.size or 0) > self._body_limit
        if body is not None:  # Django has it as well
            payload.over_budget = ""
        is_dropped = payload.too_large or payload.over_budget
        payload.body = None if is_dropped else body or b""

    def _collect_files(self, request: HttpRequest, body: bytes | None) -> None:
        payload = self.payload
        if len(payload.uploads) == 1:
            body = self._take_form(payload.uploads[0]) or body
        if not payload.uploads and body:
            # Nobody parsed it as a form, or with upload handlers of its own. To parse
            # it here costs the view nothing.
            self._parse(request, body)
        if not payload.uploads and is_parsed(request):
            # Files that another parser made, and that are still open, can be read.
            self._copy_parsed_files(request)

    def _collect_parts(self, body: bytes) -> None:
        boundary = boundary_of(body, self._boundary)
        if boundary and not self._parts.has_begun:
            # The view has read it itself, under whatever type.
            has_no_file = not self.payload.uploads
            # Another text may only look like a form.
            is_declared = self.payload.content_type.startswith("multipart/")
            receive = self._receive_part
            self._parts = FormParts(
                boundary,
                receive,
                takes_files=has_no_file,
                takes_texts=has_no_file and is_declared and not self.payload.fields,
            )
            self._parts.feed(body)
        self._parts.feed(b"", is_end=True)

    def _take_form(self, upload: Upload) -> bytes | None:
        # A parser may treat a whole body as one file, with the form's boundaries in it.
        if not (upload.is_body and upload.complete and upload.head.startswith(b"--")):
            return None
        form = self._buffer.take(upload)
        if form is not None:
            self.payload.uploads.clear()
            self._buffer.clear()
        return form

    def _parse(self, request: HttpRequest, body: bytes) -> None:
        try:
            handlers = [TapUploadHandler(self)]
            # Without a length, as with a chunked body, it parses nothing.
            meta = {**request.META, "CONTENT_LENGTH": len(body)}
            parser = MultiPartParser(meta, BytesIO(body), handlers)
            fields = parser.parse()[0]
        except (MultiPartParserError, SuspiciousOperation) as error:
            self.payload.problem = _message_of(error)
        else:
            self.payload.fields = self.payload.fields or dict(fields.lists())

    def _note_missing(self, upload: Upload) -> None:
        # Why is a file incomplete: did the client cut it off, or did the view's upload
        # handler stop?
        payload = self.payload
        if upload.complete:
            return
        if upload is payload.uploads[-1] and payload.is_cut_off:
            upload.missing = payload.missing
        else:
            upload.view_stopped = True
            upload.missing = self._end.error

    def _with_data(self, upload: Upload) -> Upload:
        # A copy: Django keeps the handler, which refers to the original, in a cycle
        # with the request, where the bytes would wait for the garbage collector.
        data = self._buffer.take(upload)
        if data is None or not upload.complete:
            return upload
        return replace(upload, data=data)


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
