"""When a request is over: once, wherever it is closed, whatever happened to it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import threading
import time
import tracemalloc
import weakref
from concurrent import futures
from contextlib import suppress
from functools import partial
from urllib.request import Request, urlopen

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.db import connection
from django.http import Http404, HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import resolve
from ninja.testing import TestClient as NinjaClient
from pytest_django.live_server_helper import LiveServer

from request_images import health, signals
from request_images.capture import lifecycle, watchdog
from request_images.capture.lifecycle import RequestEnd
from request_images.decorators import capture_images
from request_images.models import RequestLog
from request_images.testing import flush
from request_images.writer import background, rows
from request_images.writer.background import ExitPhase
from request_images.writer.connection import usable_connection
from tests import views
from tests.host.models import Note
from tests.image_files import draw
from tests.traps import trap


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    """Use a fresh watchdog with a short grace period, and leave no thread running."""
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.02)
    monkeypatch.setattr(watchdog, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(lifecycle, "_watchdog", watchdog.Watchdog())
    yield
    getattr(lifecycle._watchdog.thread, "join", lambda: None)()
    lifecycle._in_progress.clear()  # of callbacks that a test only pretends to begin
    # Django leaves the body of a request that nobody closes to the collector, and an
    # in-memory database its threads' connections: let it be in this test, not the next.
    gc.collect()


@trap("T1")
@pytest.mark.django_db
def test_client_writes_inside_the_tests_transaction(client):
    """T1: the row is there when the test client returns, and goes with the test."""
    client.post("/body/", draw(), content_type="image/png")
    assert RequestLog.objects.count() == 1


@trap("T2")
@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/body/", "/async_upload/", "/dispatch-async/"])
def test_async_client_writes_where_the_test_reads(async_client_post, url):
    """T2: AsyncClient closes in a thread of a pool; we write in the test's thread."""
    assert async_client_post(url).status_code == 200
    assert RequestLog.objects.count() == 1


@trap("T2")
@pytest.mark.django_db
def test_exception_of_an_async_view_is_written(async_client_post):
    """T2: the same for an exception in an async view."""
    assert async_client_post("/async_boom/").status_code == 500
    log = RequestLog.objects.get()
    assert (log.status_code, log.error_type) == (500, "Boom")


@trap("W17", "WRAP2")
@pytest.mark.django_db
def test_exception_in_async_dispatch_is_written(async_client_post):
    """W17: a coroutine that a sync dispatch returned raises when it is awaited."""
    assert async_client_post("/dispatch-async/?boom").status_code == 500
    assert RequestLog.objects.get().error_type == "Boom"


@trap("T3")
@pytest.mark.django_db
def test_stream_closed_in_the_event_loop_is_written():
    """T3: where no ORM may be used the write is handed to a thread that may."""

    async def send():
        response = await AsyncClient().post("/async_streamed/", {"a": "b"})
        chunks = [chunk async for chunk in response.streaming_content]
        while not await RequestLog.objects.aexists():
            await asyncio.sleep(0.01)
        return chunks

    assert async_to_sync(send)() == [b"a", b"b"]
    assert RequestLog.objects.get().status_code == 200


@trap("T4")
@pytest.mark.django_db
@pytest.mark.parametrize("raises", [False, True])
def test_async_view_called_directly_is_written_at_its_end(raises):
    """T4: without a handler the row is written before the awaited view returns."""

    @capture_images
    async def view(request):
        if raises:
            raise KeyError("x")
        return HttpResponse(request.body)

    async def call():
        request = AsyncRequestFactory().post("/", draw(), content_type="image/png")
        with suppress(KeyError):
            await view(request)
        assert await RequestLog.objects.acount() == 1

    async_to_sync(call)()


@trap("T7")
@pytest.mark.django_db
def test_stream_is_written_when_it_is_consumed(client):
    """T7: a stream is recorded once its last byte has gone."""
    response = client.post("/streamed/", draw(), content_type="image/png")
    assert not RequestLog.objects.exists()
    assert b"".join(response.streaming_content) == b"ab"
    assert RequestLog.objects.get().status_code == 200


