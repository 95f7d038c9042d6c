"""The files that a parser hands to the upload handlers of a request, copied to the tap.

The list of handlers and its members stay Django's own: a view may look at them, and
remove, replace or reorder them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.core.files.uploadhandler import FileUploadHandler

from request_images.health import report_faults

from .payload import Upload

_METHODS = ("handle_raw_input", "new_file", "receive_data_chunk", "file_complete")


class Receiver(Protocol):
    """Takes the copies of the files."""

    def expect_files(self) -> None:
        """Keep files from now on, and no raw body."""

    def begin_file(self, upload: Upload) -> None:
        """Take another file."""

    def receive(self, upload: Upload, data: bytes) -> None:
        """Take some bytes of a file."""

    def end_file(self, upload: Upload) -> None:
        """Note that a file is complete."""


class TapUploadHandler(FileUploadHandler):
    """Passes every chunk on, with a copy to the tap."""

    # None: Django ignores it in its search for the smallest chunk size.
    chunk_size = None  # type: ignore[assignment]

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self._receiver = receiver
        self._upload = Upload("")

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        """Note that a parser hands over the files, so that no raw body is needed."""
        self._receiver.expect_files()

    def new_file(self, field_name: str | None, *args: Any, **kwargs: Any) -> None:
        """Begin the next file."""
        # After the file's name; parsers other than Django's may leave it out.
        declared = args[1] if len(args) > 1 else kwargs.get("content_type")
        # REST framework's parser of a body that is one file gives no field, and names
        # it so.
        self._upload = Upload(
            field_name or "file",
            content_type=declared if isinstance(declared, str) else "",
            is_body=field_name is None,
        )
        self._receiver.begin_file(self._upload)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the chunk on unchanged."""
        with report_faults("tap"):
            self._receiver.receive(self._upload, raw_data)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Note that the file is complete; the handlers after this one make the file."""
        self._receiver.end_file(self._upload)


class WatchedHandlers:
    """Upload handlers, the first of which passes on a copy of what it gets."""

    def __init__(self, receiver: Receiver) -> None:
        self._copy = TapUploadHandler(receiver)
        self._watched: list[FileUploadHandler] = []
        self._first: FileUploadHandler | None = None

    def watch(self, handlers: Iterable[FileUploadHandler]) -> None:
        """Watch handlers, also if some of them are watched already."""
        self._first = None
        for handler in handlers:
            if not any(handler is each for each in self._watched):
                self._watched.append(handler)
                for name in _METHODS:
                    self._shadow(handler, name)

    def unwatch(self) -> None:
        """Leave the handlers as they were."""
        for handler in self._watched:
            for name in _METHODS:
                vars(handler).pop(name, None)
        self._watched, self._first = [], None

    def _shadow(self, handler: FileUploadHandler, name: str) -> None:
        original = getattr(handler, name)
        copy: Callable[..., object] = getattr(self._copy, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            # A handler may pass on less of a chunk to the next; the first gets all.
            with report_faults("tap"):
                self._first = self._first or handler
                if self._first is handler:
                    copy(*args, **kwargs)
            return original(*args, **kwargs)

        setattr(handler, name, watched)
