"""Walk over a table in chunks: each query begins after the last key of the one before.

Neither time nor memory grows with the number of rows, and rows that are added or
deleted meanwhile do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import Case, Q, QuerySet

CHUNK = 500
"""Rows read at once: few enough for a lock that nobody notices."""


def chunks(
    rows: QuerySet[Any],
    *fields: str | Case,
    order: tuple[str, ...] = ("pk",),
    size: int = CHUNK,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[list[Any]]:
    """Yield the values of rows, in lists of up to `size`.

    Args:
        rows: The rows.
        *fields: The fields to fetch after those of `order`.
        order: One or two fields by which rows are sorted and which tell each from all
            others; a first one with a minus sorts downwards.
        size: Rows of one query.
        beat: Called before each query; what it raises ends the walk.

    Yields:
        Lists of tuples: the values of `order`, then those of `fields`.
    """
    keys = [name.removeprefix("-") for name in order]
    after = Q()
    while True:
        beat()
        found = rows.filter(after).order_by(*order).values_list(*keys, *fields)
        chunk = list(found[:size])
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
        after = _after(order, chunk[-1])


def _after(order: tuple[str, ...], last: tuple[Any, ...]) -> Q:
    first = order[0]
    if len(order) == 1:
        beyond = "lt" if first.startswith("-") else "gt"
        return Q(**{f"{first.removeprefix('-')}__{beyond}": last[0]})
    second = order[1]
    # The first condition is what an index can begin at.
    later = Q(**{f"{first}__gt": last[0]}) | Q(**{f"{second}__gt": last[1]})
    return Q(**{f"{first}__gte": last[0]}) & later
