"""The views that real servers serve, and their URLs: one for each way to go wrong."""

import asyncio
import os

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from request_images.decorators import capture_images
from tests.servers import signs


class Boom(Exception):
    """What the views here raise."""


def name(request):
    """Tell which server this is, of whose tests."""
    return HttpResponse(f"{os.environ['SERVERS_NAME']} {signs.FOLDER}")


def plain(request):
    """Answer at once."""
    return HttpResponse(str(len(request.body)))


slowly_written = slowly_saved = unclosed = plain


def without_length(request):
    """Answer at once, and do not say how long the answer is."""
    return StreamingHttpResponse(iter([str(len(request.body))]))


def boom(request):
    """Read, and fail."""
    raise Boom(len(request.body))


def stream(request):
    """Answer in parts."""
    return StreamingHttpResponse(iter([str(len(request.body)), "-", "end"]))


slowly_saved_without_length = stream


def broken_stream(request):
    """Begin to answer, and fail."""

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
    """Begin to answer, and fail, in the event loop."""

    async def parts(size):
        yield str(size)
        raise Boom("midway")

    return StreamingHttpResponse(parts(len(request.body)))


def patient(request):
    """Say that the view has begun, and wait for the client to be gone."""
    size = len(request.body)
    signs.give(request, "begun")
    signs.wait_for(request, "gone")
    return HttpResponse(str(size))


async def async_patient(request):
    """Say that the view has begun, and wait to be cancelled."""
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
