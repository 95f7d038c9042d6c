"""``manage.py cleanup_old_images``: delete what is past its retention or budget."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterator
from typing import Any, TypeVar

from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from request_images.cleanup.report import Cleaned, Reason, Report
from request_images.cleanup.retention import clean, preview
from request_images.conf import conf
from request_images.contents.delete_objects import delete_pending
from request_images.exceptions import RetentionError
from request_images.management.base import (
    AloneCommand,
    batch_size,
    positive,
    refuse_nothing,
)
from request_images.models.cutoffs import Retention
from request_images.models.job_locks import Held, lease
from request_images.statistics.reader import kept_since, outlived
from request_images.statistics.rollups import forget, refresh

T = TypeVar("T")
_WENT = {
    Reason.SUCCESS: "{images} images of successful requests",
    Reason.FAILURE: "{images} images of failed requests",
    Reason.BYTES: "the bytes of {images} images",
    Reason.BUDGET: "the bytes of {images} images over the budget",
    Reason.LOG: "{logs} logs, with {images} images",
}


class Command(AloneCommand):
    """Says what is deleted; `request_images.retention` does it."""

    help = (
        "Deletes images and logs past their retention, and images over the budget, as "
        "the settings REQUEST_IMAGES_RETENTION_DAYS, _FAILED_RETENTION_DAYS, "
        "_BYTES_RETENTION_DAYS, _LOG_RETENTION_DAYS and _MAX_STORED_MB say. Pinned "
        "requests stay. Meant for cron, with --verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--days",
            type=_days,
            help="Keep images this many days, whatever the setting says.",
        )
        parser.add_argument(
            "--failed-days",
            type=_days,
            help="Keep images of failed requests this many days.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Say what would be deleted, and delete nothing.",
        )
        parser.add_argument(
            "--batch-size",
            type=batch_size,
            help="How many rows to delete in one transaction, at the most.",
        )
        parser.add_argument(
            "--max-objects",
            type=positive,
            help=(
                "Try to delete so many objects from storages at the most, and leave "
                "the others to later runs. By default all that are due."
            ),
        )

    def work(self, **options: Any) -> None:
        """Clean up, or say what would be cleaned up."""
        refuse_nothing(options, "max_objects")
        try:
            self._clean(**options)
        except RetentionError as error:  # `call_command` does not check its arguments
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            text = "Stopped. The next run goes on."
            raise CommandError(text, returncode=130) from None

    def _clean(self, **options: Any) -> None:
        days = {
            "image_days": _or(options["days"], conf.RETENTION_DAYS),
            "log_days": conf.LOG_RETENTION_DAYS,
            "failed_days": _or(options["failed_days"], conf.FAILED_RETENTION_DAYS),
            "bytes_days": conf.BYTES_RETENTION_DAYS,
        }
        retention = Retention.of_days(**days)
        megabytes = conf.MAX_STORED_MB
        max_bytes = None if megabytes is None else max(1, int(megabytes * 1024 * 1024))
        for sentence in _terms(**days, megabytes=megabytes):
            self.say(sentence)
        statistics_days = conf.STATISTICS_RETENTION_DAYS
        forgotten = None if statistics_days is None else kept_since()
        if forgotten is not None:
            self.say(f"Statistics are kept {_for_days(statistics_days)}.")
        if options["dry_run"]:
            self._report(preview(retention, max_bytes=max_bytes), "Would delete")
            if forgotten is not None:
                count = sum(rows.count() for rows in outlived(forgotten))
                self.say(f"Would delete {count} rows of statistics.")
            return
        size = _or(options["batch_size"], conf.CLEANUP_BATCH_SIZE)
        with lease("cleanup") as held:
            if forgotten is not None:
                count = forget(forgotten, beat=held.prolong)
                self.say(f"Deleted {count} rows of statistics.")
            self._went = Report()
            try:
                clean(
                    retention,
                    batch_size=size,
                    max_bytes=max_bytes,
                    beat=held.prolong,
                    note=self._note,
                )
            finally:  # what a run did that was stopped, or that failed, is done
                self._report(self._went, "Deleted")
            self._delete_objects(options["max_objects"], held)
            done = refresh(beat=lambda _: held.prolong())
            if done.hours:
                self.say(f"Added up {done.hours} hours of the statistics.")

    def _note(self, went: Report) -> None:
        self._went += went

    def _report(self, report: Report, did: str) -> None:
        for reason, words in _WENT.items():
            if reason in report.by_reason:
                went = report[reason]
                what = words.format(images=went.images, logs=went.logs)
                self.say(f"{did} {what} ({went.contents} distinct); {_freed(went)}.")
        for label, number in sorted(report.held.items()):
            self.say(
                f"{number} requests keep their rows, past their retention: {label} "
                "protects them. Their bytes do not stay."
            )
        total = report.total
        self.say(
            f"{did} {total.images} images ({total.contents} distinct) and {total.logs} "
            f"logs; {_freed(total)} of storage."
        )

    def _delete_objects(self, limit: int | None, held: Held) -> None:
        done = delete_pending(limit, beat=held.prolong)
        if done.deleted or done.failed or done.pending:
            self.say(
                f"Deleted {done.deleted} objects from storages; {done.failed} failed, "
                f"{done.pending} are pending."
            )


def _or(given: int | None, setting: T) -> int | T:
    return setting if given is None else given


def _terms(
    image_days: int | None,
    log_days: int | None,
    failed_days: int | None,
    bytes_days: int | None,
    megabytes: float | None,
) -> Iterator[str]:
    def kept(days: int | None) -> str:
        # An image goes with its log.
        return f"kept {_for_days(_shortest(days, log_days))}"

    yield f"Images are {kept(image_days)}."
    if failed_days is not None:
        yield f"Images of failed requests are {kept(failed_days)}."
    if bytes_days is not None:
        whose = "" if failed_days is None else " of successful requests"
        yield f"Bytes{whose} are {kept(_shortest(bytes_days, image_days))}."
    yield f"Logs are {kept(log_days)}."
    if megabytes is not None:
        yield f"Images may take {megabytes:.10g} MB in all."


def _shortest(*days: int | None) -> int | None:
    return min((each for each in days if each is not None), default=None)


def _for_days(days: int | None) -> str:
    if days is None:
        return "for ever"
    return "1 day" if days == 1 else f"{days} days"


def _freed(cleaned: Cleaned) -> str:
    # filesizeformat puts a no-break space before the unit; a log is plain text.
    freed = filesizeformat(cleaned.freed).replace("\xa0", " ")
    return f"{freed} ({cleaned.freed} bytes)"


def _days(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < 1:
        raise ArgumentTypeError(
            f"{number} would delete everything there is; give 1 at least"
        )
    return number
