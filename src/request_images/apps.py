"""The app's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.core.signals import got_request_exception
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

__all__ = ("RequestImagesAppConfig",)


class RequestImagesAppConfig(AppConfig):
    """The app: it registers the system checks and its own signal receivers."""

    name = "request_images"
    verbose_name: StrOrPromise = _("Request images")
    default_auto_field: str = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load the settings' defaults, register the checks, connect the receivers."""
        from . import checks, conf, signals  # noqa: F401  # to load
        from .capture import recording
        from .writer import notify

        got_request_exception.connect(
            recording.note_request_exception,
            dispatch_uid="request_images.note_request_exception",
        )
        for signal in (signals.image_saved, signals.image_skipped):
            signal.connect(
                notify.enqueue_tasks, dispatch_uid="request_images.enqueue_tasks"
            )
