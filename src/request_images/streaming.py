"""Answers that come in pieces, under WSGI and under ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def streamed(
    request: HttpRequest, chunks: Iterator[str], **options: Any
) -> StreamingHttpResponse:
    """Answer with chunks, each made when the one before has gone.

    Under ASGI Django would make all of them before it sends the first, unless they are
    asynchronous; under WSGI it is the other way round.
    """
    if isinstance(request, ASGIRequest):
        return StreamingHttpResponse(_asynchronous(chunks), **options)
    return StreamingHttpResponse(chunks, **options)


async def _asynchronous(chunks: Iterator[str]) -> AsyncIterator[str]:
    # Thread-sensitive: the database connection belongs to one thread.
    @sync_to_async(thread_sensitive=True)
    def following() -> str | None:
        return next(chunks, None)

    while (chunk := await following()) is not None:
        yield chunk
