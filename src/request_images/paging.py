"""Pages of very many rows: each costs the same, be it the first or the last.

No page is counted off from the first one (``OFFSET``): it begins at a row, and is read
from the index that has the rows in order. Two plans are good, each for another case.
When many rows match, walking through that index meets enough of them soon. When few
match, they are found by what they have to match, and sorted. How many match is counted
up to `MANY` to choose. PostgreSQL and MariaDB know it by their own statistics; SQLite
has to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any

from django.db.models import F, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from .conditions import Columns, Unindexed
from .criteria import Criteria

MANY = 10_000
"""How far rows are counted."""


@dataclass(frozen=True)
class Sort:
    """An order of rows; those that have no value are not among them.

    Attributes:
        label: What it is called.
        column: Returns the look-up of the column that is sorted by.
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
    """The rows that match, in their order.

    Args:
        rows: Request logs or request images, with what else is to be selected.
        criteria: Which of them match.
        sort: Their order; equals by their primary key.
    """

    def __init__(self, rows: QuerySet[Any], criteria: Criteria, sort: Sort) -> None:
        self._rows = rows.order_by()
        self._criteria = criteria
        self._descending = sort.descending
        self._path = sort.column(Columns(rows.model))
        self._has_value = Q(**{f"{self._path}__isnull": False})

    @cached_property
    def count(self) -> int:
        """How many match, counted up to one more than `MANY`."""
        rows = self._criteria.apply(self._bare())
        return rows.values("pk")[: MANY + 1].count()

    def since(self) -> datetime | None:
        """Return when the newest `MANY` of them begin; None when there are no more."""
        if self.count <= MANY:
            return None
        rows = self._criteria.apply(self._bare(), walked="created_at")
        times = rows.order_by("-created_at", "-pk").values_list("created_at", flat=True)
        found: datetime = times[MANY - 1]
        return found

    def _bare(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._rows.model._default_manager.order_by()
        return rows

    def page(self, size: int, *, at: Any = None) -> list[Any]:
        """Return rows from one on, itself included, or from the first.

        Args:
            size: How many at the most.
            at: A row; it need not match.
        """
        return list(self._from(at, backwards=False)[:size])

    def after(self, row: Any, size: int = 1) -> list[Any]:
        """Return the rows behind one, in their order."""
        return list(self._from(row, backwards=False, beyond=True)[:size])

    def before(self, row: Any, size: int = 1) -> list[Any]:
        """Return the rows before one, in their order."""
        return list(self._from(row, backwards=True, beyond=True)[:size])[::-1]

    def _from(
        self, row: Any, *, backwards: bool, beyond: bool = False
    ) -> QuerySet[Any]:
        descending = self._descending != backwards
        if self.count > MANY:
            rows = self._criteria.apply(self._rows, walked=self._path)
            key: Any = F(self._path)
        else:
            rows = self._criteria.apply(self._rows)
            key = Unindexed(F(self._path))
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
