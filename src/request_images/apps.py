"""The app's configuration."""

from django.apps import AppConfig
from django.core.signals import got_request_exception
from django.utils.translation import gettext_lazy as _


class RequestImagesAppConfig(AppConfig):
    """Registers checks and the one receiver of Django's signals that we need."""

    name = "request_images"
    verbose_name = _("Request images")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Load the defaults before anything overrides them, and wire up."""
        from . import checks, conf, recording  # noqa: F401  # loading them is the point

        got_request_exception.connect(
            recording.note_request_exception,
            dispatch_uid="request_images.note_request_exception",
        )
