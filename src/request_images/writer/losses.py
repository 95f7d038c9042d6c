"""What is lost: counted at once, and written as soon as anything can be written.

A request only adds to a number. A thread, which runs only while there is something to
write, writes the totals once a second: into the database that the requests belonged to,
or else into the spool folder. A process that is killed loses the last second's.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from request_images import health
from request_images.conf import conf
from request_images.db.columns import clean_text
from request_images.db.destination import Destination, database_of, entered
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import StoreUnavailable
from request_images.models.losses import (
    BURST,
    REASON_LENGTH,
    Loss,
    LossReport,
    LossTotal,
    reports_of,
    save_losses,
)

from . import loss_file
from .background import ExitPhase, is_in_tests, run_at_exit
from .connection import usable_connection
from .loss_file import Placed

TICK_SECONDS = 1.0
"""How long a loss is in memory only."""
LONGEST_PAUSE = 30.0
"""The longest pause between two tries to write into a database that refuses."""


@dataclass
class _Loss:
    where: Destination | None
    reason: str
    since: float
    until: float
    requests: int = 0
    images: int = 0
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    # The totals at that time.
    written: tuple[int, int] = (0, 0)
    filed: tuple[int, int] = (0, 0)
    logged: tuple[int, int] = (0, 0)
    logged_at: float = float("-inf")

    @property
    def total(self) -> tuple[int, int]:
        return self.requests, self.images

    def placed(self) -> Placed:
        return self.where, LossTotal(
            self.key, self.since, self.until, self.requests, self.images, self.reason
        )


class Ledger:
    """The losses of this process, and the thread that writes them."""

    def __init__(self) -> None:
        self.reset()
        os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        """Forget everything, as a new process does."""
        self._lock = threading.Lock()
        self._losses: dict[object, _Loss] = {}
        self._last_reason: dict[Destination | None, tuple[str, str]] = {}
        self._pause = 0.0  # 0 after a success
        self._next_try = 0.0
        self._wake = threading.Event()
        self._is_exiting = False
        self._is_for_tests = False
        self.thread: threading.Thread | None = None

    def add(
        self,
        place: str,
        failure: BaseException | str,
        requests: int,
        images: int,
        where: Destination | None,
    ) -> None:
        """Add losses of one reason, and have them written soon."""
        now = time.time()
        kind, reason = _reason(place, failure)
        with self._lock:
            if isinstance(failure, StoreUnavailable):
                # It was not tried, because of what has just failed.
                kind, reason = self._last_reason.get(where, (kind, reason))
            known = self._losses.get(key := (where, kind, bool(requests)))
            if known is None:
                known = self._losses[key] = _Loss(where, reason, now, now)
            known.requests += requests
            known.images += images
            known.until = max(known.until, now)
        self.start()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self.thread is not None and self.thread.is_alive():
                return
            # The database of a test is gone a second later, or shared with it; at the
            # exit, the settings name another one.
            self._is_for_tests |= is_in_tests()
            if self._is_for_tests or self._is_exiting:
                return
            thread = threading.Thread(
                target=self._run, name="request_images-losses", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                return  # the system starts none; the next loss tries again
            self.thread = thread

    def failed(self, where: Destination, failure: BaseException) -> None:
        """Note why a database takes no rows now."""
        self._last_reason[where] = _reason("store", failure)

    def succeeded(self, where: Destination) -> None:
        """Note that a database has just taken rows. It costs next to nothing."""
        self._last_reason.pop(where, None)
        if self._pause:
            self._next_try = 0.0
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
            is_last = self._is_exiting
            self.tick(is_last=is_last)
            with self._lock:
                if is_last or not (self._losses or health.has_unlogged()):
                    self.thread = None
                    return

    def tick(self, *, is_last: bool = False) -> None:
        """Write and log what is due; everything if it is the last time. Never raises.

        A request has nothing to do with it, and must not wait for it.
        """
        self._log(is_last=is_last)
        if is_last or time.monotonic() >= self._next_try:
            self._write()
        self._file()
        self._forget_old()

    def _unwritten(self) -> list[_Loss]:
        with self._lock:
            return [
                loss for loss in self._losses.values() if loss.written != loss.total
            ]

    def _write(self) -> None:
        by_place: defaultdict[Destination | None, list[_Loss]] = defaultdict(list)
        for loss in self._unwritten():
            by_place[loss.where].append(loss)
        has_failed = False
        for where, losses in by_place.items():
            with self._lock:
                totals = [loss.placed()[1] for loss in losses]
            try:
                save_at(where, totals)
            except Exception as error:  # noqa: BLE001  # tried again
                has_failed = True
                health.report("losses", error)
            else:
                for loss, total in zip(losses, totals, strict=True):
                    loss.written = total.requests, total.images
        longer = min(2 * self._pause or TICK_SECONDS, LONGEST_PAUSE)
        self._pause = longer if has_failed else 0.0
        self._next_try = time.monotonic() + self._pause

    def _file(self) -> None:
        losses = [loss for loss in self._unwritten() if loss.filed != loss.total]
        with self._lock:
            placed = [loss.placed() for loss in losses]
        try:
            if placed and loss_file.append(placed):
                for loss, (_, total) in zip(losses, placed, strict=True):
                    loss.filed = total.requests, total.images
        except Exception as error:  # noqa: BLE001  # tried again
            health.report("losses", error)

    def _log(self, *, is_last: bool) -> None:
        now = time.monotonic()
        with self._lock:
            due = [
                (loss, loss.total)
                for loss in self._losses.values()
                if loss.logged != loss.total
                and (is_last or now - loss.logged_at >= health.LOG_INTERVAL)
            ]
        for loss, total in due:
            health.log_loss(loss.reason, loss.since, total, loss.logged)
            loss.logged, loss.logged_at = total, now
        health.log_rest(is_last=is_last)

    def _forget_old(self) -> None:
        quiet_since = time.time() - BURST.total_seconds()
        with self._lock:
            self._losses = {
                key: loss
                for key, loss in self._losses.items()
                if loss.until > quiet_since
                or not loss.total == loss.written == loss.logged
            }

    def close(self) -> None:
        """Write everything at the exit of the process, within a limited time."""
        if self._is_for_tests or not (self._losses or health.has_unlogged()):
            return
        self.start()
        self._is_exiting = True
        thread = self.thread
        if thread is None:  # an exiting process starts none since Python 3.12
            self.tick(is_last=True)
            return
        self._wake.set()
        thread.join(conf.SHUTDOWN_SECONDS)
        if thread.is_alive():  # it waits for a database that is silent
            self._log(is_last=True)
            self._file()


def lost(
    place: str,
    failure: BaseException | str,
    *,
    requests: int = 1,
    images: int = 0,
    where: Destination | None = None,
) -> None:
    """Count what could be written nowhere. Never raises, and waits for nothing.

    Args:
        place: The place of the fault, as for `health.report`; empty for no place.
        failure: The exception, or a text: a name, a colon and a message.
        requests: The number of requests; 0 for images of requests that have a row.
        images: The number of their images.
        where: Where the rows belonged; None if that is unknown.
    """
    if not (requests or images):
        return
    if requests:
        health.count("lost", requests)
    try:
        ledger.add(place, failure, requests, images, where)
    except Exception as error:  # noqa: BLE001  # ours, never the request's
        health.report("losses", error)


def save_at(where: Destination | None, totals: Iterable[LossTotal]) -> None:
    """Write totals into the database and the tenant that they belong to.

    Raises:
        Exception: There is no such place, or it takes nothing now.
    """
    alias = DEFAULT_DB_ALIAS if where is None else where.alias
    with ExitStack() as stack:
        stack.enter_context(
            usable_connection(alias, is_handled=False, is_last_use=True)
        )
        if where is not None:
            stack.enter_context(entered(where))
        stack.enter_context(bounded_transaction(alias))
        save_losses(totals, alias)


def take_in() -> None:
    """Move the totals in the spool folder into the databases that they belong to.

    Raises:
        OSError: The file cannot be read, or another process has it now.
    """
    with loss_file.taken() as losses:
        for placed in [*losses]:
            where, total = placed
            try:
                save_at(where, [total])
            except Exception as error:  # noqa: BLE001  # it stays there
                health.report("losses", error)
            else:
                losses.remove(placed)


def known_losses(since: datetime) -> list[LossReport]:
    """Return the losses after a time, from the database and the spool folder.

    Raises:
        django.db.Error: The database cannot be read.
        OSError: The folder cannot be read.
    """
    using = database_of(Loss)
    rows = Loss.objects.using(using)
    known = {row.key: row for row in rows.filter(until__gte=since)}
    for where, total in loss_file.read():
        row = total.row()
        alias = DEFAULT_DB_ALIAS if where is None else where.alias
        old = known.get(row.key)
        is_newer = old is None or old.requests + old.images < row.requests + row.images
        if alias == using and row.until >= since and is_newer:
            known[row.key] = row
    return reports_of(known.values())


def acknowledge() -> int:
    """Acknowledge all losses that are known now; return how many there were."""
    take_in()
    using = database_of(Loss)
    news = Loss.objects.using(using).filter(acknowledged_at=None)
    return news.update(acknowledged_at=timezone.now())


def forget(before: datetime) -> int:
    """Delete losses that ended before a time; return how many there were."""
    with health.report_faults("losses"):
        take_in()
    using = database_of(Loss)
    return Loss.objects.using(using).filter(until__lt=before).delete()[0]


def _reason(place: str, failure: BaseException | str) -> tuple[str, str]:
    """Return the kind of a failure, and the sentence about the first one."""
    if isinstance(failure, str):
        name, _, message = failure.partition(": ")
    else:
        name, message = type(failure).__name__, clean_text(failure, 2000)
    kind = f"{name} in {place}" if place else name
    # The other lines may have values of the row.
    message = message.strip().partition("\n")[0]
    reason = f"{kind} ({message})" if message else kind
    return kind, clean_text(reason, REASON_LENGTH)


ledger = Ledger()
health.call_when_unlogged(ledger.start)
run_at_exit(ledger.close, ExitPhase.LOSSES)
