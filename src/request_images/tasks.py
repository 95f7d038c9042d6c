"""Django Tasks for each new image, for projects whose TASKS have a worker.

Importing it needs Django 6.0, or the package django-tasks before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import compressing
from .analysing import ANALYSIS
from .conf import conf
from .deriving import Derivation, Fate, try_to_derive
from .drawing import THUMBNAIL
from .tasking import is_enqueuing, tasks_api

_task: Callable[[Callable[..., str]], Any] = tasks_api().task()

PATIENCE_SECONDS = 60
"""A worker of several threads draws one image after another."""


@_task
def make_thumbnail(content_pk: int) -> str:
    """Make the thumbnail of a content, unless it has one or cannot have one.

    Args:
        content_pk: The primary key of the `ImageContent`.

    Returns:
        ``"made"``, ``"impossible"`` or ``"skipped"``.
    """
    return _derive(THUMBNAIL, content_pk)


@_task
def analyze_content(content_pk: int) -> str:
    """Measure what a content looks like, unless it is known or cannot be.

    Args:
        content_pk: The primary key of the `ImageContent`.

    Returns:
        ``"made"``, ``"impossible"`` or ``"skipped"``.
    """
    return _derive(ANALYSIS, content_pk)


@_task
def compress_content(content_pk: int) -> str:
    """Keep a content in a smaller form, unless it is, or that is not worth it.

    Args:
        content_pk: The primary key of the `ImageContent`.

    Returns:
        ``"compressed"``, ``"left"`` or ``"skipped"``.

    Raises:
        ImproperlyConfigured: An encoding needs what is not installed.
        StorageError: Its storage failed.
        django.db.Error: The database did.
    """
    if is_enqueuing():
        return compressing.Fate.SKIPPED.value
    return compressing.compress(content_pk, conf.ENCODINGS).value


def _derive(what: Derivation, content_pk: int) -> str:
    if is_enqueuing():  # a queue that is set to run everything at once, as for tests
        return Fate.SKIPPED.value
    return try_to_derive(what, content_pk, wait=PATIENCE_SECONDS).value
