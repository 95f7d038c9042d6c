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
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent import futures
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from request_images.health import count, report
from request_images.writer.exits import run_at_exit

from .watchdog import Rescue

_EXIT_SECONDS = 5.0  # how long the exit of the process waits for a write under way
_HOP_SECONDS = 10.0

_in_progress: set[RequestEnd] = set()  # requests that are over, and not yet dealt with
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
        self._ending = callback
        self._lock = threading.Lock()
        self._is_over = False
        self._task: asyncio.Task[None] | None = None
        self._close = request.close
        # mypy: assigning to a method is the point, it shadows it on the instance.
        request.close = self._closed  # type: ignore[method-assign]

    def view_ended(self, size: int = 0, max_bytes: int = 0) -> bool:
        """Say that the view is done; if nobody closes the request now, we do.

        A view that is called directly (``RequestFactory``, a management command) has
        no handler that could close its request. Django's test client always closes,
        and a thread would write outside of the test's transaction.

        Args:
            size: Bytes that are held until the request is over.
            max_bytes: Bytes that may be held so by all of them. Beyond that the
                oldest are ended early.

        Returns:
            False when even that is too slow, and the caller is to let go of them.
        """
        if self._is_over:
            return True  # a view may close its request itself
        if is_made_by_hand(self._request):
            self._end()
        elif not is_from_test_client(self._request):
            return _rescue.watch(self, size, max_bytes)
        return True

    def hurry(self) -> None:
        """Say that nobody will close the request: end it in another thread, now."""
        if not self._is_over and not is_from_test_client(self._request):
            _rescue.hurry(self)

    def rescue(self) -> None:
        """Take the request to be over, whoever may still close it."""
        if self._begin_to_end():
            count("rescued")
            self._callback()

    def _callback(self) -> None:
        # Let go of: it knows who knows this, and in such a cycle the request's body
        # would wait for the garbage collector.
        ending, self._ending = self._ending, _nothing
        try:
            ending()
        finally:
            _in_progress.discard(self)

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
            _in_progress.add(self)
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
            # Also when the loop ends before the task has begun.
            self._task.add_done_callback(lambda _: _in_progress.discard(self))


def _nothing() -> None:
    """Do nothing."""


def _call_in_thread_of_orm(request: HttpRequest, callback: Callable[[], None]) -> None:
    if isinstance(request, ASGIRequest) and is_from_test_client(request):
        # AsyncClient closes in a thread of a pool. What is written there is outside
        # the test's transaction, so go to the thread where the test's ORM runs.
        main_loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
        if main_loop is not None and main_loop.is_running():
            there = asyncio.run_coroutine_threadsafe(_in_thread(callback), main_loop)
            try:
                there.result(_HOP_SECONDS)
            except futures.TimeoutError:  # the builtin one since Python 3.11
                if not there.cancel():
                    return  # it has begun after all
            else:
                return
    callback()


def _in_thread(callback: Callable[[], None]) -> Coroutine[Any, Any, None]:
    return sync_to_async(callback)()


def is_made_by_hand(request: HttpRequest) -> bool:
    """Tell whether no handler of a server knows this request, and so none closes it."""
    # Ninja's test client sets a ``resolver_match``, but there is nothing to read.
    is_empty = not isinstance(request, ASGIRequest) and "wsgi.input" not in request.META
    return request.resolver_match is None or is_empty


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


def wait_until_idle(timeout: float) -> bool:
    """Wait until every request whose view is done is over and was dealt with.

    Args:
        timeout: Seconds.

    Returns:
        False when that takes too long.
    """
    deadline = time.monotonic() + timeout
    while _rescue.is_waiting or _in_progress:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def leaves_its_thread(request: HttpRequest) -> bool:
    """Tell whether this thread will never serve another request after this one.

    So it is under ASGI, where every request has a thread of its own, and in the thread
    that comes to the rescue.
    """
    in_rescue = threading.current_thread() is _rescue.thread
    return in_rescue or isinstance(request, ASGIRequest)


def _drain() -> None:
    """End every request that is still waiting, at the exit of the process."""
    deadline = time.monotonic() + _EXIT_SECONDS
    waiting = _rescue.waiting()
    while waiting and time.monotonic() < deadline:
        waiting.pop().rescue()
    if waiting:
        count("lost", len(waiting))
        report("exit", TimeoutError(f"{len(waiting)} requests were not written"))
    # Ours is not the only thread that dies with the process in what it writes.
    wait_until_idle(_EXIT_SECONDS)


_rescue = Rescue()
# A child of a fork has neither its parent's thread nor its requests.
os.register_at_fork(after_in_child=_rescue.reset)
os.register_at_fork(after_in_child=_in_progress.clear)
run_at_exit(_drain)
