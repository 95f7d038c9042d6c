"""Django's tasks, or the package that brings them to Django 5.2; and who runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType

import django
from django.core.exceptions import ImproperlyConfigured

_is_enqueuing = ContextVar("request_images_is_enqueuing", default=False)


@contextmanager
def enqueuing() -> Iterator[None]:
    """Mark what runs within as the enqueueing of a task by a capture."""
    token = _is_enqueuing.set(True)
    try:
        yield
    finally:
        _is_enqueuing.reset(token)


def is_enqueuing() -> bool:
    """Whether a capture is enqueuing just now: a task that runs here ran at once."""
    return _is_enqueuing.get()


def tasks_api() -> ModuleType:
    """Return Django's own ``django.tasks``, or the backport before Django 6.0.

    Raises:
        ImproperlyConfigured: The backport is needed and not installed.
    """
    try:
        return import_module(
            "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
        )
    except ImportError as error:
        raise ImproperlyConfigured(
            "before Django 6.0, tasks need a package of their own: "
            "pip install 'django-request-images[tasks]'"
        ) from error


def why_no_worker() -> str:
    """Say why no worker would run a task; an empty string when one would.

    The text goes on after "but".
    """
    try:
        backend = tasks_api().task_backends["default"]
    except Exception as error:  # noqa: BLE001  # of a backend of whatever origin
        return str(error) or repr(error)
    # By its name: Django has one and the backport another, with the same meaning.
    if any(kind.__name__ == "ImmediateBackend" for kind in type(backend).__mro__):
        return "the default backend of TASKS runs a task at once, where it is enqueued"
    return ""
