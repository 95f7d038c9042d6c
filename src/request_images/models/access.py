"""Who opened which original: a table of its own, that outlives the images."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class OriginalAccess(models.Model):
    """One look at the bytes of an image, or one download of them.

    It refers to nothing by a constraint: neither the user nor the image need be there
    any more.
    """

    class Action(models.TextChoices):
        """What was done."""

        VIEWED = "viewed", _("looked at")
        DOWNLOADED = "downloaded", _("downloaded")

    created_at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
    )
    username = models.CharField(
        _("user name"), max_length=254, blank=True, db_index=True
    )
    action = models.CharField(_("action"), max_length=16, choices=Action.choices)
    image_hash = models.CharField(
        _("SHA-256"), max_length=64, blank=True, db_index=True
    )
    request_id = models.CharField(_("request id"), max_length=64, db_index=True)

    class Meta:
        verbose_name = _("access to an original")
        verbose_name_plural = _("access log")
        ordering = ("-created_at", "-id")
        get_latest_by = "created_at"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.username}: {self.image_hash[:12]}"


def note_access(image: Any, user: Any, action: OriginalAccess.Action) -> None:
    """Write down that somebody is given the bytes of an image.

    Args:
        image: The `RequestImage`, or a `FurtherImage`.
        user: Who asked; a logged-in user.
        action: What for.

    Raises:
        django.db.DatabaseError: It could not be written; then do not give the bytes.
    """
    with transaction.atomic(using=router.db_for_write(OriginalAccess)):
        OriginalAccess.objects.create(
            user_id=user.pk,  # not the user, who may live in another database
            username=user.get_username()[:254],
            action=action,
            image_hash=image.image_hash,
            request_id=image.first.log.request_id,
        )
