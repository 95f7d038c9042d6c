"""The access log: who opened which original image. It outlives the images."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.db.destination import database_of

from .fields import Text, Time
from .project import user_reference


class OriginalAccess(models.Model):
    """One view or download of an original image.

    No constraint refers to the user or the image, so both can be deleted.
    """

    class Action(models.TextChoices):
        """What the user did."""

        VIEWED = "viewed", _("viewed")
        DOWNLOADED = "downloaded", _("downloaded")

    created_at: Time = models.DateTimeField(
        _("time"), default=timezone.now, db_index=True
    )
    user: models.ForeignKey[Any, Any] = user_reference()
    username: Text = models.CharField(
        _("username"),
        max_length=254,
        blank=True,
        default="",
        db_default="",
        db_index=True,
    )
    action: Text = models.CharField(_("action"), max_length=16, choices=Action.choices)
    image_hash: Text = models.CharField(
        _("SHA-256"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        db_index=True,
    )
    request_id: Text = models.CharField(_("request id"), max_length=64, db_index=True)

    class Meta:
        verbose_name = _("access to an original")
        verbose_name_plural = _("access log")
        ordering = ("-created_at", "-id")
        get_latest_by = "created_at"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.username}: {self.image_hash[:12]}"


def record_access(image: Any, user: Any, action: OriginalAccess.Action) -> None:
    """Record that a logged-in user gets the bytes of an image.

    Raises:
        django.db.DatabaseError: It could not be recorded; do not send the bytes then.
    """
    with transaction.atomic(using=database_of(OriginalAccess)):
        OriginalAccess.objects.create(
            user_id=user.pk,  # not the user, who may live in another database
            username=username_of(user)[:254],
            action=action,
            image_hash=image.image_hash,
            request_id=image.first.log.request_id,
        )


def username_of(user: Any) -> str:
    """Return the name of a user, who need not be one of Django's."""
    return str(getattr(user, "get_username", user.__str__)())
