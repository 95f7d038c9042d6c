"""``manage.py cleanup_old_images``: delete what is past its retention or budget."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from request_images.cleanup.report import Reason, Report
from request_images.cleanup.retention import clean, preview
from request_images.conf import conf
from request_images.contents.delete_objects import delete_pending
from request_images.management.base import (
    ImagesCommand,
    add_arguments,
    size_text,
    whole_number,
)
from request_images.models.cutoffs import Retention
from request_images.models.job_locks import HeldLease, lease
from request_images.statistics.reader import kept_since, outlived
from request_images.statistics.rollups import forget, refresh
from request_images.writer import losses

T = TypeVar("T")
_LOSS_DAYS = 365
"""How long losses are known where logs are kept for ever."""
_WENT = {
    Reason.SUCCESS: "{images} images of successful requests",
    Reason.FAILURE: "{images} images of failed requests",
    Reason.BYTES: "the bytes of {images} images",
    Reason.BUDGET: "the bytes of {images} images over the budget",
    Reason.LOG: "{logs} logs, with {images} images",
}


class Command(ImagesCommand):
    """Deletes old images and logs; the work is in `cleanup.retention`."""

    help = (
        "Deletes images and logs past their retention period, and images over the "
        "budget. The settings are REQUEST_IMAGES_RETENTION_DAYS, "
        "_FAILED_RETENTION_DAYS, _BYTES_RETENTION_DAYS, _LOG_RETENTION_DAYS and "
        "_MAX_STORED_MB. Pinned requests stay. For cron, use --verbosity 0."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--days",
            type=_days,
            help="Keep images for this many days, instead of the setting.",
        )
        parser.add_argument(
            "--failed-days",
            type=_days,
            help="Keep images of failed requests for this many days.",
        )
        add_arguments(
            parser,
            "--dry-run",
            help="Report what would be deleted, and delete nothing.",
        )
        add_arguments(
            parser,
            "--batch-size",
            default=None,
            help="Delete at most this many rows in one transaction.",
        )
        parser.add_argument(
            "--max-objects",
            type=whole_number(1),
            help=(
                "Try to delete at most this many objects from storages, and leave the "
                "others to later runs. The default is all of them."
            ),
        )

    def work(self, **options: Any) -> None:
        """Delete, or report what would be deleted."""
        try:
            self._clean(**options)
        except KeyboardInterrupt:
            text = "Stopped. The next run continues."
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
                count = forget(forgotten, beat=held.renew)
                self.say(f"Deleted {count} rows of statistics.")
            self._went = Report()
            try:
                clean(
                    retention,
                    batch_size=size,
                    max_bytes=max_bytes,
                    beat=held.renew,
                    on_batch=self._on_batch,
                )
            finally:  # also report what a run did that was stopped, or that failed
                self._report(self._went, "Deleted")
            self._delete_objects(options["max_objects"], held)
            self._forget_losses()
            done = refresh(beat=lambda _: held.renew())
            if done.hours:
                self.say(f"Updated the statistics of {done.hours} hours.")

    def _on_batch(self, went: Report) -> None:
        self._went += went

    def _report(self, report: Report, did: str) -> None:
        for reason, words in _WENT.items():
            if reason in report.by_reason:
                went = report[reason]
                what = words.format(images=went.images, logs=went.logs)
                freed = size_text(went.freed)
                self.say(f"{did} {what} ({went.contents} distinct); {freed}.")
        for label, number in sorted(report.held.items()):
            self.say(
                f"{number} requests past their retention period keep their rows, "
                f"because {label} protects them. Their bytes are deleted."
            )
        total = report.total
        self.say(
            f"{did} {total.images} images ({total.contents} distinct) and {total.logs} "
            f"logs; {size_text(total.freed)} of storage."
        )

    def _delete_objects(self, limit: int | None, held: HeldLease) -> None:
        done = delete_pending(limit, beat=held.renew)
        if done.deleted or done.failed or done.pending:
            self.say(
                f"Deleted {done.deleted} objects from storages; {done.failed} failed; "
                f"{done.pending} are still to be deleted."
            )

    def _forget_losses(self) -> None:
        days = conf.LOG_RETENTION_DAYS or _LOSS_DAYS
        count = losses.forget(timezone.now() - timedelta(days=days))
        if count:
            self.say(f"Deleted {count} records of losses.")


def _or(given: int | None, setting: T) -> int | T:
    return setting if given is None else given


def _terms(
    image_days: int | None,
    log_days: int | None,
    failed_days: int | None,
    bytes_days: int | None,
    megabytes: float | None,
) -> Iterator[str]:
    def kept(*days: int | None) -> str:
        # An image is deleted with its log.
        known = [each for each in (*days, log_days) if each is not None]
        return f"kept {_for_days(min(known, default=None))}"

    yield f"Images are {kept(image_days)}."
    if failed_days is not None:
        yield f"Images of failed requests are {kept(failed_days)}."
    if bytes_days is not None:
        whose = "" if failed_days is None else " of successful requests"
        yield f"Bytes{whose} are {kept(bytes_days, image_days)}."
    yield f"Logs are {kept()}."
    if megabytes is not None:
        yield f"Images may take {megabytes:.10g} MB in total."


def _for_days(days: int | None) -> str:
    if days is None:
        return "for ever"
    return "for 1 day" if days == 1 else f"for {days} days"


def _days(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise ArgumentTypeError(
            f"{number} would delete everything; the minimum is 1 day"
        )
    return number
