"""What is decided about a request before its view: its id, its sample, its tap."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.http import HttpRequest

from request_images.conf import conf
from request_images.outcome import Decision

from . import policy
from .examine import is_image
from .options import Options
from .payload import Upload
from .sources import upload_rank
from .taps import Tap
from .upload_buffer import Bounds

EARLY = "_request_images_beginning"
"""The attribute of a request that was begun before its view was reached."""


_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Beginning:
    """What is known of a request before its view.

    Attributes:
        request_id: By which it is known, and sampled, from beginning to end.
        sample_probability: With which its image is kept, as far as known.
        skipped: Why no image is looked for; None when one is.
        tap: Watches its body; None when no image is looked for.
    """

    request_id: str
    sample_probability: float = 1.0
    skipped: Decision | None = None
    tap: Tap | None = None

    def remove_tap(self, request: HttpRequest) -> None:
        """Watch the body no more."""
        if self.tap is not None:
            self.tap.remove(request)
            self.tap = None


def begin_early(request: HttpRequest, options: Options) -> None:
    """Begin with a request whose view is not reached yet, unless that was done."""
    if EARLY not in vars(request):
        setattr(request, EARLY, _look(request, options))


def beginning_of(request: HttpRequest, options: Options) -> Beginning:
    """Return how a request began: just now, or early."""
    beginning: Beginning | None = vars(request).pop(EARLY, None)
    if beginning is None:
        return _look(request, options)
    if beginning.skipped is None:
        # A middleware may have opted out since.
        beginning.skipped = policy.decide_opted_out(request)
    if beginning.skipped is not None:
        beginning.remove_tap(request)
    return beginning


def forget_beginning(request: HttpRequest) -> None:
    """Take the tap off a request whose view was not reached after all."""
    beginning: Beginning | None = vars(request).pop(EARLY, None)
    if beginning is not None:
        beginning.remove_tap(request)


def _look(request: HttpRequest, options: Options) -> Beginning:
    beginning = Beginning(_request_id(request))
    beginning.skipped = policy.decide_before_view(request, beginning)
    if beginning.skipped is None:
        beginning.tap = _new_tap(request, options)
    return beginning


def _request_id(request: HttpRequest) -> str:
    header = conf.REQUEST_ID_HEADER
    given = request.headers.get(header, "") if header else ""
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _new_tap(request: HttpRequest, options: Options) -> Tap:
    def rank(upload: Upload) -> tuple[int, ...]:
        return upload_rank(upload, options.sources, is_image)

    return Tap(request, _bounds(options.limit), rank)


def _bounds(limit: int | None) -> Bounds:
    # Base64 makes an image longer, and there may be more around it.
    size = policy.max_size()
    if limit is None:
        return Bounds(size, text_size=2 * size, count=1, total_size=size)
    total = policy.max_request_size()
    return Bounds(size, max(2 * size, total), count=limit, total_size=total)
