"""Django Tasks for each new image, for projects whose TASKS have a worker.

Importing this module needs Django 6.0, or the package django-tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from request_images.contents.analysis import ANALYSIS
from request_images.contents.derive import Derivation, Fate, try_to_derive
from request_images.contents.task_backend import is_enqueuing, tasks_api
from request_images.contents.thumbnails import THUMBNAIL
from request_images.db.destination import Destination, entered, require

from .conf import conf
from .contents import compress

__all__ = ("analyze_content", "compress_content", "make_thumbnail")

_task: Callable[[Callable[..., str]], Any] = tasks_api().task()

PATIENCE_SECONDS = 60
"""The threads of a worker decode one image after another, and wait for each other."""


@_task
def make_thumbnail(content_pk: int, database: str = "", tenant: str = "") -> str:
    """Make the thumbnail of a content, unless it exists or is known to be impossible.

    Args:
        content_pk: The primary key of the `ImageContent`.
        database: The alias of its database; empty for what the routers answer.
        tenant: Its tenant in this database, if there are any.

    Returns:
        ``"made"``, ``"impossible"`` or ``"skipped"``.
    """
    return _derive(THUMBNAIL, content_pk, database, tenant)


@_task
def analyze_content(content_pk: int, database: str = "", tenant: str = "") -> str:
    """Measure how a content looks, unless that is known or known to be impossible.

    Args:
        content_pk: The primary key of the `ImageContent`.
        database: The alias of its database; empty for what the routers answer.
        tenant: Its tenant in this database, if there are any.

    Returns:
        ``"made"``, ``"impossible"`` or ``"skipped"``.
    """
    return _derive(ANALYSIS, content_pk, database, tenant)


@_task
def compress_content(content_pk: int, database: str = "", tenant: str = "") -> str:
    """Compress a content, unless it is compressed or that is not worth it.

    Args:
        content_pk: The primary key of the `ImageContent`.
        database: The alias of its database; empty for what the routers answer.
        tenant: Its tenant in this database, if there are any.

    Returns:
        ``"compressed"``, ``"left"`` or ``"skipped"``.

    Raises:
        ImproperlyConfigured: A package that an encoding needs is not installed.
        LookupError: The schema of its tenant does not exist.
        StorageError: Its storage failed.
        django.db.Error: The database failed.
    """
    if is_enqueuing():
        return compress.Fate.SKIPPED.value
    with _entered(database, tenant):
        return compress.compress(content_pk, conf.ENCODINGS).value


def _derive(what: Derivation, content_pk: int, database: str, tenant: str) -> str:
    if is_enqueuing():  # the queue runs tasks at once, as for tests
        return Fate.SKIPPED.value
    with _entered(database, tenant):
        return try_to_derive(what, content_pk, wait=PATIENCE_SECONDS).value


def _entered(database: str, tenant: str) -> AbstractContextManager[None]:
    # The worker knows neither the request nor its tenant, which may be gone by now.
    if not database:
        return nullcontext()
    where = Destination(database, tenant)
    require(where)
    return entered(where)
