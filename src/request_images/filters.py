"""Which rows the admin's lists show: by outcome, and by what is searched for."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .querysets import failed


class OutcomeFilter(admin.SimpleListFilter):
    """Requests by what became of them."""

    title = _("outcome")
    parameter_name = "outcome"
    path_to_log = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the two outcomes."""
        return [("failed", _("failed")), ("succeeded", _("succeeded"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows whose request had the chosen outcome."""
        if self.value() == "failed":
            return queryset.filter(failed(self.path_to_log))
        if self.value() == "succeeded":
            return queryset.exclude(failed(self.path_to_log))
        return queryset


class ImageOutcomeFilter(OutcomeFilter):
    """Images by what became of their requests."""

    path_to_log = "log__"


def search(rows: QuerySet[Any], term: str, to_log: str, to_image: str) -> QuerySet[Any]:
    """Find rows by the beginning of a request id or of a hash.

    Args:
        rows: Request logs or images.
        term: What was typed; white space around it does not count.
        to_log: The look-up that leads from a row to its log, such as ``"log__"``.
        to_image: The look-up that leads from a row to its image.
    """
    term = term.strip()
    if not term:
        return rows
    # Two queries, which PostgreSQL answers from two indexes; for an OR over two tables
    # it would read both tables whole.
    keys = rows.model._default_manager.order_by().values("pk")
    by_id = keys.filter(**{f"{to_log}request_id__startswith": term})
    by_hash = keys.filter(**{f"{to_image}image_hash__startswith": term.lower()})
    return rows.filter(pk__in=by_id.union(by_hash))
