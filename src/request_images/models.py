"""The three tables: what was asked, the image it brought, and the image's bytes."""

from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .bookkeeping import Lease, PendingDeletion, note_for_deletion
from .outcome import CaptureStatus
from .querysets import RequestImageQuerySet, RequestLogQuerySet
from .stores import store_of
from .terms import Retention, is_over

__all__ = (
    "ImageContent",
    "Lease",
    "PendingDeletion",
    "RequestImage",
    "RequestLog",
)

HASH_LENGTH = 64


class RequestLog(models.Model):
    """One handled request: what was asked, what became of it, how long it took."""

    request_id = models.CharField(_("request id"), max_length=64, db_index=True)
    created_at = models.DateTimeField(_("time"), db_index=True)
    endpoint = models.CharField(_("endpoint"), max_length=200)
    method = models.CharField(_("method"), max_length=16)
    path = models.CharField(_("path"), max_length=1024)
    status_code = models.PositiveSmallIntegerField(
        _("status"), null=True, blank=True, db_index=True
    )
    duration_ms = models.FloatField(
        _("duration (ms)"),
        db_index=True,
        help_text=_("The view alone, without waiting for the client's bytes."),
    )
    duration_bucket = models.SmallIntegerField(editable=False)
    upload_ms = models.FloatField(
        _("upload (ms)"),
        null=True,
        blank=True,
        help_text=_("Time that the view waited for the client's bytes."),
    )
    error_type = models.CharField(
        _("error type"), max_length=200, blank=True, db_index=True
    )
    error_message = models.TextField(_("error message"), blank=True)
    # No constraint and no cascade: deleting a user neither fails nor waits for us,
    # also when users live in another database. The name is kept beside it.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
    )
    username = models.CharField(_("user name"), max_length=254, blank=True)
    metadata = models.JSONField(
        _("metadata"), default=dict, blank=True, encoder=DjangoJSONEncoder
    )
    image_count = models.PositiveIntegerField(
        _("images"), default=0, help_text=_("How many images the request held.")
    )
    capture_status = models.CharField(
        _("kept"), max_length=16, choices=CaptureStatus.choices, db_index=True
    )
    capture_detail = models.CharField(_("kept, in detail"), max_length=200, blank=True)
    sample_probability = models.FloatField(
        _("probability of being kept"),
        default=1.0,
        help_text=_("An image that is kept stands for one divided by this."),
    )
    is_pinned = models.BooleanField(
        _("pinned"), default=False, help_text=_("Cleanup never deletes it.")
    )
    link_model = models.CharField(_("linked model"), max_length=100, blank=True)
    link_pk = models.CharField(_("linked row"), max_length=100, blank=True)

    objects = RequestLogQuerySet.as_manager()

    class Meta:
        verbose_name = _("request log")
        verbose_name_plural = _("request logs")
        ordering = ("-created_at", "-id")
        get_latest_by = "created_at"
        indexes = (
            models.Index(
                fields=["endpoint", "created_at"], name="request_log_endpoint_time"
            ),
            models.Index(fields=["link_model", "link_pk"], name="request_log_link"),
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path} ({self.request_id})"

    @property
    def is_failed(self) -> bool:
        """Whether the request failed; the same rule as `RequestLogQuerySet.failed`."""
        return bool(self.error_type) or (self.status_code or 0) >= 400

    @property
    def link(self) -> models.Model | None:
        """The row that `annotate(link=...)` named; None when there is none (any more).

        Raises:
            LookupError: The model is not installed any more.
        """
        if not self.link_model:
            return None
        model: type[models.Model] = apps.get_model(self.link_model)
        return model._base_manager.filter(pk=self.link_pk).first()


