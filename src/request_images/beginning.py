"""What is decided about a request before its view: its id, its sample, its tap."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Literal

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from . import policy, sources
from .conf import conf
from .judging import is_image
from .keeping import Bounds
from .payload import Upload
from .policy import Decision
from .sources import Source, SourceSpec, upload_rank
from .taps import Tap

EARLY = "_request_images_beginning"
"""The attribute of a request that was begun before its view was reached."""

Images = Literal["first", "all"]

DEFAULT_LIMIT = 20
"""How many images of a request are kept where a view keeps all and says no limit."""
MAX_LIMIT = 1000
"""The highest limit that a view may say."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Options:
    """What a decorated view asks for.

    Attributes:
        sources: Where its image is, in order; empty for "wherever it fits".
        endpoint: The name its requests are logged under; empty for the URL's.
        view_name: The view's own name, for when there is no URL.
        limit: How many of its images are kept at the most; None for the first alone.
    """

    sources: tuple[Source, ...] = ()
    endpoint: str = ""
    view_name: str = ""
    limit: int | None = None

    @classmethod
    def of(
        cls,
        source: SourceSpec,
        endpoint: str,
        view_name: str,
        images: str,
        limit: int | None,
    ) -> Options:
        """Read what a view says, as `capture_images` describes it.

        Raises:
            SourceError: ``source`` is none.
            ImproperlyConfigured: So is ``images`` or ``limit``.
        """
        places = sources.parse(source)
        return cls(places, endpoint, view_name, _limit(images, limit))


def _limit(images: object, limit: object) -> int | None:
    if images not in ("first", "all"):
        raise ImproperlyConfigured(f"images must be 'first' or 'all', not {images!r}.")
    if images == "first":
        if limit is not None:
            raise ImproperlyConfigured("A limit needs images='all'.")
        return None
    if limit is None:
        return DEFAULT_LIMIT
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise ImproperlyConfigured(
            f"limit must be a whole number from 1 to {MAX_LIMIT}, not {limit!r}."
        )
    return limit


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
