"""Who called the view: the test client is known, and nobody else is taken for it.

A server's request is written after its response. That of a test is written where the
test reads: in its transaction, and before it goes on.
"""

from __future__ import annotations

import asyncio
import gc
import io
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connection, transaction
from django.http import HttpResponse
from django.test import (
    AsyncClient,
    AsyncRequestFactory,
    Client,
    RequestFactory,
)
from django.urls import resolve
from pytest_django.live_server_helper import LiveServer
from rest_framework.test import APIRequestFactory, RequestsClient
from werkzeug.test import Client as WerkzeugClient

from request_images.capture import caller, lifecycle
from request_images.capture.lifecycle import RequestEnd
from request_images.decorators import capture_images
from request_images.models import RequestLog
from request_images.testing import flush
from tests.host.models import Note
from tests.image_files import draw

PNG = {"Content-Type": "image/png"}


class SkipCsrf:
    """Sets the attribute that Django's test client sets, as some projects do."""

    def __init__(self, get_response):
        self._get_response = get_response

    def __call__(self, request):
        request._dont_enforce_csrf_checks = True
        return self._get_response(request)


def environ_of(path, data, **extra):
    """Return what a WSGI server gives for a request."""
    environ = RequestFactory().generic("POST", path, data, "image/png").environ
    return {**environ, "wsgi.input": io.BytesIO(data), **extra}


def call(path, data):
    """Call Django's WSGI handler, and never close the response."""
    started = []
    application = get_wsgi_application()
    body = application(environ_of(path, data), lambda *args: started.append(args))
    assert started
    return b"".join(body)


def by_requests(path, data):
    """Post by REST framework's client, which never closes a response."""
    return RequestsClient().post(f"http://testserver{path}", data, headers=PNG).content


def by_werkzeug(path, data):
    """Post by werkzeug's test client, which closes at the end of the test."""
    client = WerkzeugClient(get_wsgi_application())
    return client.post(path, data=data, headers=PNG).data


WAYS = [call, by_requests, by_werkzeug]


@pytest.fixture(autouse=True)
def _closes_leftovers():
    yield
    gc.collect()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["after_response", "background"])
@pytest.mark.parametrize(
    "_kind",
    [
        pytest.param("TestCase", marks=pytest.mark.django_db),
        pytest.param("Transaction", marks=pytest.mark.django_db(transaction=True)),
    ],
)
class TestDirectCalls:
    """Any call of the handler in a test leaves its row to this test."""

    @pytest.fixture(autouse=True)
    def _settings(self, _kind, mode, settings):
        settings.REQUEST_IMAGES_WRITE_MODE = mode
        # A request closes the connection of its thread, also that of a test: whoever
        # calls the handler in a ``TestCase`` prevents it, as REST framework does.
        signals = (request_started, request_finished)
        for signal in signals:
            signal.disconnect(close_old_connections)
        yield
        for signal in signals:
            signal.connect(close_old_connections)

    def test_row_is_there_when_the_call_returns(self, way):
        """Nobody has to wait, to close or to flush."""
        data = draw()
        way("/body/", data)
        assert RequestLog.objects.get().image.image_data == data
        flush(0)

    @pytest.mark.parametrize("path", ["/fail/boom/", "/fail/404/", "/fail/teapot/"])
    def test_row_has_the_final_outcome(self, way, path, atomic_requests):
        """Outside of the view's own transaction, and with the status of the answer."""
        way(path, draw())
        log = RequestLog.objects.get()
        assert log.status_code == {"b": 500, "4": 404, "t": 500}[path[6]]
        assert not Note.objects.exists()

    def test_async_view(self, way):
        """The view runs in another thread then."""
        way("/async_upload/", draw())
        assert RequestLog.objects.get().capture_status == "unread"

    def test_stream(self, way):
        """A stream need not have been read, as nobody may close it."""
        assert way("/streamed/", draw()) == b"ab"
        assert RequestLog.objects.get().status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["after_response", "background"])
@pytest.mark.parametrize("factory", [RequestFactory, APIRequestFactory])
@pytest.mark.parametrize("is_async", [False, True])
def test_request_of_a_factory_whose_url_is_resolved(settings, mode, factory, is_async):
    """Kind: a test that calls a view never leaves its row to a later test.

    Nobody closes its request. REST framework's factory sets the test client's mark, so
    the row was lost, and that of Django's factory came five seconds later.
    """
    settings.REQUEST_IMAGES_WRITE_MODE = mode
    factory = AsyncRequestFactory if is_async else factory
    request = factory().post("/body/", draw(), content_type="image/png")
    request.resolver_match = resolve("/body/")  # what a view may look at

    async def view(request):
        return HttpResponse(request.body)

    if is_async:
        async_to_sync(capture_images(view))(request)
    else:
        capture_images(lambda request: HttpResponse(request.body))(request)
    assert RequestLog.objects.get().capture_status == "stored"
    flush(0)


