"""``manage.py move_image_contents``: move the bytes of images to another storage."""

from __future__ import annotations

from typing import Any

from django.core.files.storage import storages
from django.core.management.base import CommandError, CommandParser

from request_images.checks import public_root, unset_location
from request_images.contents.move import Moved, move, preview
from request_images.management.base import (
    ImagesCommand,
    add_arguments,
    require_storage,
    size_text,
)
from request_images.models.job_locks import lease
from request_images.storage.stores import DATABASE

_DATABASE_NAME = "database"


class Command(ImagesCommand):
    """Moves the bytes of images; the work is in `contents.move`."""

    help = (
        "Moves the bytes of stored images to a storage of STORAGES, or to the "
        "database. Each copy is read back before the original is deleted. If a run is "
        "stopped, the next run continues."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--to",
            required=True,
            metavar="ALIAS",
            help="The destination: an alias of STORAGES, or `database`.",
        )
        add_arguments(
            parser,
            "--dry-run",
            help="Report how much would be moved, and move nothing.",
        )
        add_arguments(parser, "--batch-size")
        parser.add_argument(
            "--public",
            action="store_true",
            help=(
                "Allow a folder below MEDIA_ROOT or STATIC_ROOT, which the web server "
                "usually serves to everybody, and one that depends on the folder in "
                "which a process is started."
            ),
        )

    def work(self, **options: Any) -> None:
        """Move, or report what would be moved."""
        to: str = options["to"]
        if to != _DATABASE_NAME:
            require_storage(to)
        alias = DATABASE if to == _DATABASE_NAME else to
        would = preview(alias)
        if alias and not options["public"]:
            _refuse_public(alias)
        if options["dry_run"]:
            self.say(f"Would move {_in_words(would)} to {to}.")
            return
        with lease("move") as held, self.progress(would.contents) as progress:

            def on_progress(moved: Moved) -> None:
                held.renew()
                progress.draw(moved.seen)

            moved = move(
                alias,
                batch_size=options["batch_size"],
                on_progress=on_progress,
                on_error=progress.on_error("was not moved"),
            )
        self.say(f"Moved {_in_words(moved)} to {to}.")
        if moved.changed:
            self.say(f"{moved.changed} images were deleted or changed meanwhile.")
        if moved.failed:
            raise CommandError(f"{moved.failed} images could not be moved.")


def _refuse_public(alias: str) -> None:
    if folder := unset_location(storages[alias]):
        raise CommandError(
            f"The files of {alias!r} are in {folder}, where this process happens to "
            "run: the images would lie among the code. Use a storage with an absolute "
            "`location`, or add --public if that is meant."
        )
    if root := public_root(storages[alias]):
        raise CommandError(
            f"The files of {alias!r} are below {root}: a web server that serves this "
            "folder would serve the images to everybody. Use a storage with another "
            "`location`, or add --public if nothing serves this folder."
        )


def _in_words(moved: Moved) -> str:
    return f"{moved.contents} images, {size_text(moved.size)},"
