"""Requests that somebody demands to be erased: gone with all that is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import accumulate

from django.db.models import QuerySet

from request_images.cleanup.batches import Pace, loads
from request_images.cleanup.delete_rows import Going, remove, work_of
from request_images.cleanup.references import database, further_counts, further_of
from request_images.cleanup.report import Cleaned, Reason, Report
from request_images.db.retry import retry

from .models import RequestLog

__all__ = ("Cleaned", "Reason", "Report", "erase")

_AT_ONCE = 500
"""How many logs are read at once, and go in one transaction, at the most."""
_IMAGES_AT_ONCE = 2_000
"""How many images these may have together: each has up to a thousand."""


def erase(requests: QuerySet[RequestLog]) -> Report:
    """Delete request logs with their images, also those that are pinned.

    In batches, each in a transaction of its own, and tried again when another one came
    in between; so call it outside of a transaction. A run that fails has erased whole
    batches, and the next one finishes the work. Bytes go with the last request that has
    them; objects in storages are put on the list of what the cleanup deletes. What goes
    is taken out of the statistics.

    Logs that come while it runs may stay.

    Args:
        requests: What to erase. A slice is refused.

    Returns:
        What went. Its `total` has the numbers of logs, images and bytes. In `held` are
        the requests that a model of yours protects (`PROTECT`, `RESTRICT`), by its
        label: their images lost their bytes, but their rows are there still.

    Raises:
        django.db.Error: The database failed, or was disturbed to the end.
    """
    report, pace = Report(), Pace(_AT_ONCE)
    for chunk in _walk(requests):
        going, costs = chunk, loads(*work_of(chunk))
        while going:
            number = pace.fitting(costs)
            with pace.batch(sum(costs[:number])):
                work = partial(remove, going[:number])
                report += retry(work, retry_locks=True)
            going, costs = going[number:], costs[number:]
    return report


def _walk(requests: QuerySet[RequestLog]) -> Iterator[list[Going]]:
    rows = requests.using(database()).order_by("pk")
    # Or it might never end while they come faster than they go.
    last = rows.order_by("-pk").values_list("pk", flat=True).first()
    after = 0
    while last is not None:
        found = rows.filter(pk__gt=after, pk__lte=last)
        fields = ("pk", "image__pk", "image__content")
        # Conditions on what hangs on a log find it more than once.
        chunk = list(dict.fromkeys(found.values_list(*fields)[:_AT_ONCE]))
        if not chunk:
            return
        going = _going(chunk)
        after = going[-1].log
        yield going


def _going(rows: list[tuple[int, int | None, int | None]]) -> list[Going]:
    """Return the first of some logs with all their images, few enough; one at least."""
    pks = [image for _, image, _ in rows if image is not None]
    counts = further_counts(pks)
    totals = accumulate(1 + counts.get(image or 0, 0) for _, image, _ in rows)
    rows = rows[: max(1, sum(total <= _IMAGES_AT_ONCE for total in totals))]
    further = further_of(image for _, image, _ in rows if image is not None)
    going = []
    for log, image, content in rows:
        hanging = further.get(image or 0, [])
        contents = tuple(pk for pk in (content, *hanging) if pk is not None)
        going.append(Going(Reason.ERASURE, log, image, len(hanging), contents))
    return going
