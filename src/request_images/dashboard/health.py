"""Health of the recording: stored images, failures, and what waits to be written.

The figures come from the database and the spool folder. Those of the database hold for
all processes, those of the folder for all processes of one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import Error
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from request_images.conf import Conf
from request_images.db.destination import database_of
from request_images.models import RequestLog
from request_images.models.losses import LossReport, moment
from request_images.models.pending_deletions import Pending, pending_deletions
from request_images.outcome import CaptureStatus
from request_images.statistics import groups
from request_images.writer.losses import known_losses
from request_images.writer.probe import try_write
from request_images.writer.spool.folder import Contents
from request_images.writer.spool.spooling import spool_contents
from request_images.writer.spool.survey import spool_problems

DEFAULT_HOURS = 24
MAX_HOURS = 24 * 366
# The bytes were stored; cleanup or erasure may have deleted them since.
_KEPT = (
    CaptureStatus.STORED,
    CaptureStatus.DUPLICATE,
    CaptureStatus.EXPIRED,
    CaptureStatus.ERASED,
)
_NOT_KEPT = (CaptureStatus.STORE_FAILED, CaptureStatus.OVER_BUDGET)


@dataclass(frozen=True)
class Limits:
    """Limits of a healthy recording; None for no limit.

    Attributes:
        failed_percent: Percentage of images that failed to be stored.
        silent_hours: Hours since the last request was recorded.
        spooled: Number of requests that wait in the spool folder.
        spooled_hours: Hours that a request waits in the spool folder.
        spool_bad: Number of damaged files in the spool folder.
        pending_hours: Hours that an object in a storage waits to be deleted. The
            default allows a nightly cleanup to fail once or twice.
    """

    failed_percent: float = 1.0
    silent_hours: int | None = None
    spooled: int | None = None
    spooled_hours: int | None = 1
    spool_bad: int | None = 0
    pending_hours: int | None = 72


@dataclass(frozen=True)
class Vitals:
    """State of the database and of the spool folder.

    Attributes:
        enabled: Whether the settings of this process enable the recording.
        hours: Number of hours that were looked at.
        last_recorded: Start of the last recorded request; None if there is none.
        capture_status: Number of requests by capture status.
        database_error: Why the database could not be read; empty if it could.
        write_error: Why the database refused a row; empty if it did not, or was not
            asked.
        spooled: Number of requests that wait in the spool folder of this machine.
        spooled_since: Time since the oldest of them waits; None if there is none.
        spool_bad: Number of damaged files in the folder.
        spool_full_at: Last time the folder was full; None if it never was.
        spool_error: Why the folder could not be read; empty if it could.
        pending: Number of objects in storages that wait to be deleted.
        pending_since: Time since the oldest of them waits; None if there is none.
        pending_tries: Largest number of attempts to delete one of them.
        losses: What was lost in these hours, and in the last day at least.
        spool_problems: Why the spool folder will not do when it is needed, in English.
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
    losses: Sequence[LossReport] = ()
    spool_problems: Sequence[str] = ()

    @property
    def failed_percent(self) -> float:
        """Percentage of images that should have been stored, and were not."""
        failed = sum(self.capture_status.get(status, 0) for status in _NOT_KEPT)
        kept = sum(self.capture_status.get(status, 0) for status in _KEPT)
        return 100 * failed / (failed + kept) if failed else 0.0

    def problems(self, limits: Limits) -> list[str]:
        """Return a sentence for each exceeded limit; an empty list is healthy."""
        return [
            *sentences_of(self.losses),
            *self._of_folder(limits),
            *self._of_database(limits),
        ]

    def _of_folder(self, limits: Limits) -> Iterator[str]:
        if self.spool_error:
            text = gettext("The spool folder cannot be read: %(error)s")
            yield text % {"error": self.spool_error}
        if limits.spooled is not None and self.spooled > limits.spooled:
            text = ngettext(
                "%(count)d request waits in the spool folder.",
                "%(count)d requests wait in the spool folder.",
                self.spooled,
            )
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
            text = ngettext(
                "%(count)d file in the spool folder is damaged.",
                "%(count)d files in the spool folder are damaged.",
                self.spool_bad,
            )
            yield text % {"count": self.spool_bad}
        if self.spool_full_at and not _is_before(self.spool_full_at, self.hours):
            yield gettext("The spool folder was full and refused a request.")
        for problem in self.spool_problems:
            yield gettext("The spool folder: %(problem)s") % {"problem": problem}

    def _of_database(self, limits: Limits) -> Iterator[str]:
        if self.database_error:
            text = gettext("The request logs cannot be read: %(error)s")
            yield text % {"error": self.database_error}
            return
        if self.write_error:
            text = gettext("The database refuses new requests: %(error)s")
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
    """Look at the database and the spool folder. Return errors, never raise them.

    Args:
        hours: Number of hours to look back.
        tries_to_write: Whether to write a row as well, and roll it back, and to write
            to the spool folder.
        counted: Number of requests by capture status, if known.
    """
    # The database for writing: a replica that can be read proves nothing.
    logs = RequestLog.objects.using(database_of(RequestLog))
    since = timezone.now() - timedelta(hours=hours)
    last: datetime | None = None
    statuses: Mapping[str, int] = counted or {}
    problem = write_problem = spool_problem = ""
    contents, pending = Contents(), Pending()
    losses: list[LossReport] = []
    try:
        if counted is None:
            statuses = groups.by_status(logs.filter(created_at__gte=since))
        last = logs.order_by("-created_at").values_list("created_at", flat=True).first()
        pending = pending_deletions(logs.db)
        losses = known_losses(min(since, _a_day_ago()))
    except Error as error:
        problem = _in_a_line(error)
    except OSError as error:
        spool_problem = _in_a_line(error)
    if tries_to_write and not problem and (failure := try_write()):
        write_problem = _in_a_line(failure)
    clauses = [text for _, text in spool_problems()] if tries_to_write else []
    try:
        contents = spool_contents()
    except OSError as error:
        spool_problem = _in_a_line(error)
    return Vitals(
        # Not `conf`, which raises an error for a wrong value.
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
        losses=losses,
        spool_problems=clauses,
    )


