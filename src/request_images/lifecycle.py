"""When is a request over? Calls back exactly once, after the response has gone.

Django's handler appends ``request.close`` to the closers of the *final* response. A
``close`` that is shadowed on the request instance is therefore called after the
response, outside the request's transaction, for exceptions too, even when a
middleware replaces the response, and with no entry in ``MIDDLEWARE``.

Some requests nobody closes: under ASGI when the client leaves during the view or a
stream raises, on some servers always. A thread comes to their rescue after a grace
period.

This module knows nothing of images.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

GRACE_SECONDS = 5.0
"""How long after its view a request that nobody closes is taken to be over."""

_IDLE_SECONDS = 60.0
_HOP_SECONDS = 10.0

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
        """Say that the view is done; if nobody closes the request now, we do.

        A view that is called directly (``RequestFactory``, a management command) has
        no handler that could close it, which shows in the missing ``resolver_match``.
        Django's test client always closes, and a thread would write outside of the
        test's transaction.
        """
        if self._request.resolver_match is None:
            self._end()
        elif not is_from_test_client(self._request):
            _rescue.watch(self)

    def rescue(self) -> None:
        """Take the request to be over, whoever may still close it."""
        if self._begin_to_end():
            self._callback()

    async def settle(self) -> None:
        """Wait for the callback, where it had to be sent out of the event loop."""
        if self._task is not None:
            await self._task

    def _closed(self) -> None:
        try:
            self._end()
        finally:
            self._close()

    def _begin_to_end(self) -> bool:
        with self._lock:
            if self._is_over:
                return False
            self._is_over = True
        _rescue.forget(self)
        # Undo the shadow: it ties the request into a reference cycle, and its body
        # would stay in memory until the garbage collector comes by.
        self._request.__dict__.pop("close", None)
        return True

    def _end(self) -> None:
        if not self._begin_to_end():
            return
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
            there = asyncio.run_coroutine_threadsafe(_in_thread(callback), main_loop)
            try:
                there.result(_HOP_SECONDS)
            except TimeoutError:
                if not there.cancel():
                    return  # it has begun after all
            else:
                return
    callback()


def _in_thread(callback: Callable[[], None]) -> Coroutine[Any, Any, None]:
    return sync_to_async(callback)()


def is_from_test_client(request: HttpRequest) -> bool:
    """Tell whether Django's test client sent this request."""
    # It leaves this mark, but so do projects that switch the CSRF check off.
    if not hasattr(request, "_dont_enforce_csrf_checks"):
        return False
    if isinstance(request, ASGIRequest):
        _, port = request.scope.get("client") or ("", None)
        return port == 0  # no real client has this one
    body = request.META.get("wsgi.input")
    return type(body).__module__ == "django.test.client"


def leaves_its_thread(request: HttpRequest) -> bool:
    """Tell whether this thread will never serve another request after this one.

    So it is under ASGI, where every request has a thread of its own, and in the thread
    that comes to the rescue.
    """
    in_rescue = threading.current_thread() is _rescue.thread
    return in_rescue or isinstance(request, ASGIRequest)


class _Rescue:
    """Ends requests that nobody has closed some time after their view."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()
        self._deadlines: dict[RequestEnd, float] = {}  # in order: one grace for all
        self.thread: threading.Thread | None = None

    def watch(self, end: RequestEnd) -> None:
        """End a request after the grace period, unless it ends before."""
        with self._lock:
            self._deadlines[end] = time.monotonic() + GRACE_SECONDS
            if self.thread is None:
                thread = threading.Thread(
                    target=self._run, name="request_images-rescue", daemon=True
                )
                thread.start()  # which may fail, and is tried again then
                self.thread = thread

    def forget(self, end: RequestEnd) -> None:
        """Leave a request alone that ended by itself."""
        with self._lock:
            self._deadlines.pop(end, None)

    def drain(self) -> None:
        """End every request that is still waiting, at the exit of the process."""
        for end in list(self._deadlines):
            end.rescue()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            now = time.monotonic()
            with self._lock:
                end, deadline = next(
                    iter(self._deadlines.items()), (None, now + GRACE_SECONDS)
                )
                if end is not None:
                    idle_since = now
                elif now - idle_since > _IDLE_SECONDS:
                    self.thread = None  # the next request starts another
                    return
            if end is not None and deadline <= now:
                end.rescue()
            else:
                # No request wakes this thread: that would cost each of them a switch.
                time.sleep(deadline - now)


_rescue = _Rescue()
# A child of a fork has neither its parent's thread nor its requests.
os.register_at_fork(after_in_child=_rescue.reset)
atexit.register(_rescue.drain)
