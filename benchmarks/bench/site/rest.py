"""The trivial view under REST framework."""

from __future__ import annotations

from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class RestView(APIView):
    """The trivial view under REST framework."""

    parser_classes = (MultiPartParser,)
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        """Answer with the size of the image."""
        return Response({"size": request.FILES["photo"].size})
