"""Is the recording healthy? What was kept lately, and why the rest was not.

The figures are the database's, so they hold for all processes together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import Error, router
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from . import stats
from .conf import Conf
from .models import RequestLog
from .outcome import CaptureStatus
from .spooling import spooled

DEFAULT_HOURS = 24
MAX_HOURS = 24 * 366
# Those of the images that were to be kept and were; cleanup may have come by since.
_KEPT = (CaptureStatus.STORED, CaptureStatus.DUPLICATE, CaptureStatus.EXPIRED)


@dataclass(frozen=True)
class Limits:
    """What is still healthy.

    Attributes:
        failed_percent: How many per cent of the images that were to be kept may have
            failed to be stored.
        silent_hours: How many hours ago the last request may have been recorded; None
            for any time.
        spooled: How many requests may wait in the spool folder; None for any number.
    """

    failed_percent: float = 1.0
    silent_hours: int | None = None
    spooled: int | None = None


@dataclass(frozen=True)
class Vitals:
    """What the database tells of the requests of the last hours.

    Attributes:
        enabled: Whether this process's settings say that requests are recorded.
        hours: How many hours were looked back.
        last_recorded: When the last request began that is recorded; None for never.
        capture_status: How many requests have which capture status.
        database_error: Why the database could not be asked; empty when it could.
        spooled: How many requests wait in the spool folder of this machine.
        spool_error: Why the spool folder could not be read; empty when it could.
    """

    enabled: bool
    hours: int
    last_recorded: datetime | None
    capture_status: Mapping[str, int]
    database_error: str
    spooled: int = 0
    spool_error: str = ""

    @property
    def failed_percent(self) -> float:
        """How many per cent of the images that were to be kept were not stored."""
        failed = self.capture_status.get(CaptureStatus.STORE_FAILED, 0)
        kept = sum(self.capture_status.get(status, 0) for status in _KEPT)
        return 100 * failed / (failed + kept) if failed else 0.0

    def problems(self, limits: Limits) -> list[str]:
        """Say what is beyond the limits, in sentences; an empty list is healthy."""
        found = []
        if self.spool_error:
            text = gettext("The spool folder cannot be read: %(error)s")
            found.append(text % {"error": self.spool_error})
        if limits.spooled is not None and self.spooled > limits.spooled:
            text = gettext("%(count)d requests wait in the spool folder.")
            found.append(text % {"count": self.spooled})
        if self.database_error:
            text = gettext("The table of requests cannot be read: %(error)s")
            return [*found, text % {"error": self.database_error}]
        if self.failed_percent > limits.failed_percent:
            text = gettext("%(percent)s %% of the images could not be stored.")
            found.append(text % {"percent": number_format(self.failed_percent, 1)})
        if limits.silent_hours is not None and self._is_silent(limits.silent_hours):
            text = ngettext(
                "No request was recorded in the last hour.",
                "No request was recorded in the last %(hours)d hours.",
                limits.silent_hours,
            )
            found.append(text % {"hours": limits.silent_hours})
        return found

    def _is_silent(self, hours: int) -> bool:
        since = timezone.now() - timedelta(hours=hours)
        return self.last_recorded is None or self.last_recorded < since


def look(hours: int = DEFAULT_HOURS) -> Vitals:
    """Ask the database for the requests of so many hours. Never raises its errors."""
    # The database that is written to: that a replica can be read proves nothing.
    logs = RequestLog.objects.using(router.db_for_write(RequestLog))
    since = timezone.now() - timedelta(hours=hours)
    last: datetime | None = None
    statuses: dict[str, int] = {}
    problem = ""
    try:
        statuses = stats.by_status(logs.filter(created_at__gte=since))
        last = logs.order_by("-created_at").values_list("created_at", flat=True).first()
    except Error as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"  # one line
    waiting, spool_problem = _spooled()
    # Not `conf`: a wrong value records nothing, which is what is asked here.
    enabled = Conf.ENABLED.given() is True
    return Vitals(enabled, hours, last, statuses, problem, waiting, spool_problem)


def _spooled() -> tuple[int, str]:
    try:
        return spooled()[0], ""
    except OSError as error:
        return 0, f"{type(error).__name__}: {error}"
