"""The same views, captured by the app."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse

from request_images.decorators import capture_images
from request_images.outcome import annotate

from . import ERROR, METADATA, views

bare = capture_images(views.bare)
work = capture_images(views.work)


@capture_images
def fault(request: HttpRequest) -> JsonResponse:
    """Annotate the log of a request, which shows whether anything of it gets lost."""
    annotate(request, **METADATA)
    if views.is_failed(request):
        annotate(request, error_type=ERROR[0], error_message=ERROR[1])
    return views.fault(request)
