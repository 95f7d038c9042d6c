"""Commands that make something of each image that has it not yet."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from .arguments import batch_size, positive, refuse_nothing
from .deriving import Derivation, Fate, count_missing, derive_missing
from .progress import Progress


class MakingCommand(BaseCommand):
    """Makes it, image by image, and says how many there are.

    Attributes:
        what: What is made.
        said: A sentence about ``made``, ``impossible`` and ``skipped``.
    """

    what: Derivation
    said: str

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
        talks = options["verbosity"] > 0
        progress = Progress(self.stderr, is_shown=talks)
        fates: Counter[Fate] = Counter()
        total = min(count_missing(self.what), options["limit"] or float("inf"))
        for fate in derive_missing(
            self.what,
            oldest_first=options["oldest_first"],
            limit=options["limit"],
            batch_size=options["batch_size"],
        ):
            fates[fate] += 1
            progress.draw(fates.total(), int(total))
        progress.end()
        if talks:
            counts = {fate.value: fates[fate] for fate in Fate}
            self.stdout.write(self.said.format(**counts))
