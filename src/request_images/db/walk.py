"""Walk over a table in chunks: each query begins after the last key of the one before.

Neither time nor memory grows with the number of rows. Rows that are added meanwhile are
walked over, too, if they sort last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import Case, Q, QuerySet
from django.db.models.expressions import Combinable

CHUNK = 500
"""Rows read at once: few enough for a lock that nobody notices."""


def chunks(
    rows: QuerySet[Any] | Callable[[], QuerySet[Any]],
    *fields: str | Combinable | Case,
    order: tuple[str, ...] = ("pk",),
    size: int | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Iterator[list[Any]]:
    """Yield the values of rows, in lists of up to `size`.

    Args:
        rows: The rows, or a function that returns them, called before each query.
        *fields: The fields to fetch after those of `order`.
        order: One or two fields by which rows are sorted and which tell each from all
            others; a first one with a minus sorts downwards.
        size: Rows of one query; None for `CHUNK`.
        beat: Called before each query; what it raises ends the walk.

    Yields:
        Lists of tuples: the values of `order`, then those of `fields`.
    """
    size = size or CHUNK
    keys = [name.removeprefix("-") for name in order]
    after = Q()
    while True:
        beat()
        found = (rows() if callable(rows) else rows).filter(after).order_by(*order)
        chunk = list(found.values_list(*keys, *fields)[:size])
        if not chunk:
            return
        yield chunk
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