def recent_losses() -> list[str]:
    """Return a sentence for each loss of the last day that nobody has acknowledged."""
    with suppress(Error, OSError):  # the page of health says so
        return list(sentences_of(known_losses(_a_day_ago())))
    return []


def sentences_of(losses: Sequence[LossReport]) -> Iterator[str]:
    """Yield a sentence for each loss of the last day that nobody has acknowledged."""
    for loss in losses:
        if loss.acknowledged or loss.until < _a_day_ago():
            continue
        if loss.requests:
            text = ngettext(
                "%(count)s request was lost from %(since)s to %(until)s: %(reason)s",
                "%(count)s requests were lost from %(since)s to %(until)s: %(reason)s",
                loss.requests,
            )
        else:
            text = ngettext(
                "%(count)s image was lost from %(since)s to %(until)s: %(reason)s",
                "%(count)s images were lost from %(since)s to %(until)s: %(reason)s",
                loss.images,
            )
        yield text % {
            "count": _grouped(loss.requests or loss.images),
            "since": _clock(loss.since),
            "until": _clock(loss.until),
            "reason": loss.reason,
        }


def _a_day_ago() -> datetime:
    return timezone.now() - timedelta(days=1)


def _clock(value: datetime) -> str:
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{local:%Y-%m-%d %H:%M:%S}"


def _grouped(number: int) -> str:
    return number_format(number, use_l10n=True, force_grouping=True)


def _is_before(moment: datetime | None, hours: int) -> bool:
    return moment is not None and moment < timezone.now() - timedelta(hours=hours)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
