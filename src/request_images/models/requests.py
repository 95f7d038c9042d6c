"""The tables: what was asked, and the images that it brought, the first and further."""

from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _

from request_images.outcome import CaptureStatus, is_failure

from .access import OriginalAccess
from .content import HASH_LENGTH, ImageContent
from .cutoffs import Retention, is_over
from .job_locks import Lease
from .pending_deletions import PendingDeletion
from .querysets import RequestImageQuerySet, RequestLogQuerySet
from .statistics import (
    Counted,
    GoneRequests,
    StaleHour,
    StatisticsRollup,
    StatisticsState,
)

__all__ = (
    "FurtherImage",
    "GoneRequests",
    "ImageContent",
    "Lease",
    "OriginalAccess",
    "PendingDeletion",
    "RequestImage",
    "RequestLog",
    "StaleHour",
    "StatisticsRollup",
    "StatisticsState",
)


class RequestLog(Counted):
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
    release = models.CharField(
        _("release"),
        max_length=100,
        blank=True,
        help_text=_("Of the project, when the request was handled."),
    )
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
        """Whether the request failed: a status of 400 or more, or an error type."""
        return is_failure(self.status_code, self.error_type)

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


class ReceivedImage(models.Model):
    """What is known of an image that a request brought, also when it was not kept."""

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
        help_text=_("Told from the bytes; empty when they are of no known image."),
    )
    file_size = models.PositiveBigIntegerField(
        _("file size (bytes)"), null=True, blank=True
    )
    width = models.PositiveIntegerField(_("width (px)"), null=True, blank=True)
    height = models.PositiveIntegerField(_("height (px)"), null=True, blank=True)
    color_mode = models.CharField(
        _("colour mode"),
        max_length=8,
        blank=True,
        help_text=_("What its pixels are made of, as Pillow names it."),
    )
    is_animated = models.BooleanField(
        _("animated"),
        null=True,
        blank=True,
        help_text=_("Whether it has more than one frame or page."),
    )
    has_orientation = models.BooleanField(
        _("orientation"),
        null=True,
        blank=True,
        help_text=_("Whether it is to be turned or mirrored before it is shown."),
    )
    declared_type = models.CharField(
        _("declared type"),
        max_length=64,
        blank=True,
        help_text=_("What the client said it is; empty when it said nothing."),
    )
    is_repeated = models.BooleanField(
        _("seen before"),
        null=True,
        blank=True,
        help_text=_("Whether its bytes were there already; unknown if not kept."),
    )
    source = models.CharField(
        _("source"),
        max_length=200,
        blank=True,
        help_text=_("Where in the request the image was."),
    )
    content_id: int | None

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.image_hash[:12] or f"#{self.pk}"

    @property
    def first(self) -> RequestImage:
        """The request image: itself, or the one that it hangs on."""
        raise NotImplementedError

    @property
    def is_expired(self) -> bool:
        """Whether the retention of the bytes is over, be they deleted already or not.

        So it is when that of the log is over, which takes its image along.

        Needs the log, except of an image that is too young for any retention: where
        many are asked, select it with them.
        """
        retention, created_at = Retention.of_settings(), self.first.created_at
        if not is_over(created_at, retention.begins):
            return False
        log = self.first.log
        end = retention.bytes_before(log.is_failed)
        return not log.is_pinned and is_over(created_at, end)

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


class RequestImage(ReceivedImage, Counted):
    """The image of a request; of several, the first one."""

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
    log = models.OneToOneField(
        RequestLog,
        verbose_name=_("request log"),
        on_delete=models.CASCADE,
        related_name="image",
    )
    # The log's own, once more: images are listed and pruned by it without a join.
    created_at = models.DateTimeField(_("time"), db_index=True)

    objects = RequestImageQuerySet.as_manager()

    class Meta:
        verbose_name = _("request image")
        verbose_name_plural = _("request images")
        ordering = ("-created_at", "-id")
        get_latest_by = "created_at"
        permissions = (("view_image_content", _("Can view the original images")),)
        indexes = (
            models.Index(fields=["width", "height"], name="request_image_dims"),
            models.Index(fields=["mime_type"], name="request_image_type"),
            models.Index(fields=["file_size"], name="request_image_size"),
        )

    @property
    def first(self) -> RequestImage:
        """Itself."""
        return self


class FurtherImage(ReceivedImage):
    """One more image of a request, of a view that keeps all.

    It goes where its request image goes, and its request's retention and pin are its
    own. What became of it is its own, too.
    """

    content = models.ForeignKey(
        ImageContent,
        verbose_name=_("content"),
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        related_name="further_images",
    )
    request_image = models.ForeignKey(
        RequestImage,
        verbose_name=_("request image"),
        on_delete=models.CASCADE,
        related_name="further",
        db_index=False,  # the constraint's index begins with it
    )
    position = models.PositiveSmallIntegerField(
        _("position"), help_text=_("Its place among the further images, from 1.")
    )
    capture_status = models.CharField(
        _("kept"), max_length=16, choices=CaptureStatus.choices
    )
    capture_detail = models.CharField(_("kept, in detail"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("further image")
        verbose_name_plural = _("further images")
        ordering = ("request_image", "position")
        default_permissions = ()  # it is seen with its request image
        constraints = (
            models.UniqueConstraint(
                fields=["request_image", "position"], name="further_image_position"
            ),
        )

    @property
    def first(self) -> RequestImage:
        """The request image that it hangs on."""
        return self.request_image
