"""Do some work for each row, also while rows are added, changed and deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

from django.db import DatabaseError, models

from request_images.db.walk import chunks
from request_images.exceptions import (
    DecodingFailed,
    ObjectDamaged,
    ObjectMissing,
    StorageError,
)

FAILURES = 5
"""Failures in a row, other than a content's own, after which a run gives up."""

M = TypeVar("M", bound=models.Model)
R = TypeVar("R")


def one_by_one(rows: models.QuerySet[M], batch_size: int | None = None) -> Iterator[M]:
    """Yield rows by their primary keys, each loaded when it is its turn."""
    for (pk,) in chain.from_iterable(chunks(rows, size=batch_size)):
        # Not all at once: they hold their bytes.
        found = rows.filter(pk=pk).first()
        if found is not None:
            yield found


def work_through(
    rows: models.QuerySet[M],
    work: Callable[[M], R],
    on_error: Callable[[M, Exception], None],
    *,
    batch_size: int,
) -> Iterator[tuple[M, R | None]]:
    """Do some work for each row, and yield the row with the result.

    The result of a row whose work failed is None, and `on_error` is called with it.

    Raises:
        StorageError: A storage failed several times in a row.
        django.db.Error: The database failed several times in a row.
    """
    in_a_row = 0
    for row in one_by_one(rows, batch_size):
        try:
            done = work(row)
        except (StorageError, DatabaseError) as error:
            on_error(row, error)
            in_a_row += not _concerns_one_row(error)
            if in_a_row >= FAILURES:
                raise
            yield row, None
        else:
            in_a_row = 0
            yield row, done


def _concerns_one_row(error: StorageError | DatabaseError) -> bool:
    lost_or_damaged = (ObjectMissing, ObjectDamaged, DecodingFailed)
    return isinstance(error, lost_or_damaged) and not error.is_passing
