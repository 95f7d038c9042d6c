"""Only one process at a time does a job, such as the cleanup: locks with an expiry.

Not the locks of the database: they differ, and a connection pooler hands a session's
lock to others. A process that is killed leaves a row behind, which expires.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.db.primary import PrimaryQuerySet
from request_images.db.retry import retry
from request_images.exceptions import LeaseLost, WorkTaken

from .fields import Text, Time

T = TypeVar("T")
LEASE_DURATION = timedelta(minutes=10)
_RENEW_EVERY = LEASE_DURATION / 20


class Lease(models.Model):
    """The right of one process to do a job, until it expires."""

    work: Text = models.CharField(_("job"), max_length=64, primary_key=True)
    holder: Text = models.CharField(_("holder"), max_length=200)
    since: Time = models.DateTimeField(_("since"))
    until: Time = models.DateTimeField(_("until"))

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return f"{self.work}: {self.holder}"


class HeldLease:
    """A lease that this process holds, under a holder's name that is used only once."""

    def __init__(self, work: str, holder: str, until: datetime) -> None:
        self._work, self._holder, self._until = work, holder, until

    def renew(self) -> None:
        """Postpone the expiry; to be called regularly while the job runs.

        Raises:
            LeaseLost: It had expired, and another process has it now.
        """
        now = timezone.now()
        if self._until - now > LEASE_DURATION - _RENEW_EVERY:
            return
        until = now + LEASE_DURATION
        if not _retried(lambda: self._rows().update(until=until)):
            raise LeaseLost(
                f"Stopped: another process has taken over the {self._work}, because "
                "this one did not renew its lease in time."
            )
        self._until = until

    def release(self) -> None:
        """End the lease; nothing happens if another process has it now.

        The row stays: `until` says when the job last ended.
        """
        _retried(lambda: self._rows().update(until=timezone.now()))

    def _rows(self) -> models.QuerySet[Lease]:
        return _leases().filter(work=self._work, holder=self._holder)


@contextmanager
def lease(work: str) -> Iterator[HeldLease]:
    """Hold the lease of a job, so that no other process does it.

    Raises:
        WorkTaken: Another process does it; the text says which, and since when.
    """
    host, unique = socket.gethostname()[:150], uuid.uuid4().hex[:8]
    holder = f"{host}, process {os.getpid()} ({unique})"
    now = timezone.now()
    until = now + LEASE_DURATION
    ours = Lease(work=work, holder=holder, since=now, until=until)
    # Each of these is one statement, in which only one process can succeed.
    _retried(lambda: _leases().bulk_create([ours], ignore_conflicts=True))
    expired = _leases().filter(work=work, until__lte=now)
    _retried(lambda: expired.update(holder=holder, since=now, until=until))
    found = _leases().filter(work=work).first()
    if found is None or found.holder != holder:
        raise WorkTaken(_who_is_at_it(work, found))
    held = HeldLease(work, holder, until)
    try:
        yield held
    finally:
        held.release()


def last_ended(work: str) -> datetime | None:
    """Return when a job last ended; None if it never ran, or runs now."""
    ended = _leases().filter(work=work, until__lte=timezone.now()).first()
    return None if ended is None else ended.until


def _retried(statement: Callable[[], T]) -> T:
    # When many begin or end at once, a database may report a deadlock.
    return retry(statement, retry_locks=True)


def _who_is_at_it(work: str, found: Lease | None) -> str:
    if found is None:
        return f"Another process has just ended the {work}."
    since = f"{found.since:%Y-%m-%d %H:%M:%S %Z}".rstrip()  # no zone without USE_TZ
    return f"The {work} already runs on {found.holder}, since {since}."


def _leases() -> models.QuerySet[Lease]:
    return Lease.objects.primary()
