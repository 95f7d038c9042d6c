"""Delete given images and logs in one transaction, or report what that would delete.

Nothing here loads the bytes of an image, and nothing chooses what to delete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connections, models, transaction
from django.db.models import Q

from request_images.aggregation.gather import FIELDS, by_hour, gather
from request_images.aggregation.periods import floor
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.content import contents
from request_images.models.querysets import RequestImageQuerySet, RequestLogQuerySet
from request_images.models.statistics import mark_stale, note_gone
from request_images.outcome import UNUSABLE, CaptureStatus

from .references import SIZE, Last, database, further, images, logs
from .relations import protector_of, referred_to
from .report import Cleaned, Reason, Report

BYTES_OF_A_ROW = 16 * 1024
"""Deleting this many bytes costs as much as an empty row: measured, on SQLite."""
# The status of what is no readable image says nothing about its bytes.
_HAS_BYTES = Q(capture_status__in=(CaptureStatus.STORED, CaptureStatus.DUPLICATE)) | Q(
    capture_status__in=UNUSABLE, image__content__isnull=False
)
_KEEPS_IMAGE = (Reason.BYTES, Reason.BUDGET, Reason.ERASED_BYTES)
_TAKES_LOG = (Reason.LOG, Reason.ERASURE)
_PINNED_TOO = (Reason.ERASURE, Reason.ERASED_BYTES)
_STATUS = {
    Reason.SUCCESS: CaptureStatus.EXPIRED,
    Reason.FAILURE: CaptureStatus.EXPIRED,
    Reason.BYTES: CaptureStatus.EXPIRED,
    Reason.BUDGET: CaptureStatus.OVER_BUDGET,
    Reason.ERASED_BYTES: CaptureStatus.ERASED,
}


class Going(NamedTuple):
    """A log or an image to delete, by primary keys.

    Attributes:
        reason: Why it is deleted.
        log: The log.
        image: The request image, if there is one.
        further: The number of its further images.
        contents: The contents that these images lose, one for each image.
        updates_log: Whether the log's capture status, which is that of the request
            image, changes.
    """

    reason: Reason
    log: int
    image: int | None = None
    further: int = 0
    contents: tuple[int, ...] = ()
    updates_log: bool = True

    @classmethod
    def of(
        cls,
        reason: Reason,
        log: int,
        image: int | None,
        contents: Sequence[int | None],
        **others: bool,
    ) -> Going:
        """Return what to delete of a request.

        `contents` are those of the request image and of its further images, in order;
        None for an image that loses no bytes.
        """
        losing = tuple(pk for pk in contents if pk is not None)
        return cls(reason, log, image, len(contents) - 1, losing, **others)

    @property
    def images(self) -> int:
        """The number of images that lose their rows, or their bytes."""
        if self.reason in _KEEPS_IMAGE:
            return len(self.contents)
        return 0 if self.image is None else 1 + self.further


def remove(going: Sequence[Going], detail: str = "") -> Report:
    """Delete a batch in one transaction, in the given order.

    Requests that were pinned meanwhile stay, unless they are erased. Rows that another
    model protects only lose their bytes. Freed bytes are reported with the reason of
    the last row that had them.

    Args:
        going: What to delete.
        detail: The `capture_detail` of logs whose images were over the budget.

    Raises:
        IntegrityError: A new request referred to a content just when it lost its last
            reference. Nothing was deleted, and a retry may succeed.
    """
    going, spared = _spare_protected(going)
    with transaction.atomic(using=database()):
        if connections[database()].vendor == "sqlite":
            # A write comes first, or another process may write in between.
            logs().filter(pk=0).update_marked(path="")
        _lock_against_pins(going)
        _update_status(going, detail)
        reasons = dict.fromkeys(row.reason for row in going)
        taken = {
            reason: _delete(reason, [r for r in going if r.reason is reason], detail)
            for reason in reasons
        }
        went = {reason: rows for reason, rows in taken.items() if rows != Cleaned()}
        return spared + Report(went) + _delete_contents(going)


def preview_of(going: Sequence[Going], last: Mapping[int, Last]) -> Report:
    """Return what `remove` would return now.

    Args:
        going: What would be deleted.
        last: The images that free bytes, by content; see `last_of`.
    """
    going, report = _spare_protected(going)
    for row in going:
        found = [last[pk] for pk in set(row.contents) if pk in last]
        sizes = [each.size for each in found if each.image == row.image]
        cleaned = Cleaned(
            images=row.images,
            contents=len(sizes),
            logs=int(row.reason in _TAKES_LOG),
            freed=sum(sizes),
        )
        report += Report({row.reason: cleaned})
    return report


def cost_of(going: Sequence[Going]) -> list[int]:
    """Return the maximal cost of each deletion for the database, in empty rows.

    The bytes of a content count for the last row that has it; bytes in a storage cost
    the database nothing.
    """
    last = {pk: number for number, row in enumerate(going) for pk in row.contents}
    in_database = contents().filter(pk__in=list(last), storage="")
    sizes = [0] * len(going)
    for pk, size in in_database.values_list("pk", "stored_size"):
        sizes[last[pk]] += size
    return [
        1 + row.further + size // BYTES_OF_A_ROW
        for row, size in zip(going, sizes, strict=True)
    ]


def _spare_protected(going: Sequence[Going]) -> tuple[list[Going], Report]:
    """Keep the rows that other models protect, but not their bytes; report them."""
    doomed = [row for row in going if row.reason not in _KEEPS_IMAGE]
    referred = referred_to({row.log for row in doomed}, database())
    held: dict[int, str] = {}
    for reason in dict.fromkeys(row.reason for row in doomed):
        rows = [r for r in doomed if r.reason is reason and r.log in referred]
        held |= _held(reason, rows)
    left = []
    for row in going:
        if row.log not in held:
            left.append(row)
        elif row.contents:
            is_erased = row.reason is Reason.ERASURE
            reason = Reason.ERASED_BYTES if is_erased else Reason.BYTES
            left.append(row._replace(reason=reason))
    return left, Report(held=Counter(held.values()))


def _held(reason: Reason, rows: Sequence[Going]) -> dict[int, str]:
    """Return which logs are protected, or their images are, and by which model."""
    protector = protector_of(_roots(reason, rows)) if rows else ""
    if not protector:
        return {}
    if len(rows) == 1:
        return {rows[0].log: protector}
    half = len(rows) // 2
    return _held(reason, rows[:half]) | _held(reason, rows[half:])


def _roots(reason: Reason, rows: Sequence[Going]) -> models.QuerySet[Any]:
    """Return the rows from which deletions cascade."""
    return _deletable(rows) if reason in _TAKES_LOG else _losing(rows)


def _deletable(rows: Iterable[Going]) -> RequestLogQuerySet:
    rows = list(rows)
    erased = [row.log for row in rows if row.reason in _PINNED_TOO]
    may_go = Q(is_pinned=False) | Q(pk__in=erased)
    return logs().filter(may_go, pk__in=[row.log for row in rows])


def _lock_against_pins(going: Sequence[Going]) -> None:
    # Otherwise the image might be deleted and its log, pinned meanwhile, stay. SQLite
    # has one writer at a time, and needs no locks.
    has_locks = connections[database()].features.has_select_for_update
    rows = _deletable(going) if has_locks else logs().none()
    list(rows.order_by("pk").select_for_update().values_list("pk"))


def _update_status(going: Sequence[Going], detail: str) -> None:
    for status in dict.fromkeys(_STATUS.values()):
        marked = _deletable(
            row
            for row in going
            if row.updates_log and _STATUS.get(row.reason) == status
        )
        values: dict[str, str] = {"capture_status": status}
        if status == CaptureStatus.OVER_BUDGET:
            values["capture_detail"] = detail
        marked.filter(_HAS_BYTES).update_marked(**values)


def _delete(reason: Reason, rows: Sequence[Going], detail: str) -> Cleaned:
    _update_statistics(reason, rows)
    if reason in _KEEPS_IMAGE:
        return Cleaned(images=_detach_bytes(reason, rows, detail))
    referred = referred_to({row.log for row in rows}, database())
    alone = [row for row in rows if row.log not in referred]
    images_deleted = _raw_delete(_further(alone)) + _raw_delete(_losing(alone))
    logs_deleted = _raw_delete(_deletable(alone)) if reason in _TAKES_LOG else 0
    went = Cleaned(images=images_deleted, logs=logs_deleted)
    return went + _cascade(reason, [row for row in rows if row.log in referred])


def _detach_bytes(reason: Reason, rows: Sequence[Going], detail: str) -> int:
    values = {"capture_status": _STATUS[reason], "capture_detail": detail}
    those = {pk for row in rows for pk in row.contents}
    lost = _further(rows).filter(content__in=those).update(content=None, **values)
    return lost + _losing(rows).filter(content__in=those).update(content=None)


def _cascade(reason: Reason, rows: Sequence[Going]) -> Cleaned:
    """Delete rows that others refer to: by Django, which follows their `on_delete`."""
    if not rows:
        return Cleaned()
    _, gone = _roots(reason, rows).delete()
    logs, *pictures = (
        gone.get(model._meta.label, 0)
        for model in (RequestLog, RequestImage, FurtherImage)
    )
    return Cleaned(images=sum(pictures), logs=logs)


def _losing(rows: Sequence[Going]) -> RequestImageQuerySet:
    pks = [row.image for row in rows if row.image is not None]
    return images().filter(pk__in=pks, log__in=_deletable(rows))


def _further(rows: Sequence[Going]) -> models.QuerySet[FurtherImage]:
    # Also by the keys: not every database begins with the inner query.
    pks = [row.image for row in rows if row.image is not None]
    return (
        further().filter(request_image__in=pks).filter(request_image__in=_losing(rows))
    )


def _update_statistics(reason: Reason, rows: Sequence[Going]) -> None:
    # Requests that cleanup deletes stay in the statistics; erased ones do not.
    found = _deletable(rows)
    if reason in (*_KEEPS_IMAGE, Reason.ERASURE):
        moments = found.values_list("created_at", flat=True)
        mark_stale({floor(moment) for moment in moments}, database())
        return
    parts = gather(found.values_list(*FIELDS), of_log=reason is Reason.LOG)
    note_gone(by_hour(parts), database())


def _delete_contents(going: Sequence[Going]) -> Report:
    # In the same transaction as the last reference: a process killed in between would
    # leave orphans.
    reasons = {content: row.reason for row in going for content in row.contents}
    held = contents().filter(pk__in=list(reasons))
    # Another process may be deleting the other reference: the second one waits here,
    # and then sees that none is left.
    list(held.order_by("pk").select_for_update().values_list("pk"))
    weighed = _weigh(held.unreferenced())
    ImageContent.delete_all(contents().filter(pk__in=list(weighed)))
    report = Report()
    for pk, size in weighed.items():
        report += Report({reasons[pk]: Cleaned(contents=1, freed=size)})
    return report


def _weigh(rows: models.QuerySet[ImageContent]) -> dict[int, int]:
    return dict(rows.values_list("pk", SIZE))


def _raw_delete(rows: models.QuerySet[Any]) -> int:
    # `delete()` loads every row with its bytes if there is a ``post_delete`` receiver;
    # this module deletes what cascades itself. None means that nothing was to do.
    return rows._raw_delete(database()) or 0
