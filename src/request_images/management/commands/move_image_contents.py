"""``manage.py move_image_contents``: move the bytes of images to another store."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from request_images.exceptions import StorageError
from request_images.moving import Moved, move, preview
from request_images.stores import DATABASE

_DATABASE_NAME = "database"


class Command(BaseCommand):
    """Says what is moved; `request_images.moving` does it."""

    help = (
        "Moves the bytes of the images that are kept to a storage of STORAGES, or to "
        "the database. Each copy is read back before the old one goes. A run that was "
        "stopped is finished by the next."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--to",
            required=True,
            metavar="ALIAS",
            help="Where to: an alias of STORAGES, or `database`.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Say how much would be moved, and move nothing.",
        )
        parser.add_argument(
            "--batch-size",
            type=_batch_size,
            default=500,
            help="How many images to look up at once. The default is 500.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Move, or say what would be moved."""
        to: str = options["to"]
        if to != _DATABASE_NAME and to not in settings.STORAGES:
            known = ", ".join(sorted(settings.STORAGES))
            raise CommandError(f"There is no {to!r} in STORAGES; there are {known}.")
        alias = DATABASE if to == _DATABASE_NAME else to
        self._total = preview(alias)
        if options["dry_run"]:
            self._say(f"Would move {_in_words(self._total)} to {to}.", **options)
            return
        try:
            moved = move(alias, batch_size=options["batch_size"], tell=self._progress)
        except StorageError as error:
            raise CommandError(f"Given up: {error}") from error
        finally:
            self._end_progress()
        self._say(f"Moved {_in_words(moved)} to {to}.", **options)
        if moved.changed:
            self._say(f"{moved.changed} went or were moved meanwhile.", **options)
        if moved.failed:
            raise CommandError(f"{moved.failed} could not be moved; the log says why.")

    def _say(self, text: str, **options: Any) -> None:
        if options["verbosity"] > 0:
            self.stdout.write(text)

    def _progress(self, moved: Moved) -> None:
        if self.stderr.isatty():
            done = moved.contents + moved.changed + moved.failed
            text = f"\r{done} of {self._total.contents} images"
            self.stderr.write(text, ending="")
            self.stderr.flush()

    def _end_progress(self) -> None:
        if self.stderr.isatty() and self._total.contents:
            self.stderr.write("")


def _in_words(moved: Moved) -> str:
    # filesizeformat puts a no-break space before the unit; a log is plain text.
    size = filesizeformat(moved.size).replace("\xa0", " ")
    return f"{moved.contents} images, {size} ({moved.size} bytes),"


def _batch_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 10_000):
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 to 10000")
    return int(text)
