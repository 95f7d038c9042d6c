"""Whole numbers that commands take, on the command line or from other code."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import CommandError

MOST = 999_999_999
"""More of anything is a slip of the finger, and no number for some databases."""


def whole_number(lowest: int, highest: int = MOST) -> Callable[[str], int]:
    """Return what makes a number of a text, as the ``type`` of an argument.

    Args:
        lowest: The lowest number that is taken.
        highest: The highest.
    """

    def convert(text: str) -> int:
        is_whole = text.isascii() and text.isdigit() and len(text) <= len(str(MOST))
        if not (is_whole and lowest <= int(text) <= highest):
            raise ArgumentTypeError(
                f"{text!r} is no whole number from {lowest} to {highest}"
            )
        return int(text)

    return convert


positive = whole_number(1)
batch_size = whole_number(1, 10_000)
"""More are too many for one query, or for one transaction."""


def refuse_nothing(options: Mapping[str, Any], *names: str) -> None:
    """Refuse numbers below 1 from ``call_command``, which checks no arguments.

    Args:
        options: The command's options.
        names: Those that are numbers, or None.

    Raises:
        CommandError: One of them is below 1.
    """
    for name in names:
        value = options[name]
        if value is not None and value < 1:
            raise CommandError(f"{name} must be 1 at least, not {value}.")
