"""Middlewares around ours, for tests of our middleware."""

import asyncio

from django.http import HttpResponse
from django.utils.decorators import async_only_middleware

from tests.servers import signs


@async_only_middleware
def tell_of_cancelling(get_response):
    """Signal to the test that the server has noticed the disconnect."""

    async def middleware(request):
        try:
            return await get_response(request)
        except asyncio.CancelledError:
            signs.give(request, "cancelled")
            raise

    return middleware


@async_only_middleware
def replace_response(get_response):
    """Replace the view's response if the request says so."""

    async def middleware(request):
        response = await get_response(request)
        if "replaced" in request.GET:
            return HttpResponse("short and stout", status=418)
        return response

    return middleware
