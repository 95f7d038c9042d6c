"""The gallery's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from request_images.aggregation.facets import Text
from request_images.query.fields import CRITERIA, PERIOD
from request_images.query.paging import SORTS

from .gallery import GROUPINGS, Gallery, Page

_DAYS = ("1", "7", "30", "90", "365")


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes:
        name: The parameter's name.
        label: The name for people.
        value: The current value; empty for none.
        options: The values to choose from, or suggestions, each with its words.
        is_choice: Whether no other value can be chosen.
    """

    name: str
    label: Text
    value: str
    options: Sequence[tuple[str, Any]] = ()
    is_choice: bool = True


def fields_of(gallery: Gallery, page: Page) -> list[Field]:
    """Return the fields of the form with their current values.

    Args:
        gallery: The gallery.
        page: The page, whose endpoints and error types are suggested.
    """
    logs = [image.log for section in page.sections for image in section.images]
    suggestions = {
        "endpoint": {log.endpoint for log in logs},
        "error_type": {log.error_type for log in logs} - {""},
    }
    texts = gallery.criteria.texts
    fields = []
    for name, criterion in CRITERIA.items():
        value = texts.get(name, "")
        suggested = {text: text for text in sorted(suggestions.get(name, ()))}
        options: dict[str, Text] = {}
        if name == "days":
            options = dict(zip(_DAYS, _DAYS, strict=True))
        elif criterion.options is not None:
            options = dict(criterion.options())
        if options and value:
            options.setdefault(value, value)
        known = list((options or suggested).items())
        fields.append(
            Field(name, criterion.label, value, known, is_choice=bool(options))
        )
    sorts = [(name, sort.label) for name, sort in SORTS.items()]
    fields.append(Field("sort", _("order"), gallery.own_sort, sorts[1:]))
    fields.append(Field("group", _("groups"), gallery.group, list(GROUPINGS.items())))
    return fields


def periods_of(gallery: Gallery) -> list[dict[str, str]]:
    """Return periods to narrow the gallery to, in words, each with its query string."""
    rest = gallery.criteria.without(*PERIOD)
    return [
        {
            "text": ngettext("%(days)d day", "%(days)d days", int(days))
            % {"days": int(days)},
            "query": gallery.query(rest.having(days=days)),
        }
        for days in _DAYS
    ]
