"""The table of the bytes: each distinct image is stored once."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.db.destination import database_of
from request_images.db.insert import new_row
from request_images.images.hashes import HASH_DIGITS
from request_images.storage.stores import store_of

from .fields import (
    BytesOrNone,
    FloatOrNone,
    Number,
    NumberOrNone,
    Text,
    Time,
    TimeOrNone,
)
from .pending_deletions import schedule_deletions
from .querysets import ImageContentQuerySet
from .statistics import note_gone

HASH_LENGTH = 64
FORM_FIELDS = "storage", "name", "encoding", "received_size", "stored_size", "data"
"""The fields that say where the bytes are and in which form; always read together."""


class ImageContent(models.Model):
    """The bytes of an image, once for each distinct hash."""

    image_hash: Text = models.CharField(
        _("SHA-256"), max_length=HASH_LENGTH, unique=True, editable=False
    )
    created_at: Time = models.DateTimeField(
        _("time"), default=timezone.now, editable=False, db_index=True
    )
    mime_type: Text = models.CharField(
        _("MIME type"), max_length=64, blank=True, default="", db_default=""
    )
    storage: Text = models.CharField(
        _("storage alias"),
        max_length=63,
        blank=True,
        default="",
        db_default="",
        help_text=_("Empty for the database."),
    )
    name: Text = models.CharField(
        _("name in the storage"),
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text=_("Unique; never used again for another image."),
    )
    encoding: Text = models.CharField(
        _("encoding"),
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text=_("How the stored form is compressed; empty for bytes as received."),
    )
    stored_size: Number = models.PositiveBigIntegerField(_("stored size (bytes)"))
    received_size: NumberOrNone = models.PositiveBigIntegerField(
        _("received size (bytes)"),
        null=True,
        blank=True,
        help_text=_("Empty if the bytes are stored as received."),
    )
    encoding_tries: Number = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False
    )
    encoding_error: Text = models.CharField(
        _("compression error"), max_length=200, blank=True, default="", db_default=""
    )
    thumbnail_tries: Number = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False
    )
    thumbnail_tried_at: TimeOrNone = models.DateTimeField(null=True, editable=False)
    thumbnail_error: Text = models.CharField(
        _("thumbnail error"), max_length=200, blank=True, default="", db_default=""
    )
    # See `images.measures.Measures`.
    analysis_version: Number = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False
    )
    analysis_tries: Number = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False
    )
    analysis_tried_at: TimeOrNone = models.DateTimeField(null=True, editable=False)
    analysis_error: Text = models.CharField(
        _("analysis error"), max_length=200, blank=True, default="", db_default=""
    )
    brightness: FloatOrNone = models.FloatField(
        _("brightness"), null=True, db_index=True
    )
    contrast: FloatOrNone = models.FloatField(_("contrast"), null=True, db_index=True)
    entropy: FloatOrNone = models.FloatField(
        _("entropy (bits)"), null=True, db_index=True
    )
    sharpness: FloatOrNone = models.FloatField(_("sharpness"), null=True, db_index=True)
    layout: Text = models.CharField(
        _("perceptual hash"),
        max_length=HASH_DIGITS,
        blank=True,
        default="",
        db_default="",
    )
    # The last columns: SQLite would read through the bytes to reach later ones.
    thumbnail: BytesOrNone = models.BinaryField(_("thumbnail"), null=True)
    data: BytesOrNone = models.BinaryField(_("bytes"), null=True)

    objects = ImageContentQuerySet.as_manager()

    class Meta:
        verbose_name = _("image content")
        verbose_name_plural = _("image contents")
        indexes = (
            models.Index(fields=["storage", "name"], name="content_object"),
            models.Index(fields=["analysis_version", "id"], name="content_analysis"),
            models.Index(fields=["layout"], name="content_layout"),
        )

    def __str__(self) -> str:
        return self.image_hash

    @classmethod
    def holding(cls, image_hash: str, data: bytes, mime_type: str = "") -> ImageContent:
        """Return an unsaved content that stores bytes in its own row."""
        content = new_row(cls, image_hash=image_hash, mime_type=mime_type)
        store_of(content.storage).put(content, data)
        return content

    @classmethod
    def delete_all(
        cls, contents: models.QuerySet[ImageContent], *, with_objects: bool = True
    ) -> None:
        """Delete orphans, and have their objects in storages deleted by the cleanup.

        Call it within a transaction. It loads no bytes and sends no signals.

        Raises:
            django.db.IntegrityError: An image refers to one of them after all.
        """
        using = database_of(cls)
        # Only where contents are deleted or decoded: each process loads the models.
        from request_images.aggregation.gather import contents_gone

        contents = contents.using(using)
        fields = ("storage", "name", "created_at", "stored_size")
        going = list(contents.values_list(*fields))
        contents._raw_delete(using)
        objects = [(storage, name) for storage, name, *_ in going if storage]
        schedule_deletions(objects if with_objects else [], using)
        note_gone(contents_gone((s, at, size) for s, _, at, size in going), using)

    def read(self) -> bytes:
        """Return the bytes as received.

        Raises:
            ObjectMissing: The storage has lost them.
            StorageError: The storage does not answer, or its bytes cannot be decoded.
            ImageContent.DoesNotExist: The row was deleted before its bytes were loaded.
        """
        if "data" in self.get_deferred_fields():
            # All at once: another process may have moved or compressed it.
            self.refresh_from_db(using=self._state.db, fields=FORM_FIELDS)
        return self.decoded(store_of(self.storage).read(self))

    def decoded(self, stored: bytes) -> bytes:
        """Return the bytes as received, from the stored form.

        Raises:
            ObjectDamaged: The stored form has changed.
            DecodingFailed: It has not, but the bytes do not come back from it.
            EncodingUnavailable: A package that it needs is not installed.
        """
        if not self.encoding:
            return stored
        from request_images.storage.encodings import decode  # as in `delete_all`

        size = self.received_size
        return decode(stored, self.encoding, size=size, image_hash=self.image_hash)

    @property
    def has_thumbnail_answer(self) -> bool:
        """Whether a thumbnail was made, or is known to be impossible."""
        return self.thumbnail is not None or bool(self.thumbnail_error)


def contents() -> ImageContentQuerySet:
    """Return all contents, in the database that is written to."""
    return ImageContent.objects.primary()
