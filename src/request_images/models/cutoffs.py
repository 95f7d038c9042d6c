"""Retention periods from the settings, as cut-off times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from request_images.conf import conf
from request_images.exceptions import RetentionError


def days_ago(days: int | None) -> datetime | None:
    """Return the time that many days ago; None for None, or before the year 1."""
    try:
        return None if days is None else timezone.now() - timedelta(days=days)
    except OverflowError:
        return None


def is_over(created_at: datetime, cutoff: datetime | None) -> bool:
    """Return whether a request began before a cut-off time."""
    return cutoff is not None and created_at < cutoff


@dataclass(frozen=True)
class Term:
    """The cut-off times for images of successful, or of failed, requests.

    Attributes:
        images_before: Images of requests before this time are deleted; None keeps all.
        bytes_before: The bytes of images before this time are deleted; never earlier
            than `images_before`.
    """

    images_before: datetime | None
    bytes_before: datetime | None

    @classmethod
    def of_days(cls, days: int | None, bytes_days: int | None) -> Term:
        """Return the cut-off times for periods in days, as `Retention.of_days`."""
        images, data = days_ago(days), days_ago(bytes_days)
        return cls(images, _latest(images, data))


@dataclass(frozen=True)
class Retention:
    """All cut-off times. They do not apply to pinned requests.

    Attributes:
        successes: The cut-off times for images of successful requests.
        failures: The cut-off times for images of failed requests.
        logs_before: Logs of requests before this time are deleted, with their images;
            None keeps all.
    """

    successes: Term
    failures: Term
    logs_before: datetime | None = None

    @classmethod
    def of_days(
        cls,
        image_days: int | None,
        log_days: int | None,
        *,
        failed_days: int | None = None,
        bytes_days: int | None = None,
    ) -> Retention:
        """Return the cut-off times for retention periods in days.

        Args:
            image_days: Days to keep images; None for ever.
            log_days: Days to keep logs; None for ever.
            failed_days: Days to keep images of failed requests, with their bytes; None
                for the same as others.
            bytes_days: Days to keep bytes; None for as long as their images.

        Raises:
            RetentionError: A number below 1, which might delete everything.
        """
        for days in (image_days, log_days, failed_days, bytes_days):
            if days is not None and days < 1:
                raise RetentionError(
                    f"A retention of {days} days would delete everything. "
                    "The minimum is 1 day."
                )
        successes = failures = Term.of_days(image_days, bytes_days)
        if failed_days is not None:
            failures = Term.of_days(failed_days, None)
        return cls(successes, failures, days_ago(log_days))

    @classmethod
    def of_settings(cls) -> Retention:
        """Return the cut-off times for the settings."""
        return cls.of_days(
            conf.RETENTION_DAYS,
            conf.LOG_RETENTION_DAYS,
            failed_days=conf.FAILED_RETENTION_DAYS,
            bytes_days=conf.BYTES_RETENTION_DAYS,
        )

    def of(self, is_failed: bool) -> Term:
        """Return the cut-off times for failed or for successful requests."""
        return self.failures if is_failed else self.successes

    def bytes_before(self, is_failed: bool) -> datetime | None:
        """Return the cut-off time for bytes, which are also deleted with their log."""
        return _latest(self.logs_before, self.of(is_failed).bytes_before)

    @property
    def begins(self) -> datetime | None:
        """The latest cut-off time: nothing after it is deleted."""
        return _latest(self.bytes_before(False), self.bytes_before(True))


def _latest(*cutoffs: datetime | None) -> datetime | None:
    return max((each for each in cutoffs if each is not None), default=None)
