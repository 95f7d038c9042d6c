"""The form that narrows the gallery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from request_images.aggregation.bins import (
    ASPECTS,
    BITS_PER_PIXEL,
    FILE_SIZES,
    MEGAPIXELS,
    aspect_in_words,
    bits_per_pixel_in_words,
    file_size_in_words,
    megapixels_in_words,
)
from request_images.aggregation.facets import NO, YES
from request_images.images.formats import COLOR_MODES, MIME_TYPES
from request_images.outcome import CaptureStatus
from request_images.query.fields import CRITERIA, DECLARED, OUTCOMES, PERIOD, said
from request_images.query.paging import SORTS

from .gallery import GROUPINGS, Gallery, Page

_DAYS = ("1", "7", "30", "90", "365")
_FLAGS = ("animated", "orientation", "seen_before")


@dataclass(frozen=True)
class Field:
    """One field of the form.

    Attributes:
        name: The parameter's name.
        label: What it is about.
        value: What it says now.
        options: Values and their words; a choice of them, or suggestions.
        is_choice: Whether only those can be chosen.
    """

    name: str
    label: str | Promise
    value: str
    options: Sequence[tuple[str, Any]] = ()
    is_choice: bool = True


def fields_of(gallery: Gallery, page: Page) -> list[Field]:
    """Return the fields of the form, as the gallery is narrowed now.

    Args:
        gallery: What is asked for.
        page: What is shown: its endpoints and error types are suggested.
    """
    logs = [image.log for section in page.sections for image in section.images]
    choices: dict[str, Iterable[tuple[str, Any]]] = {
        "days": [(days, days) for days in _DAYS],
        "outcome": OUTCOMES.items(),
        "capture_status": CaptureStatus.choices,
        "mime_type": [(name, name) for name in MIME_TYPES],
        "megapixels": [(c.name, megapixels_in_words(c)) for c in MEGAPIXELS],
        "file_size": [(c.name, file_size_in_words(c)) for c in FILE_SIZES],
        "aspect": [(c.name, aspect_in_words(c)) for c in ASPECTS],
        "bits_per_pixel": [
            (c.name, bits_per_pixel_in_words(c)) for c in BITS_PER_PIXEL
        ],
        "color_mode": [(name, name) for name in COLOR_MODES],
        "declared": DECLARED.items(),
        **{name: ((YES, said(True)), (NO, said(False))) for name in _FLAGS},
    }
    suggestions = {
        "endpoint": {log.endpoint for log in logs},
        "error_type": {log.error_type for log in logs} - {""},
    }
    texts = gallery.criteria.texts
    fields = []
    for name, criterion in CRITERIA.items():
        field = Field(name, criterion.label, texts.get(name, ""))
        if name in choices:
            options = list(choices[name])
            if field.value not in ("", *(value for value, _label in options)):
                options.append((field.value, field.value))
            field = Field(name, field.label, field.value, options)
        else:
            known = [(text, text) for text in sorted(suggestions.get(name, ()))]
            field = Field(name, field.label, field.value, known, is_choice=False)
        fields.append(field)
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
