"""`trap`: name the traps of docs/traps.md that a test watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

T = TypeVar("T", bound=Callable[..., Any])


def trap(*codes: str) -> Callable[[T], T]:
    """Mark a test with the codes of its traps: ``pytest -m "trap(code='W7')"``."""

    def mark(test: T) -> T:
        for code in codes:
            test = pytest.mark.trap(code=code)(test)
        return test

    return mark
