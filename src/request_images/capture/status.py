"""How a request ended, as exceptions and responses tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.http.multipartparser import MultiPartParserError

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; HTTP has none."""


def status_of_exception(exception: BaseException | None) -> int | None:
    """Return the status that Django's handler makes of an exception, if that is sure.

    500 is not guessed: only ``got_request_exception`` tells that no middleware made
    something else of it.
    """
    if isinstance(exception, Http404):
        return 404
    if isinstance(exception, PermissionDenied):
        return 403
    if isinstance(exception, MultiPartParserError | BadRequest | SuspiciousOperation):
        return 400
    if isinstance(exception, asyncio.CancelledError):
        return CLIENT_CLOSED_REQUEST
    return status_of_response(exception)


def status_of_response(response: object) -> int | None:
    """Return the status of a response, or of whatever else a view may return."""
    # Anything may have an attribute of this name, and hold anything in it.
    status = getattr(response, "status_code", None)
    is_status = isinstance(status, int) and 100 <= status <= 999
    return status if is_status else None


def first_error_detail(data: object) -> Any:
    """Return the first of REST framework's ``ErrorDetail`` in a response's data.

    It is a str with a code, somewhere in dicts and lists; None when there is none.
    """
    if isinstance(data, str) and isinstance(getattr(data, "code", None), str):
        return data
    items: Iterable[object] = ()
    if isinstance(data, dict):
        items = data.values()
    elif isinstance(data, list):
        items = data
    found = (first_error_detail(item) for item in items)
    return next((detail for detail in found if detail is not None), None)
