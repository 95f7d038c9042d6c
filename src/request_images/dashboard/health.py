"""Is the recording healthy? What was kept lately, and why the rest was not.

The figures are the database's and the spool folder's, so they hold for all processes
together, those of the folder for all of one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import timezone as tz

from django.conf import settings
from django.db import Error, router
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from request_images.conf import Conf
from request_images.models import RequestLog
from request_images.models.pending_deletions import Pending, pending_deletions
from request_images.outcome import CaptureStatus
from request_images.statistics import groups
from request_images.writer.probe import try_write
from request_images.writer.spool.folder import Contents
from request_images.writer.spool.spooling import spool_contents

DEFAULT_HOURS = 24
MAX_HOURS = 24 * 366
# Those of the images that were to be kept and were; cleanup or erasure came by since.
_KEPT = (
    CaptureStatus.STORED,
    CaptureStatus.DUPLICATE,
    CaptureStatus.EXPIRED,
    CaptureStatus.ERASED,
)
_NOT_KEPT = (CaptureStatus.STORE_FAILED, CaptureStatus.OVER_BUDGET)


@dataclass(frozen=True)
class Limits:
    """What is still healthy.

    Attributes:
        failed_percent: How many per cent of the images that were to be kept may have
            failed to be stored.
        silent_hours: How many hours ago the last request may have been recorded; None
            for any time.
        spooled: How many requests may wait in the spool folder; None for any number.
        spooled_hours: How many hours a request may wait there; None for any time.
        spool_bad: How many files of the spool folder may be bad; None for any number.
        pending_hours: How many hours an object may wait to be deleted from a storage;
            None for any time. A nightly cleanup may fail once.
    """

    failed_percent: float = 1.0
    silent_hours: int | None = None
    spooled: int | None = None
    spooled_hours: int | None = 1
    spool_bad: int | None = 0
    pending_hours: int | None = 72


@dataclass(frozen=True)
class Vitals:
    """What the database and the spool folder tell of the requests of the last hours.

    Attributes:
        enabled: Whether this process's settings say that requests are recorded.
        hours: How many hours were looked back.
        last_recorded: When the last request began that is recorded; None for never.
        capture_status: How many requests have which capture status.
        database_error: Why the database could not be asked; empty when it could.
        write_error: Why the database took no row; empty when it did, or was not tried.
        spooled: How many requests wait in the spool folder of this machine.
        spooled_since: Since when the one waits that has waited longest; None for none.
        spool_bad: How many files of that folder can never be written.
        spool_full_at: When there last was no room in that folder; None for never.
        spool_error: Why the spool folder could not be read; empty when it could.
        pending: How many objects in storages wait to be deleted.
        pending_since: Since when the one waits that has waited longest; None for none.
        pending_tries: How often one of them was tried, at the most.
    """

    enabled: bool
    hours: int
    last_recorded: datetime | None
    capture_status: Mapping[str, int]
    database_error: str
    write_error: str = ""
    spooled: int = 0
    spooled_since: datetime | None = None
    spool_bad: int = 0
    spool_full_at: datetime | None = None
    spool_error: str = ""
    pending: int = 0
    pending_since: datetime | None = None
    pending_tries: int = 0

    @property
    def failed_percent(self) -> float:
        """How many per cent of the images that were to be kept were not stored."""
        failed = sum(self.capture_status.get(status, 0) for status in _NOT_KEPT)
        kept = sum(self.capture_status.get(status, 0) for status in _KEPT)
        return 100 * failed / (failed + kept) if failed else 0.0

    def problems(self, limits: Limits) -> list[str]:
        """Say what is beyond the limits, in sentences; an empty list is healthy."""
        return [*self._of_the_folder(limits), *self._of_the_database(limits)]

    def _of_the_folder(self, limits: Limits) -> Iterator[str]:
        if self.spool_error:
            text = gettext("The spool folder cannot be read: %(error)s")
            yield text % {"error": self.spool_error}
        if limits.spooled is not None and self.spooled > limits.spooled:
            text = gettext("%(count)d requests wait in the spool folder.")
            yield text % {"count": self.spooled}
        hours = limits.spooled_hours
        if hours is not None and _is_before(self.spooled_since, hours):
            text = ngettext(
                "A request has waited in the spool folder for more than an hour.",
                "A request has waited in the spool folder for more than %(hours)d "
                "hours.",
                hours,
            )
            yield text % {"hours": hours}
        if limits.spool_bad is not None and self.spool_bad > limits.spool_bad:
            text = gettext("%(count)d files of the spool folder are bad.")
            yield text % {"count": self.spool_bad}
        if self.spool_full_at and not _is_before(self.spool_full_at, self.hours):
            yield gettext("The spool folder had no room for a request.")

    def _of_the_database(self, limits: Limits) -> Iterator[str]:
        if self.database_error:
            text = gettext("The table of requests cannot be read: %(error)s")
            yield text % {"error": self.database_error}
            return
        if self.write_error:
            text = gettext("The database takes no request: %(error)s")
            yield text % {"error": self.write_error}
        if self.failed_percent > limits.failed_percent:
            text = gettext("%(percent)s %% of the images could not be stored.")
            yield text % {"percent": number_format(self.failed_percent, 1)}
        hours = limits.pending_hours
        if hours is not None and _is_before(self.pending_since, hours):
            text = ngettext(
                "An object has waited to be deleted for more than an hour.",
                "An object has waited to be deleted for more than %(hours)d hours.",
                hours,
            )
            yield text % {"hours": hours}
        hours, last = limits.silent_hours, self.last_recorded
        if hours is not None and (last is None or _is_before(last, hours)):
            text = ngettext(
                "No request was recorded in the last hour.",
                "No request was recorded in the last %(hours)d hours.",
                hours,
            )
            yield text % {"hours": hours}


def look(
    hours: int = DEFAULT_HOURS,
    *,
    tries_to_write: bool = False,
    counted: Mapping[str, int] | None = None,
) -> Vitals:
    """Ask the database for the requests of so many hours. Never raises its errors.

    Args:
        hours: How many hours to look back.
        tries_to_write: Whether to write a row, too, and roll it back.
        counted: How many requests have which capture status, where that is known.
    """
    # The database that is written to: that a replica can be read proves nothing.
    logs = RequestLog.objects.using(router.db_for_write(RequestLog))
    since = timezone.now() - timedelta(hours=hours)
    last: datetime | None = None
    statuses: Mapping[str, int] = counted or {}
    problem = write_problem = spool_problem = ""
    contents, pending = Contents(), Pending()
    try:
        if counted is None:
            statuses = groups.by_status(logs.filter(created_at__gte=since))
        last = logs.order_by("-created_at").values_list("created_at", flat=True).first()
        pending = pending_deletions(logs.db)
    except Error as error:
        problem = _in_a_line(error)
    if tries_to_write and not problem and (failure := try_write()):
        write_problem = _in_a_line(failure)
    try:
        contents = spool_contents()
    except OSError as error:
        spool_problem = _in_a_line(error)
    return Vitals(
        # Not `conf`: a wrong value records nothing, which is what is asked here.
        enabled=Conf.ENABLED.given() is True,
        hours=hours,
        last_recorded=last,
        capture_status=statuses,
        database_error=problem,
        write_error=write_problem,
        spooled=contents.entries,
        spooled_since=_moment(contents.oldest),
        spool_bad=contents.bad,
        spool_full_at=_moment(contents.refused_at),
        spool_error=spool_problem,
        pending=pending.number,
        pending_since=pending.since,
        pending_tries=pending.tries,
    )


def _is_before(moment: datetime | None, hours: int) -> bool:
    return moment is not None and moment < timezone.now() - timedelta(hours=hours)


def _moment(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, tz=tz.utc)
    return moment if settings.USE_TZ else timezone.make_naive(moment)


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
