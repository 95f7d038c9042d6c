"""`RequestImagesMiddleware`: optional; it sees more than a decorator.

A decorator sees neither the responses of other middlewares, nor what they read before
the view, nor, under ASGI, that the client leaves while a sync view runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from request_images.capture.before_view import Options, cancel_early, start_early
from request_images.capture.recording import OPTIONS, recording_of

from .conf import conf
from .health import report_faults

__all__ = ("RequestImagesMiddleware",)

Response = HttpResponseBase | Awaitable[HttpResponseBase]


class RequestImagesMiddleware:
    """Make the logs of decorated views more exact.

    Everything is recorded without it. With it, a log has the final status, also if
    another middleware made the response; a client that leaves under ASGI is logged at
    once, with status 499; and the body is watched before other middlewares (the CSRF
    check) read it. Put it first in ``MIDDLEWARE``.

    Args:
        get_response: The rest of the chain, sync or async.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Response]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            # Django would call a sync hook in a thread, for each request.
            # mypy: assigning to a method is the point.
            self.process_view = self._process_view_async  # type: ignore[method-assign]

    def __call__(self, request: HttpRequest) -> Response:
        """Return the response of the rest of the chain."""
        if self._is_async:
            return self._call_async(request)
        try:
            response = cast("HttpResponseBase", self._get_response(request))
            _note_response(request, response)
        finally:
            _remove_early_tap(request)
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response = await cast(
                "Awaitable[HttpResponseBase]", self._get_response(request)
            )
            _note_response(request, response)
        except asyncio.CancelledError:
            _note_client_gone(request)
            raise
        finally:
            _remove_early_tap(request)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], *args: Any
    ) -> Any:
        """Watch the body of a request whose view is decorated.

        Django calls these hooks from the first middleware to the last; the CSRF check
        reads the form in its hook.
        """
        _set_early_tap(request, view)

    async def _process_view_async(
        self, request: HttpRequest, view: Callable[..., Any], *args: Any
    ) -> None:
        _set_early_tap(request, view)


@report_faults("middleware")
def _set_early_tap(request: HttpRequest, view: Callable[..., Any]) -> None:
    if not conf.ENABLED or request.method not in conf.METHODS:
        return
    options = _options_of(view, str(request.method).lower())
    if options is not None:
        start_early(request, options)


def _options_of(view: Callable[..., Any], method: str) -> Options | None:
    # A decorated function, a class with the mixin, or a decorated method of a class.
    # (``as_view`` and Django's decorators copy the attributes of what they wrap.)
    places: list[Any] = [view]
    view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if view_class is not None:
        actions = getattr(view, "actions", None) or {}  # of a viewset
        places += [view_class, getattr(view_class, actions.get(method, method), None)]
    found = (getattr(place, OPTIONS, None) for place in places)
    return next((options for options in found if isinstance(options, Options)), None)


@report_faults("middleware")
def _remove_early_tap(request: HttpRequest) -> None:
    cancel_early(request)


@report_faults("middleware")
def _note_response(request: HttpRequest, response: object) -> None:
    recording = recording_of(request)
    if recording is not None:
        recording.note_response(response)


@report_faults("middleware")
def _note_client_gone(request: HttpRequest) -> None:
    recording = recording_of(request)
    if recording is not None:
        recording.note_client_gone()
