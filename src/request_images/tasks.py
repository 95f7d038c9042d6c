"""A Django Task that makes a thumbnail; for projects whose TASKS have a worker.

Importing it needs Django 6.0, or the package django-tasks before that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .drawing import draw
from .tasking import tasks_api

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
    return draw(content_pk, wait=PATIENCE_SECONDS).value
