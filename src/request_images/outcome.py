"""What became of a request: the record that the view may add to with `annotate`."""

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
    """What became of a request's image: kept, or the reason why it was not."""

    STORED = "stored", _("stored")
    DUPLICATE = "duplicate", _("stored before")
    NO_IMAGE = "no_image", _("no image in the request")
    UNREAD = "unread", _("not read by the view")
    TOO_LARGE = "too_large", _("too large")
    UNSUPPORTED = "unsupported", _("not an image of an allowed format")
    UNREADABLE = "unreadable", _("unreadable")
    TRUNCATED = "truncated", _("cut off")
    SAMPLED_OUT = "sampled_out", _("not in the sample")
    OPTED_OUT = "opted_out", _("opted out")
    OVER_BUDGET = "over_budget", _("over budget")
    STORE_FAILED = "store_failed", _("could not be stored")
    EXPIRED = "expired", _("expired")
    ERASED = "erased", _("erased")


@dataclass
class Outcome:
    """What the view said of its request.

    Attributes:
        error_type: What went wrong, in the view's own words; empty for nothing.
        error_message: The same in a sentence.
        release: The release that handled it; empty for the setting's.
        link: A row of the host project that this request belongs to.
        metadata: Everything else, by name.
    """

    error_type: str = ""
    error_message: str = ""
    release: str = ""
    link: Model | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def http_request(request: object) -> HttpRequest | None:
    """Return Django's request, also from within Django REST framework's, else None."""
    if not isinstance(request, HttpRequest):
        # Only a real one: a Mock (Ninja's test client) has every attribute.
        request = getattr(request, "_request", None)
    return request if isinstance(request, HttpRequest) else None


def attach_outcome(request: HttpRequest) -> Outcome:
    """Give a request the record that `annotate` adds to."""
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
    """Say more about the request that is being recorded.

    Does nothing when the request is not recorded, so that a view need not ask. It may
    be called several times: a later value replaces an earlier one of the same name.

    Args:
        request: The view's request; Django's or REST framework's.
        error_type: What went wrong, such as ``"no_barcode"``. A request with an error
            type counts as failed, whatever its status.
        error_message: The same in a sentence.
        release: The release of your project that handled it, where that is another
            than `REQUEST_IMAGES_RELEASE` says.
        link: A saved row of your own project that this request belongs to.
        **metadata: Anything that JSON can hold, such as ``confidence=0.93``. What it
            cannot hold is kept as text.
    """
    django_request = http_request(request)
    outcome = getattr(django_request, _ATTRIBUTE, None)
    if outcome is None:
        return
    if error_type is not None:
        outcome.error_type = error_type
    if error_message is not None:
        outcome.error_message = error_message
    if release is not None:
        outcome.release = release
    if link is not None:
        outcome.link = link
    outcome.metadata.update(metadata)


def opt_out(request: object) -> None:
    """Keep no image of this request, nor anything that is known of one.

    Its log is written all the same, with the capture status ``opted_out``. Call it in
    the view, in a middleware before it (the image is then not even copied), or in one
    behind it. It cannot be taken back. Does nothing when the request is not recorded.

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
    """What is to become of an image.

    Attributes:
        status: ``STORED`` to keep it, else why not.
        detail: The reason in words; empty when the status says it all.
    """

    status: CaptureStatus
    detail: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the bytes are to be kept."""
        return self.status == CaptureStatus.STORED