@trap("T7")
@pytest.mark.django_db(transaction=True)  # to close a stream closes its connection
def test_stream_that_nobody_reads(client):
    """T7: nor is it over before it is closed, and then it need not have been read."""
    response = client.post("/streamed/", draw(), content_type="image/png")
    flush(0)  # a test's own response is not waited for: it would be for ever
    assert not RequestLog.objects.exists()
    response.close()
    assert RequestLog.objects.get().status_code == 200


@pytest.fixture
def live_url(settings):
    """A live server of Django's, in a thread of this process."""
    # It sets the Content-Length that lets a client go before the server closes.
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.middleware.common.CommonMiddleware",
    ]
    server = LiveServer("127.0.0.1")
    yield server.url
    server.stop()


@trap("T6")
@pytest.mark.django_db(transaction=True)
def test_live_server_writes_after_the_response(live_url, monkeypatch):
    """T6: the client has its answer before there is a row; ``flush`` waits for it."""
    if connection.vendor == "sqlite":
        pytest.skip("in memory, the server's threads share the test's connection")
    may_write = threading.Event()
    save_many = rows.save_many

    def held(records):
        assert may_write.wait(60)
        save_many(records)

    monkeypatch.setattr(rows, "save_many", held)
    data = draw()
    request = Request(f"{live_url}/body/", data, {"Content-Type": "image/png"})
    with urlopen(request) as answer:
        assert json.load(answer) == {"body": data.hex()}
    assert not RequestLog.objects.exists()
    with pytest.raises(TimeoutError):
        flush(0.02)
    may_write.set()
    flush()
    assert RequestLog.objects.get().image.image_data == data


@trap("W15")
@pytest.mark.django_db
def test_request_closed_twice_is_written_once():
    """W15: a request that is closed twice is written once."""
    request = RequestFactory().post("/")
    request.resolver_match = resolve("/body/")  # as a handler does
    request._dont_enforce_csrf_checks = True  # as a test client does: no watchdog
    capture_images(lambda request: HttpResponse("ok"))(request)
    close = request.close
    close()
    close()
    request.close()
    assert RequestLog.objects.get().endpoint == "body"


@trap("W15")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["closing", "async_closing"])
@pytest.mark.parametrize("call", ["client", "async client", "direct", "server"])
def test_request_closed_by_its_view_is_written_at_its_end(name, call):
    """W15: a view may close its request; what becomes of it is known afterwards."""
    request = RequestFactory().post(f"/{name}/", draw(), content_type="image/png")
    if call == "client":
        Client().generic("POST", f"/{name}/", draw(), "image/png")
    elif call == "async client":
        post = async_to_sync(AsyncClient().post)
        post(f"/{name}/", draw(), content_type="image/png")
    elif call == "server":
        WSGIHandler()(request.environ, lambda *args: None).close()
    elif name == "closing":
        capture_images(views.closing)(request)
    else:
        async_to_sync(capture_images(views.async_closing))(request)
    flush()
    log = RequestLog.objects.get()
    assert (log.status_code, log.capture_status) == (422, "stored")
    assert log.image.image_data == draw()


@pytest.mark.django_db
def test_close_still_closes_the_files():
    """The request's own close runs after ours."""
    request = RequestFactory().post("/", {"a": SimpleUploadedFile("a", draw())})
    request.resolver_match = resolve("/upload/")
    request._dont_enforce_csrf_checks = True
    capture_images(lambda request: HttpResponse(request.FILES["a"].name))(request)
    file = request.FILES["a"]
    request.close()
    assert file.closed


@trap("W11")
def test_exit_callbacks_run_once(monkeypatch):
    """W11: ``atexit`` and multiprocessing both call; what is done is done once."""
    calls = []
    monkeypatch.setattr(background, "_exit_callbacks", [])
    background.run_at_exit(lambda: calls.append(1), ExitPhase.QUEUES)
    monkeypatch.setattr(background, "_exited_process", None)
    background._run_exit_callbacks()
    background._run_exit_callbacks()
    assert calls == [1]


