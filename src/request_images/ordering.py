"""The lists in the gallery's orders, where a link asks for one."""

from __future__ import annotations

from typing import Any

from django.db.models import F
from django.http import HttpRequest

from .conditions import Columns
from .paging import SORTS
from .readonly import ReadOnlyAdmin


class OrderedLists(ReadOnlyAdmin):
    """Lists that read the gallery's ``sort``, for those who see no gallery."""

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return the order that was asked for; a click on a column replaces it."""
        sort = SORTS.get(request.GET.get("sort", ""))
        if sort is None:
            return super().get_ordering(request)
        path = sort.column(Columns(self.model))
        # PostgreSQL takes what is not known for the largest of all. Nothing else is
        # unknown, and what is known has an index that this would be none for.
        last = path.endswith("file_size") or None
        if sort.descending:
            return [F(path).desc(nulls_last=last), "-pk"]
        return [F(path).asc(nulls_last=last), "pk"]
