"""Images and logs, gone in one transaction; or what would go, told beforehand.

Nothing here loads an image's bytes, and nothing chooses what goes.
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
from request_images.models.querysets import RequestImageQuerySet, RequestLogQuerySet
from request_images.models.statistics import mark, note_gone
from request_images.outcome import CaptureStatus

from .references import SIZE, Last, contents, database, further, images, logs
from .relations import protector_of, referred_to
from .report import Cleaned, Reason, Report

_KEPT = (CaptureStatus.STORED, CaptureStatus.DUPLICATE)
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
    """A log or an image that is to go, by primary keys, and why.

    Attributes:
        reason: Why.
        log: The log.
        image: The request image, if there is one.
        further: How many further images it has.
        contents: The content of each of all these that loses its bytes.
        is_told: Whether the log is to say so: it tells of the request image.
    """

    reason: Reason
    log: int
    image: int | None = None
    further: int = 0
    contents: tuple[int, ...] = ()
    is_told: bool = True

    @property
    def images(self) -> int:
        """How many images lose their rows, or their bytes."""
        if self.reason in _KEEPS_IMAGE:
            return len(self.contents)
        return 0 if self.image is None else 1 + self.further


def remove(going: Sequence[Going], detail: str = "") -> Report:
    """Delete a batch in one transaction, in the order given.

    What is pinned by now stays, unless it is erased; of rows that another model
    protects only the bytes go.
    Of bytes whose last reference goes, the reason is that of the last row that had
    them.

    Args:
        going: What goes.
        detail: What logs say beside `over_budget`.

    Raises:
        IntegrityError: A request referred to a content at the very moment when it lost
            its last reference. Nothing was deleted, and the same again may go well.
    """
    going, spared = _spare(going)
    with transaction.atomic(using=database()):
        if connections[database()].vendor == "sqlite":
            # A write comes first, or somebody else's may come in between.
            logs().filter(pk=0).update_marked(path="")
        _let_nobody_pin(going)
        _mark(going, detail)
        reasons = dict.fromkeys(row.reason for row in going)
        taken = {
            reason: _take(reason, [r for r in going if r.reason is reason], detail)
            for reason in reasons
        }
        went = {reason: rows for reason, rows in taken.items() if rows != Cleaned()}
        return spared + Report(went) + _delete_contents(going)


def tell(going: Iterable[Going], last: Mapping[int, Last]) -> Report:
    """Return what `remove` would, if nothing else happened meanwhile.

    Args:
        going: What would go.
        last: The images that take bytes along, by content; see `last_of`.
    """
    going, report = _spare(list(going))
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


def work_of(going: Sequence[Going]) -> tuple[list[int], list[int]]:
    """Return how much work for the database each of some deletions is, at the most.

    Returns:
        The rows of each, and the bytes. Those of a content are counted with the last
        that has it; bytes in a storage are no work for the database.
    """
    last = {pk: number for number, row in enumerate(going) for pk in row.contents}
    held = contents().filter(pk__in=list(last), storage="")
    sizes = [0] * len(going)
    for pk, size in held.values_list("pk", "stored_size"):
        sizes[last[pk]] += size
    return [1 + row.further for row in going], sizes


def _spare(going: Sequence[Going]) -> tuple[list[Going], Report]:
    """Leave out the rows that other models protect; their bytes go all the same.

    Returns:
        What goes then, and what stays.
    """
    doomed = [row for row in going if row.reason not in _KEEPS_IMAGE]
    referred = referred_to({row.log for row in doomed}, database())
    held: dict[int, str] = {}
    for reason in dict.fromkeys(row.reason for row in doomed):
        rows = [r for r in doomed if r.reason is reason and r.log in referred]
        held |= _held(reason, rows)
    left = (
        row._replace(reason=_without_rows(row.reason)) if row.log in held else row
        for row in going
        if row.log not in held or row.contents
    )
    return list(left), Report(held=Counter(held.values()))


def _without_rows(reason: Reason) -> Reason:
    return Reason.ERASED_BYTES if reason is Reason.ERASURE else Reason.BYTES


def _held(reason: Reason, rows: Sequence[Going]) -> dict[int, str]:
    """Return which logs are protected, themselves or their images, and by whom."""
    protector = protector_of(_heads(reason, rows)) if rows else ""
    if not protector:
        return {}
    if len(rows) == 1:
        return {rows[0].log: protector}
    half = len(rows) // 2
    return _held(reason, rows[:half]) | _held(reason, rows[half:])


def _heads(reason: Reason, rows: Sequence[Going]) -> models.QuerySet[Any]:
    return _open_to(rows) if reason in _TAKES_LOG else _losing(rows)


def _open_to(rows: Iterable[Going]) -> RequestLogQuerySet:
    rows = list(rows)
    erased = [row.log for row in rows if row.reason in _PINNED_TOO]
    may_go = Q(is_pinned=False) | Q(pk__in=erased)
    return logs().filter(may_go, pk__in=[row.log for row in rows])


def _let_nobody_pin(going: Sequence[Going]) -> None:
    # Or the image might go and its log stay, which says that there is one. SQLite has
    # one writer at a time, and needs no locks.
    has_locks = connections[database()].features.has_select_for_update
    rows = _open_to(going) if has_locks else logs().none()
    list(rows.order_by("pk").select_for_update().values_list("pk"))


def _mark(going: Sequence[Going], detail: str) -> None:
    for status in dict.fromkeys(_STATUS.values()):
        marked = _open_to(
            row for row in going if row.is_told and _STATUS.get(row.reason) == status
        )
        values: dict[str, str] = {"capture_status": status}
        if status == CaptureStatus.OVER_BUDGET:
            values["capture_detail"] = detail
        marked.filter(capture_status__in=_KEPT).update_marked(**values)


def _take(reason: Reason, rows: Sequence[Going], detail: str) -> Cleaned:
    _count_what_goes(reason, rows)
    if reason in _KEEPS_IMAGE:
        return Cleaned(images=_take_bytes(reason, rows, detail))
    referred = referred_to({row.log for row in rows}, database())
    alone = [row for row in rows if row.log not in referred]
    deleted = _raw_delete(_hanging(alone)) + _raw_delete(_losing(alone))
    logs_deleted = _raw_delete(_open_to(alone)) if reason in _TAKES_LOG else 0
    went = Cleaned(images=deleted, logs=logs_deleted)
    return went + _cascade(reason, [row for row in rows if row.log in referred])


def _take_bytes(reason: Reason, rows: Sequence[Going], detail: str) -> int:
    values = {"capture_status": _STATUS[reason], "capture_detail": detail}
    those = {pk for row in rows for pk in row.contents}
    lost = _hanging(rows).filter(content__in=those).update(content=None, **values)
    return lost + _losing(rows).filter(content__in=those).update(content=None)


def _cascade(reason: Reason, rows: Sequence[Going]) -> Cleaned:
    """Delete what others refer to: by Django, which does to those as they say."""
    if not rows:
        return Cleaned()
    _, gone = _heads(reason, rows).delete()
    logs, *pictures = (
        gone.get(model._meta.label, 0)
        for model in (RequestLog, RequestImage, FurtherImage)
    )
    return Cleaned(images=sum(pictures), logs=logs)


def _losing(rows: Sequence[Going]) -> RequestImageQuerySet:
    pks = [row.image for row in rows if row.image is not None]
    return images().filter(pk__in=pks, log__in=_open_to(rows))


def _hanging(rows: Sequence[Going]) -> models.QuerySet[FurtherImage]:
    # By the keys, too: not every database begins with the inner query.
    pks = [row.image for row in rows if row.image is not None]
    return (
        further().filter(request_image__in=pks).filter(request_image__in=_losing(rows))
    )


def _count_what_goes(reason: Reason, rows: Sequence[Going]) -> None:
    # The statistics outlive what they are made of, but not what is erased.
    found = _open_to(rows)
    if reason in (*_KEEPS_IMAGE, Reason.ERASURE):
        moments = found.values_list("created_at", flat=True)
        mark({floor(moment) for moment in moments}, database())
        return
    parts = gather(found.values_list(*FIELDS), of_log=reason is Reason.LOG)
    note_gone(by_hour(parts), database())


def _delete_contents(going: Sequence[Going]) -> Report:
    # In the same transaction as the last reference, or they would be orphans for ever
    # after a kill in between.
    reasons = {content: row.reason for row in going for content in row.contents}
    held = contents().filter(pk__in=list(reasons))
    # Another cleanup may be about to delete the other reference: whoever comes second
    # waits here, and sees then that none is left.
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
    # `delete()` loads every row, bytes and all, as soon as anyone listens to
    # ``post_delete``; what cascades is deleted here by name. It may answer None when
    # there is nothing to ask the database.
    return rows._raw_delete(database()) or 0
