"""The querysets of the tables. None of their methods loads the bytes of an image."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from request_images.aggregation.periods import floor
from request_images.db.primary import PrimaryQuerySet

from .statistics import hours_of, mark_stale

if TYPE_CHECKING:
    from typing_extensions import Self

    from .requests import RequestLog

_PINNED_AT_ONCE = 500


@cache
def _counted_fields() -> frozenset[str]:
    """Return the fields that statistics are made of."""
    # Not above: each process loads the models, and few change a row.
    from request_images.aggregation.gather import LOG_FIELDS
    from request_images.aggregation.properties import COLUMNS

    return frozenset((*LOG_FIELDS, *COLUMNS))


def failed(prefix: str = "") -> Q:
    """Return the condition for failed requests: `outcome.is_failure` in SQL.

    Args:
        prefix: The path from the queryset's model to the request log, such as
            ``"log__"``.
    """
    # Greater than "", not unequal: that is a range of an index.
    return Q(**{f"{prefix}error_type__gt": ""}) | Q(
        **{f"{prefix}status_code__gte": 400}
    )


def succeeded(prefix: str = "") -> Q:
    """Return the opposite of `failed`, without a negation: NULLs would not meet it."""
    status = f"{prefix}status_code"
    fine = Q(**{f"{status}__lt": 400}) | Q(**{f"{status}__isnull": True})
    return Q(**{f"{prefix}error_type": ""}) & fine


class _CountedQuerySet(PrimaryQuerySet):
    """Rows that statistics count; changes mark their hours to be counted again.

    `bulk_create`, `_raw_delete` and `update_marked` are for callers who mark the hours
    themselves.
    """

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, and have their hours counted again."""
        hours, using = hours_of(self), self.db
        with transaction.atomic(using=using):
            mark_stale(hours, using)
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]  # Django asks for it
    delete.queryset_only = True  # type: ignore[attr-defined]  # as above

    def update(self, **values: Any) -> int:
        """Update the rows, and have their hours counted again if needed."""
        if _counted_fields().isdisjoint(values):
            return super().update(**values)
        hours, using = hours_of(self), self.db
        if isinstance(values.get("created_at"), datetime):
            hours.add(floor(values["created_at"]))
        with transaction.atomic(using=using):
            mark_stale(hours, using)
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]  # as above

    def older_than(self, moment: datetime) -> Self:
        """Keep the rows of requests that began before a moment."""
        return self.filter(created_at__lt=moment)

    def update_marked(self, **values: Any) -> int:
        """Update the rows for a caller who marks their hours."""
        return super().update(**values)


class RequestLogQuerySet(_CountedQuerySet):
    """Request logs."""

    def failed(self) -> RequestLogQuerySet:
        """Keep the requests that failed: a status of 400 or more, or an error type."""
        return self.filter(failed())

    def pin(self) -> list[RequestLog]:
        """Keep these requests from cleanup, with their images.

        Returns:
            The logs that were not pinned before.
        """
        return self._set_pinned(True)

    def unpin(self) -> list[RequestLog]:
        """Leave these requests to cleanup again.

        Returns:
            The logs that were pinned before.
        """
        return self._set_pinned(False)

    def _set_pinned(self, is_pinned: bool) -> list[RequestLog]:
        changed: list[RequestLog] = []
        rows = self.model._default_manager
        chosen = getattr(self, "_db", None)  # by `using`
        everything = rows.using(chosen) if chosen else rows.primary()
        pks = iter(self.order_by().values_list("pk", flat=True))
        while some := list(islice(pks, _PINNED_AT_ONCE)):
            rows = everything.filter(pk__in=some, is_pinned=not is_pinned)
            changed += rows.only("request_id", "method", "path").order_by("pk")
            rows.update(is_pinned=is_pinned)
        return changed


class RequestImageQuerySet(_CountedQuerySet):
    """Images of requests."""

    def with_bytes(self) -> RequestImageQuerySet:
        """Keep the images whose bytes are stored."""
        return self.filter(content__isnull=False)

    def same_image_as(self, image: Any) -> RequestImageQuerySet:
        """Keep the images with the same bytes as `image`, which is one of them."""
        if not image.image_hash:
            return self.filter(pk=image.pk)
        return self.filter(image_hash=image.image_hash)


class ImageContentQuerySet(PrimaryQuerySet):
    """Contents of images."""

    def unreferenced(self) -> ImageContentQuerySet:
        """Keep the orphans: contents that no image refers to."""
        rows = self
        for relation in self.model._meta.related_objects:
            referring = relation.related_model._base_manager.filter(
                **{relation.field.name: OuterRef("pk")}
            )
            # One by one: a database joins these better than one condition of several.
            rows = rows.filter(~Exists(referring))
        return rows

    def as_it_was(self, content: Any) -> ImageContentQuerySet:
        """Keep the row of `content` if its bytes are stored where and as they were."""
        # In the database, nothing but the encoding distinguishes two forms.
        return self.filter(
            pk=content.pk,
            storage=content.storage,
            name=content.name,
            encoding=content.encoding,
        )
