"""What the project has in INSTALLED_APPS: this app, and perhaps users."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils.translation import gettext_lazy as _


def require_installed() -> None:
    """Raise a clear exception if this app is not installed, before its models do.

    Raises:
        ImproperlyConfigured: It is not installed; the text has the line to add.
    """
    if apps.apps_ready and not apps.is_installed("request_images"):
        raise ImproperlyConfigured(
            "request_images is imported, and not in INSTALLED_APPS. Add it: "
            'INSTALLED_APPS += ["request_images"]'
        )


def user_reference() -> models.ForeignKey[Any, Any]:
    """Return a column for the user of a row; the user's name is stored beside it."""
    # No constraint and no cascade: deleting a user neither fails nor waits for our
    # tables, also when users live in another database.
    return models.ForeignKey(
        user_model(),
        verbose_name=_("user"),
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
    )


def has_users() -> bool:
    """Tell whether the app of AUTH_USER_MODEL is installed."""
    label, _, _ = settings.AUTH_USER_MODEL.partition(".")
    return label in apps.app_configs


def user_model() -> str:
    """Return the model that the columns of users refer to, without a constraint.

    Without users these columns stay empty, and refer to our first table.
    """
    return settings.AUTH_USER_MODEL if has_users() else "request_images.GoneRequests"


require_installed()
