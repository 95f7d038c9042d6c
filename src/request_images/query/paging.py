"""Pages of rows by key: the last page costs no more than the first.

A page begins at a row, not at a number of rows (``OFFSET``). There are two ways to read
it. If many rows match, the index of the order is walked until the page is full. If few
rows match, other indexes find them, and they are sorted. The matching rows are counted
up to `MANY` to choose the way; SQLite has no statistics of its own to choose by.

Many rows may match, but far from the start of the order, such as fast requests among
the slowest. So with a time limit the walk ends after `WALK_SHARE` of it, and all
matching rows are sorted; this ends after the time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any

from django.db.models import F, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from request_images.db.expressions import Sorted, Unindexed
from request_images.exceptions import TooManyRequests
from request_images.statistics.live import limited

from .conditions import Columns
from .criteria import Criteria

MANY = 10_000
"""The number up to which rows are counted."""
WALK_SHARE = 0.25
"""The share of the time limit after which a walk through an index is given up."""


@dataclass(frozen=True)
class Sort:
    """An order of rows; rows without a value are left out.

    Attributes:
        label: The name for people.
        column: Returns the look-up of the column to sort by.
        descending: Whether the largest comes first.
    """

    label: str | Promise
    column: Callable[[Columns], str]
    descending: bool = True


def _duration(columns: Columns) -> str:
    return columns.log("duration_ms")


def _file_size(columns: Columns) -> str:
    return columns.image("file_size")


SORTS = {
    "newest": Sort(_("newest first"), Columns.time),
    "oldest": Sort(_("oldest first"), Columns.time, descending=False),
    "slowest": Sort(_("slowest first"), _duration),
    "fastest": Sort(_("fastest first"), _duration, descending=False),
    "largest": Sort(_("largest first"), _file_size),
    "smallest": Sort(_("smallest first"), _file_size, descending=False),
}


class Walk:
    """The rows that match some criteria, in order.

    Args:
        rows: Request logs or request images, with the columns to select.
        criteria: The criteria.
        sort: The order; the primary key decides between equal rows.
        seconds: The time limit of each query; None for no limit. A query that exceeds
            it raises `TooManyRequests`.
    """

    def __init__(
        self,
        rows: QuerySet[Any],
        criteria: Criteria,
        sort: Sort,
        seconds: float | None = None,
    ) -> None:
        self._rows = rows.order_by()
        self._criteria = criteria
        self._descending = sort.descending
        self._path = sort.column(Columns(rows.model))
        self._has_value = Q(**{f"{self._path}__isnull": False})
        self._seconds = seconds

    @cached_property
    def count(self) -> int:
        """The number of matching rows, at most `MANY` + 1."""
        rows = self._criteria.apply(self._bare())
        with self._limited():
            return rows.values("pk")[: MANY + 1].count()

    @property
    def is_long(self) -> bool:
        """Whether more than `MANY` match."""
        return self.count > MANY

    def since(self) -> datetime | None:
        """Return the time of the oldest of the newest `MANY` rows; None if all are."""
        if not self.is_long:
            return None
        rows = self._criteria.apply(self._bare(), walked="created_at")
        times = rows.order_by("-created_at", "-pk").values_list("created_at", flat=True)
        with self._limited():
            found: datetime = times[MANY - 1]
        return found

    def _bare(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._rows.model._default_manager.order_by()
        return rows

    def page(self, size: int, *, at: Any = None) -> list[Any]:
        """Return rows from one row on, that row included.

        Args:
            size: The largest number of rows.
            at: The row, which need not match; None for the first.
        """
        return self._read(size, at, backwards=False)

    def after(self, row: Any, size: int = 1) -> list[Any]:
        """Return the rows after one, in order."""
        return self._read(size, row, backwards=False, beyond=True)

    def before(self, row: Any, size: int = 1) -> list[Any]:
        """Return the rows before one, in order."""
        return self._read(size, row, backwards=True, beyond=True)[::-1]

    def newest(self, *names: str) -> list[tuple[Any, ...]]:
        """Return some columns of the first `MANY` rows, in order."""
        rows = self._from(None, backwards=False, walks=self.is_long)
        with self._limited():
            return list(rows.values_list(*names)[:MANY])

    def _read(
        self, size: int, row: Any, *, backwards: bool, beyond: bool = False
    ) -> list[Any]:
        def rows(*, walks: bool) -> QuerySet[Any]:
            return self._from(row, backwards=backwards, beyond=beyond, walks=walks)

        if self.is_long and self._seconds is None:
            return list(rows(walks=True)[:size])
        if self.is_long:
            with suppress(TooManyRequests), self._limited(WALK_SHARE):
                return list(rows(walks=True)[:size])
        with self._limited():
            return list(rows(walks=False)[:size])

    @contextmanager
    def _limited(self, share: float = 1.0) -> Iterator[None]:
        if self._seconds is None:
            yield
            return
        with limited(self._rows.db, share * self._seconds):
            yield

    def _from(
        self, row: Any, *, backwards: bool, walks: bool, beyond: bool = False
    ) -> QuerySet[Any]:
        descending = self._descending != backwards
        if walks:
            rows = self._criteria.apply(self._rows, walked=self._path)
            key: Any = F(self._path)
        else:
            rows = self._criteria.apply(self._rows)
            # Who knows how many match would walk again where that was given up.
            key = (Sorted if self.is_long else Unindexed)(F(self._path))
        order = [key.desc(), "-pk"] if descending else [key.asc(), "pk"]
        rows = rows.filter(self._has_value).order_by(*order)
        if row is None:
            return rows
        return rows.filter(self._bound(row, descending=descending, beyond=beyond))

    def _bound(self, row: Any, *, descending: bool, beyond: bool) -> Q:
        value = attrgetter(self._path.replace("__", "."))(row)
        if value is None:
            return Q(pk__in=())
        side = "lt" if descending else "gt"
        ties = Q(**{f"pk__{side}": row.pk})
        if not beyond:
            ties |= Q(pk=row.pk)
        # In this form the first half is a range of the index.
        further = Q(**{f"{self._path}__{side}": value})
        return Q(**{f"{self._path}__{side}e": value}) & (further | ties)