@pytest.mark.django_db
def test_requests_client_is_not_the_test_client(settings):
    """REST framework's client makes the same body, in a project that skips CSRF."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.SkipCsrf"]
    by_requests("/body/", draw())
    assert RequestLog.objects.count() == 1
    Client().post("/body/", draw(), content_type="image/png")
    assert RequestLog.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_test_client_is_known_although_the_body_was_read(client, settings):
    """A middleware may read the body before the view."""
    settings.MIDDLEWARE = [f"{__name__}.read_body", *settings.MIDDLEWARE]
    settings.REQUEST_IMAGES_WRITE_MODE = "background"
    post = client().post
    post = async_to_sync(post) if client is AsyncClient else post
    post("/body/", draw(), content_type="image/png")
    assert RequestLog.objects.get().capture_status == "stored"


def read_body(get_response):
    """Read the body of each request before its view."""

    def middleware(request):
        assert request.body
        return get_response(request)

    return middleware


def asgi_request(body, **scope):
    given = {"type": "http", "method": "POST", "path": "/", "headers": [], **scope}
    return ASGIRequest({"query_string": b"", **given}, body)


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"client": ("10.0.0.1", 0), "server": ("example.com", 443)},
        {"client": ["127.0.0.1", 0], "server": ("testserver", "80")},
        {"client": None, "server": None},
        {"server": ("/run/app.sock", None)},
    ],
)
@pytest.mark.parametrize("is_read", [False, True])
def test_asgi_server_is_not_taken_for_the_test_client(scope, is_read):
    """Behind a proxy the client's port is 0, and any project may skip CSRF."""
    with tempfile.SpooledTemporaryFile() as body:
        request = asgi_request(body, **scope)
        request._dont_enforce_csrf_checks = True
        if is_read:
            if isinstance((scope.get("server") or ("", 0))[1], str):
                return  # then it looks like the test client in every respect
            assert request.body == b""
        assert not caller.is_from_test_client(request)


@pytest.mark.parametrize("factory", [RequestFactory, AsyncRequestFactory])
def test_disabled_csrf_check_is_not_taken_for_a_test_client(factory):
    """Projects use the test client's mark to switch the CSRF check off."""
    request = factory().post("/")
    assert not caller.is_from_test_client(request)
    request._dont_enforce_csrf_checks = True
    assert caller.is_from_test_client(request)
    environ = environ_of("/", b"")
    request = WSGIRequest(environ)
    request._dont_enforce_csrf_checks = True
    assert not caller.is_from_test_client(request)


def closed_in(executor_or_none, *, is_sensitive):
    """Close a request of AsyncClient in some thread; return how long that took."""
    seconds = []

    def close():
        request = AsyncRequestFactory().post("/")
        request.resolver_match = resolve("/body/")
        request._dont_enforce_csrf_checks = True
        RequestEnd(request, lambda: seconds.append(threading.get_ident())).view_ended()
        request.close()

    async def run():
        await sync_to_async(close, thread_sensitive=is_sensitive)()
        return await sync_to_async(threading.get_ident)()

    return seconds, run


@pytest.mark.parametrize("is_sensitive", [True, False])
@pytest.mark.parametrize("runner", [async_to_sync, None])
def test_hop_never_waits_for_the_thread_it_stands_in(monkeypatch, runner, is_sensitive):
    """The thread where the ORM runs has nobody else to wait for."""
    threads, run = closed_in(None, is_sensitive=is_sensitive)
    if is_sensitive:
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", None)
    where = runner(run)() if runner else asyncio.run(run())
    assert threads == [where]


def test_request_keeps_its_class_when_it_is_answered():
    """What notices the handler is gone when it has noticed."""
    request = RequestFactory().post("/")
    called = []
    caller.call_when_answered(request, lambda handler: called.append(1))
    assert isinstance(request, WSGIRequest)
    assert type(request).__name__ == "WSGIRequest"
    request.close()
    assert (called, type(request)) == ([1], WSGIRequest)


@pytest.mark.django_db
def test_server_in_a_process_without_tests_notices_nothing(monkeypatch):
    """A server's request is never touched so."""
    monkeypatch.setattr(lifecycle, "is_in_tests", lambda: False)
    classes = []

    def view(request):
        return HttpResponse("ok")

    request = WSGIRequest(environ_of("/", b"x"))
    request.resolver_match = resolve("/body/")
    capture_images(view)(request)
    classes.append(type(request))
    request.close()
    assert classes == [WSGIRequest]


@pytest.fixture
def live_url():
    """A live server of Django's, which shares a database in memory with the test."""
    if connection.vendor != "sqlite":
        pytest.skip("only a database in memory is shared")
    server = LiveServer("127.0.0.1")
    yield server.url
    server.stop()


def post(url, data):
    with urlopen(Request(f"{url}/body/", data, PNG)) as answer:
        return answer.read()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", ["after_response", "background"])
def test_live_server_does_not_meet_the_tests_transaction(live_url, settings, mode):
    """The test's connection is its own again when it has the answer."""
    settings.REQUEST_IMAGES_WRITE_MODE = mode
    for number in range(30):
        post(live_url, draw(seed=number))
        with transaction.atomic():
            Note.objects.create(text="mine")
            assert RequestLog.objects.count() == number + 1
    assert Note.objects.count() == 30


@pytest.mark.django_db(transaction=True)
def test_live_server_within_a_transaction_of_the_test(live_url):
    """Nothing that the test has not committed is rolled back."""
    with transaction.atomic():
        Note.objects.create(text="mine")
        post(live_url, draw())
        assert connection.in_atomic_block
    assert (Note.objects.count(), RequestLog.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_live_server_writes_one_request_at_a_time(live_url):
    """On one connection, one transaction of two threads would be within the other."""
    with ThreadPoolExecutor(8) as executor:
        data = [draw(seed=number) for number in range(24)]
        answers = list(executor.map(lambda each: post(live_url, each), data))
    assert len(answers) == 24
    assert RequestLog.objects.count() == 24
