"""Middlewares around ours, where the tests ask for ours."""

import asyncio

from django.http import HttpResponse
from django.utils.decorators import async_only_middleware

from tests.servers import signs


@async_only_middleware
def tell_of_cancelling(get_response):
    """Tell the test that the server has noticed that the client is gone."""

    async def middleware(request):
        try:
            return await get_response(request)
        except asyncio.CancelledError:
            signs.give(request, "cancelled")
            raise

    return middleware


@async_only_middleware
def replace_response(get_response):
    """Answer something else than the view, where the request asks for it."""

    async def middleware(request):
        response = await get_response(request)
        if "replaced" in request.GET:
            return HttpResponse("short and stout", status=418)
        return response

    return middleware
