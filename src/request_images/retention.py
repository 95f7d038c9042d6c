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

from django.db import Error, IntegrityError, models
from django.db.models import BooleanField, Case, Q, Value, When

from .exceptions import RetentionError
from .faults import Fault, fault_of
from .models import RequestImage
from .pacing import Pace
from .querysets import failed, succeeded
from .reckoning import Reason, Report
from .removal import (
    Going,
    Last,
    images,
    last_in_budget,
    last_of,
    logs,
    remove,
    tell,
    weights,
)
from .terms import Retention, is_over

_TRIES = 5
_AT_ONCE = 500
"""How many rows are read at once: few enough for a lock that nobody notices."""
_IS_FAILED = Case(
    When(failed("log__"), then=Value(True)),
    default=Value(False),
    output_field=BooleanField(),
)


class _Seen(NamedTuple):
    created_at: datetime
    pk: int
    log: int
    content: int | None
    is_pinned: bool
    is_failed: bool


@dataclass(frozen=True)
class _Way:
    """How what is due goes: really, or only told.

    Attributes:
        go: Takes what goes, what would tell which images take bytes along, and what
            the logs say.
        beat: Called now and then while rows are walked.
    """

    go: Callable[[list[Going], Callable[[], Mapping[int, Last]], str], Report]
    beat: Callable[[], None]


def clean(
    retention: Retention,
    *,
    batch_size: int,
    max_bytes: int | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Report:
    """Delete everything that is older than it may be, and bytes over the budget.

    Args:
        retention: How long what is kept.
        batch_size: How many rows go in one transaction, at the most.
        max_bytes: How many bytes may be stored altogether; None for any number.
        beat: Called now and then; what it raises ends the run between two batches.

    Raises:
        RetentionError: A batch size or a budget below 1.
    """
    if batch_size < 1:
        raise RetentionError(f"A batch of {batch_size} rows deletes nothing.")
    pace = Pace(batch_size)

    def go(
        going: list[Going], last: Callable[[], Mapping[int, Last]], detail: str
    ) -> Report:
        report = Report()
        while going:
            beat()
            batch, going = going[: pace.size], going[pace.size :]
            with pace.batch(len(batch)):
                report += _undisturbed(batch, detail)
        return report

    return _run(retention, max_bytes, _Way(go, beat))


def preview(retention: Retention, *, max_bytes: int | None = None) -> Report:
    """Return what `clean` would delete now. Nothing is written."""

    def go(
        going: list[Going], last: Callable[[], Mapping[int, Last]], detail: str
    ) -> Report:
        return tell(going, last()) if going else Report()

    return _run(retention, max_bytes, _Way(go, beat=lambda: None))


def _undisturbed(batch: list[Going], detail: str) -> Report:
    # A request may refer to a content at the very moment when it lost its last
    # reference. The database then refuses the batch, and the next try sees it.
    for _ in range(_TRIES):
        try:
            return remove(batch, detail)
        except Error as error:
            conflicts = fault_of(error) is Fault.CONFLICT
            if not (conflicts or isinstance(error, IntegrityError)):
                raise
            disturbed = error
    raise disturbed


def _run(retention: Retention, max_bytes: int | None, way: _Way) -> Report:
    if max_bytes is not None and max_bytes < 1:
        raise RetentionError(
            f"A budget of {max_bytes} bytes would delete every image there is."
        )
    stored = 0 if max_bytes is None else sum(_sizes(way))
    report = _go_images(retention, way) + _go_logs(retention, way)
    if max_bytes is None:
        return report
    detail = f"{max_bytes / 1024 / 1024:g} MB in all"
    for is_failed in (False, True):
        too_much = stored - report.total.freed - max_bytes
        if too_much > 0:
            report += _go_budget(retention, way, is_failed, too_much, detail)
    return report


def _go_images(retention: Retention, way: _Way) -> Report:
    report = Report()
    if retention.begins is None:
        return report
    staying = _staying(retention)
    for seen in _walk_images(images().older_than(retention.begins), way):
        going = [
            Going(reason, row.log, row.pk, row.content)
            for row in seen
            if (reason := _why(row, retention))
        ]
        contents = [row.content for row in going if row.content is not None]
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
        going = [
            Going(Reason.BUDGET, row.log, row.pk, row.content)
            for row in seen
            if row.content is not None
            and row.is_failed is is_failed
            and not row.is_pinned
            and _why(row, retention) is None
        ]
        contents = [row.content for row in going if row.content is not None]
        last = last_in_budget(contents, staying)
        going = _until(too_much - report.total.freed, going, last)
        report += way.go(going, partial(dict, last), detail)
        if report.total.freed >= too_much:
            break
    return report


def _until(too_much: int, going: list[Going], last: Mapping[int, Last]) -> list[Going]:
    """Return the first of some images, up to the one where enough comes free."""
    # What a pinned request has too would free nothing, now or ever.
    rows = [(row, found) for row in going if (found := last.get(row.content or 0))]
    for number, (row, found) in enumerate(rows, start=1):
        if row.image == found.image:
            too_much -= found.size
        if too_much <= 0:
            rows = rows[:number]
            break
    return [row for row, _ in rows]


def _why(row: _Seen, retention: Retention) -> Reason | None:
    term = retention.of(row.is_failed)
    if row.is_pinned:
        return None
    if is_over(row.created_at, retention.logs_before):
        return Reason.LOG
    if is_over(row.created_at, term.images_before):
        return Reason.FAILURE if row.is_failed else Reason.SUCCESS
    if row.content is not None and is_over(row.created_at, term.bytes_before):
        return Reason.BYTES
    return None


def _staying(retention: Retention) -> Q:
    """Return which images keep their bytes; the opposite of `_why`."""
    kept = Q(log__is_pinned=True)
    for is_failed, outcome in ((False, succeeded("log__")), (True, failed("log__"))):
        ends = (retention.logs_before, retention.of(is_failed).bytes_before)
        known = [end for end in ends if end is not None]
        kept |= outcome & Q(created_at__gte=max(known)) if known else outcome
    return kept


def _sizes(way: _Way) -> Iterator[int]:
    after = 0
    while chunk := weights(after, _AT_ONCE):
        way.beat()
        yield sum(size for _, size in chunk)
        after = chunk[-1][0]


def _walk_images(
    rows: models.QuerySet[RequestImage], way: _Way
) -> Iterator[list[_Seen]]:
    fields = ("log_id", "content_id", "log__is_pinned", _IS_FAILED)
    for chunk in _walk(rows, way, *fields):
        yield [_Seen(*row) for row in chunk]


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
