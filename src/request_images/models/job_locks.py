"""Work that only one process does at a time, told by a row with an end.

No lock of the database's: each has others, and behind a pooler that of a session is
anybody's. Whoever is killed leaves a row behind that ends by itself.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.db.retry import retry
from request_images.exceptions import LeaseLost, WorkTaken

T = TypeVar("T")
LASTS = timedelta(minutes=10)
_PROLONGED_EVERY = LASTS / 20


class Held:
    """A lease that this process holds.

    Args:
        work: What it is for.
        holder: Who we are; no two processes, nor two leases of one, are the same.
        until: When it ends.
    """

    def __init__(self, work: str, holder: str, until: datetime) -> None:
        self._work, self._holder, self._until = work, holder, until

    def prolong(self) -> None:
        """Hold on; to be called again and again while the work is done.

        Raises:
            LeaseLost: It had ended, and another process has it now.
        """
        now = timezone.now()
        if self._until - now > LASTS - _PROLONGED_EVERY:
            return
        if not _patiently(lambda: self._rows().update(until=now + LASTS)):
            raise LeaseLost(f"Another process has taken over the {self._work}.")
        self._until = now + LASTS

    def release(self) -> None:
        """Let go; nothing happens when another process has it now.

        The row stays: its end says when the work was last done.
        """
        _patiently(lambda: self._rows().update(until=timezone.now()))

    def _rows(self) -> models.QuerySet[Lease]:
        return _leases().filter(work=self._work, holder=self._holder)


@contextmanager
def lease(work: str) -> Iterator[Held]:
    """Be the only one who does some work.

    Args:
        work: Its name.

    Raises:
        WorkTaken: Another process is at it; the text says who, and since when.
    """
    host, unique = socket.gethostname()[:150], uuid.uuid4().hex[:8]
    holder = f"{host}, process {os.getpid()} ({unique})"
    now = timezone.now()
    ours = Lease(work=work, holder=holder, since=now, until=now + LASTS)
    # Each of these is one statement, of which only one process can be the first.
    _patiently(lambda: _leases().bulk_create([ours], ignore_conflicts=True))
    ended = _leases().filter(work=work, until__lte=now)
    _patiently(lambda: ended.update(holder=holder, since=now, until=ours.until))
    found = _leases().filter(work=work).first()
    if found is None or found.holder != holder:
        raise WorkTaken(_at_it(work, found))
    held = Held(work, holder, ours.until)
    try:
        yield held
    finally:
        held.release()


def last_ended(work: str) -> datetime | None:
    """Return when some work last ended; None for never, or while it is being done."""
    return (
        _leases()
        .filter(work=work, until__lte=timezone.now())
        .values_list("until", flat=True)
        .first()
    )


def _patiently(statement: Callable[[], T]) -> T:
    # Of many that begin or end at once, a database may call two a deadlock.
    return retry(statement, retry_locks=True)


def _at_it(work: str, found: Lease | None) -> str:
    if found is None:
        return f"The {work} was just being done by another process."
    since = f"{found.since:%Y-%m-%d %H:%M:%S %Z}".rstrip()  # no zone without USE_TZ
    return f"{found.holder} is at the {work} since {since}."


def _leases() -> models.QuerySet[Lease]:
    return Lease._default_manager.using(router.db_for_write(Lease))


class Lease(models.Model):
    """Work that only one process may do at a time, and who does it until when.

    Not a lock of the database's: those differ, and are lost behind a pooler.
    """

    work = models.CharField(_("work"), max_length=64, primary_key=True)
    holder = models.CharField(_("holder"), max_length=200)
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return f"{self.work}: {self.holder}"
