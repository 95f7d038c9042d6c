"""Images and logs, gone in one transaction; or what would go, told beforehand.

Nothing here loads an image's bytes, and nothing chooses what goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connections, models, router, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Length

from .models import ImageContent, RequestImage, RequestLog
from .outcome import CaptureStatus
from .querysets import RequestImageQuerySet, RequestLogQuerySet, failed, succeeded
from .reckoning import Cleaned, Reason, Report

_KEPT = (CaptureStatus.STORED, CaptureStatus.DUPLICATE)
_KEEPS_IMAGE = (Reason.BYTES, Reason.BUDGET)
_STATUS = {
    Reason.SUCCESS: CaptureStatus.EXPIRED,
    Reason.FAILURE: CaptureStatus.EXPIRED,
    Reason.BYTES: CaptureStatus.EXPIRED,
    Reason.BUDGET: CaptureStatus.OVER_BUDGET,
}
_SIZE = F("stored_size") + Coalesce(Length("thumbnail"), 0)


class Going(NamedTuple):
    """A log or an image that is to go, by primary keys, and why."""

    reason: Reason
    log: int
    image: int | None = None
    content: int | None = None


class Last(NamedTuple):
    """The image that takes the bytes of its content along, and how many those are."""

    image: int
    size: int


def remove(going: Sequence[Going], detail: str = "") -> Report:
    """Delete a batch in one transaction, in the order given.

    What is pinned by now stays. Of bytes whose last reference goes, the reason is that
    of the last row that had them.

    Args:
        going: What goes.
        detail: What logs say beside `over_budget`.

    Raises:
        IntegrityError: A request referred to a content at the very moment when it lost
            its last reference. Nothing was deleted, and the same again may go well.
    """
    with transaction.atomic(using=database()):
        _let_nobody_pin(going)
        # SQLite: a write comes first, or somebody else's may come in between.
        _mark(going, detail)
        reasons = dict.fromkeys(row.reason for row in going)
        taken = {
            reason: _take(reason, [row for row in going if row.reason is reason])
            for reason in reasons
        }
        went = {reason: rows for reason, rows in taken.items() if rows != Cleaned()}
        return Report(went) + _delete_contents(going)


def tell(going: Iterable[Going], last: Mapping[int, Last]) -> Report:
    """Return what `remove` would, if nothing else happened meanwhile.

    Args:
        going: What would go.
        last: The images that take bytes along, by content; see `last_of`.
    """
    report = Report()
    for row in going:
        found = None if row.content is None else last.get(row.content)
        takes_bytes = found is not None and found.image == row.image
        cleaned = Cleaned(
            images=int(row.image is not None),
            contents=int(takes_bytes),
            logs=int(row.reason is Reason.LOG),
            freed=found.size if found is not None and takes_bytes else 0,
        )
        report += Report({row.reason: cleaned})
    return report


def last_of(content_pks: Iterable[int], staying: Q) -> dict[int, Last]:
    """Return which images take bytes along when all that is not staying goes.

    Args:
        content_pks: The contents to ask about.
        staying: Which images stay.

    Returns:
        For each content that no staying image refers to, the last image by time that
        does.
    """
    references = images().filter(content=OuterRef("pk"))
    rows = contents().filter(
        ~Exists(references.filter(staying)), pk__in=set(content_pks)
    )
    return _by_content(rows, _newest(references))


def last_in_budget(content_pks: Iterable[int], counted: Q) -> dict[int, Last]:
    """Return which images take bytes along when successes go first, then failures.

    Args:
        content_pks: The contents to ask about.
        counted: Which images there still are.

    Returns:
        As `last_of`. Contents of pinned requests are not among them.
    """
    references = images().filter(content=OuterRef("pk"))
    rows = contents().filter(
        ~Exists(references.filter(log__is_pinned=True)), pk__in=set(content_pks)
    )
    there = references.filter(counted)
    last = Coalesce(
        _newest(there.filter(failed("log__"))),
        _newest(there.filter(succeeded("log__"))),
    )
    return _by_content(rows, last)


def weights(after: int, limit: int) -> list[tuple[int, int]]:
    """Return the primary keys of the next contents, and how many bytes each takes."""
    rows = contents().filter(pk__gt=after).order_by("pk")
    return list(rows.values_list("pk", _SIZE)[:limit])


def database() -> str:
    """Return the alias of the database that is cleaned.

    For reading too: a replica that lags behind still shows references that are gone,
    and a content that is kept for one of them is an orphan for ever.
    """
    return router.db_for_write(RequestLog)


def logs() -> RequestLogQuerySet:
    """Return the logs of the database that is cleaned."""
    return RequestLog.objects.using(database())


def images() -> RequestImageQuerySet:
    """Return the images of the database that is cleaned."""
    return RequestImage.objects.using(database())


def contents() -> models.QuerySet[ImageContent]:
    """Return the contents of the database that is cleaned."""
    return ImageContent.objects.using(database())


def _by_content(
    rows: models.QuerySet[ImageContent], last: Subquery | Coalesce
) -> dict[int, Last]:
    found = rows.values_list("pk", last, _SIZE)
    return {pk: Last(image, size) for pk, image, size in found}


def _newest(references: models.QuerySet[RequestImage]) -> Subquery:
    return Subquery(references.order_by("-created_at", "-pk").values("pk")[:1])


def _unpinned(rows: Iterable[Going]) -> RequestLogQuerySet:
    return logs().filter(pk__in=[row.log for row in rows], is_pinned=False)


def _let_nobody_pin(going: Sequence[Going]) -> None:
    # Or the image might go and its log stay, which says that there is one. SQLite has
    # one writer at a time, and needs no locks.
    has_locks = connections[database()].features.has_select_for_update
    rows = _unpinned(going) if has_locks else logs().none()
    list(rows.order_by("pk").select_for_update().values_list("pk"))


def _mark(going: Sequence[Going], detail: str) -> None:
    for status in dict.fromkeys(_STATUS.values()):
        marked = _unpinned(row for row in going if _STATUS.get(row.reason) == status)
        values: dict[str, str] = {"capture_status": status}
        if status == CaptureStatus.OVER_BUDGET:
            values["capture_detail"] = detail
        marked.filter(capture_status__in=_KEPT).update(**values)


def _take(reason: Reason, rows: Sequence[Going]) -> Cleaned:
    pks = [row.image for row in rows if row.image is not None]
    losing = images().filter(pk__in=pks, log__in=_unpinned(rows))
    if reason in _KEEPS_IMAGE:
        return Cleaned(images=losing.update(content=None))
    deleted = _raw_delete(losing)
    if reason is not Reason.LOG:
        return Cleaned(images=deleted)
    return Cleaned(images=deleted, logs=_raw_delete(_unpinned(rows)))


def _delete_contents(going: Sequence[Going]) -> Report:
    # In the same transaction as the last reference, or they would be orphans for ever
    # after a kill in between.
    reasons = {row.content: row.reason for row in going if row.content is not None}
    held = contents().filter(pk__in=list(reasons))
    # Another cleanup may be about to delete the other reference: whoever comes second
    # waits here, and sees then that none is left.
    list(held.order_by("pk").select_for_update().values_list("pk"))
    unreferenced = held.filter(~Exists(images().filter(content=OuterRef("pk"))))
    weighed = _weigh(unreferenced)
    ImageContent.delete_all(contents().filter(pk__in=list(weighed)))
    report = Report()
    for pk, size in weighed.items():
        report += Report({reasons[pk]: Cleaned(contents=1, freed=size)})
    return report


def _weigh(rows: models.QuerySet[ImageContent]) -> dict[int, int]:
    return dict(rows.values_list("pk", _SIZE))


def _raw_delete(rows: models.QuerySet[Any]) -> int:
    # `delete()` loads every row, bytes and all, as soon as anyone listens to
    # ``post_delete``; what cascades is deleted here by name. It may answer None when
    # there is nothing to ask the database.
    return rows._raw_delete(database()) or 0
