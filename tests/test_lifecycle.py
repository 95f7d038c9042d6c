"""When a request is over: once, wherever it is closed, whatever happened to it."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.urls import resolve

from request_images.decorators import capture_images
from request_images.models import RequestLog

from .images import draw


@pytest.mark.django_db
def test_T1_client_writes_inside_the_tests_transaction(client):
    """T1: the row is there when the test client returns, and goes with the test."""
    client.post("/body/", draw(), content_type="image/png")
    assert RequestLog.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/body/", "/async_upload/", "/dispatch-async/"])
def test_T2_async_client_writes_where_the_test_reads(async_client_post, url):
    """T2: AsyncClient closes in a thread of a pool; we write in the test's thread."""
    assert async_client_post(url).status_code == 200
    assert RequestLog.objects.count() == 1


@pytest.mark.django_db
def test_T2_async_exception(async_client_post):
    """T2: the same for an exception in an async view."""
    assert async_client_post("/async_boom/").status_code == 500
    log = RequestLog.objects.get()
    assert (log.status_code, log.error_type) == (500, "Boom")


@pytest.mark.django_db
def test_async_exception_in_dispatch(async_client_post):
    """A coroutine that a sync dispatch returned raises when it is awaited."""
    assert async_client_post("/dispatch-async/?boom").status_code == 500
    assert RequestLog.objects.get().error_type == "Boom"


@pytest.mark.django_db
def test_T3_stream_closed_in_the_event_loop():
    """T3: where no ORM may be used the write is handed to a thread that may."""

    async def send():
        response = await AsyncClient().post("/async_streamed/", {"a": "b"})
        chunks = [chunk async for chunk in response.streaming_content]
        while not await RequestLog.objects.aexists():
            await asyncio.sleep(0.01)
        return chunks

    assert async_to_sync(send)() == [b"a", b"b"]
    assert RequestLog.objects.get().status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("raises", [False, True])
def test_T4_async_view_called_directly(raises):
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


@pytest.mark.django_db
def test_stream_is_over_when_it_is_consumed(client):
    """T7: a stream is recorded once its last byte has gone."""
    response = client.post("/streamed/", draw(), content_type="image/png")
    assert not RequestLog.objects.exists()
    assert b"".join(response.streaming_content) == b"ab"
    assert RequestLog.objects.get().status_code == 200


@pytest.mark.django_db
def test_W15_closed_twice():
    """W15: a request that is closed twice is written once."""
    request = RequestFactory().post("/")
    request.resolver_match = resolve("/body/")  # as a handler does
    capture_images(lambda request: HttpResponse("ok"))(request)
    assert not RequestLog.objects.exists()
    close = request.close
    close()
    close()
    request.close()
    assert RequestLog.objects.get().endpoint == "body"


@pytest.mark.django_db
def test_closing_still_closes_the_files():
    """The request's own close runs after ours."""
    request = RequestFactory().post("/", {"a": SimpleUploadedFile("a", draw())})
    request.resolver_match = resolve("/upload/")
    capture_images(lambda request: HttpResponse(request.FILES["a"].name))(request)
    file = request.FILES["a"]
    request.close()
    assert file.closed


@pytest.mark.django_db
def test_body_is_freed_with_the_request():
    """Nothing of ours keeps a request, and so its body, alive in a cycle."""
    request = RequestFactory().post("/", draw(), content_type="image/png")
    body = request.body
    upload = RequestFactory().post("/", {"a": SimpleUploadedFile("a", body)})
    capture_images(lambda request: HttpResponse(request.FILES["a"].name))(upload)
    (handler, *_) = upload.upload_handlers
    assert handler._tap.payload.uploads == []
    capture_images(lambda request: HttpResponse("ok"))(request)
    gc.collect()
    gc.disable()
    try:
        left = [name for name in ("close", "read", "readline") if name in vars(request)]
    finally:
        gc.enable()
    assert left == []
    assert body == draw()


@pytest.mark.django_db
def test_W19_exceptions_that_propagate(settings):
    """W19: with DEBUG_PROPAGATE_EXCEPTIONS the exception reaches the server."""
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    with pytest.raises(Exception, match="it went"):
        Client().post("/fail/boom/", draw(), content_type="image/png")


@pytest.mark.django_db
def test_T2_without_a_running_loop():
    """T2: an async request that is closed where no loop runs is written at once."""
    request = AsyncRequestFactory().post("/")
    request._dont_enforce_csrf_checks = True  # the mark of Django's test client
    capture_images(lambda request: HttpResponse("ok"))(request)
    assert RequestLog.objects.exists()
