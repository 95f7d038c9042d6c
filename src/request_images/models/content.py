"""The table of the bytes: each distinct image once."""

from __future__ import annotations

from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.gather import contents_gone
from request_images.images.hashes import HASH_DIGITS
from request_images.storage.encodings import decode
from request_images.storage.stores import store_of

from .pending_deletions import note_for_deletion
from .querysets import ImageContentQuerySet
from .statistics import note_gone

HASH_LENGTH = 64
FORM_FIELDS = (
    "storage",
    "name",
    "encoding",
    "received_size",
    "stored_size",
    "data",
)
"""Where the bytes of a content are, and in which form: read and written together."""


class ImageContent(models.Model):
    """The bytes of an image, once for each distinct hash."""

    image_hash = models.CharField(
        _("SHA-256"), max_length=HASH_LENGTH, unique=True, editable=False
    )
    created_at = models.DateTimeField(
        _("time"), default=timezone.now, editable=False, db_index=True
    )
    mime_type = models.CharField(_("MIME type"), max_length=64, blank=True)
    storage = models.CharField(
        _("storage alias"),
        max_length=63,
        blank=True,
        help_text=_("Empty for the database itself."),
    )
    name = models.CharField(
        _("name in the storage"),
        max_length=255,
        blank=True,
        help_text=_("Never used again for another content."),
    )
    encoding = models.CharField(
        _("encoding"),
        max_length=32,
        blank=True,
        help_text=_("How what is stored differs from the bytes received."),
    )
    stored_size = models.PositiveBigIntegerField(_("stored size (bytes)"))
    received_size = models.PositiveBigIntegerField(
        _("received size (bytes)"),
        null=True,
        blank=True,
        help_text=_("Empty when they are stored as received."),
    )
    encoding_tries = models.PositiveSmallIntegerField(default=0, editable=False)
    encoding_error = models.CharField(
        _("why it is not compressed"), max_length=200, blank=True
    )
    thumbnail_tries = models.PositiveSmallIntegerField(default=0, editable=False)
    thumbnail_tried_at = models.DateTimeField(null=True, editable=False)
    thumbnail_error = models.CharField(
        _("why there is no thumbnail"), max_length=200, blank=True
    )
    # What the picture looks like: see `measuring.Measures`.
    analysis_version = models.PositiveSmallIntegerField(default=0, editable=False)
    analysis_tries = models.PositiveSmallIntegerField(default=0, editable=False)
    analysis_tried_at = models.DateTimeField(null=True, editable=False)
    analysis_error = models.CharField(
        _("why it is not analysed"), max_length=200, blank=True
    )
    brightness = models.FloatField(_("brightness"), null=True, db_index=True)
    contrast = models.FloatField(_("contrast"), null=True, db_index=True)
    entropy = models.FloatField(_("entropy (bits)"), null=True, db_index=True)
    sharpness = models.FloatField(_("sharpness"), null=True, db_index=True)
    layout = models.CharField(_("layout"), max_length=HASH_DIGITS, blank=True)
    # The last columns: SQLite would read through the bytes to whatever follows them.
    thumbnail = models.BinaryField(_("thumbnail"), null=True)
    data = models.BinaryField(_("bytes"), null=True)

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
        """Return an unsaved content that holds some bytes in its own row."""
        content = cls(image_hash=image_hash, mime_type=mime_type)
        store_of(content.storage).put(content, data)
        return content

    @classmethod
    def delete_all(
        cls, contents: models.QuerySet[ImageContent], *, with_objects: bool = True
    ) -> None:
        """Delete contents, and have their objects in storages deleted soon after.

        To be called within a transaction. No bytes are loaded, and no signals sent.

        Args:
            contents: Contents that nothing refers to, by their primary keys.
            with_objects: Whether their objects in storages are to go as well.

        Raises:
            django.db.IntegrityError: Something refers to one of them after all.
        """
        using = router.db_for_write(cls)
        contents = contents.using(using)
        going = list(
            contents.values_list("storage", "name", "created_at", "stored_size")
        )
        contents._raw_delete(using)
        objects = [(storage, name) for storage, name, *_ in going if storage]
        note_for_deletion(objects if with_objects else [], using)
        note_gone(contents_gone((s, at, size) for s, _, at, size in going), using)

    def read(self) -> bytes:
        """Return the bytes as they were received.

        Raises:
            ObjectMissing: The storage has lost them.
            StorageError: The storage does not answer, or what it gives cannot be
                turned back into the bytes received.
            ImageContent.DoesNotExist: The bytes were not loaded yet, and it is gone.
        """
        if "data" in self.get_deferred_fields():
            # All at once: somebody may have moved or compressed it meanwhile.
            self.refresh_from_db(using=self._state.db, fields=FORM_FIELDS)
        return self.decoded(store_of(self.storage).read(self))

    def decoded(self, stored: bytes) -> bytes:
        """Return the bytes as they were received, from what the store gave.

        Raises:
            ObjectDamaged: It is not what was stored.
            DecodingFailed: It is, but the bytes do not come back.
            EncodingUnavailable: What is needed for it is not installed.
        """
        if not self.encoding:
            return stored
        size, image_hash = self.received_size, self.image_hash
        return decode(stored, self.encoding, size=size, image_hash=image_hash)

    @property
    def has_thumbnail_answer(self) -> bool:
        """Whether a thumbnail was made, or is known to be impossible."""
        return self.thumbnail is not None or bool(self.thumbnail_error)
