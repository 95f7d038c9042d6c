"""One trivial image view in each variant."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from request_images.decorators import capture_images

from .models import Upload


def bare(request: HttpRequest) -> JsonResponse:
    """Answer with the size of the image."""
    return JsonResponse({"size": request.FILES["photo"].size})


captured = capture_images(bare)


def naive(request: HttpRequest) -> JsonResponse:
    """Save the image in the view, as a naive solution would."""
    photo = request.FILES["photo"]
    Upload.objects.create(image=photo)
    return JsonResponse({"size": photo.size})


class RestView(APIView):
    """The trivial view under REST framework."""

    parser_classes = (MultiPartParser,)
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        """Answer with the size of the image."""
        return Response({"size": request.FILES["photo"].size})
