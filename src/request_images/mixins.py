"""`CaptureImagesMixin`: the decorator for class-based views."""

from __future__ import annotations

from typing import Any, ClassVar

from request_images.capture.before_view import Images, Options
from request_images.capture.recording import begin, recording_of
from request_images.capture.sources import SourceSpec

from .decorators import call_recorded

__all__ = ("CaptureImagesMixin",)


class CaptureImagesMixin:
    """Record each request of a class-based view, and keep its image.

    For Django's ``View``, sync and async, and for REST framework's ``APIView`` and
    viewsets. Put it before the view in the list of bases::

        class SolveView(CaptureImagesMixin, View):
            capture_source = "files.photo"

    Attributes:
        capture_source: The ``source`` of `capture_images`.
        capture_endpoint: The ``endpoint`` of `capture_images`.
        capture_images: The ``images`` of `capture_images`.
        capture_limit: The ``limit`` of `capture_images`.

    Raises:
        SourceError: `capture_source` is not a valid source (raised at import).
        ImproperlyConfigured: `capture_images` or `capture_limit` is not valid.
    """

    capture_source: ClassVar[SourceSpec] = None
    capture_endpoint: ClassVar[str] = ""
    capture_images: ClassVar[Images] = "first"
    capture_limit: ClassVar[int | None] = None
    capture_images_options: ClassVar[Options] = Options()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.capture_images_options = Options.of(
            cls.capture_source,
            cls.capture_endpoint,
            cls.__qualname__,
            cls.capture_images,
            cls.capture_limit,
        )

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Dispatch the request as the view does, and record it."""
        dispatch = super().dispatch  # type: ignore[misc]  # the view's
        recording = begin((request,), {}, self.capture_images_options)
        if recording is None:
            return dispatch(request, *args, **kwargs)
        return call_recorded(recording, lambda: dispatch(request, *args, **kwargs))

    def handle_exception(self, exc: Exception) -> Any:
        """Note an exception before REST framework turns it into a response."""
        recording = recording_of(getattr(self, "request", None))
        if recording is not None:
            recording.note_exception(exc)
        return super().handle_exception(exc)  # type: ignore[misc]  # REST framework's
