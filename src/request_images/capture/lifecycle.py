"""The end of a request: a callback exactly once, after the response was sent.

Django's handler appends ``request.close`` to the closers of the *final* response. A
``close`` that is shadowed on the request instance is therefore called after the
response, outside the request's transaction, for exceptions too, even if a middleware
replaces the response, and with no entry in ``MIDDLEWARE``.

Nobody closes some requests: under ASGI if the client leaves during the view or a stream
raises, on some servers always. The watchdog ends them after a grace period.

This module knows nothing of images.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent import futures

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from request_images.health import count, report
from request_images.writer.background import run_at_exit

from .watchdog import Watchdog

_EXIT_SECONDS = 5.0  # how long the exit of the process waits for a running write
_HOP_SECONDS = 10.0

_in_progress: set[RequestEnd] = set()  # over, but not yet written
_tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks only weakly


class RequestEnd:
    """Calls ``callback`` once, when ``request`` is over.

    Args:
        request: The request to watch.
        callback: Called without arguments, where the ORM may be used. It must not
            raise: nobody would see it.
    """

    def __init__(self, request: HttpRequest, callback: Callable[[], None]) -> None:
        self._request = request
        self._callback = callback
        self._lock = threading.Lock()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None
        self._close = request.close
        # mypy: assigning to a method is the point, it shadows it on the instance.
        request.close = self._on_close  # type: ignore[method-assign]

    def view_ended(self, size: int = 0, max_bytes: int = 0) -> bool:
        """Note that the view has ended; the watchdog ends the request if nobody does.

        A view that is called directly (``RequestFactory``, a management command) has
        no handler that could close its request, so it is over now. Django's test client
        always closes, and a thread would write outside of the test's transaction.

        Args:
            size: Bytes that the request holds until it is over.
            max_bytes: Bytes that all such requests may hold. Beyond that the oldest
                are ended early.

        Returns:
            False if even that is too slow: then the caller must drop the bytes.
        """
        if self._is_over:
            return True  # a view may close its request itself
        if has_no_handler(self._request):
            self._end()
        elif not is_from_test_client(self._request):
            return _watchdog.watch(self, size, max_bytes)
        return True

    def end_soon(self) -> None:
        """End a request that nobody will close, in another thread, now."""
        if not self._is_over and not is_from_test_client(self._request):
            _watchdog.end_soon(self)

    def expire(self) -> None:
        """End the request, although somebody may still close it."""
        if self._mark_over():
            count("rescued")
            self._call_back()

    def _call_back(self) -> None:
        # The callback refers to the owner of this end. Dropped, as in such a cycle the
        # request's body would wait for the garbage collector.
        callback, self._callback = self._callback, lambda: None
        try:
            callback()
        finally:
            _in_progress.discard(self)

    async def wait(self) -> None:
        """Wait for the callback, if it had to be sent out of the event loop."""
        if self._task is not None:
            await self._task

    def _on_close(self) -> None:
        try:
            self._end()
        finally:
            self._close()

    def _mark_over(self) -> bool:
        with self._lock:
            if self._is_over:
                return False
            self._is_over = True
            _in_progress.add(self)
        _watchdog.unwatch(self)
        # Undo the shadow: it ties the request into a reference cycle, in which its body
        # would wait for the garbage collector.
        self._request.__dict__.pop("close", None)
        return True

    def _end(self) -> None:
        if not self._mark_over():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            _call_in_thread_of_orm(self._request, self._call_back)
        else:
            # The ORM refuses to work in an event loop: that of an async view called
            # directly, or of a stream that AsyncClient closes.
            self._task = loop.create_task(sync_to_async(self._call_back)())
            _tasks.add(self._task)
            self._task.add_done_callback(_tasks.discard)
            # Also if the loop ends before the task has begun.
            self._task.add_done_callback(lambda _: _in_progress.discard(self))


def _call_in_thread_of_orm(request: HttpRequest, callback: Callable[[], None]) -> None:
    if isinstance(request, ASGIRequest) and is_from_test_client(request):
        # AsyncClient closes in a thread of a pool. A write there is outside of the
        # test's transaction, so go to the thread where the test's ORM runs.
        main_loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
        if main_loop is not None and main_loop.is_running():
            work = sync_to_async(callback)()
            there = asyncio.run_coroutine_threadsafe(work, main_loop)
            try:
                there.result(_HOP_SECONDS)
            except futures.TimeoutError:  # the builtin one since Python 3.11
                if not there.cancel():
                    return  # it has begun after all
            else:
                return
    callback()


def has_no_handler(request: HttpRequest) -> bool:
    """Tell whether no server's handler has this request, so that none closes it."""
    # Ninja's test client sets a ``resolver_match``, but there is nothing to read.
    is_empty = not isinstance(request, ASGIRequest) and "wsgi.input" not in request.META
    return request.resolver_match is None or is_empty


def is_from_test_client(request: HttpRequest) -> bool:
    """Tell whether Django's test client sent this request."""
    # It sets this attribute, but so do projects that switch the CSRF check off.
    if not hasattr(request, "_dont_enforce_csrf_checks"):
        return False
    if isinstance(request, ASGIRequest):
        _, port = request.scope.get("client") or ("", None)
        return port == 0  # no real client has this one
    body = request.META.get("wsgi.input")
    return type(body).__module__ == "django.test.client"


def wait_until_idle(timeout: float) -> bool:
    """Wait until every request whose view has ended was written; False if too long."""
    deadline = time.monotonic() + timeout
    while _watchdog.is_waiting or _in_progress:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def is_last_in_thread(request: HttpRequest) -> bool:
    """Tell whether this thread may never serve another request after this one.

    This holds under ASGI, where every request has a thread of its own, and in the
    watchdog.
    """
    is_watchdog = threading.current_thread() is _watchdog.thread
    return is_watchdog or isinstance(request, ASGIRequest)


def _drain() -> None:
    """Write every request that is still open, at the exit of the process."""
    deadline = time.monotonic() + _EXIT_SECONDS
    waiting = _watchdog.waiting()
    while waiting and time.monotonic() < deadline:
        waiting.pop().expire()
    if waiting:
        count("lost", len(waiting))
        report("exit", TimeoutError(f"{len(waiting)} requests were not written"))
    # Other threads may be writing, too, and would die with the process.
    wait_until_idle(_EXIT_SECONDS)


_watchdog = Watchdog()
# A child of a fork has neither its parent's thread nor its requests.
os.register_at_fork(after_in_child=_watchdog.reset)
os.register_at_fork(after_in_child=_in_progress.clear)
run_at_exit(_drain)
