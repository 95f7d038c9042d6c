"""Filters, search and order of the admin's lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, F, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.facets import UNTOLD
from request_images.db.expressions import same_text
from request_images.models.querysets import failed, succeeded
from request_images.query.conditions import Columns
from request_images.query.criteria import Criteria
from request_images.query.fields import CRITERIA, OF_GALLERY, OUTCOMES
from request_images.query.paging import SORTS

from .base import ReadOnlyAdmin

MOST_CHOICES = 50
"""The maximum number of values that a filter of a list offers."""


class OutcomeFilter(admin.SimpleListFilter):
    """Filters requests by outcome."""

    title = _("outcome")
    parameter_name = "outcome"
    path_to_log = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the two outcomes."""
        return list(OUTCOMES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows whose request had the chosen outcome."""
        if self.value() == "failed":
            return queryset.filter(failed(self.path_to_log))
        if self.value() == "succeeded":
            return queryset.filter(succeeded(self.path_to_log))
        if self.value():
            known = ", ".join(value for value, _label in self.lookup_choices)
            text = gettext("not one of %(known)s") % {"known": known}
            messages.warning(request, f"outcome: {text}")
        return queryset


class ValuesFilter(admin.AllValuesFieldListFilter):
    """Filters rows by the values of a text field, with a name for the empty value.

    It offers the most frequent values: clients may choose what an error is called, and
    a page with each of 100,000 values would have megabytes.
    """

    word_for_empty: str | None = None
    """The value of the parameter that selects the empty value, if it is not ``""``."""

    def __init__(  # noqa: PLR0913, PLR0917  # Django's own signature
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: Any,
        model_admin: Any,
        field_path: str,
    ) -> None:
        if params.get(field_path) == [self.word_for_empty]:
            params[field_path] = [""]
        super().__init__(field, request, params, model, model_admin, field_path)
        is_own = model is field.model  # as Django chooses the rows
        of = (
            model_admin.get_queryset(request)
            if is_own
            else field.model._default_manager
        )
        counted = of.order_by().values_list(field.name).annotate(count=Count("pk"))
        ranked = counted.order_by("-count", field.name)
        values = [value for value, _count in ranked[: MOST_CHOICES + 1]]
        self._has_more = len(values) > MOST_CHOICES
        chosen = [value for value in self.lookup_val or () if value not in values]
        shown = sorted({*values[:MOST_CHOICES], *chosen})
        # mypy: Django only iterates over it.
        self.lookup_choices = shown  # type: ignore[assignment]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the values, each with its link, and a note if there are more."""
        for choice in super().choices(changelist):
            text = str(choice["display"])
            # Django may append the number of rows.
            is_blank = not text or text.startswith(" (")
            choice["display"] = gettext("none") + text if is_blank else text
            yield choice
        if self._has_more:
            text = gettext("and others: search for one")
            query = changelist.get_query_string(remove=self.expected_parameters())
            yield {"selected": False, "query_string": query, "display": text}


class ErrorTypeFilter(ValuesFilter):
    """Filters requests by error type; ``-`` means none, as on all other pages."""

    word_for_empty = UNTOLD


class ImageOutcomeFilter(OutcomeFilter):
    """Filters images by the outcome of their requests."""

    path_to_log = "log__"


class CriteriaFilter(admin.ListFilter):
    """Applies the query parameters of the gallery and of the statistics to a list.

    It offers no choices, only links that remove a parameter. It must be the last in
    `list_filter`: another filter of the list wins if both take a parameter.
    """

    title = _("other criteria")
    # Themes of the admin read it; `expected_parameters` returns the real ones.
    parameter_name = "criteria"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = QueryDict(mutable=True)
        for name in [name for name in params if name in CRITERIA]:
            given.setlist(name, params.pop(name))
        for name in OF_GALLERY:  # links to the gallery and to a list are alike
            params.pop(name, None)
        self._criteria = Criteria.of_form(given)
        for problem in self._criteria.problems:
            messages.warning(request, f"{problem.name}: {problem}")

    def has_output(self) -> bool:
        """Return whether any criterion is applied."""
        return bool(self._criteria.values)

    def expected_parameters(self) -> list[str | None]:
        """Return the names of the parameters."""
        return [*CRITERIA, *OF_GALLERY]

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Yield the applied criteria, each with a link that removes it."""
        for name, chip in zip(
            self._criteria.values, self._criteria.chips(), strict=True
        ):
            yield {
                "selected": True,
                "query_string": changelist.get_query_string(remove=[name]),
                "display": f"{capfirst(chip.label)}: {chip.text} ×",
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match."""
        return self._criteria.apply(queryset)


def search(rows: QuerySet[Any], term: str, to_log: str, to_image: str) -> QuerySet[Any]:
    """Find rows by the beginning of a request id, or of the hash of any image.

    Complete error types and endpoints are found, too: the filters do not offer all.

    Args:
        rows: Request logs or images.
        term: The search term; white space around it is ignored.
        to_log: The look-up that leads from a row to its log, such as ``"log__"``.
        to_image: The look-up that leads from a row to its image.
    """
    term = term.strip()
    if not term:
        return rows
    # Separate queries: PostgreSQL uses an index for each. For an OR over several tables
    # it would read all rows.
    keys = rows.model._default_manager.order_by().values("pk")
    by_id = keys.filter(**{f"{to_log}request_id__startswith": term})
    by_hash = keys.filter(**{f"{to_image}image_hash__startswith": term.lower()})
    further = f"{to_image}further__image_hash__startswith"
    by_further = keys.filter(**{further: term.lower()})
    by_text = (
        keys.filter(same_text(f"{to_log}{name}", term))
        for name in ("error_type", "endpoint")
    )
    return rows.filter(pk__in=by_id.union(by_hash, by_further, *by_text))


class OrderedLists(ReadOnlyAdmin):
    """A list that accepts the gallery's ``sort``, for users without the gallery."""

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return the order of ``sort``; a click on a column replaces it."""
        sort = SORTS.get(request.GET.get("sort", ""))
        if sort is None:
            return super().get_ordering(request)
        path = sort.column(Columns(self.model))
        # PostgreSQL sorts NULL as the largest value. Only the file size can be NULL;
        # for the other columns NULLS LAST would prevent the use of their index.
        last = path.endswith("file_size") or None
        if sort.descending:
            return [F(path).desc(nulls_last=last), "-pk"]
        return [F(path).asc(nulls_last=last), "pk"]
