"""Which rows the admin's lists show: by outcome, and by what is searched for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.facets import UNTOLD
from request_images.models.querysets import failed, succeeded
from request_images.query.conditions import Columns
from request_images.query.criteria import Criteria
from request_images.query.fields import CRITERIA, OF_GALLERY, OUTCOMES
from request_images.query.paging import SORTS

from .base import ReadOnlyAdmin


class OutcomeFilter(admin.SimpleListFilter):
    """Requests by what became of them."""

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
    """Rows by the values of a text, of which the empty one has a name, too."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the values, each with its link."""
        for choice in super().choices(changelist):
            text = str(choice["display"])
            # How many there are may stand behind it.
            is_blank = not text or text.startswith(" (")
            choice["display"] = gettext("none") + text if is_blank else text
            yield choice


class ErrorTypeFilter(ValuesFilter):
    """Requests by their error type, or without one as every other page says it."""

    def __init__(  # noqa: PLR0913, PLR0917  # Django's own signature
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: Any,
        model_admin: Any,
        field_path: str,
    ) -> None:
        if params.get(field_path) == [UNTOLD]:
            params[field_path] = [""]
        super().__init__(field, request, params, model, model_admin, field_path)


class ImageOutcomeFilter(OutcomeFilter):
    """Images by what became of their requests."""

    path_to_log = "log__"


class CriteriaFilter(admin.ListFilter):
    """The parameters of the gallery and of the statistics, in a list.

    It offers nothing by itself, but to take away what is there. It comes last in
    `list_filter`: a parameter that another filter of the list takes is that one's.
    """

    title = _("other criteria")
    # Themes of the admin look for it; what it takes is told below.
    parameter_name = "criteria"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = QueryDict(mutable=True)
        for name in [name for name in params if name in CRITERIA]:
            given.setlist(name, params.pop(name))
        for name in OF_GALLERY:  # it is linked to as the gallery is
            params.pop(name, None)
        self._criteria = Criteria.of_form(given)
        for problem in self._criteria.problems:
            messages.warning(request, f"{problem.name}: {problem}")

    def has_output(self) -> bool:
        """Show what is applied, if there is anything."""
        return bool(self._criteria.values)

    def expected_parameters(self) -> list[str | None]:
        """Return the parameters that it takes."""
        return [*CRITERIA, *OF_GALLERY]

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Yield what is applied, each with a link that takes it away."""
        for name, chip in zip(
            self._criteria.values, self._criteria.chips(), strict=True
        ):
            yield {
                "selected": True,
                "query_string": changelist.get_query_string(remove=[name]),
                "display": f"{capfirst(chip.label)}: {chip.text} ×",  # noqa: RUF001  # it is meant
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match."""
        return self._criteria.apply(queryset)


def search(rows: QuerySet[Any], term: str, to_log: str, to_image: str) -> QuerySet[Any]:
    """Find rows by the beginning of a request id or of a hash, of further images too.

    Args:
        rows: Request logs or images.
        term: What was typed; white space around it does not count.
        to_log: The look-up that leads from a row to its log, such as ``"log__"``.
        to_image: The look-up that leads from a row to its image.
    """
    term = term.strip()
    if not term:
        return rows
    # Queries of their own, which PostgreSQL answers from one index each; for an OR over
    # several tables it would read all of them whole.
    keys = rows.model._default_manager.order_by().values("pk")
    by_id = keys.filter(**{f"{to_log}request_id__startswith": term})
    by_hash = keys.filter(**{f"{to_image}image_hash__startswith": term.lower()})
    further = f"{to_image}further__image_hash__startswith"
    by_further = keys.filter(**{further: term.lower()})
    return rows.filter(pk__in=by_id.union(by_hash, by_further))


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
