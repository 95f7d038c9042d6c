"""How long what is kept: the settings' days, as moments that rows are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from request_images.conf import conf
from request_images.exceptions import RetentionError


def days_ago(days: int | None) -> datetime | None:
    """Return the moment so many days ago; None for None, or before all dates."""
    try:
        return None if days is None else timezone.now() - timedelta(days=days)
    except OverflowError:
        return None


def is_over(created_at: datetime, end: datetime | None) -> bool:
    """Tell whether a request began before the moment where its time ends."""
    return end is not None and created_at < end


@dataclass(frozen=True)
class Term:
    """How long images of requests of one outcome are kept.

    Attributes:
        images_before: Images of requests that began before this moment go; None for
            none.
        bytes_before: Their bytes go before this moment; never earlier than above.
    """

    images_before: datetime | None
    bytes_before: datetime | None

    @classmethod
    def of_days(cls, days: int | None, bytes_days: int | None) -> Term:
        """Return the term that ends so many days after the request.

        Args:
            days: Days to keep images; None for ever.
            bytes_days: Days to keep their bytes; None for as long.
        """
        images, data = days_ago(days), days_ago(bytes_days)
        return cls(images, _latest(images, data))


@dataclass(frozen=True)
class Retention:
    """How long what is kept. What is pinned stays in any case.

    Attributes:
        successes: The term of images of requests that succeeded.
        failures: The same of requests that failed.
        logs_before: Logs of requests that began before this moment go, with their
            images; None for none.
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
        """Return the retention that keeps images and logs so many days from now.

        Args:
            image_days: Days to keep images; None for ever.
            log_days: Days to keep logs; None for ever.
            failed_days: Days to keep images of failed requests, with their bytes; None
                for the same as others.
            bytes_days: Days to keep bytes; None for as long as their images.

        Raises:
            RetentionError: Days below 1, which might mean everything.
        """
        for days in (image_days, log_days, failed_days, bytes_days):
            if days is not None and days < 1:
                raise RetentionError(
                    f"{days} days would delete everything there is. Keep 1 at least."
                )
        successes = failures = Term.of_days(image_days, bytes_days)
        if failed_days is not None:
            failures = Term.of_days(failed_days, None)
        return cls(successes, failures, days_ago(log_days))

    @classmethod
    def of_settings(cls) -> Retention:
        """Return the retention that the settings say."""
        return cls.of_days(
            conf.RETENTION_DAYS,
            conf.LOG_RETENTION_DAYS,
            failed_days=conf.FAILED_RETENTION_DAYS,
            bytes_days=conf.BYTES_RETENTION_DAYS,
        )

    def of(self, is_failed: bool) -> Term:
        """Return the term of an outcome."""
        return self.failures if is_failed else self.successes

    def bytes_before(self, is_failed: bool) -> datetime | None:
        """Return the moment before which an outcome has no bytes any more.

        An image goes with its log, however long it would be kept itself.
        """
        return _latest(self.logs_before, self.of(is_failed).bytes_before)

    @property
    def begins(self) -> datetime | None:
        """The moment from which on nothing is due, whatever its outcome."""
        return _latest(self.bytes_before(False), self.bytes_before(True))


def _latest(*ends: datetime | None) -> datetime | None:
    return max((end for end in ends if end is not None), default=None)
