import django.core.serializers.json
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from request_images.models.project import has_users, user_model


def keep_bytes_as_they_are(apps, schema_editor):
    """Tell PostgreSQL not to compress images: it costs four times and saves nothing."""
    if schema_editor.connection.vendor == "postgresql":
        table = apps.get_model("request_images", "ImageContent")._meta.db_table
        schema_editor.execute(
            f'ALTER TABLE "{table}" ALTER COLUMN "data" SET STORAGE EXTERNAL, '
            'ALTER COLUMN "thumbnail" SET STORAGE EXTERNAL'
        )


class Migration(migrations.Migration):
    initial = True

    # Without users in the project there is nothing to depend on.
    dependencies = (
        [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
        if has_users()
        else []
    )

    operations = [
        migrations.CreateModel(
            name="GoneRequests",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("hour", models.DateTimeField(db_index=True, verbose_name="hour")),
                ("tallies", models.BinaryField(verbose_name="tallies")),
            ],
            options={
                "verbose_name": "deleted requests",
                "verbose_name_plural": "deleted requests",
            },
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                (
                    "work",
                    models.CharField(
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        verbose_name="job",
                    ),
                ),
                ("holder", models.CharField(max_length=200, verbose_name="holder")),
                ("since", models.DateTimeField(verbose_name="since")),
                ("until", models.DateTimeField(verbose_name="until")),
            ],
            options={
                "verbose_name": "lease",
                "verbose_name_plural": "leases",
            },
        ),
        migrations.CreateModel(
            name="Loss",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "key",
                    models.CharField(max_length=32, unique=True, verbose_name="key"),
                ),
                ("since", models.DateTimeField(verbose_name="since")),
                ("until", models.DateTimeField(verbose_name="until")),
                ("requests", models.PositiveBigIntegerField(verbose_name="requests")),
                ("images", models.PositiveBigIntegerField(verbose_name="images")),
                ("reason", models.CharField(max_length=300, verbose_name="reason")),
                (
                    "acknowledged_at",
                    models.DateTimeField(
                        blank=True, null=True, verbose_name="acknowledged"
                    ),
                ),
            ],
            options={
                "verbose_name": "loss",
                "verbose_name_plural": "losses",
            },
        ),
        migrations.CreateModel(
            name="StaleHour",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("hour", models.DateTimeField(db_index=True, verbose_name="hour")),
            ],
            options={
                "verbose_name": "stale hour",
                "verbose_name_plural": "stale hours",
            },
        ),
        migrations.CreateModel(
            name="StatisticsState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "version",
                    models.PositiveBigIntegerField(
                        db_default=0, default=0, verbose_name="version"
                    ),
                ),
                ("since", models.DateTimeField(verbose_name="from")),
                ("until", models.DateTimeField(verbose_name="until")),
            ],
            options={
                "verbose_name": "state of the statistics",
                "verbose_name_plural": "states of the statistics",
            },
        ),
        migrations.CreateModel(
            name="ImageContent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "image_hash",
                    models.CharField(
                        editable=False,
                        max_length=64,
                        unique=True,
                        verbose_name="SHA-256",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_index=True,
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="time",
                    ),
                ),
                (
                    "mime_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=64,
                        verbose_name="MIME type",
                    ),
                ),
                (
                    "storage",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Empty for the database.",
                        max_length=63,
                        verbose_name="storage alias",
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Unique; never used again for another image.",
                        max_length=255,
                        verbose_name="name in the storage",
                    ),
                ),
                (
                    "encoding",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="How the stored form is compressed; empty for bytes as received.",
                        max_length=32,
                        verbose_name="encoding",
                    ),
                ),
                (
                    "stored_size",
                    models.PositiveBigIntegerField(verbose_name="stored size (bytes)"),
                ),
                (
                    "received_size",
                    models.PositiveBigIntegerField(
                        blank=True,
                        help_text="Empty if the bytes are stored as received.",
                        null=True,
                        verbose_name="received size (bytes)",
                    ),
                ),
                (
                    "encoding_tries",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                (
                    "encoding_error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="compression error",
                    ),
                ),
                (
                    "thumbnail_tries",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                ("thumbnail_tried_at", models.DateTimeField(editable=False, null=True)),
                (
                    "thumbnail_error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="thumbnail error",
                    ),
                ),
                (
                    "analysis_version",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                (
                    "analysis_tries",
                    models.PositiveSmallIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                ("analysis_tried_at", models.DateTimeField(editable=False, null=True)),
                (
                    "analysis_error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="analysis error",
                    ),
                ),
                (
                    "brightness",
                    models.FloatField(
                        db_index=True, null=True, verbose_name="brightness"
                    ),
                ),
                (
                    "contrast",
                    models.FloatField(
                        db_index=True, null=True, verbose_name="contrast"
                    ),
                ),
                (
                    "entropy",
                    models.FloatField(
                        db_index=True, null=True, verbose_name="entropy (bits)"
                    ),
                ),
                (
                    "sharpness",
                    models.FloatField(
                        db_index=True, null=True, verbose_name="sharpness"
                    ),
                ),
                (
                    "layout",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=64,
                        verbose_name="perceptual hash",
                    ),
                ),
                ("thumbnail", models.BinaryField(null=True, verbose_name="thumbnail")),
                ("data", models.BinaryField(null=True, verbose_name="bytes")),
            ],
            options={
                "verbose_name": "image content",
                "verbose_name_plural": "image contents",
                "indexes": [
                    models.Index(fields=["storage", "name"], name="content_object"),
                    models.Index(
                        fields=["analysis_version", "id"], name="content_analysis"
                    ),
                    models.Index(fields=["layout"], name="content_layout"),
                ],
            },
        ),
        migrations.CreateModel(
            name="OriginalAccess",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_index=True,
                        default=django.utils.timezone.now,
                        verbose_name="time",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        db_index=True,
                        max_length=254,
                        verbose_name="username",
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[("viewed", "viewed"), ("downloaded", "downloaded")],
                        max_length=16,
                        verbose_name="action",
                    ),
                ),
                (
                    "image_hash",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        db_index=True,
                        max_length=64,
                        verbose_name="SHA-256",
                    ),
                ),
                (
                    "request_id",
                    models.CharField(
                        db_index=True, max_length=64, verbose_name="request id"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=user_model(),
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "access to an original",
                "verbose_name_plural": "access log",
                "ordering": ("-created_at", "-id"),
                "get_latest_by": "created_at",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="PendingDeletion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "storage",
                    models.CharField(max_length=63, verbose_name="storage alias"),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=255, verbose_name="name in the storage"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now,
                        editable=False,
                        verbose_name="time",
                    ),
                ),
                ("due_at", models.DateTimeField(db_index=True, verbose_name="due")),
                (
                    "tries",
                    models.PositiveIntegerField(
                        db_default=0, default=0, verbose_name="attempts"
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="last error",
                    ),
                ),
            ],
            options={
                "verbose_name": "pending deletion",
                "verbose_name_plural": "pending deletions",
                "indexes": [
                    models.Index(fields=["storage", "name"], name="pending_object")
                ],
            },
        ),
        migrations.CreateModel(
            name="RequestLog",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "request_id",
                    models.CharField(
                        db_index=True, max_length=64, verbose_name="request id"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_index=True, verbose_name="time"),
                ),
                ("endpoint", models.CharField(max_length=200, verbose_name="endpoint")),
                ("method", models.CharField(max_length=16, verbose_name="method")),
                ("path", models.CharField(max_length=1024, verbose_name="path")),
                (
                    "status_code",
                    models.PositiveSmallIntegerField(
                        blank=True, db_index=True, null=True, verbose_name="status"
                    ),
                ),
                (
                    "duration_ms",
                    models.FloatField(
                        db_index=True,
                        help_text="Time in the view, without waiting for the upload.",
                        verbose_name="duration (ms)",
                    ),
                ),
                ("duration_bucket", models.SmallIntegerField(editable=False)),
                (
                    "upload_ms",
                    models.FloatField(
                        blank=True,
                        help_text="Time that the view waited for the upload.",
                        null=True,
                        verbose_name="upload (ms)",
                    ),
                ),
                (
                    "error_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        db_index=True,
                        max_length=200,
                        verbose_name="error type",
                    ),
                ),
                (
                    "error_message",
                    models.TextField(
                        blank=True,
                        db_default="",
                        default="",
                        verbose_name="error message",
                    ),
                ),
                (
                    "release",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The release of the project that handled the request.",
                        max_length=100,
                        verbose_name="release",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=254,
                        verbose_name="username",
                    ),
                ),
                (
                    "metadata",
                    models.JSONField(
                        blank=True,
                        db_default={},
                        default=dict,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        verbose_name="metadata",
                    ),
                ),
                (
                    "image_count",
                    models.PositiveIntegerField(
                        db_default=0,
                        default=0,
                        help_text="The number of images in the request.",
                        verbose_name="images",
                    ),
                ),
                (
                    "capture_status",
                    models.CharField(
                        choices=[
                            ("stored", "Stored"),
                            ("duplicate", "Duplicate"),
                            ("no_image", "No image"),
                            ("unread", "Not read by the view"),
                            ("too_large", "Too large"),
                            ("unsupported", "Unsupported format"),
                            ("unreadable", "Unreadable"),
                            ("truncated", "Truncated"),
                            ("partial", "Part of an upload"),
                            ("sampled_out", "Not sampled"),
                            ("opted_out", "Opted out"),
                            ("over_budget", "Over budget"),
                            ("store_failed", "Storage failed"),
                            ("expired", "Expired"),
                            ("erased", "Erased"),
                        ],
                        db_index=True,
                        max_length=16,
                        verbose_name="capture status",
                    ),
                ),
                (
                    "capture_detail",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="capture detail",
                    ),
                ),
                (
                    "sample_probability",
                    models.FloatField(
                        db_default=1.0,
                        default=1.0,
                        help_text="Each sampled image stands for 1 / this number of images.",
                        verbose_name="sampling probability",
                    ),
                ),
                (
                    "is_pinned",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        help_text="Cleanup never deletes a pinned request.",
                        verbose_name="pinned",
                    ),
                ),
                (
                    "link_model",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=100,
                        verbose_name="linked model",
                    ),
                ),
                (
                    "link_pk",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=100,
                        verbose_name="linked row",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=user_model(),
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "request log",
                "verbose_name_plural": "request logs",
                "ordering": ("-created_at", "-id"),
                "get_latest_by": "created_at",
            },
        ),
        migrations.CreateModel(
            name="RequestImage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "image_hash",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        db_index=True,
                        help_text="Of the bytes as received; empty if not read completely.",
                        max_length=64,
                        verbose_name="SHA-256",
                    ),
                ),
                (
                    "mime_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Detected from the bytes; empty for an unknown format.",
                        max_length=64,
                        verbose_name="MIME type",
                    ),
                ),
                (
                    "file_size",
                    models.PositiveBigIntegerField(
                        blank=True, null=True, verbose_name="file size (bytes)"
                    ),
                ),
                (
                    "width",
                    models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="width (px)"
                    ),
                ),
                (
                    "height",
                    models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="height (px)"
                    ),
                ),
                (
                    "color_mode",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Pillow's name for it, such as RGB or CMYK.",
                        max_length=8,
                        verbose_name="colour mode",
                    ),
                ),
                (
                    "is_animated",
                    models.BooleanField(
                        blank=True,
                        help_text="Whether the image has more than one frame or page.",
                        null=True,
                        verbose_name="animated",
                    ),
                ),
                (
                    "has_orientation",
                    models.BooleanField(
                        blank=True,
                        help_text="Whether EXIF asks viewers to rotate or mirror the image.",
                        null=True,
                        verbose_name="needs rotation",
                    ),
                ),
                (
                    "declared_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The type that the client declared; empty if it declared none.",
                        max_length=64,
                        verbose_name="declared type",
                    ),
                ),
                (
                    "is_repeated",
                    models.BooleanField(
                        blank=True,
                        help_text="Whether the same bytes were stored before.",
                        null=True,
                        verbose_name="duplicate",
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Where in the request the image was found.",
                        max_length=200,
                        verbose_name="source",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_index=True, verbose_name="time"),
                ),
                (
                    "content",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="images",
                        to="request_images.imagecontent",
                        verbose_name="content",
                    ),
                ),
                (
                    "log",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="image",
                        to="request_images.requestlog",
                        verbose_name="request log",
                    ),
                ),
            ],
            options={
                "verbose_name": "request image",
                "verbose_name_plural": "request images",
                "ordering": ("-created_at", "-id"),
                "permissions": (
                    ("view_image_content", "Can view the original images"),
                ),
                "get_latest_by": "created_at",
            },
        ),
        migrations.CreateModel(
            name="StatisticsRollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "span",
                    models.CharField(
                        choices=[("hour", "hour"), ("day", "day"), ("month", "month")],
                        max_length=5,
                        verbose_name="period",
                    ),
                ),
                ("start", models.DateTimeField(verbose_name="start")),
                ("is_total", models.BooleanField(verbose_name="all endpoints")),
                (
                    "endpoint",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="endpoint",
                    ),
                ),
                ("facet", models.CharField(max_length=16, verbose_name="facet")),
                ("tallies", models.BinaryField(verbose_name="tallies")),
            ],
            options={
                "verbose_name": "statistics",
                "verbose_name_plural": "statistics",
                "indexes": [
                    models.Index(
                        fields=["span", "is_total", "facet", "start"],
                        name="statistics_rollup",
                    ),
                    models.Index(
                        fields=["span", "start"], name="statistics_rollup_time"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FurtherImage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "image_hash",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        db_index=True,
                        help_text="Of the bytes as received; empty if not read completely.",
                        max_length=64,
                        verbose_name="SHA-256",
                    ),
                ),
                (
                    "mime_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Detected from the bytes; empty for an unknown format.",
                        max_length=64,
                        verbose_name="MIME type",
                    ),
                ),
                (
                    "file_size",
                    models.PositiveBigIntegerField(
                        blank=True, null=True, verbose_name="file size (bytes)"
                    ),
                ),
                (
                    "width",
                    models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="width (px)"
                    ),
                ),
                (
                    "height",
                    models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="height (px)"
                    ),
                ),
                (
                    "color_mode",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Pillow's name for it, such as RGB or CMYK.",
                        max_length=8,
                        verbose_name="colour mode",
                    ),
                ),
                (
                    "is_animated",
                    models.BooleanField(
                        blank=True,
                        help_text="Whether the image has more than one frame or page.",
                        null=True,
                        verbose_name="animated",
                    ),
                ),
                (
                    "has_orientation",
                    models.BooleanField(
                        blank=True,
                        help_text="Whether EXIF asks viewers to rotate or mirror the image.",
                        null=True,
                        verbose_name="needs rotation",
                    ),
                ),
                (
                    "declared_type",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="The type that the client declared; empty if it declared none.",
                        max_length=64,
                        verbose_name="declared type",
                    ),
                ),
                (
                    "is_repeated",
                    models.BooleanField(
                        blank=True,
                        help_text="Whether the same bytes were stored before.",
                        null=True,
                        verbose_name="duplicate",
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="Where in the request the image was found.",
                        max_length=200,
                        verbose_name="source",
                    ),
                ),
                (
                    "position",
                    models.PositiveSmallIntegerField(
                        help_text="The position among the further images, from 1.",
                        verbose_name="position",
                    ),
                ),
                (
                    "capture_status",
                    models.CharField(
                        choices=[
                            ("stored", "Stored"),
                            ("duplicate", "Duplicate"),
                            ("no_image", "No image"),
                            ("unread", "Not read by the view"),
                            ("too_large", "Too large"),
                            ("unsupported", "Unsupported format"),
                            ("unreadable", "Unreadable"),
                            ("truncated", "Truncated"),
                            ("partial", "Part of an upload"),
                            ("sampled_out", "Not sampled"),
                            ("opted_out", "Opted out"),
                            ("over_budget", "Over budget"),
                            ("store_failed", "Storage failed"),
                            ("expired", "Expired"),
                            ("erased", "Erased"),
                        ],
                        max_length=16,
                        verbose_name="capture status",
                    ),
                ),
                (
                    "capture_detail",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        max_length=200,
                        verbose_name="capture detail",
                    ),
                ),
                (
                    "content",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="further_images",
                        to="request_images.imagecontent",
                        verbose_name="content",
                    ),
                ),
                (
                    "request_image",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="further",
                        to="request_images.requestimage",
                        verbose_name="request image",
                    ),
                ),
            ],
            options={
                "verbose_name": "further image",
                "verbose_name_plural": "further images",
                "ordering": ("request_image", "position"),
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("request_image", "position"),
                        name="further_image_position",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="requestlog",
            index=models.Index(
                fields=["endpoint", "created_at"], name="request_log_endpoint_time"
            ),
        ),
        migrations.AddIndex(
            model_name="requestlog",
            index=models.Index(
                fields=["link_model", "link_pk"], name="request_log_link"
            ),
        ),
        migrations.AddIndex(
            model_name="requestimage",
            index=models.Index(fields=["width", "height"], name="request_image_dims"),
        ),
        migrations.AddIndex(
            model_name="requestimage",
            index=models.Index(fields=["mime_type"], name="request_image_type"),
        ),
        migrations.AddIndex(
            model_name="requestimage",
            index=models.Index(fields=["file_size"], name="request_image_size"),
        ),
        migrations.CreateModel(
            name="Dashboard",
            fields=[],
            options={
                "verbose_name": "Dashboard",
                "verbose_name_plural": "Dashboard",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("request_images.requestlog",),
        ),
        migrations.CreateModel(
            name="Gallery",
            fields=[],
            options={
                "verbose_name": "Gallery",
                "verbose_name_plural": "Gallery",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("request_images.requestimage",),
        ),
        migrations.RunPython(keep_bytes_as_they_are, migrations.RunPython.noop),
    ]
