"""The outcome of a request: what the view adds to its log, and the capture status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model, TextChoices
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

__all__ = ("CaptureStatus", "annotate", "opt_out")

_ATTRIBUTE = "_request_images_outcome"
_OPTED_OUT = "_request_images_opted_out"


class CaptureStatus(TextChoices):
    """The capture status of an image: kept, or the reason why not."""

    STORED = "stored", _("Stored")
    DUPLICATE = "duplicate", _("Duplicate")
    NO_IMAGE = "no_image", _("No image")
    UNREAD = "unread", _("Not read by the view")
    TOO_LARGE = "too_large", _("Too large")
    UNSUPPORTED = "unsupported", _("Unsupported format")
    UNREADABLE = "unreadable", _("Unreadable")
    TRUNCATED = "truncated", _("Truncated")
    PARTIAL = "partial", _("Part of an upload")
    SAMPLED_OUT = "sampled_out", _("Not sampled")
    OPTED_OUT = "opted_out", _("Opted out")
    OVER_BUDGET = "over_budget", _("Over budget")
    STORE_FAILED = "store_failed", _("Storage failed")
    EXPIRED = "expired", _("Expired")
    ERASED = "erased", _("Erased")


UNUSABLE = (CaptureStatus.UNREADABLE, CaptureStatus.UNSUPPORTED)
"""The statuses of files that are no readable image, whether their bytes are kept."""


def is_failure(status_code: int | None, error_type: str) -> bool:
    """Return whether a request failed: a status of 400 or more, or an error type.

    `models.querysets.failed` is the same rule in SQL.
    """
    return bool(error_type) or (status_code or 0) >= 400


@dataclass
class Outcome:
    """The values that the view has given by `annotate`.

    Attributes:
        error_type: The view's name for an error; empty for none.
        error_message: The error in a sentence.
        release: The release that handled the request; empty for the setting's.
        link: A row of the host project that the request belongs to.
        metadata: All other values by name.
    """

    error_type: str = ""
    error_message: str = ""
    release: str = ""
    link: Model | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def http_request(request: object) -> HttpRequest | None:
    """Return Django's request, also that of a REST framework request; else None."""
    if not isinstance(request, HttpRequest):
        # Only a real one: a Mock (Ninja's test client) has every attribute. And a view
        # that is asked may raise anything.
        try:
            request = getattr(request, "_request", None)
        except Exception:  # noqa: BLE001  # of the view, whatever it is
            return None
    return request if isinstance(request, HttpRequest) else None


def attach_outcome(request: HttpRequest) -> Outcome:
    """Attach the outcome that `annotate` adds to."""
    outcome = Outcome()
    setattr(request, _ATTRIBUTE, outcome)
    return outcome


def annotate(
    request: object,
    *,
    error_type: str | None = None,
    error_message: str | None = None,
    release: str | None = None,
    link: Model | None = None,
    **metadata: Any,
) -> None:
    """Add values to the log of the request that is being recorded.

    It does nothing if the request is not recorded, and may be called several times: a
    later value replaces an earlier one of the same name.

    Args:
        request: The view's request; Django's or REST framework's.
        error_type: A name for the error, such as ``"no_barcode"``. A request with an
            error type counts as failed, whatever its status.
        error_message: The error in a sentence.
        release: The release of your project that handled the request, if it is not that
            of `REQUEST_IMAGES_RELEASE`.
        link: A saved row of your own project that the request belongs to.
        **metadata: Values that JSON can hold, such as ``confidence=0.93``. Others are
            kept as text.
    """
    outcome: Outcome | None = getattr(http_request(request), _ATTRIBUTE, None)
    if outcome is None:
        return
    given = {
        "error_type": error_type,
        "error_message": error_message,
        "release": release,
        "link": link,
    }
    for name, value in given.items():
        if value is not None:
            setattr(outcome, name, value)
    outcome.metadata.update(metadata)


def opt_out(request: object) -> None:
    """Keep no image of this request, and no properties of one.

    Its log is still written, with the capture status ``opted_out``. Call it in the
    view, in a middleware before it (then the image is not even copied), or in one after
    it. It cannot be undone. It does nothing if the request is not recorded.

    Args:
        request: Django's request, or REST framework's.
    """
    django_request = http_request(request)
    if django_request is not None:
        # Not on the `Outcome`: before the view there is none yet.
        setattr(django_request, _OPTED_OUT, True)


def is_opted_out(request: object) -> bool:
    """Tell whether `opt_out` was called for this request."""
    return getattr(request, _OPTED_OUT, False)


@dataclass(frozen=True)
class Decision:
    """The decision about an image.

    Attributes:
        status: ``STORED`` to keep it, else the reason why not.
        detail: Details of the reason; may be empty.
    """

    status: CaptureStatus
    detail: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the bytes are to be kept."""
        return self.status == CaptureStatus.STORED
