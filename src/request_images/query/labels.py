"""Requests in words, and the parameters that find slower ones."""

from __future__ import annotations

from django.utils import formats

from request_images.models import RequestLog


def slower_texts(milliseconds: float, asked: str) -> dict[str, str]:
    """Return the query parameters for requests that took so long, the slowest first.

    Args:
        milliseconds: So long at the least.
        asked: The range of durations that is asked for already, whose end stays; empty
            for none.
    """
    _, _, end = asked.partition("-")
    return {"duration": f"{milliseconds:.6f}-{end}", "sort": "slowest"}


def status(log: RequestLog) -> str:
    """Return what became of a request: its status, and the error if there was one."""
    code = "?" if log.status_code is None else str(log.status_code)
    return f"{code} {log.error_type}".strip()


def milliseconds(value: float) -> str:
    """Return a time with three digits that count, in the reader's own notation."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    # Django cuts off what is beyond the digits.
    return f"{formats.number_format(round(value, digits), digits)} ms"