class ImageContent(models.Model):
    """The bytes of an image, once for each distinct hash."""

    image_hash = models.CharField(
        _("SHA-256"), max_length=HASH_LENGTH, unique=True, editable=False
    )
    created_at = models.DateTimeField(_("time"), default=timezone.now, editable=False)
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
    thumbnail_tries = models.PositiveSmallIntegerField(default=0, editable=False)
    thumbnail_tried_at = models.DateTimeField(null=True, editable=False)
    thumbnail_error = models.CharField(
        _("why there is no thumbnail"), max_length=200, blank=True
    )
    # The last columns: SQLite would read through the bytes to whatever follows them.
    thumbnail = models.BinaryField(_("thumbnail"), null=True)
    data = models.BinaryField(_("bytes"), null=True)

    class Meta:
        verbose_name = _("image content")
        verbose_name_plural = _("image contents")
        indexes = (models.Index(fields=["storage", "name"], name="content_object"),)

    def __str__(self) -> str:
        return self.image_hash

    @classmethod
    def holding(cls, image_hash: str, data: bytes, mime_type: str = "") -> ImageContent:
        """Return an unsaved content that holds some bytes in its own row."""
        content = cls(image_hash=image_hash, mime_type=mime_type)
        store_of(content.storage).put(content, data)
        return content

    @classmethod
    def delete_all(cls, contents: models.QuerySet[ImageContent]) -> None:
        """Delete contents, and have their objects in storages deleted soon after.

        To be called within a transaction. No bytes are loaded, and no signals sent.

        Args:
            contents: Contents that nothing refers to, by their primary keys.

        Raises:
            django.db.IntegrityError: Something refers to one of them after all.
        """
        using = router.db_for_write(cls)
        contents = contents.using(using)
        objects = list(contents.exclude(storage="").values_list("storage", "name"))
        contents._raw_delete(using)
        note_for_deletion(objects, using)

    def read(self) -> bytes:
        """Return the bytes as they were received.

        Raises:
            ObjectMissing: The storage has lost them.
            StorageError: The storage does not answer.
        """
        return store_of(self.storage).read(self)

    @property
    def has_thumbnail_answer(self) -> bool:
        """Whether a thumbnail was made, or is known to be impossible."""
        return self.thumbnail is not None or bool(self.thumbnail_error)


class RequestImage(models.Model):
    """The image of a request, and what is known of it also when it was not kept."""

    log = models.OneToOneField(
        RequestLog,
        verbose_name=_("request log"),
        on_delete=models.CASCADE,
        related_name="image",
    )
    # The log's own, once more: images are listed and pruned by it without a join.
    created_at = models.DateTimeField(_("time"), db_index=True)
    image_hash = models.CharField(
        _("SHA-256"),
        max_length=HASH_LENGTH,
        blank=True,
        db_index=True,
        help_text=_("Of the bytes as received; empty when they were not seen whole."),
    )
    mime_type = models.CharField(
        _("MIME type"),
        max_length=64,
        blank=True,
        db_index=True,
        help_text=_("Told from the bytes; empty when they are of no known image."),
    )
    file_size = models.PositiveBigIntegerField(
        _("file size (bytes)"), null=True, blank=True, db_index=True
    )
    width = models.PositiveIntegerField(_("width (px)"), null=True, blank=True)
    height = models.PositiveIntegerField(_("height (px)"), null=True, blank=True)
    source = models.CharField(
        _("source"),
        max_length=200,
        blank=True,
        help_text=_("Where in the request the image was."),
    )
    # DO_NOTHING: the constraint in the database guards it. Any other choice would
    # load whole contents, bytes and all, just to delete them.
    content = models.ForeignKey(
        ImageContent,
        verbose_name=_("content"),
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        related_name="images",
    )

    objects = RequestImageQuerySet.as_manager()

    class Meta:
        verbose_name = _("request image")
        verbose_name_plural = _("request images")
        ordering = ("-created_at", "-id")
        get_latest_by = "created_at"
        permissions = (("view_image_content", _("Can view the original images")),)
        indexes = (models.Index(fields=["width", "height"], name="request_image_dims"),)

    def __str__(self) -> str:
        return self.image_hash[:12] or f"#{self.pk}"

    @property
    def is_expired(self) -> bool:
        """Whether the retention of the bytes is over, be they deleted already or not.

        Needs the log, except of an image that is too young for any retention: where
        many are asked, select it with them.
        """
        retention = Retention.of_settings()
        terms = (retention.successes, retention.failures)
        if not any(is_over(self.created_at, term.bytes_before) for term in terms):
            return False
        term = retention.of(self.log.is_failed)
        return not self.log.is_pinned and is_over(self.created_at, term.bytes_before)

    @property
    def image_data(self) -> bytes | None:
        """The bytes as received; None when they were not kept, or are expired.

        Loaded by each use, from wherever they are kept.

        Raises:
            ObjectMissing: The storage has lost them.
            StorageError: The storage does not answer.
        """
        if self.content_id is None or self.is_expired:
            return None
        # From where the row came: another database has another's image there.
        contents = ImageContent.objects.using(self._state.db).defer("thumbnail")
        found = contents.filter(pk=self.content_id).first()
        return None if found is None else found.read()
