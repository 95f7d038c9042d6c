"""The variants that are compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One way to treat an uploaded image.

    Attributes:
        name: Name in settings and results.
        path: Path of its view's URL.
        against: Variant that its figures are divided by.
        table: Table with one row for each request; empty for none.
        having: SQL condition for rows that have their image.
        keeps_image: Whether the image itself is stored, not only a line about it.
    """

    name: str
    path: str
    against: str = "bare"
    table: str = ""
    having: str = ""
    keeps_image: bool = False


_OURS = "request_images_requestimage"
_KEPT = "content_id IS NOT NULL"

VARIANTS = (
    Variant("bare", "/bare/"),
    Variant("disabled", "/captured/"),
    Variant(
        "after_response", "/captured/", table=_OURS, having=_KEPT, keeps_image=True
    ),
    Variant("background", "/captured/", table=_OURS, having=_KEPT, keeps_image=True),
    Variant("naive", "/naive/", table="site_upload", keeps_image=True),
    Variant("silk", "/bare/", table="silk_request"),
    Variant("drf", "/rest/"),
    Variant("drf_logger", "/rest/", against="drf", table="drf_api_logs"),
)
"""All variants in the order of the tables; a baseline comes before its variants."""

CLEARED = (
    _OURS,
    "request_images_statisticsrollup",
    "request_images_statisticsstate",
    "request_images_stalehour",
    "request_images_gonerequests",
    "request_images_requestlog",
    "request_images_imagecontent",
    "request_images_pendingdeletion",
    "site_upload",
    "silk_sqlquery",
    "silk_response",
    "silk_request",
    "drf_api_logs",
)
"""Tables to empty between two measurements, referring tables first."""
