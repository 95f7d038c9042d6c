"""A row in words: short texts for people, as the admin's columns show them."""

from __future__ import annotations

from django.utils import formats

from .models import RequestImage, RequestLog


def dimensions(image: RequestImage) -> str:
    """Return width and height in pixels; empty when they are unknown."""
    if image.width is None or image.height is None:
        return ""
    return f"{image.width} × {image.height}"  # noqa: RUF001  # the sign is meant


def status(log: RequestLog) -> str:
    """Return what became of a request: its status, and the error if there was one."""
    code = "?" if log.status_code is None else str(log.status_code)
    return f"{code} {log.error_type}".strip()


def milliseconds(value: float) -> str:
    """Return a time with three digits that count, in the reader's own notation."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{formats.number_format(value, digits)} ms"


def kept(log: RequestLog) -> str:
    """Return what became of a request's image, with the reason if there is one."""
    status = log.get_capture_status_display()
    return f"{status} ({log.capture_detail})" if log.capture_detail else status
