"""Erase requests on demand, with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet

from request_images.cleanup.batches import Pace, remove_paced
from request_images.cleanup.delete_rows import Going
from request_images.cleanup.references import database, with_further
from request_images.cleanup.report import Cleaned, Reason, Report
from request_images.db.destination import chosen_database
from request_images.db.walk import chunks

from .models import RequestLog

__all__ = ("Cleaned", "Reason", "Report", "erase")

_BATCH_SIZE = 500


def erase(requests: QuerySet[RequestLog]) -> Report:
    """Delete request logs with their images, pinned or not.

    Call it outside of a transaction: it works in batches, each in a transaction of its
    own that is retried when others interfere. After a failure, call it again for the
    rest. Bytes are deleted with the last request that has them; objects in storages are
    deleted by the next cleanup. Erased requests are subtracted from the statistics.

    Requests that arrive while it runs may stay.

    Args:
        requests: The requests to erase, in the database that was chosen by `using`, if
            any was. A slice is refused.

    Returns:
        A report of what was deleted. `total` has the numbers of logs, images and
        bytes. `held` has the number of requests that a model of yours protects
        (`PROTECT`, `RESTRICT`), by its label: their images lost their bytes, but their
        rows are still there.

    Raises:
        django.db.Error: The database failed, or other transactions kept interfering.
    """
    report, pace = Report(), Pace(_BATCH_SIZE)
    with chosen_database(getattr(requests, "_db", None)):
        for going in _walk(requests):
            report += remove_paced(going, pace)
    return report


def _walk(requests: QuerySet[RequestLog]) -> Iterator[list[Going]]:
    rows = requests.using(database()).order_by("pk")
    # Without an end it would never finish while requests arrive faster than they go.
    last = rows.order_by("-pk").values_list("pk", flat=True).first()
    if last is None:
        return
    for chunk in chunks(rows.filter(pk__lte=last), "image__pk", "image__content"):
        # A condition on a related table finds a log more than once.
        logs = dict.fromkeys(chunk)
        for part in with_further(logs, image_of=lambda row: row[1]):
            yield [
                Going.of(Reason.ERASURE, log, image, [content, *further])
                for (log, image, content), further in part
            ]
