"""The thumbnail of each image: drawn when somebody first looks at it, or before."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import Q

from request_images.conf import conf
from request_images.models import ImageContent

from .decoding import decode
from .derive import WAIT_SECONDS, Derivation, derive


def thumbnail_of(pk: int, *, wait: float = WAIT_SECONDS) -> bytes | None:
    """Return the thumbnail of a content; draw it now if there is none yet.

    It is drawn once: the thumbnail is kept, or the reason why there cannot be one.

    Args:
        pk: The content's primary key.
        wait: Seconds to wait while this process decodes other images.

    Returns:
        A WebP file, or None when no thumbnail can be made.

    Raises:
        ImageContent.DoesNotExist: The content is gone.
        NotYet: Another process draws it, others are before it, or the database is busy.
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
    _, thumbnail = decode("thumbnail", data, size=conf.THUMBNAIL_SIZE)
    return {"thumbnail": thumbnail}


THUMBNAIL = Derivation(
    name="thumbnail",
    due=Q(thumbnail__isnull=True, thumbnail_error=""),
    blank={"thumbnail": None},
    make=_thumbnail,
)