@pytest.mark.django_db
@pytest.mark.parametrize("error", [None, RuntimeError("it went"), Http404()])
@pytest.mark.parametrize("is_handled", [True, False])
def test_body_is_freed_with_the_request(error, is_handled):
    """Without the garbage collector: nothing of ours keeps a request in a cycle."""
    match = resolve("/body/")  # on Python 3.10 it may keep its caller's frame

    def view(request):
        assert request.body == draw()
        if error is not None:
            raise type(error)
        return HttpResponse("ok")

    def serve():
        request = RequestFactory().post("/", draw(), content_type="image/png")
        request.resolver_match = match if is_handled else None
        with suppress(RuntimeError, Http404):
            capture_images(view)(request)
        request.close()
        return weakref.ref(request)

    serve()  # what is imported or cached by the first one is not meant
    gc.collect()
    gc.disable()
    try:
        assert serve()() is None
    finally:
        gc.enable()
    assert RequestLog.objects.count() == 2


@pytest.mark.django_db
def test_bytes_are_freed_with_the_request():
    """Django ties a request and its upload handlers together; not with our bytes."""
    request = RequestFactory().post("/", {"a": SimpleUploadedFile("a", draw())})
    kept = []

    def receiver(sender, image, **kwargs):
        kept.append(image)

    signals.image_saved.connect(receiver)
    capture_images(lambda request: HttpResponse(request.FILES["a"].name))(request)
    signals.image_saved.disconnect(receiver)
    handlers = request.upload_handlers
    assert not any("new_file" in vars(handler) for handler in handlers)
    assert kept[0].image_data == draw()


@trap("T2")
@pytest.mark.django_db
@pytest.mark.parametrize("is_begun", [False, True])
def test_blocked_event_loop_is_waited_for_briefly(monkeypatch, is_begun):
    """T2: nobody waits for ever for another thread."""
    written = []

    class There:
        def result(self, timeout):
            raise futures.TimeoutError

        def cancel(self):
            return not is_begun

    class Loop:
        def is_running(self):
            return True

    def elsewhere(coroutine, loop):
        coroutine.close()
        return There()

    monkeypatch.setattr(
        lifecycle.SyncToAsync.threadlocal, "main_event_loop", Loop(), raising=False
    )
    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", elsewhere)
    request = AsyncRequestFactory().post("/")
    request._dont_enforce_csrf_checks = True
    # AsyncClient closes in a thread of the event loop's pool.
    monkeypatch.setattr(threading.current_thread(), "name", "asyncio_0")
    lifecycle.RequestEnd(request, lambda: written.append(1)).view_ended()
    assert len(written) == (0 if is_begun else 1)


@pytest.mark.django_db(transaction=True)
def test_connection_of_a_direct_caller_stays_open(settings):
    """Whoever calls a view directly goes on using the connection and its rows."""
    get_user_model().objects.bulk_create(
        [get_user_model()(username=f"u{n}") for n in range(300)]
    )
    view = capture_images(lambda request: HttpResponse("ok"))
    seen = 0
    for _ in get_user_model().objects.iterator(chunk_size=50):
        if not seen % 100:
            view(RequestFactory().post("/"))
        seen += 1
    assert seen == 300
    connection.set_autocommit(False)
    try:
        Note.objects.create(text="mine")
        view(RequestFactory().post("/"))
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert Note.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_open_transaction_of_a_view_does_not_take_our_row():
    """What the view did not commit is rolled back; our row is not part of it."""
    if connection.vendor == "sqlite":
        pytest.skip("an in-memory database is gone with its connection")

    def careless(request):
        connection.set_autocommit(False)
        Note.objects.create(text="forgotten")
        return HttpResponse("ok")

    environ = RequestFactory().post("/").environ
    request = WSGIRequest({**environ, "wsgi.input": io.BytesIO()})  # as of a server
    request.resolver_match = resolve("/body/")
    capture_images(careless)(request)
    request.close()
    connection.close()
    assert not Note.objects.exists()
    assert RequestLog.objects.exists()


