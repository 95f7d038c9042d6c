"""``manage.py move_image_contents``: move the bytes of images to another store."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from request_images.checks import public_root
from request_images.contents.move import Moved, move, preview
from request_images.exceptions import StorageError
from request_images.management.base import (
    AloneCommand,
    Progress,
    batch_size,
    refuse_nothing,
)
from request_images.models import ImageContent
from request_images.models.job_locks import Held, lease
from request_images.storage.stores import DATABASE

_DATABASE_NAME = "database"


class Command(AloneCommand):
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
            type=batch_size,
            default=500,
            help="How many images to look up at once. The default is 500.",
        )
        parser.add_argument(
            "--public",
            action="store_true",
            help=(
                "Move them also to a folder below MEDIA_ROOT or STATIC_ROOT, which the "
                "web server hands out to everybody."
            ),
        )

    def work(self, **options: Any) -> None:
        """Move, or say what would be moved."""
        refuse_nothing(options, "batch_size")
        to: str = options["to"]
        if to != _DATABASE_NAME and to not in settings.STORAGES:
            known = ", ".join(sorted(settings.STORAGES))
            raise CommandError(f"There is no {to!r} in STORAGES; there are {known}.")
        alias = DATABASE if to == _DATABASE_NAME else to
        try:
            would = preview(alias)
            if alias and not options["public"]:
                _refuse_public(alias)
            if options["dry_run"]:
                self.say(f"Would move {_in_words(would)} to {to}.")
                return
            with lease("move") as held:
                moved = self._move(alias, would.contents, options, held)
        except StorageError as error:
            raise CommandError(f"Given up: {error}") from error
        self.say(f"Moved {_in_words(moved)} to {to}.")
        if moved.changed:
            self.say(f"{moved.changed} went or were moved meanwhile.")
        if moved.failed:
            raise CommandError(f"{moved.failed} could not be moved.")

    def _move(
        self, alias: str, total: int, options: dict[str, Any], held: Held
    ) -> Moved:
        progress = Progress(self.stderr, is_shown=options["verbosity"] > 0)

        def tell(moved: Moved) -> None:
            held.prolong()
            progress.draw(moved.contents + moved.changed + moved.failed, total)

        def complain(content: ImageContent, error: Exception) -> None:
            where = f"{content.storage or _DATABASE_NAME}: {content.name or content}"
            progress.complain(f"{where} was not moved ({error}).")

        size = options["batch_size"]
        try:
            return move(alias, batch_size=size, tell=tell, complain=complain)
        finally:
            progress.end()


def _refuse_public(alias: str) -> None:
    if root := public_root(storages[alias]):
        raise CommandError(
            f"The files of {alias!r} are below {root}: a web server that serves that "
            "folder serves the images to everybody. Move them to a storage with a "
            "`location` of its own; or give --public, if nobody serves that folder."
        )


def _in_words(moved: Moved) -> str:
    # filesizeformat puts a no-break space before the unit; a log is plain text.
    size = filesizeformat(moved.size).replace("\xa0", " ")
    return f"{moved.contents} images, {size} ({moved.size} bytes),"
