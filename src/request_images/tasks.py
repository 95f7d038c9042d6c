"""Django Tasks for each new image, for projects whose TASKS have a worker.

Importing it needs Django 6.0, or the package django-tasks before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from request_images.contents.analysis import ANALYSIS
from request_images.contents.derive import Derivation, Fate, try_to_derive
from request_images.contents.task_backend import is_enqueuing, tasks_api
from request_images.contents.thumbnails import THUMBNAIL

from .conf import conf
from .contents import compress

__all__ = ("analyze_content", "compress_content", "make_thumbnail")

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
        return compress.Fate.SKIPPED.value
    return compress.compress(content_pk, conf.ENCODINGS).value


def _derive(what: Derivation, content_pk: int) -> str:
    if is_enqueuing():  # a queue that is set to run everything at once, as for tests
        return Fate.SKIPPED.value
    return try_to_derive(what, content_pk, wait=PATIENCE_SECONDS).value
