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

from .exits import run_at_exit
from .health import count, report

GRACE_SECONDS = 5.0
"""How long after its view a request that nobody closes is taken to be over."""

_IDLE_SECONDS = 60.0
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

    def view_ended(self) -> None:
        """Say that the view is done; if nobody closes the request now, we do.

        A view that is called directly (``RequestFactory``, a management command) has
        no handler that could close it, which shows in the missing ``resolver_match``.
        Django's test client always closes, and a thread would write outside of the
        test's transaction.
        """
        if self._is_over:
            return  # a view may close its request itself
        if self._request.resolver_match is None:
            self._end()
        elif not is_from_test_client(self._request):
            _rescue.watch(self)

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
        try:
            self._ending()
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


class _Rescue:
    """Ends requests that nobody has closed some time after their view."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()
        self._deadlines: dict[RequestEnd, float] = {}  # in order: one grace for all
        self._wake = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether some request is not over yet."""
        return bool(self._deadlines)

    def watch(self, end: RequestEnd) -> None:
        """End a request after the grace period, unless it ends before."""
        with self._lock:
            self._deadlines[end] = time.monotonic() + GRACE_SECONDS
            self._ensure_thread()

    def hurry(self, end: RequestEnd) -> None:
        """End a request now, before all others."""
        with self._lock:
            self._deadlines.pop(end, None)
            self._deadlines = {end: time.monotonic(), **self._deadlines}
            self._ensure_thread()
        self._wake.set()

    def forget(self, end: RequestEnd) -> None:
        """Leave a request alone that ended by itself."""
        with self._lock:
            self._deadlines.pop(end, None)

    def drain(self) -> None:
        """End every request that is still waiting, at the exit of the process."""
        deadline = time.monotonic() + _EXIT_SECONDS
        waiting = list(self._deadlines)
        while waiting and time.monotonic() < deadline:
            waiting.pop().rescue()
        if waiting:
            count("lost", len(waiting))
            report("exit", TimeoutError(f"{len(waiting)} requests were not written"))
        # Ours is not the only thread that dies with the process in what it writes.
        wait_until_idle(_EXIT_SECONDS)

    def _ensure_thread(self) -> None:
        if self.thread is not None and self.thread.is_alive():
            return
        thread = threading.Thread(
            target=self._run, name="request_images-rescue", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as exception:
            # No thread to be had. Whoever closes the request still ends it, and the
            # next request tries again.
            report("rescue", exception)
        else:
            self.thread = thread

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            self._wake.clear()  # before looking, so that no hurry is missed
            end, seconds = self._next()
            if end is not None:
                self._end(end)
            if end is not None or self._deadlines:
                idle_since = time.monotonic()
            elif self._retires(time.monotonic() - idle_since):
                return
            # A request wakes this thread only when it is in a hurry: it would cost
            # each of them a switch.
            self._wake.wait(seconds)

    def _next(self) -> tuple[RequestEnd | None, float]:
        # A request that is due, or how long to wait before there can be one.
        with self._lock:
            if not self._deadlines:
                return None, GRACE_SECONDS
            end = next(iter(self._deadlines))
            seconds = self._deadlines[end] - time.monotonic()
            if seconds > 0:
                return None, seconds
            return end, 0.0

    def _end(self, end: RequestEnd) -> None:
        try:
            end.rescue()
        finally:
            # Also when it had ended meanwhile, or worse: it must not come up again.
            self.forget(end)

    def _retires(self, idle_seconds: float) -> bool:
        with self._lock:
            if self._deadlines or idle_seconds <= _IDLE_SECONDS:
                return False
            self.thread = None  # the next request starts another
            return True


_rescue = _Rescue()
# A child of a fork has neither its parent's thread nor its requests.
os.register_at_fork(after_in_child=_rescue.reset)
os.register_at_fork(after_in_child=_in_progress.clear)
run_at_exit(_rescue.drain)