@trap("T2")
@pytest.mark.django_db
def test_async_client_without_a_running_loop_is_written():
    """T2: an async request that is closed where no loop runs is written at once."""
    request = AsyncRequestFactory().post("/")
    request._dont_enforce_csrf_checks = True  # the mark of Django's test client
    capture_images(lambda request: HttpResponse("ok"))(request)
    assert RequestLog.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestWatchdog:
    """Requests that nobody closes are recorded all the same, a little later."""

    @pytest.fixture(autouse=True)
    def _as_on_a_server(self, monkeypatch):
        """Handle requests in the way of a process that runs no tests."""
        monkeypatch.setattr(lifecycle, "is_in_tests", lambda: False)

    @pytest.fixture(autouse=True)
    def _written(self):
        """Tells when the row is committed; asking the database would lock SQLite's."""
        self.written = threading.Event()

        def receiver(sender, **kwargs):
            self.written.set()

        signals.image_saved.connect(receiver)
        signals.image_skipped.connect(receiver)
        yield
        signals.image_saved.disconnect(receiver)
        signals.image_skipped.disconnect(receiver)
        deadline = time.monotonic() + 60
        while lifecycle._in_progress and time.monotonic() < deadline:
            time.sleep(0.01)  # a row that comes now would be the next test's

    def _log(self):
        assert self.written.wait(60)
        return RequestLog.objects.get()

    @staticmethod
    def _ask(url, *, leave):
        """Send a request to Django's ASGI handler, and leave before the answer."""
        data = draw()
        views.started.clear()

        async def ask():
            scope = {
                "type": "http",
                "method": "POST",
                "path": url,
                "query_string": b"",
                "headers": [
                    (b"content-type", b"image/png"),
                    (b"content-length", str(len(data)).encode()),
                ],
            }
            communicator = ApplicationCommunicator(ASGIHandler(), scope)
            await communicator.send_input({"type": "http.request", "body": data})
            if leave:
                await sync_to_async(views.started.wait)(60)
                await communicator.send_input({"type": "http.disconnect"})
            with suppress(Exception, asyncio.CancelledError):
                await communicator.wait(timeout=120)

        async_to_sync(ask)()

    @trap("W8")
    def test_disconnect_during_an_async_view_is_written(self):
        """W8: the view is cancelled, and the row says that the client is gone."""
        self._ask("/patient/", leave=True)
        log = self._log()
        assert (log.status_code, log.error_type) == (499, "CancelledError")
        assert log.capture_status == "stored"

    @trap("W8")
    def test_disconnect_during_a_sync_view_is_written(self):
        """W8: a sync view runs on to its end, and is recorded."""
        self._ask("/patient_sync/", leave=True)
        assert self._log().capture_status == "stored"

    @trap("W9")
    def test_raising_stream_is_written(self):
        """W9: under ASGI a stream that raises is never closed."""
        self._ask("/broken_stream/", leave=False)
        assert self._log().status_code == 200

    @staticmethod
    def _environ(url, body):
        """Return what a WSGI server would call Django with."""
        request = RequestFactory().post(url, body, content_type="image/png")
        return {**request.environ, "wsgi.input": io.BytesIO(body)}

    @staticmethod
    def _serve(environ):
        """Call Django's handler; return its response, which nobody has closed."""
        return WSGIHandler()(environ, lambda status, headers: None)

    @trap("W19")
    def test_propagated_exceptions_are_written(self, settings):
        """W19: with DEBUG_PROPAGATE_EXCEPTIONS there is no response to be closed.

        The server has the exception, and the row comes all the same.
        """
        settings.DEBUG_PROPAGATE_EXCEPTIONS = True
        with pytest.raises(views.Boom, match="it went"):
            self._serve(self._environ("/fail/boom/", draw()))
        assert self._log().error_type == "Boom"

    @trap("T7")
    def test_stream_that_nobody_reads(self):
        """T7: under a server it is not waited for: the row comes after the grace."""
        response = self._serve(self._environ("/streamed/", draw()))
        assert self._log().status_code == 200
        response.close()
        assert RequestLog.objects.count() == 1

    @trap("W20")
    def test_image_of_a_long_stream_is_freed(self, monkeypatch):
        """W20: the image is written, and its bytes let go of, while a stream is open.

        However long that is: it is held for the grace.
        """
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.5)
        data = draw("BMP", (1000, 700))
        environ = self._environ("/streamed_late/", data)
        gc.collect()
        tracemalloc.start()
        try:
            response = self._serve(environ)
            held, _peak = tracemalloc.get_traced_memory()
            assert self._log().image.image_data == data
            assert lifecycle.wait_until_idle(60)
            left, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held > len(data)  # otherwise the rest shows nothing
        assert left < len(data) // 2
        assert b"".join(response) == b"ab"
        response.close()

    @trap("T5")
    def test_request_of_ninjas_test_client_ends_with_its_view(self):
        """T5: its request was made by hand, but has a URL: it is nobody's to close.

        A thread would write its row outside of the test's transaction.
        """
        response = NinjaClient(views.ninja).post("/json", json={"image": "abc"})
        assert response.json() == {"length": 3}
        thread = lifecycle._watchdog.thread
        assert lifecycle.wait_until_idle(60)
        assert thread is None

    @trap("W20")
    def test_images_of_many_long_streams_are_bounded(self, settings, monkeypatch):
        """W20: nor do many streams hold more together than may wait to be written."""
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 2)
        settings.REQUEST_IMAGES_BACKLOG_MAX_MB = 4
        data = draw("BMP", (1000, 700))
        environs = [self._environ("/streamed_late/", data) for _ in range(12)]
        gc.collect()
        tracemalloc.start()
        try:
            responses = [self._serve(environ) for environ in environs]
            held, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for response in responses:
            response.close()
        lifecycle._watchdog._wake.set()  # there is nothing left to wait for
        # Two threads write here, and SQLite in memory makes neither wait.
        assert lifecycle.wait_until_idle(60)
        health.reset()
        # Of 25 MB: twice the limit at the most, and the one that is being written, of
        # which a driver may hold a copy.
        assert held < 14 * 1024 * 1024

    @trap("W10")
    def test_request_that_no_server_closes_is_written(self):
        """W10: nobody closes the response; later it makes no second row."""
        request = RequestFactory().post("/", draw(), content_type="image/png")
        request.resolver_match = resolve("/body/")
        capture_images(lambda request: HttpResponse(request.body))(request)
        close = request.close
        self._log()
        close()
        assert RequestLog.objects.count() == 1

    def test_one_thread_ends_all_requests(self, monkeypatch):
        """Two requests, one thread, which goes when it has been idle for long."""
        monkeypatch.setattr(watchdog, "_IDLE_SECONDS", 0.05)
        threads = set()
        ended = []
        for _ in range(2):
            request = RequestFactory().post("/")
            request.resolver_match = resolve("/body/")
            end = lifecycle.RequestEnd(request, lambda: ended.append(1))
            end.view_ended()
            threads.add(lifecycle._watchdog.thread)
        (thread,) = threads
        thread.join()
        end.expire()  # a second time changes nothing
        assert health.counts()["rescued"] == 2
        assert len(ended) == 2
        assert lifecycle._watchdog.thread is None

    @trap("W18")
    def test_thread_is_lazy_and_survives_no_fork(self):
        """W18: no thread without need, none under the test client, none inherited."""
        assert lifecycle._watchdog.thread is None
        Client().post("/body/", draw(), content_type="image/png")
        assert lifecycle._watchdog.thread is None
        request = RequestFactory().post("/")
        request.resolver_match = resolve("/body/")
        capture_images(lambda request: HttpResponse("ok"))(request)
        thread, lifecycle._watchdog.thread = lifecycle._watchdog.thread, None
        assert thread.daemon
        request.close()
        thread.join()
        lifecycle._watchdog.reset()  # what runs in the child of a fork
        assert lifecycle._watchdog.thread is None

    @trap("W11")
    def test_exit_writes_open_requests(self, monkeypatch):
        """W11: what still waits when the process exits is written then."""
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.5)
        request = RequestFactory().post("/")
        request.resolver_match = resolve("/body/")
        capture_images(lambda request: HttpResponse("ok"))(request)
        lifecycle._drain()
        assert RequestLog.objects.count() == 1

    @trap("W11")
    def test_exit_counts_requests_left_after_its_timeout(self, monkeypatch):
        """W11: what the exit cannot wait for is counted, and told once."""
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.5)
        monkeypatch.setattr(lifecycle, "_EXIT_SECONDS", 0)
        ends = [self._end(lambda: None) for _ in range(3)]
        for end in ends:
            end.view_ended()
        lifecycle._drain()
        assert health.counts() == {"lost": 3}
        assert health.faults() == {"exit:TimeoutError": 1}
        health.reset()

    @trap("W20")
    def test_open_requests_are_bounded_in_bytes(self, monkeypatch):
        """W20: where nobody closes, the oldest are ended before their time."""
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 5)
        ended, gate, two_ended = [], threading.Event(), threading.Event()

        def end_of(number):
            return self._end(lambda: end(number))

        def end(number):
            assert gate.wait(60)
            ended.append(number)
            if len(ended) == 2:
                two_ended.set()

        ends = [end_of(number) for number in range(5)]
        assert ends[0].view_ended(40, 100)
        assert ends[1].view_ended(60, 100)
        assert not ended
        assert ends[2].view_ended(60, 100)  # 160 bytes: the two oldest are due
        assert not ends[3].view_ended(100, 100)  # more than twice as much
        assert ends[4].view_ended(1, 100)  # for that one was let go of
        gate.set()
        assert two_ended.wait(60)
        assert ended[:2] == [0, 1]
        assert set(lifecycle._watchdog.waiting()) <= set(ends[2:])
        lifecycle._drain()
        assert sorted(ended) == [0, 1, 2, 3, 4]
        lifecycle._watchdog._wake.set()

    @trap("W20")
    def test_newest_image_is_dropped_at_twice_the_bound(self, settings, monkeypatch):
        """W20: the row says that there was no room for its image."""
        settings.REQUEST_IMAGES_BACKLOG_MAX_MB = 0.00001
        request = RequestFactory().post("/", draw(), content_type="image/png")
        request.resolver_match = resolve("/body/")
        capture_images(lambda request: HttpResponse(request.body))(request)
        lifecycle._drain()
        log = RequestLog.objects.get()
        assert log.capture_status == "over_budget"
        assert log.capture_detail == "too many requests waited for their end"

    @staticmethod
    def _end(callback):
        request = RequestFactory().post("/")
        request.resolver_match = resolve("/body/")
        return lifecycle.RequestEnd(request, callback)

    @trap("W11")
    def test_exit_waits_for_a_running_write(self):
        """W11: the thread is a daemon; the exit must not cut its write in two."""
        begun, go_on = threading.Event(), threading.Event()
        ended = []

        def write():
            begun.set()
            assert go_on.wait(60)
            ended.append(1)

        self._end(write).view_ended()
        assert begun.wait(60)
        leaving = threading.Thread(target=lifecycle._drain)
        leaving.start()
        leaving.join(0.05)
        assert leaving.is_alive()
        go_on.set()
        leaving.join()
        assert ended == [1]

    @trap("W11")
    def test_requests_end_before_the_queue_is_closed(self, monkeypatch):
        """W11: in whatever order modules are imported, and losses come last."""
        called = []
        monkeypatch.setattr(background, "_exit_callbacks", [])
        for phase in (ExitPhase.LOSSES, ExitPhase.QUEUES, ExitPhase.REQUESTS):
            background.run_at_exit(partial(called.append, phase), phase)
        background._run_exit_callbacks()
        assert called == [ExitPhase.REQUESTS, ExitPhase.QUEUES, ExitPhase.LOSSES]

    @trap("W11")
    def test_exit_waits_for_a_limited_time(self, monkeypatch):
        """W11: a write that hangs does not keep the process."""
        monkeypatch.setattr(lifecycle, "_EXIT_SECONDS", 0.01)
        begun, go_on = threading.Event(), threading.Event()

        def hang():
            begun.set()
            assert go_on.wait(60)

        self._end(hang).view_ended()
        assert begun.wait(60)
        lifecycle._drain()
        go_on.set()

    @trap("W15")
    def test_request_closed_during_the_watch_is_written_once(self, monkeypatch):
        """W15: a request that ends in between does not come up again and again."""
        monkeypatch.setattr(watchdog, "_IDLE_SECONDS", 0.0)
        end = self._end(lambda: None)
        end._request.close()
        lifecycle._watchdog.watch(end)
        lifecycle._watchdog.thread.join(60)
        assert lifecycle._watchdog.thread is None
        assert not lifecycle._watchdog.is_waiting

    def test_end_soon_comes_before_others(self, monkeypatch):
        """What is known to be over goes before what only may be."""
        monkeypatch.setattr(watchdog, "GRACE_SECONDS", 1)
        written = []
        first, second = (self._end(partial(written.append, n)) for n in (1, 2))
        first.view_ended()
        second.view_ended()
        second.end_soon()
        assert lifecycle.wait_until_idle(60)
        assert written == [2, 1]

    @trap("T2", "W18")
    def test_end_soon_does_nothing_under_the_test_client(self):
        """T2: not in a thread, which would write outside of the test's transaction."""
        request = RequestFactory().post("/")
        request._dont_enforce_csrf_checks = True
        lifecycle.RequestEnd(request, lambda: None).end_soon()
        assert lifecycle._watchdog.thread is None

    def test_watchdog_without_a_thread_loses_no_row(self, monkeypatch):
        """A machine out of threads does not fail the request; the next tries again."""
        start = threading.Thread.start
        refusals = [RuntimeError("can't start new thread")]

        def start_or_not(thread):
            if refusals:
                raise refusals.pop()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_not)
        ended = []
        for _ in range(2):
            self._end(lambda: ended.append(1)).view_ended()
        assert lifecycle.wait_until_idle(60)
        assert ended == [1, 1]
        assert health.faults() == {"watchdog:RuntimeError": 1}
        health.reset()

    def test_wait_until_idle_has_a_timeout(self):
        """Whoever waits for the rows waits for a time."""
        end = self._end(lambda: None)
        lifecycle._in_progress.add(end)
        assert not lifecycle.wait_until_idle(0.01)
        lifecycle._in_progress.clear()

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_dead_watchdog_thread_is_replaced(self):
        """What ends the thread, such as a receiver's SystemExit, ends it once."""
        ended = []

        def leave():
            raise SystemExit

        self._end(leave).view_ended()
        lifecycle._watchdog.thread.join(60)
        self._end(lambda: ended.append(1)).view_ended()
        assert lifecycle.wait_until_idle(60)
        assert ended == [1]

    @trap("W12")
    def test_watchdog_leaves_no_connection_open(self):
        """W12: what a thread opened that serves no other request is closed."""
        connections = []

        def look():
            with usable_connection("default", is_handled=True, is_last_use=True):
                assert RequestLog.objects.count() == 0
                connections.append(connection.connection)
            connections.append(connection.connection)

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        opened, left = connections
        assert opened is not None
        assert left is None or connection.vendor == "sqlite"  # in memory, never closed


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/nothing/", "/body/"])
def test_request_can_be_looked_at_after_the_response(client, url):
    """A test may ask what it has sent; nothing of it is let go of."""
    data = draw()
    response = client.post(url, data, content_type="image/png")
    assert response.wsgi_request.body == data


