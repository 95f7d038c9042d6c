"""The app's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, register
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

__all__ = ("RequestImagesAppConfig",)


class RequestImagesAppConfig(AppConfig):
    """The app: it loads the settings' defaults and registers the system checks.

    It loads nothing else, as each process of a project pays for it, and most never
    capture an image.
    """

    name = "request_images"
    verbose_name: StrOrPromise = _("Request images")
    default_auto_field: str = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load the settings' defaults, and register the checks."""
        from . import conf  # noqa: F401  # to load

        register(_check_settings, Tags.compatibility)
        register(_check_deployment, Tags.compatibility, deploy=True)


def _check_settings(**kwargs: Any) -> list[CheckMessage]:
    # The checks look at storages, encodings and decoders.
    from .checks import check_settings

    return check_settings(**kwargs)


def _check_deployment(**kwargs: Any) -> list[CheckMessage]:
    from .checks import check_deployment

    return check_deployment(**kwargs)
