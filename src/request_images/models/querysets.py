"""The verbs of the tables. None of them loads an image's bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q

from request_images.aggregation.periods import floor

from .statistics import hours_of, mark

_COUNTED = {
    *("created_at", "endpoint", "duration_ms", "duration_bucket", "status_code"),
    *("error_type", "release", "capture_status"),
    *("mime_type", "file_size", "width", "height", "color_mode", "is_animated"),
    *("has_orientation", "declared_type", "is_repeated"),
}
"""The fields that statistics are made of."""


def failed(prefix: str = "") -> Q:
    """Return what counts as a failed request: an error type, or a status from 400.

    Args:
        prefix: The way from the queryset's model to the request log, such as
            ``"log__"``.
    """
    # Greater than "", not unlike it: that is a range of an index.
    return Q(**{f"{prefix}error_type__gt": ""}) | Q(
        **{f"{prefix}status_code__gte": 400}
    )


def succeeded(prefix: str = "") -> Q:
    """Return the opposite of `failed`, without a negation, for conditions on NULLs."""
    status = f"{prefix}status_code"
    fine = Q(**{f"{status}__lt": 400}) | Q(**{f"{status}__isnull": True})
    return Q(**{f"{prefix}error_type": ""}) & fine


class _CountedQuerySet(models.QuerySet[Any]):
    """Rows that are counted in statistics, which hear of every change.

    `bulk_create` and ``_raw_delete`` are for those who tell of it themselves.
    """

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete them, and have their hours counted anew."""
        hours = hours_of(self)
        using = self.db
        with transaction.atomic(using=using):
            mark(hours, using)
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]  # Django asks for it
    delete.queryset_only = True  # type: ignore[attr-defined]  # as above

    def update(self, **values: Any) -> int:
        """Update them, and have their hours counted anew if that changes the count."""
        if _COUNTED.isdisjoint(values):
            return super().update(**values)
        hours = hours_of(self)
        if isinstance(values.get("created_at"), datetime):
            hours.add(floor(values["created_at"]))
        using = self.db
        with transaction.atomic(using=using):
            mark(hours, using)
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]  # as above

    def update_marked(self, **values: Any) -> int:
        """Update them for somebody who marks their hours."""
        return super().update(**values)


class RequestLogQuerySet(_CountedQuerySet):
    """Request logs."""

    def failed(self) -> RequestLogQuerySet:
        """Those that failed: a status of 400 or more, or an error type."""
        return self.filter(failed())

    def older_than(self, moment: datetime) -> RequestLogQuerySet:
        """Those that began before a moment."""
        return self.filter(created_at__lt=moment)


class RequestImageQuerySet(_CountedQuerySet):
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


class ImageContentQuerySet(models.QuerySet[Any]):
    """Contents of images. None of these verbs loads their bytes."""

    def unreferenced(self) -> ImageContentQuerySet:
        """Those that no image refers to, neither the first of a request nor another."""
        rows = self
        for relation in self.model._meta.related_objects:
            referring = relation.related_model._base_manager.filter(
                **{relation.field.name: OuterRef("pk")}
            )
            # One by one: a database joins these better than one condition of several.
            rows = rows.filter(~Exists(referring))
        return rows

    def as_it_was(self, content: Any) -> ImageContentQuerySet:
        """The row of ``content`` if it is where and how it was, or nothing."""
        # Of bytes in the database nothing but their encoding tells two forms apart.
        return self.filter(
            pk=content.pk,
            storage=content.storage,
            name=content.name,
            encoding=content.encoding,
        )