# Django never closes an in-memory database; Python 3.13 tells when its thread is gone.
in_a_thread_that_ends = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <sqlite3.Connection:"
    "pytest.PytestUnraisableExceptionWarning"
)


@in_a_thread_that_ends
@pytest.mark.django_db(transaction=True)
def test_cancelled_caller_of_an_async_view_has_its_row():
    """Whoever awaits a view may be cancelled while the row is to be written."""

    @capture_images
    async def view(request):
        return HttpResponse("ok")

    async def call():
        request = AsyncRequestFactory().post("/", draw(), content_type="image/png")
        task = asyncio.ensure_future(view(request))
        await asyncio.sleep(0)
        for write in list(lifecycle._tasks):
            write.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(call())
    flush()
    assert RequestLog.objects.count() == 1


@pytest.mark.django_db
def test_unread_body_under_asgi_is_the_servers(monkeypatch):
    """There the server has received the body, and the row is written at the close."""
    monkeypatch.setattr(lifecycle, "is_in_tests", lambda: False)
    monkeypatch.setattr(RequestEnd, "is_direct", False)
    ended = []
    request = AsyncRequestFactory().post("/", draw(), content_type="image/png")
    request.resolver_match = resolve("/nothing/")
    RequestEnd(request, lambda: ended.append(1)).view_ended()
    request.close()
    assert (ended, request.body) == ([1], draw())


