"""The rows of images that pages show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Max, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import ngettext

from request_images.models import RequestImage

LATEST = Coalesce(Max("pk", filter=Q(content__isnull=False)), Max("pk"))
"""Of some images that are the same: the latest that has bytes, or else the latest."""


def images() -> QuerySet[Any]:
    """Return the images with what a list shows of their requests, and no bytes."""
    rows = RequestImage.objects.select_related("log")
    return rows.defer("log__metadata", "log__error_message")


def times_seen(counts: Mapping[str, Any]) -> str:
    """Return in words how often an image was ``seen``, and how often it ``failed``."""
    text = ngettext(
        "seen once, failed %(failed)d",
        "seen %(seen)d times, failed %(failed)d",
        counts["seen"],
    )
    return text % counts
