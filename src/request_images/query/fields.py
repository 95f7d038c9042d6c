"""The parameters that pages share: what each is called, may say, and means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

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
from request_images.aggregation.facets import AS_DECLARED, OTHER, UNTOLD
from request_images.images.formats import COLOR_MODES, MIME_TYPES
from request_images.outcome import CaptureStatus

from .conditions import (
    Columns,
    SameImage,
    SameLayout,
    has_aspect,
    has_bits_per_pixel,
    has_duration,
    has_file_size,
    has_hash,
    has_layout,
    has_measure,
    has_megapixels,
    has_outcome,
    has_status,
    is_as_declared,
    of_last_days,
    on_image,
    on_log,
    on_text,
    on_text_or_none,
    on_time,
)
from .parameters import (
    amounts,
    any_text,
    end,
    hash_or_part,
    layout_hash,
    logged_endpoint,
    moment,
    one_of,
    size_class,
    status,
    whole,
    yes_or_no,
)

MAX_DAYS = 3650
OUTCOMES = {"failed": _("failed"), "succeeded": _("succeeded")}
DECLARED = {
    AS_DECLARED: _("what the client said"),
    OTHER: _("another type than the client said"),
}
MEASURES: Mapping[str, str | Promise] = {
    "brightness": _("brightness"),
    "contrast": _("contrast"),
    "entropy": _("entropy (bits)"),
    "sharpness": _("sharpness"),
}
"""What is measured of a picture, and what it is called."""
_LARGEST = 2**31 - 1  # what a column of PostgreSQL holds


@dataclass(frozen=True)
class Criterion:
    """One parameter.

    Attributes:
        name: The parameter's name.
        label: What it is about, for people.
        parse: Turns the text of a parameter into a value, or raises `ValueError` with
            the reason.
        condition: Turns a value into a condition.
        shown: Turns a value into words; None for the text as it was given.
    """

    name: str
    label: str | Promise
    parse: Callable[[str], Any]
    condition: Callable[[Any, Columns], Q]
    shown: Callable[[Any], str] | None = None


def _label_of_status(name: str) -> str:
    return str(CaptureStatus(name).label)


def said(value: bool) -> str:
    """Return whether something is so, in a word."""
    return gettext("yes") if value else gettext("no")


def _or_untold(text: str) -> str:
    return gettext("none") if text == UNTOLD else text


CRITERIA = {
    criterion.name: criterion
    for criterion in (
        Criterion("days", _("days"), whole(1, MAX_DAYS), of_last_days),
        Criterion("since", _("since"), moment, on_time("gte")),
        Criterion("until", _("until"), end, on_time("lt")),
        Criterion("endpoint", _("endpoint"), logged_endpoint, on_text("endpoint")),
        Criterion("status", _("status"), status, has_status, _or_untold),
        Criterion(
            "outcome",
            _("outcome"),
            one_of(OUTCOMES),
            has_outcome,
            lambda name: str(OUTCOMES[name]),
        ),
        *(
            Criterion(name, label, any_text, on_text_or_none(name), _or_untold)
            for name, label in (
                ("error_type", _("error type")),
                ("release", _("release")),
            )
        ),
        Criterion("duration", _("duration (ms)"), amounts, has_duration),
        Criterion(
            "capture_status",
            _("kept"),
            one_of(CaptureStatus.values),
            on_log("capture_status"),
            _label_of_status,
        ),
        Criterion(
            "mime_type", _("MIME type"), one_of(MIME_TYPES), on_image("mime_type")
        ),
        Criterion("width", _("width (px)"), whole(0, _LARGEST), on_image("width")),
        Criterion("height", _("height (px)"), whole(0, _LARGEST), on_image("height")),
        Criterion(
            "megapixels",
            _("megapixels"),
            size_class(MEGAPIXELS),
            has_megapixels,
            megapixels_in_words,
        ),
        Criterion(
            "file_size",
            _("size"),
            size_class(FILE_SIZES),
            has_file_size,
            file_size_in_words,
        ),
        Criterion(
            "aspect", _("aspect"), size_class(ASPECTS), has_aspect, aspect_in_words
        ),
        Criterion(
            "bits_per_pixel",
            _("bits per pixel"),
            size_class(BITS_PER_PIXEL),
            has_bits_per_pixel,
            bits_per_pixel_in_words,
        ),
        Criterion(
            "color_mode",
            _("colour mode"),
            one_of(COLOR_MODES),
            on_image("color_mode"),
        ),
        Criterion("animated", _("animated"), yes_or_no, on_image("is_animated"), said),
        Criterion(
            "orientation",
            _("orientation"),
            yes_or_no,
            on_image("has_orientation"),
            said,
        ),
        Criterion(
            "declared",
            _("declared type"),
            one_of(DECLARED),
            is_as_declared,
            lambda name: str(DECLARED[name]),
        ),
        Criterion(
            "seen_before", _("seen before"), yes_or_no, on_image("is_repeated"), said
        ),
        Criterion(
            "hash",
            _("SHA-256"),
            lambda text: SameImage(hash_or_part(text)),
            has_hash,
        ),
        *(
            Criterion(name, label, amounts, has_measure(name))
            for name, label in MEASURES.items()
        ),
        Criterion(
            "layout",
            _("layout"),
            lambda text: SameLayout(layout_hash(text)),
            has_layout,
            lambda same: same.layout[:12],
        ),
    )
}
PERIOD = ("days", "since", "until")
OF_GALLERY = ("sort", "group", "at", "before")
"""What the gallery reads besides: how pictures are shown, not which."""
