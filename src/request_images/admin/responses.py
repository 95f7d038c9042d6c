"""Responses with the bytes of an image, which no browser will execute.

The bytes came from strangers. A browser that guesses their type may run them as a page.
So the type is detected from the bytes, only types that cannot hold scripts are shown
inline, and a content security policy forbids everything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.templatetags.static import static
from django.utils.translation import gettext

from request_images.contents.thumbnails import thumbnail_of
from request_images.exceptions import (
    DecodingFailed,
    EncodingUnavailable,
    NotYet,
    ObjectDamaged,
    ObjectMissing,
    StorageError,
)
from request_images.health import report
from request_images.images import thumbnail
from request_images.images.formats import HEAD_SIZE, MIME_TYPES, sniff
from request_images.images.inspection import is_readable
from request_images.models import ImageContent, ReceivedImage

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}

_NOT_DECODED = (DecodingFailed, EncodingUnavailable, ObjectDamaged)

RETRY_SECONDS = 5
_NOT_YET = b"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">\
<rect x="1" y="1" width="62" height="62" rx="6" fill="none" stroke="#888" \
stroke-width="2" stroke-dasharray="5 4"/>\
<circle cx="20" cy="32" r="4" fill="#888"/>\
<circle cx="32" cy="32" r="4" fill="#888"/>\
<circle cx="44" cy="32" r="4" fill="#888"/></svg>
"""


def file_name(image: ReceivedImage) -> str:
    """Return the name of the file that a download is saved as."""
    known = MIME_TYPES.get(image.mime_type)
    return f"{image.image_hash[:16]}{known.extension if known else '.bin'}"


def original_response(
    image: ReceivedImage, *, as_file: bool = False
) -> HttpResponse | None:
    """Return the bytes as received; None if they were not stored or were deleted.

    Types that browsers show without running anything are shown; others, and files with
    a broken header, are downloads.
    The status is 404 if the storage has lost the bytes, and 503 if it does not answer.

    Args:
        image: The image.
        as_file: Whether to return a download for every type.
    """
    try:
        data = image.image_data
    except StorageError as error:
        return _failed_response(error)
    if data is None:
        return None
    known = sniff(data[:HEAD_SIZE])
    inline = known is not None and known.inline and not as_file and is_readable(data)
    mime_type = known.mime_type if known and inline else "application/octet-stream"
    response = HttpResponse(data, content_type=mime_type, headers=_HEADERS)
    disposition = "inline" if inline else "attachment"
    response["Content-Disposition"] = f'{disposition}; filename="{file_name(image)}"'
    return response


def thumbnail_response(image: ReceivedImage) -> HttpResponseBase | None:
    """Return the thumbnail, made now if it is missing; None if the image is deleted.

    An image without a thumbnail redirects to a placeholder. While another process makes
    it, or before the next attempt, a placeholder has status 503 with ``Retry-After``;
    browsers show it all the same. The status is 404 if the storage has lost the bytes,
    and 503 if it does not answer.
    """
    if image.content_id is None or image.is_expired:
        return None
    try:
        data = thumbnail_of(image.content_id)
    except ImageContent.DoesNotExist:
        return None
    except StorageError as error:
        return _failed_response(error)
    except NotYet:
        headers = {**_HEADERS, "Retry-After": str(RETRY_SECONDS)}
        return HttpResponse(
            _NOT_YET, content_type="image/svg+xml", status=503, headers=headers
        )
    if data is None:
        redirect = HttpResponseRedirect(static("request_images/no-thumbnail.svg"))
        redirect["Cache-Control"] = "private, no-store"
        return redirect
    return HttpResponse(data, content_type=thumbnail.MIME_TYPE, headers=_HEADERS)


def _failed_response(error: StorageError) -> HttpResponse:
    report("read", error)
    if isinstance(error, ObjectMissing):
        text, status = gettext("The storage has lost this image."), 404
    elif isinstance(error, _NOT_DECODED):
        text, status = gettext("This image cannot be read back."), 503
    else:
        text, status = gettext("The storage of this image does not answer."), 503
    return text_response(text, status)


def text_response(text: str, status: int) -> HttpResponse:
    """Return a plain text in place of an image."""
    return HttpResponse(
        text, status=status, content_type="text/plain; charset=utf-8", headers=_HEADERS
    )


def streamed(
    request: HttpRequest, chunks: Iterator[str], **options: Any
) -> StreamingHttpResponse:
    """Return a response that sends each chunk before it makes the next.

    Under ASGI, Django collects a synchronous iterator before it sends the first chunk;
    under WSGI, an asynchronous one.
    """
    if isinstance(request, ASGIRequest):
        return StreamingHttpResponse(_asynchronous(chunks), **options)
    return StreamingHttpResponse(chunks, **options)


async def _asynchronous(chunks: Iterator[str]) -> AsyncIterator[str]:
    # Thread-sensitive: the database connection belongs to one thread.
    @sync_to_async(thread_sensitive=True)
    def next_chunk() -> str | None:
        return next(chunks, None)

    while (chunk := await next_chunk()) is not None:
        yield chunk
