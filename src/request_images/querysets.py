"""The verbs of the tables. None of them loads an image's bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q


def failed(prefix: str = "") -> Q:
    """Return what counts as a failed request: an error type, or a status from 400.

    Args:
        prefix: The way from the queryset's model to the request log, such as
            ``"log__"``.
    """
    return ~Q(**{f"{prefix}error_type": ""}) | Q(**{f"{prefix}status_code__gte": 400})


def succeeded(prefix: str = "") -> Q:
    """Return the opposite of `failed`, without a negation, for conditions on NULLs."""
    status = f"{prefix}status_code"
    fine = Q(**{f"{status}__lt": 400}) | Q(**{f"{status}__isnull": True})
    return Q(**{f"{prefix}error_type": ""}) & fine


class RequestLogQuerySet(models.QuerySet[Any]):
    """Request logs."""

    def failed(self) -> RequestLogQuerySet:
        """Those that failed: a status of 400 or more, or an error type."""
        return self.filter(failed())

    def older_than(self, moment: datetime) -> RequestLogQuerySet:
        """Those that began before a moment."""
        return self.filter(created_at__lt=moment)


class RequestImageQuerySet(models.QuerySet[Any]):
    """Images of requests. None of these verbs loads an image's bytes."""

    def older_than(self, moment: datetime) -> RequestImageQuerySet:
        """Those whose request began before a moment."""
        return self.filter(created_at__lt=moment)

    def with_bytes(self) -> RequestImageQuerySet:
        """Those whose bytes were kept."""
        return self.filter(content__isnull=False)

    def same_image_as(self, image: Any) -> RequestImageQuerySet:
        """Those with the very same bytes as ``image``, itself included."""
        if not image.image_hash:
            return self.filter(pk=image.pk)
        return self.filter(image_hash=image.image_hash)
