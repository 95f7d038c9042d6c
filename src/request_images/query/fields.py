"""The query parameters that all pages share: their names, texts and meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.facets import UNTOLD, Dimensions, Property, Text
from request_images.aggregation.properties import IMAGE_PROPERTIES, MEASURES
from request_images.outcome import CaptureStatus

from .conditions import (
    Columns,
    SameImage,
    SameLayout,
    has_duration,
    has_hash,
    has_layout,
    has_measure,
    has_outcome,
    has_property,
    has_status,
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
    status,
    whole,
)

MAX_DAYS = 3650
OUTCOMES: Mapping[str, Text] = {"failed": _("failed"), "succeeded": _("succeeded")}
PERIOD = ("days", "since", "until")
OF_GALLERY = ("sort", "group", "at", "before")
"""The parameters that say how the gallery shows pictures, and not which."""
_LARGEST = 2**31 - 1  # what a column of PostgreSQL holds


@dataclass(frozen=True)
class Criterion:
    """One parameter.

    Attributes:
        name: The parameter's name.
        label: The name for people, in the middle of a sentence.
        condition: Turns a value into a condition.
        parse: Turns the text of a parameter into a value, or raises `ValueError` with
            the reason.
        about: The requests that it finds, for the documentation.
        sample: A text that it takes, for documentation and tests.
        shown: Turns a value into words; None for the text as it was given.
        options: Its texts, in words; None if it takes others, too.
    """

    name: str
    label: Text
    condition: Callable[[Any, Columns], Q]
    parse: Callable[[str], Any]
    about: str
    sample: str
    shown: Callable[[Any], str] | None = None
    options: Callable[[], Mapping[str, Text]] | None = None


def _choice(  # noqa: PLR0913, PLR0917  # as many as a criterion has
    name: str,
    label: Text,
    condition: Callable[[Any, Columns], Q],
    options: Callable[[], Mapping[str, Text]],
    about: str,
    sample: str,
) -> Criterion:
    """Return a criterion that takes some texts only."""

    def parse(text: str) -> str:
        return one_of(options())(text)

    def shown(text: str) -> str:
        return str(options()[text])

    return Criterion(name, label, condition, parse, about, sample, shown, options)


def _of_property(each: Property) -> tuple[Criterion, ...]:
    """Return the criterion of an image property; of dimensions, one a side."""
    if not isinstance(each, Dimensions):
        found = has_property(each), each.options, each.about, each.sample
        return (_choice(each.name, each.label, *found),)
    return tuple(
        Criterion(
            name,
            label,
            on_image(name),
            whole(0, _LARGEST),
            f"whose image has a {name} in pixels",
            sample,
        )
        for name, label, sample in (
            ("width", _("width (px)"), "2000"),
            ("height", _("height (px)"), "1500"),
        )
    )


def _or_none(text: str) -> str:
    return gettext("none") if text == UNTOLD else text


CRITERIA: Mapping[str, Criterion] = {
    each.name: each
    for each in (
        Criterion(
            "days",
            _("days"),
            of_last_days,
            whole(1, MAX_DAYS),
            f"of the last 1 to {MAX_DAYS} days, starting at a whole hour",
            "7",
        ),
        Criterion(
            "since",
            _("since"),
            on_time("gte"),
            moment,
            "from a date or time on",
            "2026-01-31",
        ),
        Criterion(
            "until",
            _("until"),
            on_time("lt"),
            end,
            "before a date or time; a date includes that whole day",
            "2026-01-31T12:00",
        ),
        Criterion(
            "endpoint",
            _("endpoint"),
            on_text("endpoint"),
            logged_endpoint,
            "of an endpoint",
            "upload",
        ),
        Criterion(
            "status",
            _("status"),
            has_status,
            status,
            "with a status, with a class of statuses (`5xx`), or without a known "
            "status (`-`)",
            "422",
            _or_none,
        ),
        _choice(
            "outcome",
            _("outcome"),
            has_outcome,
            lambda: OUTCOMES,
            "that failed, or that succeeded",
            "failed",
        ),
        Criterion(
            "error_type",
            _("error type"),
            on_text_or_none("error_type"),
            any_text,
            "with an error type, or without one (`-`)",
            "no_barcode",
            _or_none,
        ),
        Criterion(
            "release",
            _("release"),
            on_text_or_none("release"),
            any_text,
            "handled by a release, or without one (`-`)",
            "2.4.1",
            _or_none,
        ),
        Criterion(
            "duration",
            _("duration (ms)"),
            has_duration,
            amounts,
            "whose view took this many milliseconds: from the first number to less "
            "than the second; `1000-` has no upper bound",
            "250.5-500",
        ),
        _choice(
            "capture_status",
            _("capture status"),
            on_log("capture_status"),
            lambda: dict(CaptureStatus.choices),
            "with a [capture status](models.md#capture-status)",
            "too_large",
        ),
        *(criterion for of in IMAGE_PROPERTIES for criterion in _of_property(of)),
        Criterion(
            "hash",
            _("SHA-256"),
            has_hash,
            lambda text: SameImage(hash_or_part(text)),
            "whose image has a SHA-256 that begins with these 4 or more digits; the "
            "list of logs, the dashboard, the CSV file and the statistics also look at "
            "[further images](../howto/several-images.md)",
            "abcd",
        ),
        *(
            Criterion(
                each.name,
                each.label,
                has_measure(each.name),
                amounts,
                f"{each.about}, from one number to less than another, or `1000-`",
                each.sample,
            )
            for each in MEASURES.values()
        ),
        Criterion(
            "layout",
            _("perceptual hash"),
            has_layout,
            lambda text: SameLayout(layout_hash(text)),
            "whose image has this perceptual hash, all 64 digits",
            "ff" + "0" * 62,
            lambda same: same.layout[:12],
        ),
    )
}
"""Every parameter by its name, in the order of forms and of the JSON."""
