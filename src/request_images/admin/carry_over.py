"""From a list to other pages: what of it they show as well, and what they cannot."""

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
"""What the lists' own filters are called, and the criteria that mean the same."""
_DATES = ("created_at__year", "created_at__month", "created_at__day")
_NO_FILTERS = {
    *OF_GALLERY,
    *("o", "p", "all", "e", "_popup", "_to_field", "_facets", "_source_model"),
}
"""Parameters of Django's lists, and of the gallery, that choose no rows."""
_WORDS = {
    "q": _("search"),
    "created_at": _("time"),
    "method": _("method"),
    "is_pinned": _("pinned"),
}


@dataclass(frozen=True)
class Carried:
    """What a list shows, for other pages.

    Attributes:
        criteria: What they read.
        left_out: What they cannot be told, in words.
    """

    criteria: Criteria
    left_out: Sequence[str]

    def link(self, label: str, url: str) -> tuple[str, str]:
        """Return a link to a page of the same requests, or of which others it says.

        Args:
            label: What the page is called.
            url: Its URL.
        """
        if self.left_out:
            texts = {"page": label, "filters": ", ".join(self.left_out)}
            label = gettext("%(page)s (without: %(filters)s)") % texts
        return label, url + self.criteria.query()


def carried(parameters: QueryDict, own: Iterable[str]) -> Carried:
    """Return what a list shows, for pages that know nothing but criteria.

    Args:
        parameters: The list's.
        own: What filters of its own take, though a criterion has the same name.
    """
    given = parameters.copy()
    # Of several, its filter takes the last.
    given.setlist("outcome", given.getlist("outcome")[-1:])
    shared = {name for name in given if name in CRITERIA} - set(own)
    # Of these, the list leaves out what is wrong, too.
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
    return Carried(criteria, list(dict.fromkeys(_in_words(name) for name in left_out)))


def _some(given: QueryDict, names: Iterable[str]) -> QueryDict:
    some = QueryDict(mutable=True)
    for name in names:
        some.setlist(name, given.getlist(name))
    return some


def _as_criterion(name: str, texts: set[str]) -> tuple[str, str]:
    """Return the criterion of a list's own filter, and its text; empty for no such."""
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
    """Return the first and the last day of the year, month or day of a list."""
    if not names or names != list(_DATES[: len(names)]):
        return {}
    with suppress(ValueError):
        # Several of one are as wrong as none that is a number.
        known = [int(part) for [part] in map(given.getlist, names)]
        first = date(*(*known, 1, 1)[:3])
        last = first if len(known) > 1 else first.replace(month=12)
        if len(known) < 3:
            last = last.replace(day=monthrange(last.year, last.month)[1])
        return {"since": first.isoformat(), "until": last.isoformat()}
    return {}


def _in_words(name: str) -> str:
    column = name.removeprefix("log__").partition("__")[0]
    criterion = CRITERIA.get("status" if column == "status_code" else column)
    return str(criterion.label if criterion else _WORDS.get(column, column))
