"""The options of a decorated view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.core.exceptions import ImproperlyConfigured

from . import sources
from .sources import Source, SourceSpec

Images = Literal["first", "all"]


DEFAULT_LIMIT = 20
"""How many images of a request are kept where a view keeps all and says no limit."""


MAX_LIMIT = 1000
"""The highest limit that a view may say."""


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
