"""Requests in words, and the parameters that find slower ones."""

from __future__ import annotations

from django.utils import formats

from request_images.models import RequestLog


def slower_texts(milliseconds: float, asked: str) -> dict[str, str]:
    """Return the query parameters for requests that took this long or longer.

    Args:
        milliseconds: The shortest duration.
        asked: The range of durations in the current query, whose end is kept; empty
            for none.
    """
    _, _, end = asked.partition("-")
    return {"duration": f"{milliseconds:.6f}-{end}", "sort": "slowest"}


def status(log: RequestLog) -> str:
    """Return a request's status, and its error type if there is one."""
    code = "?" if log.status_code is None else str(log.status_code)
    return f"{code} {log.error_type}".strip()


def milliseconds(value: float) -> str:
    """Return a duration with three significant digits, in the reader's notation."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    # Django cuts off what is beyond the digits.
    return f"{formats.number_format(round(value, digits), digits)} ms"
