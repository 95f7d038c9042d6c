"""A thumbnail of each content: made once, kept, and so is the failure."""

from __future__ import annotations

import threading

from django.db import router

from .columns import clean_text
from .conf import conf
from .exceptions import ThumbnailError
from .models import ImageContent
from .thumbnails import make_thumbnail

_one_thumbnail = threading.Lock()


def thumbnail_of(pk: int) -> bytes | None:
    """Return the thumbnail of a content, made now if it never was.

    It is made once: the result is kept, and so is the failure. One at a time in this
    process (decoding takes memory), outside any transaction of ours (it takes time,
    and nobody may wait for a lock meanwhile).

    Args:
        pk: The content's primary key.

    Returns:
        The bytes of a WebP, or None when no thumbnail can be made.

    Raises:
        ImageContent.DoesNotExist: The content is gone.
    """
    light = ImageContent.objects.defer("data")
    content = light.get(pk=pk)
    if not content.has_thumbnail_answer:
        with _one_thumbnail:
            # Another thread may have made it while this one waited.
            content = light.using(router.db_for_write(ImageContent)).get(pk=pk)
            if not content.has_thumbnail_answer:
                _make_thumbnail(content)
    return None if content.thumbnail is None else bytes(content.thumbnail)


def _make_thumbnail(content: ImageContent) -> None:
    try:
        content.thumbnail = make_thumbnail(
            content.read(),
            size=conf.THUMBNAIL_SIZE,
            max_pixels=conf.THUMBNAIL_MAX_PIXELS,
        )
    except ThumbnailError as error:
        content.thumbnail_error = clean_text(error, 200)
    # Not `save()`: cleanup may have taken the row meanwhile, which is no error.
    rows = ImageContent.objects.using(content._state.db).filter(pk=content.pk)
    rows.update(thumbnail=content.thumbnail, thumbnail_error=content.thumbnail_error)
