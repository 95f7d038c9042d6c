"""Delete what is older than it should be, and more than there should be.

Batch by batch, each in one transaction: a run that is killed has done whole batches
only, and the next one finishes the work. Rows are walked in the order of their time,
each time from where the last ones were, so that neither time nor memory grows. The dry
run is the same walk, asks the same questions and deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.db import models
from django.db.models import BooleanField, Case, Q, Value, When

from request_images.db.retry import retry
from request_images.exceptions import RetentionError
from request_images.models import RequestImage
from request_images.models.cutoffs import Retention, is_over
from request_images.models.querysets import failed, succeeded

from .batches import Pace, loads
from .delete_rows import Going, remove, tell, work_of
from .references import (
    Condition,
    Last,
    further_counts,
    further_of,
    images,
    last_in_budget,
    last_of,
    logs,
    referring_to,
    weights,
)
from .report import Reason, Report

_AT_ONCE = 500
"""How many rows are read at once: few enough for a lock that nobody notices."""
_IMAGES_AT_ONCE = 2_000
"""How many images these rows may have together: each has up to a thousand."""
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
    content: int | None
    further: tuple[int | None, ...]

    @property
    def contents(self) -> tuple[int, ...]:
        """The content of each of its images that has its bytes."""
        return tuple(pk for pk in (self.content, *self.further) if pk is not None)


@dataclass(frozen=True)
class _Way:
    """How what is due goes: really, or only told.

    Attributes:
        go: Takes what goes, what would tell which images take bytes along, and what
            the logs say.
        beat: Called now and then while rows are walked.
        is_told: Whether it is only told, so that what went is there still.
    """

    go: Callable[[list[Going], Callable[[], Mapping[int, Last]], str], Report]
    beat: Callable[[], None]
    is_told: bool = False


def clean(
    retention: Retention,
    *,
    batch_size: int,
    max_bytes: int | None = None,
    beat: Callable[[], None] = lambda: None,
    note: Callable[[Report], None] = lambda _went: None,
) -> Report:
    """Delete everything that is older than it may be, and bytes over the budget.

    Args:
        retention: How long what is kept.
        batch_size: How many rows go in one transaction, at the most.
        max_bytes: How many bytes may be stored altogether; None for any number.
        beat: Called now and then; what it raises ends the run between two batches.
        note: Called with what went, after each batch: a run that ends early returns
            nothing.

    Raises:
        RetentionError: A batch size or a budget below 1.
    """
    if batch_size < 1:
        raise RetentionError(f"A batch of {batch_size} rows deletes nothing.")
    pace = Pace(batch_size)

    def go(
        going: list[Going], last: Callable[[], Mapping[int, Last]], detail: str
    ) -> Report:
        report, costs = Report(), loads(*work_of(going))
        while going:
            beat()
            number = pace.fitting(costs)
            with pace.batch(sum(costs[:number])):
                work = partial(remove, going[:number], detail)
                went = retry(work, retry_locks=True)
            note(went)
            report += went
            going, costs = going[number:], costs[number:]
        return report

    return _run(retention, max_bytes, _Way(go, beat))


def preview(retention: Retention, *, max_bytes: int | None = None) -> Report:
    """Return what `clean` would delete now. Nothing is written."""

    def go(
        going: list[Going], last: Callable[[], Mapping[int, Last]], detail: str
    ) -> Report:
        return tell(going, last()) if going else Report()

    return _run(retention, max_bytes, _Way(go, lambda: None, is_told=True))


def _run(retention: Retention, max_bytes: int | None, way: _Way) -> Report:
    if max_bytes is not None and max_bytes < 1:
        raise RetentionError(
            f"A budget of {max_bytes} bytes would delete every image there is."
        )
    report = _go_images(retention, way) + _go_logs(retention, way)
    if max_bytes is None:
        return report
    # Not before: requests are recorded, and images erased, while the others go.
    left = sum(_sizes(way)) - (report.total.freed if way.is_told else 0)
    detail = f"{max_bytes / 1024 / 1024:.10g} MB in all"
    for is_failed in (False, True):
        if left > max_bytes:
            went = _go_budget(retention, way, is_failed, left - max_bytes, detail)
            report, left = report + went, left - went.total.freed
    return report


def _go_images(retention: Retention, way: _Way) -> Report:
    report = Report()
    if retention.begins is None:
        return report
    staying = _staying(retention)
    for seen in _walk_images(images().older_than(retention.begins), way):
        going = [
            Going(reason, row.log, row.pk, len(row.further), row.contents)
            for row in seen
            if (reason := _why(row, retention))
        ]
        contents = {pk for row in going for pk in row.contents}
        report += way.go(going, partial(last_of, contents, staying), "")
    return report


def _go_logs(retention: Retention, way: _Way) -> Report:
    """Delete old logs without an image; the others went with theirs already."""
    report = Report()
    if retention.logs_before is None:
        return report
    rows = logs().older_than(retention.logs_before)
    for seen in _walk(rows, way, "is_pinned", "image__pk"):
        going = [
            Going(Reason.LOG, pk)
            for _, pk, is_pinned, image in seen
            if not is_pinned and image is None
        ]
        report += way.go(going, dict, "")
    return report


def _go_budget(
    retention: Retention, way: _Way, is_failed: bool, too_much: int, detail: str
) -> Report:
    """Take the bytes of the oldest of one outcome, until so many came free."""
    report, staying = Report(), _staying(retention)
    for seen in _walk_images(images(), way):
        rows = [row for row in seen if row.is_failed is is_failed]
        last = last_in_budget({pk for row in rows for pk in row.contents}, staying)
        chosen = _until(too_much - report.total.freed, rows, last)
        # All that have these bytes lose them, or nothing would come free; and nobody
        # loses bytes that stay because of somebody else.
        for those in referring_to(chosen, staying) if chosen else ():
            for losers in _walk_images(those, way):
                going = [_losing(row, chosen) for row in losers]
                report += way.go(going, partial(dict, chosen), detail)
        if report.total.freed >= too_much:
            break
    return report


def _losing(row: _Seen, chosen: Mapping[int, Last]) -> Going:
    contents = tuple(pk for pk in row.contents if pk in chosen)
    return Going(
        Reason.BUDGET,
        row.log,
        row.pk,
        len(row.further),
        contents,
        is_told=row.content in chosen,
    )


def _until(
    too_much: int, rows: list[_Seen], last: Mapping[int, Last]
) -> dict[int, Last]:
    """Return the contents that end with the first of some images, until it is enough.

    A content is as old as the last image that has it.
    """
    chosen: dict[int, Last] = {}
    for row in rows:
        for content in dict.fromkeys(row.contents):
            found = last.get(content)
            if found is not None and found.image == row.pk and too_much > 0:
                chosen[content] = found
                too_much -= found.size
    return chosen


def _why(row: _Seen, retention: Retention) -> Reason | None:
    term = retention.of(row.is_failed)
    if row.is_pinned:
        return None
    if is_over(row.created_at, retention.logs_before):
        return Reason.LOG
    if is_over(row.created_at, term.images_before):
        return Reason.FAILURE if row.is_failed else Reason.SUCCESS
    if row.contents and is_over(row.created_at, term.bytes_before):
        return Reason.BYTES
    return None


def _staying(retention: Retention) -> Condition:
    """Return which images keep their bytes; the opposite of `_why`."""

    def staying(path: str) -> Q:
        kept = Q(**{f"{path}log__is_pinned": True})
        for is_failed, outcome in ((False, succeeded), (True, failed)):
            end = retention.bytes_before(is_failed)
            young = Q() if end is None else Q(**{f"{path}created_at__gte": end})
            kept |= outcome(f"{path}log__") & young
        return kept

    return staying


def _sizes(way: _Way) -> Iterator[int]:
    after = 0
    while chunk := weights(after, _AT_ONCE):
        way.beat()
        yield sum(size for _, size in chunk)
        after = chunk[-1][0]


def _walk_images(
    rows: models.QuerySet[RequestImage], way: _Way
) -> Iterator[list[_Seen]]:
    fields = ("log_id", "log__is_pinned", _IS_FAILED, "content_id")
    for chunk in _walk(rows, way, *fields):
        for part in _parts(chunk):
            further = further_of(pk for _, pk, *_ in part)
            yield [_Seen._make([*row, tuple(further.get(row[1], ()))]) for row in part]


def _parts(chunk: list[Any]) -> Iterator[list[Any]]:
    """Divide rows where their images are too many for one question; one row fits."""
    counts = further_counts(pk for _, pk, *_ in chunk)
    part: list[Any] = []
    number = 0
    for row in chunk:
        its_number = 1 + counts.get(row[1], 0)
        if part and number + its_number > _IMAGES_AT_ONCE:
            yield part
            part, number = [], 0
        part.append(row)
        number += its_number
    yield part


def _walk(
    rows: models.QuerySet[Any], way: _Way, *fields: str | Case
) -> Iterator[list[Any]]:
    """Yield some rows in the order of their time: when, primary key, and fields."""
    after = Q()
    while True:
        way.beat()
        ordered = rows.filter(after).order_by("created_at", "pk")
        chunk = list(ordered.values_list("created_at", "pk", *fields)[:_AT_ONCE])
        if chunk:
            yield chunk
        if len(chunk) < _AT_ONCE:
            return
        created_at, pk, *_ = chunk[-1]
        # The first condition is what an index can begin at.
        later = Q(created_at__gt=created_at) | Q(pk__gt=pk)
        after = Q(created_at__gte=created_at) & later
