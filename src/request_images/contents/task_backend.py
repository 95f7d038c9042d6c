"""Django Tasks, or the backport for Django 5.2, and whether a worker runs them."""

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
    """Mark the code within as the enqueueing of a task by a capture."""
    token = _is_enqueuing.set(True)
    try:
        yield
    finally:
        _is_enqueuing.reset(token)


def is_enqueuing() -> bool:
    """Whether a capture is enqueuing: a task that runs now was not left to a worker."""
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
            "before Django 6.0, tasks need the package django-tasks: "
            "pip install 'django-request-images[tasks]'"
        ) from error


def why_no_worker() -> str:
    """Return why no worker would run a task, to follow "but"; empty if one would."""
    try:
        backend = tasks_api().task_backends["default"]
    except Exception as error:  # noqa: BLE001  # a backend may raise anything
        return str(error) or repr(error)
    # By its name: Django has one and the backport another, with the same meaning.
    if any(kind.__name__ == "ImmediateBackend" for kind in type(backend).__mro__):
        return "the default backend of TASKS runs a task at once, without a worker"
    return ""
