"""Who called the view: a server, Django's test client, another test, or plain code."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache
from io import BytesIO
from types import FrameType
from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.http import HttpRequest

from request_images.db.destination import is_in_event_loop

_CALLBACK = "_request_images_answered"


def has_no_handler(request: HttpRequest) -> bool:
    """Tell whether plain code has called the view, so that no handler closes it."""
    # Ninja's test client sets a ``resolver_match``, but there is nothing to read.
    is_empty = not isinstance(request, ASGIRequest) and "wsgi.input" not in request.META
    return request.resolver_match is None or is_empty


def is_from_test_client(request: HttpRequest) -> bool:
    """Tell whether Django's test client sent this request; it always closes it.

    Ask before the view runs: it may replace the body.
    """
    # The client sets this attribute, but so do projects that switch the CSRF check off.
    if not hasattr(request, "_dont_enforce_csrf_checks"):
        return False
    if has_test_body(request):
        return True
    # A middleware has read it. No server gives its port as text.
    scope = request.scope if isinstance(request, ASGIRequest) else {}
    is_read = isinstance(getattr(request, "_stream", None), BytesIO)
    return is_read and isinstance((scope.get("server") or ("", 0))[1], str)


def has_test_body(request: HttpRequest) -> bool:
    """Tell whether the body is one that only Django's own test tools make."""
    body = request.META.get("wsgi.input")
    if isinstance(request, ASGIRequest):
        # Within a `LimitedStream`, which has its ``read``.
        body = getattr(getattr(request._stream, "_read", None), "__self__", None)
    return type(body).__module__ == "django.test.client"


def is_called_with_test_request(request: HttpRequest) -> bool:
    """Tell whether a test called the view itself, with a request of its factory.

    Such a test may have resolved the URL, as views and versioning schemes ask for that.
    """
    if not has_test_body(request):
        return False
    if isinstance(request, ASGIRequest):
        return not hasattr(request, "_dont_enforce_csrf_checks")  # AsyncClient's
    if is_in_event_loop():
        return False  # the handler may wait for the view in another thread
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not BaseHandler.get_response.__code__:
        frame = frame.f_back
    return frame is None


def has_test_cases() -> bool:
    """Tell whether Django's test cases are loaded, which a server need not load."""
    return "django.test.testcases" in sys.modules


def is_in_test_transaction() -> bool:
    """Tell whether a ``TestCase`` has a transaction open in this thread."""
    return has_test_cases() and any(
        getattr(block, "_from_testcase", False)
        for connection in connections.all(initialized_only=True)
        for block in connection.atomic_blocks
    )


def shares_connections() -> bool:
    """Tell whether threads share a connection, as in tests with a live server."""
    return has_test_cases() and any(
        connection.allow_thread_sharing
        for connection in connections.all(initialized_only=True)
    )


def call_when_answered(
    request: HttpRequest, callback: Callable[[object], None]
) -> None:
    """Call back when Django's handler has the final response, before it is sent.

    At that moment the handler reads ``request.close``, to call it at the end. This is
    for tests: some never close a request, some share a connection with the server.

    Args:
        request: The request; its view has ended.
        callback: Called with the handler.
    """
    setattr(request, _CALLBACK, callback)
    # Only a property of the class notices that an attribute is read.
    kind: Any = type(request)
    request.__class__ = _watched_class(kind)


@cache
def _watched_class(kind: type[HttpRequest]) -> type[HttpRequest]:
    def close(self: Any) -> Any:
        self.__class__ = kind
        handler = sys._getframe(1).f_locals.get("self")
        self.__dict__.pop(_CALLBACK)(handler)
        return self.close

    named = type(kind.__name__, (kind,), {"close": property(close)})
    return cast("type[HttpRequest]", named)


def is_called_by_test(request: HttpRequest, handler: object) -> bool:
    """Tell whether a request must be written before its answer.

    This is so if a test called the handler and may never close the request, or if the
    row would be written to a connection on which a test has begun a transaction.
    """
    # Django's test client has a handler of its own, which always closes.
    is_clients = any(
        kind.__module__ == "django.test.client" for kind in type(handler).__mro__
    )
    # A view, for instance, may read ``request.close`` as well, and calls it at once.
    is_handler = isinstance(handler, BaseHandler) and not is_clients
    return is_handler and (
        # The event loop has a thread of its own, of which the rest says nothing.
        isinstance(request, ASGIRequest)
        or has_test_body(request)
        or is_in_test_transaction()
        or shares_connections()
        or threading.current_thread() is threading.main_thread()
    )
