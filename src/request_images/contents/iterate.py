"""Contents one after the other, whatever happens to them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from django.db import DatabaseError, models

from request_images.exceptions import (
    DecodingFailed,
    ObjectDamaged,
    ObjectMissing,
    StorageError,
)

FAILURES = 5
"""After so many failures in a row that are not one content's own, a walk gives up."""

M = TypeVar("M", bound=models.Model)
R = TypeVar("R")


def one_by_one(rows: models.QuerySet[M], batch_size: int) -> Iterator[M]:
    """Yield rows by their primary keys, each loaded when it is its turn.

    Args:
        rows: The rows; what is added or taken away meanwhile does not matter.
        batch_size: How many primary keys to fetch with one query.
    """
    last: Any = 0
    while True:
        after = rows.filter(pk__gt=last).order_by("pk")
        pks = list(after.values_list("pk", flat=True)[:batch_size])
        for pk in pks:
            # Not all at once: they hold their bytes.
            found = rows.filter(pk=pk).first()
            if found is not None:
                yield found
        if not pks:
            return
        last = pks[-1]


def work_through(
    rows: models.QuerySet[M],
    work: Callable[[M], R],
    complain: Callable[[M, Exception], None],
    *,
    batch_size: int,
) -> Iterator[tuple[M, R | None]]:
    """Do some work for each row, and yield the row with what came of it.

    Args:
        rows: The rows.
        work: What is to be done.
        complain: Called with each row of which it failed, and why; what came of that
            is None.
        batch_size: How many primary keys to fetch with one query.

    Raises:
        StorageError: A storage failed several times in a row.
        django.db.Error: The database did.
    """
    in_a_row = 0
    for row in one_by_one(rows, batch_size):
        try:
            done = work(row)
        except (StorageError, DatabaseError) as error:
            complain(row, error)
            in_a_row += not _is_its_own(error)
            if in_a_row >= FAILURES:
                raise
            yield row, None
        else:
            in_a_row = 0
            yield row, done


def _is_its_own(error: StorageError | DatabaseError) -> bool:
    """Tell whether a failure says nothing of the rows that come next."""
    its_own = (ObjectMissing, ObjectDamaged, DecodingFailed)
    return isinstance(error, its_own) and not error.is_passing
