"""`capture_images`: record the requests of a view, and keep their images."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction

from request_images.capture.before_view import Images, Options, nested_views
from request_images.capture.recording import OPTIONS, Recording, begin
from request_images.capture.sources import SourceSpec

__all__ = ("capture_images",)

P = ParamSpec("P")
R = TypeVar("R")


@overload
def capture_images(view: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def capture_images(
    *,
    source: SourceSpec = None,
    endpoint: str = "",
    images: Images = "first",
    limit: int | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def capture_images(
    view: Callable[..., Any] | None = None,
    /,
    *,
    source: SourceSpec = None,
    endpoint: str = "",
    images: Images = "first",
    limit: int | None = None,
) -> Callable[..., Any]:
    """Record each request of a view, and keep its image, or all of its images.

    For function views, sync and async, methods of class-based views and viewsets,
    and, with ``method_decorator``, ``dispatch``. With or without arguments.

    Args:
        view: The view.
        source: Where the image is, such as ``"files.photo"`` or ``"json.input.image"``
            (see the sources in the documentation), or several of these, tried in order.
            By default, the place that fits the request's content type.
        endpoint: The name to log requests under; by default the name of the URL
            pattern, or its route.
        images: ``"first"`` keeps one image of each request; ``"all"`` keeps the others
            too, as `FurtherImage` rows.
        limit: Maximum number of images to keep of a request with ``images="all"``: from
            1 to 1000, by default 20. The others are counted.

    Raises:
        SourceError: `source` is not a valid source (raised at import).
        ImproperlyConfigured: `images` or `limit` is not valid (raised at import).
        TypeError: The decorated object is a class.
    """
    options = Options.of(source, endpoint, "", images, limit)
    if view is None:
        return functools.partial(_decorate, options=options)
    return _decorate(view, options=options)


def _decorate(view: Callable[..., Any], *, options: Options) -> Callable[..., Any]:
    if isinstance(view, type):
        raise TypeError(
            f"capture_images decorates views, and {view.__name__} is a class. Let it "
            "inherit from request_images.mixins.CaptureImagesMixin instead."
        )
    name = getattr(view, "__qualname__", type(view).__name__)
    options = replace(options, view_name=name)
    inner = getattr(view, OPTIONS, None)
    if isinstance(inner, Options) and inner.ignored_in(options):
        nested_views.add(name)

    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            recording = begin(args, kwargs, options)
            if recording is None:
                return await view(*args, **kwargs)
            return await _recorded(recording, view(*args, **kwargs))

        return _named(async_wrapper, view, options)

    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        recording = begin(args, kwargs, options)
        if recording is None:
            return view(*args, **kwargs)
        return call_recorded(recording, lambda: view(*args, **kwargs))

    return _named(wrapper, view, options)


def _named(
    wrapper: Callable[..., Any], view: Callable[..., Any], options: Options
) -> Callable[..., Any]:
    vars(wrapper)[OPTIONS] = options
    if not hasattr(view, "__name__"):
        # An instance, or a `functools.partial`: as Django names it in its messages.
        wrapper.__name__ = f"{type(view).__name__}.__call__"
        wrapper.__qualname__ = wrapper.__name__
    return wrapper


def call_recorded(recording: Recording, view: Callable[[], R]) -> R:
    """Call a view without arguments, and record its response or exception."""
    try:
        response = view()
    except BaseException as exception:
        # CancelledError and SystemExit, too: that client has sent a request.
        recording.note_exception(exception)
        recording.leave()
        raise
    if isawaitable(response):
        # ``dispatch`` of an async class-based view is a sync function that returns a
        # coroutine. The view has not begun yet.
        recording.pause()
        return cast("R", _recorded(recording, response))
    recording.leave(response)
    return response


async def _recorded(recording: Recording, response: Awaitable[R]) -> R:
    recording.resume()
    try:
        await recording.note_destination_in_thread()
        awaited = await response
        await recording.note_destination_in_thread()
    except BaseException as exception:
        if isinstance(response, Coroutine):
            response.close()  # the client may have left before it began
        recording.note_exception(exception)
        recording.leave()
        await recording.wait_until_written()
        raise
    recording.leave(awaited)
    await recording.wait_until_written()
    return awaited
