"""The queue of a server's process for tasks, and the thread that enqueues them.

A broker that is down or silent may block the thread that enqueues a task for a minute.
So threads that serve or write requests enqueue none, and no transaction is open then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import NamedTuple

from django.db import close_old_connections, connections

from request_images.conf import conf
from request_images.contents.task_backend import enqueuing
from request_images.db.destination import Destination, entered
from request_images.db.transactions import bounded_transaction
from request_images.health import count, report
from request_images.storage.breaker import Breakers

from .background import WriteQueue

MAX_TASKS = 1000
"""How many tasks may wait; the commands do the work of those that are left out."""

_SERVICE = "default"


class Call(NamedTuple):
    """One task to enqueue.

    Attributes:
        task: The name of the task.
        fault: The name that its fault is counted by.
        content_pk: The primary key of its content.
        where: The destination of the content.
    """

    task: str
    fault: str
    content_pk: int
    where: Destination

    def enqueue(self) -> None:
        """Enqueue the task.

        Raises:
            Exception: The backend of the tasks does not take it.
        """
        # Not above: the module needs a package that not every project has.
        from request_images import tasks

        getattr(tasks, self.task).enqueue(self.content_pk, *self.where)


@contextmanager
def tasks_put_off() -> Iterator[None]:
    """Leave the tasks of the requests written within to the thread.

    Elsewhere they are enqueued at once: tests and direct calls want to see them.
    """
    token = _is_put_off.set(True)
    try:
        yield
    finally:
        _is_put_off.reset(token)


def enqueue_all(calls: Sequence[Call]) -> None:
    """Enqueue tasks of one destination, at least one, or put them off.

    Raises:
        Exception: They are enqueued at once, and the backend does not take one.
    """
    if _is_put_off.get():
        for call in calls:
            if not queue().put(call, 0, max_bytes=0, max_items=MAX_TASKS):
                _leave_out(1)
        return
    if not breakers.allows(_SERVICE):
        _leave_out(len(calls))
        return
    try:
        # A backend that writes into our database waits for locks no longer than we do.
        with bounded_transaction(calls[0].where.alias), enqueuing():
            for call in calls:
                call.enqueue()
    except Exception:
        breakers.failed(_SERVICE)
        _leave_out(len(calls))
        raise
    breakers.succeeded(_SERVICE)


def _enqueue_batch(calls: Sequence[Call]) -> Sequence[Call]:
    """Enqueue tasks in the thread; the first that fails stops the others."""
    close_old_connections()
    for number, call in enumerate(calls):
        if not breakers.allows(_SERVICE):
            _leave_out(len(calls) - number)
            break
        try:
            with entered(call.where), enqueuing():
                call.enqueue()
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            breakers.failed(_SERVICE)
            report(call.fault, exception)
            _leave_out(len(calls) - number)
            break
        breakers.succeeded(_SERVICE)
    return ()


def _leave_out(number: int) -> None:
    count("not_enqueued", number)


@cache
def queue() -> WriteQueue[Call]:
    """Return the queue; the first task makes it.

    So it is closed after the queue of requests, whose last ones have tasks, too.
    """
    return WriteQueue(
        _enqueue_batch,
        give_up=lambda calls: _leave_out(len(calls)),
        finish=connections.close_all,
        shutdown_seconds=lambda: conf.SHUTDOWN_SECONDS,
        thread_name="request_images-tasks",
    )


breakers = Breakers(failures=1)
_is_put_off: ContextVar[bool] = ContextVar("request_images_put_off", default=False)
