"""Views of other packages, each decorated; and views that say what they received."""

from __future__ import annotations

from typing import Any

import strawberry
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from djangorestframework_camel_case.parser import CamelCaseMultiPartParser
from drf_smart_nested_parser.parsers import SmartNestedParser
from nested_multipart_parser.drf import DrfNestedParser
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response
from rest_framework.views import APIView
from strawberry.django.views import AsyncGraphQLView, GraphQLView
from strawberry.file_uploads import Upload

from request_images.decorators import capture_images
from request_images.mixins import CaptureImagesMixin

PARSERS = {
    "rest_framework": MultiPartParser,
    "nested-multipart-parser": DrfNestedParser,
    "drf-smart-nested-parser": SmartNestedParser,
    "djangorestframework-camel-case": CamelCaseMultiPartParser,
}


class Received(APIView):
    """Answer with the names of the fields and the size of each file."""

    authentication_classes = ()

    def post(self, request: Any) -> Response:
        """Read fields and files as the parser returned them."""
        fields = sorted(str(name) for name in request.data)
        sizes = {name: len(file.read()) for name, file in request.FILES.items()}
        return Response({"fields": fields, "sizes": sizes})


class Captured(CaptureImagesMixin, Received):
    """The same, and its images are kept."""


@strawberry.type
class Query:
    """GraphQL demands one."""

    nothing: str = ""


@strawberry.type
class Mutation:
    """What clients send files to."""

    @strawberry.mutation
    def size(self, photo: Upload) -> int:
        """Return the size of a file in bytes."""
        return len(photo.read())

    @strawberry.mutation
    def fail(self, photo: Upload) -> int:
        """Fail when the file was received."""
        raise ValueError(photo.name)


def _graphql(view: Any) -> Any:
    schema = strawberry.Schema(query=Query, mutation=Mutation)
    return view.as_view(schema=schema, multipart_uploads_enabled=True)


GRAPHQL = {"sync": _graphql(GraphQLView), "async": _graphql(AsyncGraphQLView)}

urlpatterns = [
    *(
        path(f"{kind}/{name}/", view.as_view(parser_classes=[parser]))
        for kind, view in (("plain", Received), ("captured", Captured))
        for name, parser in PARSERS.items()
    ),
    *(path(f"plain/graphql-{n}/", csrf_exempt(v)) for n, v in GRAPHQL.items()),
    *(
        path(f"captured/graphql-{n}/", csrf_exempt(capture_images(v)))
        for n, v in GRAPHQL.items()
    ),
]
