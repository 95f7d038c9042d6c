"""Delete images and logs that are past their retention period, or over the budget.

Batch by batch, each in one transaction: a run that is killed has deleted whole batches,
and the next run continues. Rows are walked by their time in chunks, so that neither
time nor memory grows. The dry run walks the same rows and deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from django.db.models import BooleanField, Case, Q, Value, When

from request_images.db.walk import chunks
from request_images.exceptions import RetentionError
from request_images.models.cutoffs import Retention, is_over
from request_images.models.querysets import RequestImageQuerySet, failed, succeeded

from .batches import Pace, remove_paced
from .delete_rows import Going, preview_of
from .references import (
    Last,
    images,
    last_in_budget,
    last_of,
    logs,
    referring_to,
    stored_size,
    with_further,
)
from .report import Reason, Report

_Lasts = Callable[[], Mapping[int, Last]]
"""A function that returns the images that free bytes, which takes queries."""
_BY_TIME = ("created_at", "pk")
_IS_FAILED = Case(
    When(failed("log__"), then=Value(True)),
    default=Value(False),
    output_field=BooleanField(),
)


class _Seen(NamedTuple):
    created_at: datetime
    pk: int
    log: int
    is_pinned: bool
    is_failed: bool
    contents: tuple[int | None, ...]
    """The content of each of its images; None for one whose bytes are not stored."""


def clean(
    retention: Retention,
    *,
    batch_size: int,
    max_bytes: int | None = None,
    beat: Callable[[], None] = lambda: None,
    on_batch: Callable[[Report], None] = lambda went: None,
) -> Report:
    """Delete everything past its retention period, and bytes over the budget.

    Args:
        retention: The cut-off times.
        batch_size: The largest number of rows to delete in one transaction.
        max_bytes: The budget: the bytes that may be stored in total; None for no limit.
        beat: Called now and then; what it raises ends the run between two batches.
        on_batch: Called after each batch with what was deleted, because a run that ends
            early returns nothing.

    Raises:
        RetentionError: The batch size or the budget is below 1.
    """
    if batch_size < 1:
        raise RetentionError(f"The batch size must be at least 1, not {batch_size}.")
    pace = Pace(batch_size)

    def delete(going: list[Going], _last: _Lasts, detail: str) -> Report:
        return remove_paced(going, pace, detail, beat=beat, on_batch=on_batch)

    return _Cleanup(retention, delete, beat).run(max_bytes)


def preview(retention: Retention, *, max_bytes: int | None = None) -> Report:
    """Return what `clean` would delete now. Nothing is written."""

    def delete(going: list[Going], last: _Lasts, _detail: str) -> Report:
        return preview_of(going, last()) if going else Report()

    return _Cleanup(retention, delete, lambda: None, is_dry=True).run(max_bytes)


@dataclass(frozen=True)
class _Cleanup:
    """One cleanup, or the dry run of one, where `delete` only reports.

    The arguments of `delete` are the rows, what frees bytes, and the `capture_detail`
    of the logs.
    """

    retention: Retention
    delete: Callable[[list[Going], _Lasts, str], Report]
    beat: Callable[[], None]
    is_dry: bool = False

    def run(self, max_bytes: int | None) -> Report:
        """Delete what is past its retention period, then what is over the budget."""
        if max_bytes is not None and max_bytes < 1:
            raise RetentionError(
                f"A budget of {max_bytes} bytes would delete every image."
            )
        report = self._delete_images() + self._delete_logs()
        if max_bytes is None:
            return report
        # Counted last: images are recorded and erased while others are deleted.
        left = stored_size(self.beat) - (report.total.freed if self.is_dry else 0)
        detail = f"{max_bytes / 1024 / 1024:.10g} MB in total"
        for is_failed in (False, True):
            if left > max_bytes:
                went = self._delete_over_budget(is_failed, left - max_bytes, detail)
                report, left = report + went, left - went.total.freed
        return report

    def _delete_images(self) -> Report:
        report = Report()
        if self.retention.begins is None:
            return report
        for seen in self._walk(images().older_than(self.retention.begins)):
            going = [
                Going.of(reason, row.log, row.pk, row.contents)
                for row in seen
                if (reason := self._reason(row))
            ]
            losing = {pk for row in going for pk in row.contents}
            report += self.delete(going, partial(last_of, losing, self._staying), "")
        return report

    def _delete_logs(self) -> Report:
        """Delete old logs without an image; the others were deleted with theirs."""
        report = Report()
        if self.retention.logs_before is None:
            return report
        rows = logs().older_than(self.retention.logs_before)
        fields = ("is_pinned", "image__pk")
        for chunk in chunks(rows, *fields, order=_BY_TIME, beat=self.beat):
            going = [
                Going(Reason.LOG, pk)
                for _, pk, is_pinned, image in chunk
                if not is_pinned and image is None
            ]
            report += self.delete(going, dict, "")
        return report

    def _delete_over_budget(self, is_failed: bool, excess: int, detail: str) -> Report:
        """Delete the oldest bytes of one outcome, until the excess is free."""
        report = Report()
        for seen in self._walk(images()):
            rows = [row for row in seen if row.is_failed is is_failed]
            pks = {pk for row in rows for pk in row.contents if pk is not None}
            last = last_in_budget(pks, self._staying)
            chosen = _choose(excess - report.total.freed, rows, last)
            # All images lose these bytes, or nothing would be freed; and no image loses
            # bytes that another keeps.
            for referring in referring_to(chosen, self._staying) if chosen else ():
                for losers in self._walk(referring):
                    going = [_losing(row, chosen) for row in losers]
                    report += self.delete(going, partial(dict, chosen), detail)
            if report.total.freed >= excess:
                break
        return report

    def _reason(self, row: _Seen) -> Reason | None:
        """Return why a row must be deleted; None if it stays."""
        term = self.retention.of(row.is_failed)
        if row.is_pinned:
            return None
        if is_over(row.created_at, self.retention.logs_before):
            return Reason.LOG
        if is_over(row.created_at, term.images_before):
            return Reason.FAILURE if row.is_failed else Reason.SUCCESS
        has_bytes = any(pk is not None for pk in row.contents)
        if has_bytes and is_over(row.created_at, term.bytes_before):
            return Reason.BYTES
        return None

    def _staying(self, path: str) -> Q:
        """Return the condition for images that keep their bytes, unlike `_reason`."""
        kept = Q(**{f"{path}log__is_pinned": True})
        for is_failed, outcome in ((False, succeeded), (True, failed)):
            cutoff = self.retention.bytes_before(is_failed)
            young = Q() if cutoff is None else Q(**{f"{path}created_at__gte": cutoff})
            kept |= outcome(f"{path}log__") & young
        return kept

    def _walk(self, rows: RequestImageQuerySet) -> Iterator[list[_Seen]]:
        fields = ("log_id", "log__is_pinned", _IS_FAILED, "content_id")
        for chunk in chunks(rows, *fields, order=_BY_TIME, beat=self.beat):
            for part in with_further(chunk, image_of=lambda row: row[1]):
                yield [
                    _Seen._make([*row[:-1], (row[-1], *further)])
                    for row, further in part
                ]


def _losing(row: _Seen, chosen: Mapping[int, Last]) -> Going:
    contents = [pk if pk in chosen else None for pk in row.contents]
    updates_log = contents[0] is not None
    return Going.of(Reason.BUDGET, row.log, row.pk, contents, updates_log=updates_log)


def _choose(
    excess: int, rows: list[_Seen], last: Mapping[int, Last]
) -> dict[int, Last]:
    """Choose contents from the oldest on, until enough bytes would be free.

    A content is as old as the last image that has it.
    """
    chosen: dict[int, Last] = {}
    for row in rows:
        for content in dict.fromkeys(row.contents):
            if content is None or content not in last or excess <= 0:
                continue
            found = last[content]
            if found.image == row.pk:
                chosen[content] = found
                excess -= found.size
    return chosen
