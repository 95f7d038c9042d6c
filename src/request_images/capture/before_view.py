"""What is settled before a view runs: its options, the request's id, sample and tap."""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass
from typing import Literal

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.request import HttpHeaders

from request_images.conf import conf
from request_images.health import report
from request_images.outcome import Decision
from request_images.writer.degrade import store_failed

from . import policy, sources
from .examine import is_image
from .payload import Upload
from .sources import Source, SourceSpec, upload_rank
from .taps import Tap
from .upload_buffer import Limits

Images = Literal["first", "all"]

DEFAULT_LIMIT = 20
"""How many images of a request to keep with ``images="all"`` and no limit."""
MAX_LIMIT = 1000
"""The highest limit that a view may set."""
nested_views: set[str] = set()
"""The names of views whose options are ignored, as an outer view is decorated, too."""
EARLY = "_request_images_early"
"""The attribute of a request that the middleware started before its view."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Not `uuid`: the random bytes of the system may cost a switch of threads. And not
# the generator of all, which a project may seed.
_random = random.Random()  # noqa: S311  # an id is no secret
os.register_at_fork(after_in_child=_random.seed)


@dataclass(frozen=True)
class Options:
    """The options of a decorated view.

    Attributes:
        sources: Places to look for its image, in order; empty for "wherever it fits".
        endpoint: Name to log its requests under; empty for the URL's.
        view_name: The view's own name, for requests without a URL.
        limit: How many of its images to keep at most; None for the first alone.
    """

    sources: tuple[Source, ...] = ()
    endpoint: str = ""
    view_name: str = ""
    limit: int | None = None

    def ignored_in(self, outer: Options) -> bool:
        """Return whether an outer decorator has other options, which are used then."""
        own = (self.sources, self.endpoint, self.limit)
        others = (outer.sources, outer.endpoint, outer.limit)
        return own not in (others, ((), "", None))

    @classmethod
    def of(
        cls,
        source: SourceSpec,
        endpoint: str,
        view_name: str,
        images: str,
        limit: int | None,
    ) -> Options:
        """Return the options for the arguments of `capture_images`.

        Raises:
            SourceError: `source` is not a valid source.
            ImproperlyConfigured: `images` or `limit` is not valid.
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
class CaptureStart:
    """The state of a request's capture when its view begins.

    It has a tap on the body, or the decision for which it is skipped.
    """

    request_id: str
    sample_probability: float = 1.0
    skipped: Decision | None = None
    tap: Tap | None = None

    def remove_tap(self, request: HttpRequest) -> None:
        """Stop watching the body."""
        if self.tap is not None:
            self.tap.remove(request)
            self.tap = None


def start_early(request: HttpRequest, options: Options) -> None:
    """Start the capture before the view is reached; called by the middleware."""
    if EARLY not in vars(request):
        setattr(request, EARLY, _start(request, options))


def start_capture(request: HttpRequest, options: Options) -> CaptureStart:
    """Start the capture, or return the early start."""
    start: CaptureStart | None = vars(request).pop(EARLY, None)
    if start is None:
        return _start(request, options)
    if start.skipped is None:
        # A middleware may have opted out since.
        start.skipped = policy.decide_opted_out(request)
    if start.skipped is not None:
        start.remove_tap(request)
    return start


def cancel_early(request: HttpRequest) -> None:
    """Undo an early start whose view was not reached."""
    start: CaptureStart | None = vars(request).pop(EARLY, None)
    if start is not None:
        start.remove_tap(request)


def _start(request: HttpRequest, options: Options) -> CaptureStart:
    start = CaptureStart(_given_id(request) or new_request_id())
    start.skipped = policy.decide_before_view(request, start)
    if start.skipped is None:
        try:
            start.tap = _new_tap(request, options)
        except Exception as exception:  # noqa: BLE001  # only the image is lost
            report("tap", exception)
            start.skipped = store_failed(exception)
    return start


def new_request_id() -> str:
    """Return 32 hexadecimal digits by chance, other ones in each process."""
    return f"{_random.getrandbits(128):032x}"


def _given_id(request: HttpRequest) -> str:
    header = conf.REQUEST_ID_HEADER
    if not header:
        return ""
    try:
        # ``request.headers`` keeps all of them, and the view may still change some.
        given = request.META.get(HttpHeaders.to_wsgi_name(header))
        text = str(given or "")  # a middleware may set a UUID
        return text if _REQUEST_ID.fullmatch(text) else ""
    except Exception as exception:  # noqa: BLE001  # a middleware's own META
        report("request id", exception)
        return ""


def _new_tap(request: HttpRequest, options: Options) -> Tap:
    def rank(upload: Upload) -> tuple[int, ...]:
        return upload_rank(upload, options.sources, is_image)

    # Base64 makes an image longer, and there may be more text around it.
    size, limit, running = policy.max_size(), options.limit, policy.max_running_size()
    if limit is None:
        limits = Limits(size, 2 * size, 1, size, running)
    else:
        total = policy.max_request_size()
        limits = Limits(size, max(2 * size, total), limit, total, running)
    return Tap(request, limits, rank)
