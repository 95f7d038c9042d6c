"""Trivial image views that know nothing of the app."""

from __future__ import annotations

import os
import time
import zlib

from django.http import HttpRequest, JsonResponse

from .models import Upload

WORK_SECONDS = 0.01
_BLOCK = bytes(1 << 18)


def bare(request: HttpRequest) -> JsonResponse:
    """Answer with the size of the image."""
    return JsonResponse({"size": request.FILES["photo"].size})


def work(request: HttpRequest) -> JsonResponse:
    """Compute for 10 ms in C, as a view that decodes a barcode does."""
    end = time.thread_time() + WORK_SECONDS
    while time.thread_time() < end:
        zlib.crc32(_BLOCK)  # without the interpreter's lock
    return bare(request)


def is_failed(request: HttpRequest) -> bool:
    """Return whether a request fails: every sixteenth, by its id."""
    return request.META.get("HTTP_X_REQUEST_ID", "").endswith("0")


def fault(request: HttpRequest) -> JsonResponse:
    """Answer without a database; some requests fail."""
    answer = bare(request)
    answer.status_code = 422 if is_failed(request) else 200
    return answer


def pid(_request: HttpRequest) -> JsonResponse:
    """Answer with the process, so that a client knows which ones serve."""
    return JsonResponse({"pid": os.getpid()})


def naive(request: HttpRequest) -> JsonResponse:
    """Save the image in the view, as a naive solution would."""
    photo = request.FILES["photo"]
    Upload.objects.create(image=photo)
    return JsonResponse({"size": photo.size})
