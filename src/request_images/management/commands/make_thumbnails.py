"""``manage.py make_thumbnails``: make thumbnails before anybody looks at them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from request_images.arguments import batch_size, positive, refuse_nothing
from request_images.drawing import draw_missing


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
            type=positive,
            help="Look at so many images at the most. By default at all.",
        )
        parser.add_argument(
            "--batch-size",
            type=batch_size,
            default=500,
            help="How many primary keys to fetch with one query. The default is 500.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make them, and say how many."""
        refuse_nothing(options, "limit", "batch_size")
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
