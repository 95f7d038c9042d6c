"""The filters of a list as criteria, for links to the other pages of its requests."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlencode

from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.facets import UNTOLD
from request_images.query.criteria import Criteria
from request_images.query.fields import CRITERIA, OF_GALLERY, PERIOD

_AS_CRITERIA = {
    "endpoint": "endpoint",
    "error_type": "error_type",
    "mime_type": "mime_type",
    "status_code": "status",
    "status_code__isnull": "status",
    "capture_status__exact": "capture_status",
}
"""Filters of Django's lists, and the criteria with the same meaning."""
_DATES = ("created_at__year", "created_at__month", "created_at__day")
_NO_FILTERS = {
    *OF_GALLERY,
    *("o", "p", "all", "e", "_popup", "_to_field", "_facets", "_source_model"),
}
"""Parameters of the lists and of the gallery that filter no rows."""
_WORDS = {
    "q": _("search"),
    "created_at": _("time"),
    "method": _("method"),
    "is_pinned": _("pinned"),
}


@dataclass(frozen=True)
class ListCriteria:
    """The filters of a list, as far as other pages know them.

    Attributes:
        criteria: Criteria with the same meaning.
        left_out: Labels of the filters without such criteria.
    """

    criteria: Criteria
    left_out: Sequence[str]

    def link(self, label: str, url: str) -> tuple[str, str]:
        """Return a link to a page with these criteria; its text names what is left out.

        Args:
            label: Name of the page.
            url: URL of the page.
        """
        if self.left_out:
            texts = {"page": label, "filters": ", ".join(self.left_out)}
            label = gettext("%(page)s (without: %(filters)s)") % texts
        return label, url + self.criteria.query()


def list_criteria(parameters: QueryDict, own: Iterable[str]) -> ListCriteria:
    """Translate the filters of a list into criteria.

    Args:
        parameters: Query string of the list.
        own: Names that are both a filter of the list and a criterion; the filter wins.
    """
    given = parameters.copy()
    # The list applies the last of several outcomes.
    given.setlist("outcome", given.getlist("outcome")[-1:])
    shared = {name for name in given if name in CRITERIA} - set(own)
    # The list ignores wrong values as well.
    texts = dict(Criteria.of_form(_some(given, shared)).texts)
    left_out = []
    for name in given:
        if name in shared or name in _DATES or name in _NO_FILTERS:
            continue
        criterion, text = _as_criterion(name, set(given.getlist(name)))
        if text and texts.setdefault(criterion, text) == text:
            continue
        if name != "q" or "".join(given.getlist(name)).strip():
            left_out.append(name)
    dates = [name for name in _DATES if name in given]
    days = _days_of(given, dates)
    if days and texts.keys().isdisjoint(PERIOD):
        texts.update(days)
    else:
        left_out += dates
    criteria = Criteria.of(QueryDict(urlencode(texts)))
    left_out += [problem.name for problem in criteria.problems]
    return ListCriteria(criteria, list(dict.fromkeys(map(_label, left_out))))


def _some(given: QueryDict, names: Iterable[str]) -> QueryDict:
    some = QueryDict(mutable=True)
    for name in names:
        some.setlist(name, given.getlist(name))
    return some


def _as_criterion(name: str, texts: set[str]) -> tuple[str, str]:
    """Return the criterion and value of a list filter; empty if there is none."""
    name = name.removeprefix("log__")
    criterion = _AS_CRITERIA.get(name, "")
    if not criterion or len(texts) > 1:
        return "", ""
    [text] = texts
    if name.endswith("__isnull"):
        return criterion, UNTOLD if text == "True" else ""
    if criterion == "error_type" and not text:
        return criterion, UNTOLD
    return criterion, text if text.strip() else ""


def _days_of(given: QueryDict, names: Sequence[str]) -> dict[str, str]:
    """Return the first and last day of the chosen year, month or day."""
    if not names or names != list(_DATES[: len(names)]):
        return {}
    with suppress(ValueError):
        # Raises for several values as well.
        known = [int(part) for [part] in map(given.getlist, names)]
        first = date(*(*known, 1, 1)[:3])
        last = first if len(known) > 1 else first.replace(month=12)
        if len(known) < 3:
            last = last.replace(day=monthrange(last.year, last.month)[1])
        return {"since": first.isoformat(), "until": last.isoformat()}
    return {}


def _label(name: str) -> str:
    column = name.removeprefix("log__").partition("__")[0]
    criterion = CRITERIA.get("status" if column == "status_code" else column)
    return str(criterion.label if criterion else _WORDS.get(column, column))
