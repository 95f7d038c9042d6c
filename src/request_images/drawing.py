"""A thumbnail of each content, made when somebody looks at it or ahead of that."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import Q

from .conf import conf
from .deriving import WAIT_SECONDS, Derivation, derive
from .models import ImageContent
from .thumbnails import make_thumbnail


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
