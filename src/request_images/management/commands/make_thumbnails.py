"""``manage.py make_thumbnails``: make thumbnails before anybody looks at them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from request_images.drawing import draw_missing

MAX_BATCH_SIZE = 10_000


class Command(BaseCommand):
    """Says what was made; `request_images.drawing` makes it."""

    help = (
        "Makes the thumbnails that nobody has looked at yet, the newest first. It may "
        "run beside another one and beside cleanup_old_images. Meant for cron, with "
        "--verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--oldest-first",
            action="store_true",
            help="Begin with the oldest images.",
        )
        parser.add_argument(
            "--limit",
            type=_positive,
            help="Look at so many images at the most. By default at all.",
        )
        parser.add_argument(
            "--batch-size",
            type=_batch_size,
            default=500,
            help="How many primary keys to fetch with one query. The default is 500.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them, and say how many."""
        drawn = draw_missing(
            oldest_first=options["oldest_first"],
            limit=options["limit"],
            batch_size=options["batch_size"],
        )
        if options["verbosity"] > 0:
            self.stdout.write(
                f"Made {drawn.made} thumbnails; {drawn.impossible} cannot be made; "
                f"{drawn.skipped} were skipped."
            )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is no whole number above 0, or too large")
    return int(text)


def _batch_size(text: str) -> int:
    number = _positive(text)
    if number > MAX_BATCH_SIZE:
        raise ArgumentTypeError(f"{number} are too many for one query")
    return number
