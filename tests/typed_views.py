"""Decorated views whose types mypy checks (``tox -e types``)."""

from collections.abc import Callable, Coroutine
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from typing_extensions import assert_type

from request_images.decorators import capture_images


@capture_images
def plain(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"pk": pk})


@capture_images(source="files.photo")
def with_arguments(request: HttpRequest, *, slug: str = "") -> HttpResponse:
    return HttpResponse(slug)


@capture_images
async def awaited(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")  # pragma: no cover  # only its type is asked for


def wrong(request: HttpRequest) -> HttpResponse:
    # mypy must find this error: an ignored error that is not there is an error itself.
    return with_arguments(request, slag="")  # type: ignore[call-arg]


def right(request: HttpRequest) -> list[HttpResponse]:
    plain_view: Callable[[HttpRequest, int], JsonResponse] = plain
    coroutine = assert_type(awaited(request), Coroutine[Any, Any, HttpResponse])
    coroutine.close()
    one = assert_type(plain_view(request, 5), JsonResponse)
    return [one, assert_type(with_arguments(request, slug="a"), HttpResponse)]
