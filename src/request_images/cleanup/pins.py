"""Keeping single requests from cleanup, or letting it have them again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from django.db import router
from django.db.models import QuerySet

from request_images.models import RequestLog

_AT_ONCE = 500


def pin(log_pks: Iterable[int]) -> list[RequestLog]:
    """Pin requests: cleanup deletes neither their logs nor their images.

    Args:
        log_pks: The primary keys of their logs.

    Returns:
        Those that were not pinned before.
    """
    return _set(log_pks, is_pinned=True)


def unpin(log_pks: Iterable[int]) -> list[RequestLog]:
    """Take pins away; what is past its retention goes with the next cleanup.

    Args:
        log_pks: The primary keys of the requests' logs.

    Returns:
        Those that were pinned before.
    """
    return _set(log_pks, is_pinned=False)


def _set(log_pks: Iterable[int], *, is_pinned: bool) -> list[RequestLog]:
    changed: list[RequestLog] = []
    rest = iter(log_pks)
    while pks := list(islice(rest, _AT_ONCE)):
        rows: QuerySet[RequestLog] = RequestLog.objects.using(
            router.db_for_write(RequestLog)
        ).filter(pk__in=pks, is_pinned=not is_pinned)
        found = list(rows.only("request_id", "method", "path").order_by("pk"))
        rows.update(is_pinned=is_pinned)
        changed += found
    return changed
