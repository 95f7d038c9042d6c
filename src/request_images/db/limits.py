"""A limit for the time of all writes within a context."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ends: ContextVar[float] = ContextVar("request_images_ends", default=float("inf"))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of our statements and pauses within, all together."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


@contextmanager
def not_counted() -> Iterator[None]:
    """Leave the time of what is within out of the limit: it has limits of its own."""
    began = time.monotonic()
    try:
        yield
    finally:
        _ends.set(_ends.get() + time.monotonic() - began)


def is_limited() -> bool:
    """Return whether there is a limit: a thread of a request waits for the write."""
    return _ends.get() < float("inf")


def seconds_left() -> float:
    """Return the seconds that are left; infinity without a limit."""
    ends = _ends.get()
    return max(0.0, ends - time.monotonic())
