"""What is measured side by side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One way to treat an uploaded image.

    Attributes:
        name: What its settings and results go by.
        path: The address of its view.
        against: The variant that its figures are a ratio to.
        table: Where it leaves one row for each request; empty when it leaves none.
        having: A condition for the rows that have their image.
        keeps_image: Whether the image itself is kept, not just a line about it.
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
"""In the order of the table; each one's baseline comes before it."""

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
"""Emptied between two measurements, referring tables first."""