class Input(io.BytesIO):
    """The body of a server that looks whether anybody still has it."""


@in_a_thread_that_ends
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("headers", [{}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
@pytest.mark.parametrize("path", ["/nothing/", "/body/", "/first_bytes/", "/streamed/"])
class TestUnreadBody:
    """A server that waits for the end of a body it gave has it back before our row."""

    @pytest.fixture(autouse=True)
    def _as_on_a_server(self, monkeypatch):
        monkeypatch.setattr(lifecycle, "is_in_tests", lambda: False)

    def _serve(self, path, headers):
        data = draw()
        request = RequestFactory().generic("POST", path, data, "image/png", **headers)
        if headers:
            del request.environ["CONTENT_LENGTH"]
        environ = {**request.environ, "wsgi.input": Input(data)}
        response = WSGIHandler()(environ, lambda *args: None)
        assert len(b"".join(response)) > 1
        return environ, response

    def test_server_has_its_input_back_before_the_write(
        self, monkeypatch, path, headers
    ):
        """Nothing of ours holds it, whether the view has read it or not."""
        seen = []
        save_many = rows.save_many

        def looking(records):
            seen.append(given() is None)
            save_many(records)

        monkeypatch.setattr(rows, "save_many", looking)
        environ, response = self._serve(path, headers)
        given = weakref.ref(environ["wsgi.input"])
        response.close()
        del response
        flush()
        assert seen == [True]
        assert RequestLog.objects.exists()

    def test_server_does_not_wait_for_the_write(self, monkeypatch, path, headers):
        """Its own references are freed when ``close`` returns, and that is at once.

        A body that was read is of no interest: then the row is written in between.
        """
        may_write = threading.Event()
        is_unread = path in ("/nothing/", "/first_bytes/", "/streamed/") or headers
        if not is_unread:
            may_write.set()
        save_many = rows.save_many

        def held(records):
            assert may_write.wait(60)
            save_many(records)

        monkeypatch.setattr(rows, "save_many", held)
        _, response = self._serve(path, headers)
        response.close()
        assert lifecycle.wait_until_idle(0) is not bool(is_unread)
        may_write.set()
        flush()
        assert RequestLog.objects.exists()
        assert "rescued" not in health.counts()

    def test_too_many_are_written_by_their_own_threads(
        self, monkeypatch, path, headers
    ):
        """One thread writes one after the other: requests that pile up do not wait."""
        monkeypatch.setattr(watchdog, "MAX_WAITING", -1)
        _, response = self._serve(path, headers)
        response.close()
        assert lifecycle.wait_until_idle(0)
        assert RequestLog.objects.exists()
