"""The variants that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """One way to treat an uploaded image.

    Attributes:
        name: Name in settings and results.
        path: Path of its view's URL.
        against: Variant that its figures are divided by.
        apps: Apps that it installs; the bare view installs none.
        settings: Django's settings that it needs.
        beside: Arguments of a `manage.py` that runs beside the server; empty for none.
        table: Table with one row for each request; empty for none.
        having: SQL condition for rows that have their image.
        keeps_image: Whether the image itself is stored, not only a line about it.
    """

    name: str
    path: str
    against: str = "bare"
    apps: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    table: str = ""
    having: str = ""
    keeps_image: bool = False


_OURS = "request_images_requestimage"
_SPOOL = {"REQUEST_IMAGES_SPOOL_MAX_MB": 8192}
FOLLOWER = ("write_spooled_requests", "--follow")
"""Arguments of the process that writes what is spooled."""


def _mode(
    mode: str, beside: tuple[str, ...] = (), more: Mapping[str, object] | None = None
) -> Variant:
    return Variant(
        mode,
        "/captured/",
        apps=("request_images",),
        settings={
            "REQUEST_IMAGES_ENABLED": True,
            "REQUEST_IMAGES_WRITE_MODE": mode,
            **(more or {}),
        },
        beside=beside,
        table=_OURS,
        having="content_id IS NOT NULL",
        keeps_image=True,
    )


VARIANTS = (
    Variant("bare", "/bare/"),
    Variant(
        "disabled",
        "/captured/",
        apps=("request_images",),
        settings={"REQUEST_IMAGES_ENABLED": False},
    ),
    _mode("auto"),
    _mode("after_response"),
    _mode("background"),
    _mode("spool", FOLLOWER, _SPOOL),
    Variant("naive", "/naive/", table="site_upload", keeps_image=True),
    Variant("silk", "/bare/", apps=("silk",), table="silk_request"),
    Variant("drf", "/rest/", apps=("rest_framework",)),
    Variant(
        "drf_logger",
        "/rest/",
        against="drf",
        apps=("rest_framework", "drf_api_logger"),
        # The default interval of 10 seconds would only prolong the run.
        settings={"DRF_API_LOGGER_DATABASE": True, "DRF_LOGGER_INTERVAL": 1},
        table="drf_api_logs",
    ),
)
"""All variants in the order of the tables; a baseline comes before its variants."""

EVERYTHING = Variant(
    "everything",
    "",
    apps=("request_images", "silk", "rest_framework", "drf_api_logger"),
)
"""The tables of all variants are created with these settings."""

BY_NAME = {variant.name: variant for variant in (*VARIANTS, EVERYTHING)}
MODES = ("auto", "after_response", "background", "spool")
"""The variants that are this app's write modes."""

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
