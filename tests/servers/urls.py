"""The views of the real servers, one for each kind of failure, and their URLs."""

import asyncio
import os

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from request_images.decorators import capture_images
from tests.servers import signs


class Boom(Exception):
    """The exception of these views."""


def name(request):
    """Return the name of this server and of its tests."""
    return HttpResponse(f"{os.environ['SERVERS_NAME']} {signs.FOLDER}")


def plain(request):
    """Answer immediately."""
    return HttpResponse(str(len(request.body)))


slowly_written = slowly_saved = unclosed = plain


def without_length(request):
    """Answer immediately, without a length."""
    return StreamingHttpResponse(iter([str(len(request.body))]))


def boom(request):
    """Read the body, then fail."""
    raise Boom(len(request.body))


def stream(request):
    """Answer in parts."""
    return StreamingHttpResponse(iter([str(len(request.body)), "-", "end"]))


slowly_saved_without_length = stream


def broken_stream(request):
    """Begin a response, then fail."""

    def parts(size):
        yield str(size)
        raise Boom("midway")

    return StreamingHttpResponse(parts(len(request.body)))


async def async_stream(request):
    """Answer in parts, in the event loop."""

    async def parts(size):
        for part in (str(size), "-", "end"):
            await asyncio.sleep(0)
            yield part

    return StreamingHttpResponse(parts(len(request.body)))


async def async_broken_stream(request):
    """Begin a response in the event loop, then fail."""

    async def parts(size):
        yield str(size)
        raise Boom("midway")

    return StreamingHttpResponse(parts(len(request.body)))


def patient(request):
    """Signal that the view has begun, and wait for the disconnect."""
    size = len(request.body)
    signs.give(request, "begun")
    signs.wait_for(request, "gone")
    return HttpResponse(str(size))


async def async_patient(request):
    """Signal that the view has begun, and wait for the cancellation."""
    size = len(request.body)
    signs.give(request, "begun")
    await asyncio.sleep(signs.PATIENCE)
    return HttpResponse(str(size))


VIEWS = {
    "plain": plain,
    "slowly_written": slowly_written,
    "slowly_saved": slowly_saved,
    "slowly_saved_without_length": slowly_saved_without_length,
    "unclosed": unclosed,
    "without_length": without_length,
    "boom": boom,
    "stream": stream,
    "broken_stream": broken_stream,
    "async_stream": async_stream,
    "async_broken_stream": async_broken_stream,
    "patient": patient,
    "async_patient": async_patient,
}
urlpatterns = [
    path("name/", name),
    *(
        path(f"{path_name}/", csrf_exempt(capture_images(view)), name=path_name)
        for path_name, view in VIEWS.items()
    ),
]
