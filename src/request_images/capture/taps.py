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
from .upload_buffer import Bounds, Keeper, Rank


class Tap:
    """What goes by of one request's body.

    Args:
        request: The request, before its view.
        bounds: How many bytes to keep, of how many files.
        rank: Which files to keep: the first of those with the highest rank.
    """

    def __init__(self, request: HttpRequest, bounds: Bounds, rank: Rank) -> None:
        content_type = (request.content_type or "").lower()
        self.payload = Payload(content_type=content_type)
        self._limit = bounds.size
        self._keeper = Keeper(rank, bounds)
        self._is_multipart = content_type == "multipart/form-data"
        is_binary = _is_binary(content_type)
        self._body_limit = bounds.size if is_binary else bounds.text_size
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
                self._saw_end = True  # the connection broke: nothing more will come
                raise
            with _blind_on_fault():
                self.payload.upload_seconds += perf_counter() - started
                self._feed(data)
                # A line may be short for another reason, a read is so at the end.
                asked = -1 if not args or args[0] is None else args[0]
                is_short = name == "read" and (asked < 0 or len(data) < asked)
                self._saw_end = self._saw_end or is_short or not data
            return data

        setattr(request, name, watched)

    def _shadow_parser(self, request: HttpRequest) -> None:
        original = request.parse_file_upload

        def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except (MultiPartParserError, SuspiciousOperation) as error:
                with _blind_on_fault():
                    self.payload.problem = _in_words(error)
                raise

        # mypy: assigning to a method is the point, it shadows it on the instance.
        request.parse_file_upload = watched  # type: ignore[method-assign]

    def _feed(self, data: bytes) -> None:
        self._body_size += len(data)
        if self._is_multipart:
            return  # the upload handler has the files; all of it would be twice
        self.payload.was_read = True
        self.payload.head = _filled(self.payload.head, data)
        if self._body_size > self._body_limit:
            self._chunks.clear()
        else:
            self._chunks.append(data)

    def receive(self, upload: Upload, data: bytes) -> None:
        """Take one chunk of an uploaded file."""
        before = upload.head
        if len(before) < HEAD_SIZE:  # then it is all that came before
            upload.head = _filled(before, data)
            self._keeper.consider(upload, before)
        upload.size = (upload.size or 0) + len(data)
        upload.too_large = upload.size > self._limit
        self._keeper.add(upload, data)

    def _copy_parsed_files(self, request: HttpRequest) -> None:
        # The client is waiting: of all but the best the first bytes are enough.
        files = {}
        for field, file in parsed_files(request):
            upload = Upload(field, size=None, complete=True)
            self.payload.uploads.append(upload)
            files[id(upload)] = file
            with _blind_on_fault():
                upload.size = file.size
                upload.head = first_bytes(file, HEAD_SIZE)
                self._keeper.consider(upload)
                upload.content_type = _text(file.content_type)
        for upload in self._keeper.chosen():
            with _blind_on_fault():
                self._copy(upload, files[id(upload)])

    def _copy(self, upload: Upload, file: UploadedFile[Any]) -> None:
        upload.too_large = upload.size is not None and upload.size > self._limit
        if upload.too_large or not upload.head:
            return
        size = self._limit + 1 if upload.size is None else upload.size
        upload.over_budget = not self._keeper.has_room(min(size, self._limit))
        if upload.over_budget:
            return
        data = first_bytes(file, size)
        upload.too_large = len(data) > self._limit
        if upload.size is None and not upload.too_large:
            upload.size = len(data)
        self._keeper.add(upload, data)

    def collect(self, request: HttpRequest) -> Payload:
        """Take the taps off and return what was seen. Called once, after the view."""
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
        uploads = (upload.size or 0 for upload in self.payload.uploads)
        return self._body_size + sum(uploads)

    def _forget(self) -> None:
        # The request and its upload handlers may live on; the bytes should not.
        self.payload, self._chunks = Payload(), []
        self._keeper.forget()

    def _collect_files(self, request: HttpRequest) -> None:
        payload = self.payload
        payload.was_read = is_parsed(request) or bool(payload.uploads)
        if not payload.uploads and is_parsed(request):
            # The view put upload handlers of its own in our place, or another
            # parser did the work: what is still open can still be read.
            self._copy_parsed_files(request)
        elif not payload.uploads and (body := read_body(request)):
            # Only the raw body was read. Parsed here it costs the view nothing.
            payload.was_read = True
            handlers = [TapUploadHandler(self)]
            try:
                parser = MultiPartParser(request.META, BytesIO(body), handlers)
                payload.fields = dict(parser.parse()[0].lists())
            except (MultiPartParserError, SuspiciousOperation) as error:
                payload.problem = _in_words(error)
        self._note_left(request)
        payload.uploads = [self._with_data(upload) for upload in payload.uploads]

    def _note_left(self, request: HttpRequest) -> None:
        # A file that did not arrive whole: was it the client, or an upload handler of
        # the view that asked for no more?
        body, expected = read_body(request), self.payload.expected_size
        size = self._body_size if body is None else len(body)
        ended = self._saw_end or body is not None
        is_cut_off = ended and expected is not None and size < expected
        for upload in self.payload.uploads:
            is_last = upload is self.payload.uploads[-1]
            upload.was_left = not upload.complete and not (is_last and is_cut_off)

    def _with_data(self, upload: Upload) -> Upload:
        # A copy: Django keeps the handler that knows the original in a cycle with the
        # request, and the bytes would stay there until the garbage collector comes by.
        data = self._keeper.take(upload)
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
        # Behind the file's name; parsers other than Django's may leave it out.
        said = args[1] if len(args) > 1 else kwargs.get("content_type")
        self._upload = Upload(field_name, content_type=_text(said))
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
    for name in ("read", "readline", "parse_file_upload"):
        # As with ``close``: a shadow left behind keeps the body in memory.
        request.__dict__.pop(name, None)


def _in_words(error: Exception) -> str:
    # A form that is malformed, or beyond Django's limits.
    return str(error) or type(error).__name__


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _filled(head: bytes, data: bytes) -> bytes:
    return head + data[: max(0, HEAD_SIZE - len(head))]


def _is_binary(content_type: str) -> bool:
    return content_type.startswith("image/") or content_type in (
        "",
        "application/octet-stream",
    )


@contextlib.contextmanager
def _blind_on_fault() -> Iterator[None]:
    # Whatever happens in here, the view is reading and must go on.
    try:
        yield
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("tap", exception)


def is_parsed(request: HttpRequest) -> bool:
    """Tell whether somebody has had the form parsed."""
    return "_files" in request.__dict__


def parsed_files(request: HttpRequest) -> Iterator[tuple[str, UploadedFile[Any]]]:
    """Return the files of a form that is parsed, each with its field's name."""
    # Straight from the attribute: ``request.FILES`` would parse if nobody had yet.
    for field, files in request.__dict__["_files"].lists():
        for file in files:
            yield field, file


def parsed_fields(request: HttpRequest) -> Mapping[str, Sequence[str]] | None:
    """Return the text fields of a form, or None when it is not parsed."""
    post = request.__dict__.get("_post")
    return None if post is None else dict(post.lists())


def read_body(request: HttpRequest) -> bytes | None:
    """Return the body, when somebody has had Django read it whole."""
    body: bytes | None = request.__dict__.get("_body")
    return body


def first_bytes(file: UploadedFile[Any], size: int) -> bytes:
    """Read the beginning of a file, and put it back to where it was.

    Returns:
        Nothing of a file that is closed, or went where nobody can fetch it from.
    """
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
