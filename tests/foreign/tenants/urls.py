"""The views of a tenant."""

from django.http import HttpResponse
from django.urls import path

from request_images.capture.recording import recording_of
from request_images.decorators import capture_images


@capture_images
def sync_view(request):
    return HttpResponse(str(len(request.body)))


@capture_images
async def async_view(request):
    return HttpResponse(str(len(request.body)))


@capture_images
def left_view(request):
    recording_of(request).note_client_gone()
    return HttpResponse(str(len(request.body)))


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("left/", left_view),
]
