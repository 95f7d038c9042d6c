"""Delete what is older than it should be: batch by batch, each in one transaction.

A run that is killed has done whole batches only, and the next one finishes the work.
The dry run asks the same questions of the same querysets and deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, models, router, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Sum
from django.db.models.functions import Coalesce, Length

from .exceptions import RetentionError
from .models import ImageContent, RequestImage, RequestLog
from .outcome import CaptureStatus
from .querysets import RequestImageQuerySet, RequestLogQuerySet, days_ago

_KEPT = (CaptureStatus.STORED, CaptureStatus.DUPLICATE)
_TRIES = 5


@dataclass(frozen=True)
class Retention:
    """How long what is kept.

    Attributes:
        images_before: Images of requests that began before this moment go; None for
            none.
        logs_before: Logs of requests that began before this moment go, with their
            images; None for none.
    """

    images_before: datetime | None
    logs_before: datetime | None

    @classmethod
    def of_days(cls, image_days: int | None, log_days: int | None) -> Retention:
        """Return the retention that keeps images and logs so many days from now.

        Args:
            image_days: Days to keep images; None for ever.
            log_days: Days to keep logs; None for ever.

        Raises:
            RetentionError: Days below 1, which might mean everything.
        """
        for days in (image_days, log_days):
            if days is not None and days < 1:
                raise RetentionError(
                    f"{days} days would delete everything there is. Keep 1 at least."
                )
        return cls(days_ago(image_days), days_ago(log_days))


@dataclass(frozen=True)
class Cleaned:
    """What a cleanup deleted, or would delete.

    Attributes:
        images: Images of requests (`RequestImage` rows).
        contents: Distinct images: bytes and thumbnails that nothing refers to any more.
        logs: Request logs.
        freed: Bytes that came free, as stored, thumbnails included. The database can
            use them again; its files on disk do not shrink by themselves.
    """

    images: int = 0
    contents: int = 0
    logs: int = 0
    freed: int = 0

    def __add__(self, other: Cleaned) -> Cleaned:
        return Cleaned(
            self.images + other.images,
            self.contents + other.contents,
            self.logs + other.logs,
            self.freed + other.freed,
        )


def clean(retention: Retention, *, batch_size: int) -> Cleaned:
    """Delete everything that is older than ``retention`` says.

    Args:
        retention: How long what is kept.
        batch_size: How many rows go in one transaction, at the most.

    Raises:
        RetentionError: A batch size below 1, which would delete nothing.
    """
    if batch_size < 1:
        raise RetentionError(f"A batch of {batch_size} rows deletes nothing.")
    cleaned = Cleaned()
    for step, rows in (
        (_expire_batch, _expired_images(retention)),
        (_delete_batch, _expired_logs(retention)),
    ):
        while batch := _undisturbed(step, rows[:batch_size]):
            cleaned += batch
    return cleaned


def _undisturbed(
    step: Callable[[models.QuerySet[Any]], Cleaned | None], rows: models.QuerySet[Any]
) -> Cleaned | None:
    # A request may refer to a content at the very moment when it lost its last
    # reference. The database then refuses the batch, and the next try sees it.
    for _ in range(_TRIES):
        try:
            return step(rows.all())
        except IntegrityError as error:
            disturbed = error
    raise disturbed


def preview(retention: Retention) -> Cleaned:
    """Return what `clean` would delete now. Nothing is written."""
    going = Q(pk__in=[])
    if retention.images_before is not None:
        going |= Q(created_at__lt=retention.images_before)
    if retention.logs_before is not None:
        going |= Q(log__created_at__lt=retention.logs_before)
    images = _images().filter(going)
    staying = _images().exclude(going)
    contents = _contents().filter(
        Exists(images.filter(content=OuterRef("pk"))),
        ~Exists(staying.filter(content=OuterRef("pk"))),
    )
    count, freed = _weigh(contents)
    return Cleaned(images.count(), count, _expired_logs(retention).count(), freed)


def _expired_images(retention: Retention) -> models.QuerySet[RequestImage]:
    if retention.images_before is None:
        return _images().none()
    return _images().older_than(retention.images_before).order_by("created_at", "pk")


def _expired_logs(retention: Retention) -> models.QuerySet[RequestLog]:
    if retention.logs_before is None:
        return _logs().none()
    return _logs().older_than(retention.logs_before).order_by("created_at", "pk")


def _expire_batch(images: models.QuerySet[RequestImage]) -> Cleaned | None:
    """Delete a batch of images, and mark the logs that lose bytes."""
    rows = list(images.values_list("pk", "log_id", "content_id"))
    if not rows:
        return None
    with transaction.atomic(using=_database()):
        _logs().filter(
            pk__in=[log for _, log, _ in rows], capture_status__in=_KEPT
        ).update(capture_status=CaptureStatus.EXPIRED)
        return _delete_images(rows)


def _delete_batch(logs: models.QuerySet[RequestLog]) -> Cleaned | None:
    """Delete a batch of logs, with what images they still have."""
    pks = list(logs.values_list("pk", flat=True))
    if not pks:
        return None
    # Read before the transaction, which must begin with a write for SQLite's sake.
    images = list(
        _images().filter(log__in=pks).values_list("pk", "log_id", "content_id")
    )
    with transaction.atomic(using=_database()):
        cleaned = _delete_images(images)
        deleted = _raw_delete(_logs().filter(pk__in=pks))
        return cleaned + Cleaned(logs=deleted)


def _delete_images(rows: Sequence[tuple[int, int, int | None]]) -> Cleaned:
    deleted = _raw_delete(_images().filter(pk__in=[pk for pk, _, _ in rows]))
    # In the same transaction as the last reference, or they would be orphans for ever
    # after a kill in between.
    ids = {content for _, _, content in rows if content is not None}
    contents = _contents().filter(pk__in=ids)
    # Another cleanup may be about to delete the other reference: whoever comes second
    # waits here, and sees then that none is left.
    list(contents.order_by("pk").select_for_update().values_list("pk"))
    unreferenced = contents.filter(~Exists(_images().filter(content=OuterRef("pk"))))
    gone = _contents().filter(pk__in=list(unreferenced.values_list("pk", flat=True)))
    count, freed = _weigh(gone)
    ImageContent.delete_all(gone)
    return Cleaned(deleted, count, 0, freed)


def _weigh(contents: models.QuerySet[ImageContent]) -> tuple[int, int]:
    total = contents.aggregate(
        count=Count("pk"),
        freed=Coalesce(Sum(F("stored_size") + Coalesce(Length("thumbnail"), 0)), 0),
    )
    return total["count"], total["freed"]


def _raw_delete(rows: models.QuerySet[Any]) -> int:
    # `delete()` loads every row, bytes and all, as soon as anyone listens to
    # ``post_delete``; what cascades is deleted here by name. It may answer None when
    # there is nothing to ask the database.
    return rows._raw_delete(_database()) or 0


def _database() -> str:
    # For reading too: a replica that lags behind still shows references that are gone,
    # and a content that is kept for one of them is an orphan for ever.
    return router.db_for_write(RequestLog)


def _logs() -> RequestLogQuerySet:
    return RequestLog.objects.using(_database())


def _images() -> RequestImageQuerySet:
    return RequestImage.objects.using(_database())


def _contents() -> models.QuerySet[ImageContent]:
    return ImageContent.objects.using(_database())
