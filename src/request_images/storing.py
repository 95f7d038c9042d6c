"""Write what was recorded, and what is made of it later: rows, bytes, thumbnails."""

from __future__ import annotations

import threading

from django.db import IntegrityError, connections, router, transaction

from .columns import clean_text
from .conf import conf
from .exceptions import ThumbnailError
from .models import ImageContent, RequestImage, RequestLog
from .outcome import CaptureStatus
from .thumbnails import make_thumbnail

TRIES = 3
"""How often a write is tried that runs into another one."""

_one_thumbnail = threading.Lock()


def save(log: RequestLog, image: RequestImage | None, data: bytes | None) -> None:
    """Write one recorded request, in one transaction of our own.

    An image that is kept already costs one look-up of its hash and no bytes; its log
    then says ``duplicate``.

    Args:
        log: The unsaved log.
        image: Its unsaved image; None when the request brought none.
        data: The image's bytes when they are to be kept.

    Raises:
        django.db.Error: Nothing was written.
    """
    using = router.db_for_write(RequestLog)
    for _try in range(TRIES - 1):
        try:
            _save_once(log, image, data, using)
        except IntegrityError:
            # Meanwhile another request brought the same image, or cleanup took it
            # away. Either way the next look finds things as they are.
            continue
        return
    _save_once(log, image, data, using)


def _save_once(
    log: RequestLog, image: RequestImage | None, data: bytes | None, using: str
) -> None:
    kept = None
    if image is not None and data is not None:
        # Outside the transaction, which must begin with a write: SQLite refuses to
        # turn a reader into a writer when another has written in between.
        contents = ImageContent.objects.using(using).filter(image_hash=image.image_hash)
        kept = contents.only("pk").first()
        log.capture_status = (
            CaptureStatus.STORED if kept is None else CaptureStatus.DUPLICATE
        )
    with transaction.atomic(using=using):
        log.pk = None
        log.save(force_insert=True, using=using)
        if image is None:
            return
        content = kept
        if data is not None and content is None:
            content = ImageContent.holding(image.image_hash, data)
            content.save(force_insert=True, using=using)
        # Also when it is None: an earlier try may have left one that was rolled back.
        image.content = content
        image.pk = None
        image.log = log
        image.created_at = log.created_at
        image.save(force_insert=True, using=using)


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


def open_connection() -> object:
    """Return the driver's connection that is open for us; None when none is."""
    return connections[router.db_for_write(RequestLog)].connection


def has_lost(driver_connection: object) -> bool:
    """Tell whether a connection is gone; if so, the next use has a new one.

    Args:
        driver_connection: What `open_connection` returned before something failed.
    """
    connection = connections[router.db_for_write(RequestLog)]
    if driver_connection is None or connection.in_atomic_block:
        return False
    if connection.connection is driver_connection:
        if connection.is_usable():
            return False
        connection.connection = None  # closing what is closed is an error to some
    return True  # Django may have opened another one by itself
