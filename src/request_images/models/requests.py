"""The tables of the requests and of their images."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _

from request_images.db.primary import PrimaryQuerySet
from request_images.outcome import CaptureStatus, is_failure

from .content import HASH_LENGTH, ImageContent
from .cutoffs import Retention, is_over
from .fields import (
    Flag,
    FlagOrNone,
    Float,
    FloatOrNone,
    Number,
    NumberOrNone,
    Text,
    Time,
)
from .project import user_reference
from .querysets import RequestImageQuerySet, RequestLogQuerySet
from .statistics import Counted


class RequestLog(Counted):
    """One handled request: what was asked, the outcome, and the duration."""

    request_id: Text = models.CharField(_("request id"), max_length=64, db_index=True)
    created_at: Time = models.DateTimeField(_("time"), db_index=True)
    endpoint: Text = models.CharField(_("endpoint"), max_length=200)
    method: Text = models.CharField(_("method"), max_length=16)
    path: Text = models.CharField(_("path"), max_length=1024)
    status_code: NumberOrNone = models.PositiveSmallIntegerField(
        _("status"), null=True, blank=True, db_index=True
    )
    duration_ms: Float = models.FloatField(
        _("duration (ms)"),
        db_index=True,
        help_text=_("Time in the view, without waiting for the upload."),
    )
    duration_bucket: Number = models.SmallIntegerField(editable=False)
    upload_ms: FloatOrNone = models.FloatField(
        _("upload (ms)"),
        null=True,
        blank=True,
        help_text=_("Time that the view waited for the upload."),
    )
    error_type: Text = models.CharField(
        _("error type"),
        max_length=200,
        blank=True,
        default="",
        db_default="",
        db_index=True,
    )
    error_message: models.TextField[str, str] = models.TextField(
        _("error message"), blank=True, default="", db_default=""
    )
    release: Text = models.CharField(
        _("release"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("The release of the project that handled the request."),
    )
    user: models.ForeignKey[Any, Any] = user_reference()
    username: Text = models.CharField(
        _("username"), max_length=254, blank=True, default="", db_default=""
    )
    metadata: models.JSONField[Any, Any] = models.JSONField(
        _("metadata"),
        default=dict,
        db_default={},
        blank=True,
        encoder=DjangoJSONEncoder,
    )
    image_count: Number = models.PositiveIntegerField(
        _("images"),
        default=0,
        db_default=0,
        help_text=_("The number of images in the request."),
    )
    capture_status: Text = models.CharField(
        _("capture status"), max_length=16, choices=CaptureStatus.choices, db_index=True
    )
    capture_detail: Text = models.CharField(
        _("capture detail"), max_length=200, blank=True, default="", db_default=""
    )
    sample_probability: Float = models.FloatField(
        _("sampling probability"),
        default=1.0,
        db_default=1.0,
        help_text=_("Each sampled image stands for 1 / this number of images."),
    )
    is_pinned: Flag = models.BooleanField(
        _("pinned"),
        default=False,
        db_default=False,
        help_text=_("Cleanup never deletes a pinned request."),
    )
    link_model: Text = models.CharField(
        _("linked model"), max_length=100, blank=True, default="", db_default=""
    )
    link_pk: Text = models.CharField(
        _("linked row"), max_length=100, blank=True, default="", db_default=""
    )

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
        """The row that `annotate(link=...)` named; None if it does not exist.

        Raises:
            LookupError: Its model is not installed any more.
        """
        if not self.link_model:
            return None
        model: type[models.Model] = apps.get_model(self.link_model)
        return model._base_manager.filter(pk=self.link_pk).first()


class ReceivedImage(models.Model):
    """The facts about an image of a request, whether its bytes are stored or not."""

    image_hash: Text = models.CharField(
        _("SHA-256"),
        max_length=HASH_LENGTH,
        blank=True,
        default="",
        db_default="",
        db_index=True,
        help_text=_("Of the bytes as received; empty if not read completely."),
    )
    mime_type: Text = models.CharField(
        _("MIME type"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("Detected from the bytes; empty for an unknown format."),
    )
    file_size: NumberOrNone = models.PositiveBigIntegerField(
        _("file size (bytes)"), null=True, blank=True
    )
    width: NumberOrNone = models.PositiveIntegerField(
        _("width (px)"), null=True, blank=True
    )
    height: NumberOrNone = models.PositiveIntegerField(
        _("height (px)"), null=True, blank=True
    )
    color_mode: Text = models.CharField(
        _("colour mode"),
        max_length=8,
        blank=True,
        default="",
        db_default="",
        help_text=_("Pillow's name for it, such as RGB or CMYK."),
    )
    is_animated: FlagOrNone = models.BooleanField(
        _("animated"),
        null=True,
        blank=True,
        help_text=_("Whether the image has more than one frame or page."),
    )
    has_orientation: FlagOrNone = models.BooleanField(
        _("needs rotation"),
        null=True,
        blank=True,
        help_text=_("Whether EXIF asks viewers to rotate or mirror the image."),
    )
    declared_type: Text = models.CharField(
        _("declared type"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("The type that the client declared; empty if it declared none."),
    )
    is_repeated: FlagOrNone = models.BooleanField(
        _("duplicate"),
        null=True,
        blank=True,
        help_text=_("Whether the same bytes were stored before."),
    )
    source: Text = models.CharField(
        _("source"),
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text=_("Where in the request the image was found."),
    )
    content_id: int | None

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.image_hash[:12] or f"#{self.pk}"

    @property
    def first(self) -> RequestImage:
        """The first image of the request, which may be this one."""
        raise NotImplementedError

    @property
    def is_expired(self) -> bool:
        """Whether the retention period of the bytes or of the log is over.

        This loads the log, unless the image is too young for any retention period;
        select it along for many images.
        """
        retention, created_at = Retention.of_settings(), self.first.created_at
        if not is_over(created_at, retention.begins):
            return False
        log = self.first.log
        end = retention.bytes_before(log.is_failed)
        return not log.is_pinned and is_over(created_at, end)

    @property
    def image_data(self) -> bytes | None:
        """The bytes as received; None if they are not stored, or are expired.

        Each access loads them.

        Raises:
            ObjectMissing: The storage has lost them.
            StorageError: The storage does not answer.
        """
        if self.content_id is None or self.is_expired:
            return None
        # From the row's own database: in another, the key may be another image's.
        contents = ImageContent.objects.using(self._state.db).defer("thumbnail")
        found = contents.filter(pk=self.content_id).first()
        return None if found is None else found.read()


_Content: TypeAlias = "models.ForeignKey[ImageContent | None, ImageContent | None]"


def _content_reference(related_name: str) -> _Content:
    # DO_NOTHING: the constraint in the database guards it. Anything else would load
    # whole contents with their bytes to delete them.
    return models.ForeignKey(
        ImageContent,
        verbose_name=_("content"),
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        related_name=related_name,
    )


class RequestImage(ReceivedImage, Counted):
    """The image of a request; the first one if there are several."""

    content: _Content = _content_reference("images")
    log: models.OneToOneField[RequestLog, RequestLog] = models.OneToOneField(
        RequestLog,
        verbose_name=_("request log"),
        on_delete=models.CASCADE,
        related_name="image",
    )
    # A copy of the log's: images are listed and deleted by it without a join.
    created_at: Time = models.DateTimeField(_("time"), db_index=True)

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
    """One more image of a request, for a view that stores all of its images.

    It is deleted with the request image, and shares its retention period and pin. Its
    capture status is its own.
    """

    content: _Content = _content_reference("further_images")
    request_image: models.ForeignKey[RequestImage, RequestImage] = models.ForeignKey(
        RequestImage,
        verbose_name=_("request image"),
        on_delete=models.CASCADE,
        related_name="further",
        db_index=False,  # the constraint's index begins with it
    )
    position: Number = models.PositiveSmallIntegerField(
        _("position"), help_text=_("The position among the further images, from 1.")
    )
    capture_status: Text = models.CharField(
        _("capture status"), max_length=16, choices=CaptureStatus.choices
    )
    capture_detail: Text = models.CharField(
        _("capture detail"), max_length=200, blank=True, default="", db_default=""
    )

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        verbose_name = _("further image")
        verbose_name_plural = _("further images")
        ordering = ("request_image", "position")
        default_permissions = ()  # it is shown with its request image
        constraints = (
            models.UniqueConstraint(
                fields=["request_image", "position"], name="further_image_position"
            ),
        )

    @property
    def first(self) -> RequestImage:
        """The first image of the request."""
        return self.request_image


# Pages of the admin that are no list of rows. The admin builds its index and its
# sidebar from registered models, in every theme; a proxy model has no table.


class Dashboard(RequestLog):
    """The dashboard in the admin's index."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = _("Dashboard")


class Gallery(RequestImage):
    """The gallery in the admin's index."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = _("Gallery")
