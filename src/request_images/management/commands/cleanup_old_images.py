"""``manage.py cleanup_old_images``: delete images and logs past their retention."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from request_images.conf import conf
from request_images.deletion import delete_pending
from request_images.exceptions import RetentionError
from request_images.retention import Cleaned, Retention, clean, preview

T = TypeVar("T")


class Command(BaseCommand):
    """Says what is deleted; `request_images.retention` does it."""

    help = (
        "Deletes images older than REQUEST_IMAGES_RETENTION_DAYS and logs older than "
        "REQUEST_IMAGES_LOG_RETENTION_DAYS. Meant for cron, with --verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--days",
            type=_positive,
            help="Keep images this many days, whatever the setting says.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Say what would be deleted, and delete nothing.",
        )
        parser.add_argument(
            "--batch-size",
            type=_batch_size,
            help="How many rows to delete in one transaction.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Clean up, or say what would be cleaned up."""
        try:
            self._clean(**options)
        except RetentionError as error:  # `call_command` does not check its arguments
            raise CommandError(str(error)) from error

    def _clean(self, **options: Any) -> None:
        image_days = _or(options["days"], conf.RETENTION_DAYS)
        log_days = conf.LOG_RETENTION_DAYS
        if log_days is not None and (image_days is None or image_days > log_days):
            image_days = log_days  # an image goes with its log
        retention = Retention.of_days(image_days, log_days)
        if options["verbosity"] > 0:
            self.stdout.write(f"Images are kept {_for_days(image_days)}.")
            self.stdout.write(f"Logs are kept {_for_days(log_days)}.")
        if options["dry_run"]:
            cleaned, would = preview(retention), "Would delete"
        else:
            batch_size = _or(options["batch_size"], conf.CLEANUP_BATCH_SIZE)
            cleaned, would = clean(retention, batch_size=batch_size), "Deleted"
        if options["verbosity"] > 0:
            self.stdout.write(f"{would} {_in_words(cleaned)}.")
        if not options["dry_run"]:
            self._delete_objects(options["verbosity"])

    def _delete_objects(self, verbosity: int) -> None:
        done = delete_pending()
        if verbosity > 0 and (done.deleted or done.failed or done.pending):
            self.stdout.write(
                f"Deleted {done.deleted} objects from storages; {done.failed} failed, "
                f"{done.pending} are pending."
            )


def _or(given: int | None, setting: T) -> int | T:
    return setting if given is None else given


def _for_days(days: int | None) -> str:
    if days is None:
        return "for ever"
    return "1 day" if days == 1 else f"{days} days"


def _in_words(cleaned: Cleaned) -> str:
    # filesizeformat puts a no-break space before the unit; a log is plain text.
    freed = filesizeformat(cleaned.freed).replace("\xa0", " ")
    return (
        f"{cleaned.images} images ({cleaned.contents} distinct) and {cleaned.logs} "
        f"logs; {freed} ({cleaned.freed} bytes) of storage"
    )


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < 1:
        raise ArgumentTypeError(
            f"{number} would delete everything there is; give 1 at least"
        )
    return number


def _batch_size(text: str) -> int:
    number = _positive(text)
    if number > 10_000:
        raise ArgumentTypeError(f"{number} rows are too many for one transaction")
    return number
