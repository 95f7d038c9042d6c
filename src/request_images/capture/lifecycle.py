"""The end of a request: a callback exactly once, after the response was sent.

Django's handler closes a request after it has sent the final response, outside the
request's transaction, also after an exception. This module replaces ``close`` on the
one request, so it needs no middleware, and a middleware that replaces the response
changes nothing.

Some requests are never closed: under ASGI if the client disconnects during the view or
a stream raises, and on some servers all of them. The watchdog ends these.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from io import BytesIO

from asgiref.sync import SyncToAsync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import LimitedStream, WSGIRequest
from django.http import HttpRequest

from request_images.health import count, report
from request_images.writer.background import ExitPhase, is_in_tests, run_at_exit
from request_images.writer.losses import lost

from .caller import (
    call_when_answered,
    has_no_handler,
    is_called_by_test,
    is_called_with_test_request,
    is_from_test_client,
    is_in_test_transaction,
    shares_connections,
)
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

    Attributes:
        is_view_over: Whether the view has ended. Until then no close is the last.
    """

    def __init__(self, request: HttpRequest, callback: Callable[[], None]) -> None:
        self._request = request
        self._callback = callback
        self._lock = threading.Lock()
        self._is_over = False
        self._is_for_test = False
        self.is_view_over = False
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        # Asked now: the view may replace the body, and its end releases it.
        self._has_no_handler = has_no_handler(request) or (
            is_in_tests() and is_called_with_test_request(request)
        )
        self._is_from_test_client = is_from_test_client(request)
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
        self.is_view_over = True
        if self._has_no_handler:
            self._end()
            return True
        has_room = self._is_from_test_client or _watchdog.watch(self, size, max_bytes)
        if is_in_tests():
            call_when_answered(self._request, self._on_answer_to_test)
        return has_room

    @property
    def is_direct(self) -> bool:
        """Whether plain code or a test called the view, and wants its row at once."""
        return (
            self._has_no_handler
            or self._is_from_test_client
            or self._is_for_test
            or is_in_test_transaction()
            or shares_connections()
        )

    def end_soon(self) -> None:
        """End a request that nobody will close, in another thread, now."""
        if not self._is_over and not self._is_from_test_client:
            _watchdog.end_soon(self)

    def expire(self) -> None:
        """End the request, although somebody may still close it."""
        if self._mark_over():
            if not self._is_closed:
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

    def _on_answer_to_test(self, handler: object) -> None:
        if is_called_by_test(self._request, handler):
            self._is_for_test = True
            self._end()

    def _on_close(self) -> None:
        try:
            # A view that closes its request itself goes on, and is closed again.
            self._is_closed = self.is_view_over
            if self.is_view_over and not self._end_elsewhere():
                self._end()
        finally:
            self._close()

    def _end_elsewhere(self) -> bool:
        """End the request in the watchdog's thread if its body is unread; else False.

        A server closes a connection with an unread body. Some servers tell the client
        so only if Django has released the stream of the body before.
        """
        if self._is_over or self.is_direct or is_in_tests():
            return False  # a test may look at the request after its response
        request = self._request
        if not isinstance(request, WSGIRequest):
            return False  # under ASGI the server has received all of it
        is_unread = _has_unread_body(request)
        _release_input(request)
        if not is_unread or _watchdog.is_busy:
            return False
        _watchdog.end_soon(self)
        return True

    def _call_in_thread_of_orm(self) -> None:
        main_loop = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
        if (
            self._is_from_test_client
            and isinstance(self._request, ASGIRequest)
            # AsyncClient closes in a thread of the loop's own pool. A write there is
            # outside of the test's transaction, so go to the thread where the test's
            # ORM runs. Any other thread is that one itself.
            and threading.current_thread().name.startswith("asyncio_")
            and main_loop is not None
            and main_loop.is_running()
        ):
            work = sync_to_async(self._call_back)()
            there = asyncio.run_coroutine_threadsafe(work, main_loop)
            try:
                there.result(_HOP_SECONDS)
            except futures.TimeoutError:  # the builtin one since Python 3.11
                if not there.cancel():
                    return  # it has begun after all
            else:
                return
        self._call_back()

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
        loop = _running_loop()
        if loop is None:
            self._call_in_thread_of_orm()
        else:
            # The ORM refuses to work in an event loop: that of an async view called
            # directly, or of a stream that AsyncClient closes.
            self._task = loop.create_task(sync_to_async(self._call_back)())
            _tasks.add(self._task)
            self._task.add_done_callback(_tasks.discard)
            self._task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and not self._is_for_test:
            # The loop ends, or the caller was cancelled, before a thread has begun.
            threading.Thread(target=self._call_back).start()
        else:
            _in_progress.discard(self)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def _has_unread_body(request: WSGIRequest) -> bool:
    if not request.META.get("CONTENT_LENGTH"):
        # Django reads none of unknown length.
        return "HTTP_TRANSFER_ENCODING" in request.META
    stream = request._stream
    return isinstance(stream, LimitedStream) and _position(stream) < stream.limit


def _position(stream: LimitedStream) -> int:
    return getattr(stream, "_pos", 0)


def _release_input(request: WSGIRequest) -> None:
    # The server's stream of the body. The view has read it, or never will.
    request._stream = BytesIO()
    request.environ["wsgi.input"] = BytesIO()  # it is the server's own dict


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
        error = TimeoutError(f"{len(waiting)} requests were not written")
        lost("exit", error, requests=len(waiting))
        report("exit", error)
    # Other threads may be writing, too, and would die with the process.
    wait_until_idle(_EXIT_SECONDS)


_watchdog = Watchdog()
# A child of a fork has neither its parent's thread nor its requests.
os.register_at_fork(after_in_child=_watchdog.reset)
os.register_at_fork(after_in_child=_in_progress.clear)
run_at_exit(_drain, ExitPhase.REQUESTS)
