"""Commands that make something of each image that has it not yet."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    OutputWrapper,
)

from request_images.contents.derive import (
    Derivation,
    Fate,
    count_missing,
    derive_missing,
)
from request_images.exceptions import LeaseLost, WorkTaken


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


class AloneCommand(BaseCommand):
    """Says who is at the work when it is taken, which is no failure."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the work, or say why it is not done."""
        self._talks = options["verbosity"] > 0
        try:
            self.work(**options)
        except WorkTaken as error:
            # The other one does the work: no reason for cron to send a mail.
            self.say(f"{error} Nothing was done.")
        except LeaseLost as error:
            raise CommandError(str(error)) from error

    def work(self, **options: Any) -> None:
        """Do the work, within a lease where it changes something.

        Raises:
            WorkTaken: Another process is at it.
            LeaseLost: Another process has taken it over.
        """
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Write a line for people, unless they want none."""
        if self._talks:
            self.stdout.write(text)


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


_BAR_WIDTH = 30
_LINE_WIDTH = 78


class Progress:
    """A bar on a terminal; elsewhere nothing.

    Args:
        stream: Where to draw it: the command's ``stderr``.
        is_shown: Whether anybody wants to see it.
    """

    def __init__(self, stream: OutputWrapper, *, is_shown: bool) -> None:
        self._stream = stream
        self._is_shown = is_shown and stream.isatty()
        self._is_drawn = False

    def draw(self, done: int, total: int) -> None:
        """Show that some of all images are done."""
        if not self._is_shown:
            return
        total = max(total, done)  # new ones arrive meanwhile
        bar = "#" * (_BAR_WIDTH * done // total)
        text = f"\r[{bar.ljust(_BAR_WIDTH)}] {done} of {total} images"
        # `str`: what is written to stderr is painted red otherwise.
        self._stream.write(text, style_func=str, ending="")
        self._stream.flush()
        self._is_drawn = True

    def complain(self, text: str) -> None:
        """Write a line in the place of the bar."""
        line = f"\r{text.ljust(_LINE_WIDTH)}" if self._is_shown else text
        self._stream.write(line)

    def end(self) -> None:
        """Leave the bar as it is, and begin a new line."""
        if self._is_drawn:
            self._stream.write("", style_func=str)
