"""When is a request over? Calls back exactly once, after the response has gone.

Django's handler appends ``request.close`` to the closers of the *final* response. A
``close`` that is shadowed on the request instance is therefore called after the
response, outside the request's transaction, for exceptions too, even when a
middleware replaces the response, and with no entry in ``MIDDLEWARE``.

This module knows nothing of images.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

_tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks only weakly


class RequestEnd:
    """Calls ``callback`` once, when ``request`` is over.

    Args:
        request: The request to watch.
        callback: Called without arguments, where the ORM may be used. It must not
            raise: nobody is left to tell.
    """

    def __init__(self, request: HttpRequest, callback: Callable[[], None]) -> None:
        self._request = request
        self._callback = callback
        self._lock = threading.Lock()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None
        self._close = request.close
        # mypy: assigning to a method is the point, it shadows it on the instance.
        request.close = self._closed  # type: ignore[method-assign]

    def view_ended(self) -> None:
        """Say that the view is done; without a handler nobody will close the request.

        A view that is called directly (``RequestFactory``, a management command) has
        no handler, which shows in the missing ``resolver_match``.
        """
        if self._request.resolver_match is None:
            self._end()

    async def settle(self) -> None:
        """Wait for the callback, where it had to be sent out of the event loop."""
        if self._task is not None:
            await self._task

    def _closed(self) -> None:
        try:
            self._end()
        finally:
            self._close()

    def _end(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        # Undo the shadow: it ties the request into a reference cycle, and its body
        # would stay in memory until the garbage collector comes by.
        self._request.__dict__.pop("close", None)
        self._call_where_orm_may_be_used()

    def _call_where_orm_may_be_used(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            _call_in_thread_of_orm(self._request, self._callback)
        else:
            # In an event loop (an async view called directly, or a stream that
            # AsyncClient closes) the ORM refuses to work.
            self._task = loop.create_task(_in_thread(self._callback))
            _tasks.add(self._task)
            self._task.add_done_callback(_tasks.discard)


def _call_in_thread_of_orm(request: HttpRequest, callback: Callable[[], None]) -> None:
    if isinstance(request, ASGIRequest) and is_from_test_client(request):
        # AsyncClient closes in a thread of a pool. What is written there is outside
        # the test's transaction, so go to the thread where the test's ORM runs.
        main_loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
        if main_loop is not None and main_loop.is_running():
            asyncio.run_coroutine_threadsafe(_in_thread(callback), main_loop).result()
            return
    callback()


def _in_thread(callback: Callable[[], None]) -> Coroutine[Any, Any, None]:
    return sync_to_async(callback)()


def is_from_test_client(request: HttpRequest) -> bool:
    """Tell whether Django's test client sent this request (it leaves this mark)."""
    return hasattr(request, "_dont_enforce_csrf_checks")
