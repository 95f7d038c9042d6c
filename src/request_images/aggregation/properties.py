"""The properties of an image, and the other facets: each is declared here, once.

The statistics, the query parameters, the gallery's form, the charts, the JSON and the
CSV file follow from a declaration. The page "Architecture" of the documentation says
how to add a property.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from django.utils.translation import gettext_lazy as _

from request_images.images.formats import COLOR_MODES, MIME_TYPES

from .bins import write_bytes, write_ratio
from .facets import (
    Agreement,
    AllFacet,
    CaptureStatusFacet,
    Choice,
    Dimensions,
    ErrorFacet,
    Facet,
    Flag,
    Measure,
    Number,
    Property,
    ReleaseFacet,
)

ALL = AllFacet("all")
ENDPOINT = Facet("endpoint", _("endpoint"))
ERROR = ErrorFacet("error", _("error"))
RELEASE = ReleaseFacet("release", _("release"))
CAPTURE_STATUS = CaptureStatusFacet("capture_status", _("capture status"))
CONTENT = Facet("content", is_of_contents=True)
"""Contents by their storage, in the hour when they were stored."""
CONTENT_GONE = Facet("content_gone", is_of_contents=True)
"""Contents that were deleted since, likewise."""

MIME_TYPE = Choice(
    name="mime_type",
    label=_("MIME type"),
    columns=("mime_type",),
    known=tuple(MIME_TYPES),
    speaks=True,
    is_prominent=True,
    about="whose image has a MIME type",
    sample="image/gif",
)
DIMENSIONS = Dimensions(
    name="dimensions",
    label=_("dimensions"),
    columns=("width", "height"),
    is_compared=False,
)
MEGAPIXELS = Number(
    name="megapixels",
    label=_("megapixels"),
    columns=("width", "height"),
    factor=Fraction(1, 1_000_000),
    bounds=(0.5, 1, 2, 5, 10, 20),
    pattern=_("%(range)s megapixels"),
    is_prominent=True,
    about="whose image has this many million pixels",
    sample="2-5",
)
FILE_SIZE = Number(
    name="file_size",
    label=_("file size"),
    columns=("file_size",),
    bounds=tuple(1024 * kb for kb in (100, 500, 1024, 5 * 1024, 10 * 1024)),
    unit=1024,
    write=write_bytes,
    is_prominent=True,
    about="whose image has this many kilobytes",
    sample="1024-5120",
)
ASPECT = Number(
    name="aspect",
    label=_("aspect ratio"),
    columns=("width", "height"),
    per=("height",),
    positive=("width", "height"),
    # No usual format is at a bound: 9:16, 2:3 and 3:4 are tall, 4:3, 3:2 and 16:9 wide.
    bounds=(0.5, 0.8, 1.25, 2),
    write=write_ratio,
    bin_names=(
        _("very tall"),
        _("tall"),
        _("nearly square"),
        _("wide"),
        _("very wide"),
    ),
    about="whose image has a ratio of width to height",
    sample="1.25-2",
)
BITS_PER_PIXEL = Number(
    name="bits_per_pixel",
    label=_("bits per pixel"),
    columns=("file_size", "width", "height"),
    per=("width", "height"),
    positive=("width", "height"),
    factor=Fraction(8),
    bounds=(0.25, 0.5, 1, 2, 4, 8),
    pattern=_("%(range)s bits per pixel"),
    about="whose file has this many bits for each pixel",
    sample="4-8",
)
COLOR_MODE = Choice(
    name="color_mode",
    label=_("colour mode"),
    columns=("color_mode",),
    known=tuple(COLOR_MODES),
    about="whose image has a colour mode, by Pillow's name",
    sample="CMYK",
)
ANIMATED = Flag(
    name="animated",
    label=_("animated"),
    columns=("is_animated",),
    so=_("animated"),
    not_so=_("not animated"),
    about="whose image has more than one frame or page",
    sample="yes",
)
ORIENTATION = Flag(
    name="orientation",
    label=_("needs rotation"),
    columns=("has_orientation",),
    so=_("needs rotation"),
    not_so=_("needs no rotation"),
    about="whose image needs rotation or mirroring",
    sample="yes",
)
DECLARED = Agreement(
    name="declared",
    label=_("declared type"),
    columns=("declared_type", "mime_type"),
    same=_("declared type matches"),
    other=_("declared type differs"),
    about="whose image has the type that the client declared, or another type",
    sample="other",
)
SEEN_BEFORE = Flag(
    name="seen_before",
    label=_("duplicate"),
    columns=("is_repeated",),
    so=_("duplicate"),
    not_so=_("no duplicate"),
    about="whose image was stored before",
    sample="yes",
)

IMAGE_PROPERTIES: tuple[Property, ...] = (
    MIME_TYPE,
    DIMENSIONS,
    MEGAPIXELS,
    FILE_SIZE,
    ASPECT,
    BITS_PER_PIXEL,
    COLOR_MODE,
    ANIMATED,
    ORIENTATION,
    DECLARED,
    SEEN_BEFORE,
)
"""All of them, in the order of every page.

Of values that set requests apart alike, those of the first property come first.
"""
COLUMNS = tuple(dict.fromkeys(c for each in IMAGE_PROPERTIES for c in each.columns))
"""The fields of `RequestImage` that they are made of."""
COMPARED: tuple[Facet, ...] = (
    *(each for each in IMAGE_PROPERTIES if each.is_compared),
    ENDPOINT,
    RELEASE,
)
"""The facets compared to find what sets failed or slow requests apart."""
PROMINENT = tuple(each for each in IMAGE_PROPERTIES if each.is_prominent)
"""The properties whose charts are part of the dashboard itself."""
FACETS: Mapping[str, Facet] = {
    each.name: each
    for each in (
        ALL,
        *(ENDPOINT, *IMAGE_PROPERTIES, ERROR, RELEASE, CAPTURE_STATUS),
        *(CONTENT, CONTENT_GONE),
    )
}
"""Every facet by its name."""

MEASURES: Mapping[str, Measure] = {
    each.name: each
    for each in (
        Measure(
            "brightness",
            _("brightness"),
            (40, 80, 120, 160, 200),
            "whose picture has a mean brightness from 0 to 255",
            "0-40.5",
        ),
        Measure(
            "contrast",
            _("contrast"),
            (20, 40, 60, 80),
            "whose picture has a contrast: the standard deviation of the brightness",
            "80-",
        ),
        Measure(
            "entropy",
            _("entropy (bits)"),
            (2, 4, 5, 6, 7),
            "whose picture has an entropy in bits",
            "2-4",
        ),
        Measure(
            "sharpness",
            _("sharpness"),
            (10, 30, 100, 300, 1000, 3000),
            "whose picture has a sharpness: the variance of the Laplacian",
            "0-30",
        ),
    )
}
"""The measures of a picture's pixels by their names: see `images.measures`."""
