"""A thumbnail of each content, made when somebody looks at it or ahead of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db.models import Q

from request_images.conf import conf
from request_images.images.measures import VERSION, measure
from request_images.images.thumbnail import make_thumbnail
from request_images.models import ImageContent

from .derive import WAIT_SECONDS, Derivation, derive


def thumbnail_of(pk: int, *, wait: float = WAIT_SECONDS) -> bytes | None:
    """Return the thumbnail of a content, made now if it never was.

    It is made once: the result is kept, and so is the failure.

    Args:
        pk: The content's primary key.
        wait: How many seconds to wait for what else this process makes.

    Returns:
        The bytes of a WebP, or None when no thumbnail can be made.

    Raises:
        ImageContent.DoesNotExist: The content is gone.
        NotYet: Somebody draws it, too many others are before it, or the database has
            no time for it.
        StorageError: The storage does not answer, or has lost the bytes.
    """
    rows = ImageContent.objects.defer("data")
    content: ImageContent = rows.get(pk=pk)
    if not content.has_thumbnail_answer:
        answer = derive(THUMBNAIL, pk, wait=wait)
        if answer is not None:
            made: bytes | None = answer["thumbnail"]
            return made
        content = rows.get(pk=pk)
    return None if content.thumbnail is None else bytes(content.thumbnail)


def _thumbnail(data: bytes) -> Mapping[str, bytes]:
    thumbnail = make_thumbnail(
        data,
        size=conf.THUMBNAIL_SIZE,
        max_pixels=conf.THUMBNAIL_MAX_PIXELS,
        max_bytes=conf.THUMBNAIL_MAX_MEMORY_MB * 1024 * 1024,
    )
    return {"thumbnail": thumbnail}


THUMBNAIL = Derivation(
    name="thumbnail",
    due=Q(thumbnail__isnull=True, thumbnail_error=""),
    blank={"thumbnail": None},
    make=_thumbnail,
)


def _measures(data: bytes) -> Mapping[str, Any]:
    found = measure(
        data,
        max_pixels=conf.THUMBNAIL_MAX_PIXELS,
        max_bytes=conf.THUMBNAIL_MAX_MEMORY_MB * 1024 * 1024,
    )
    return asdict(found)


ANALYSIS = Derivation(
    name="analysis",
    # Not "less than": equality keeps the order of the index, which is that of the keys.
    due=Q(analysis_version__in=range(VERSION)),
    blank={
        "analysis_version": VERSION,
        # The next version is a new beginning.
        "analysis_tries": 0,
        "analysis_tried_at": None,
        "brightness": None,
        "contrast": None,
        "entropy": None,
        "sharpness": None,
        "layout": "",
    },
    make=_measures,
)
"""Its columns belong together: all of one version, or all of them blank."""
