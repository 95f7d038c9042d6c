"""The admin: read-only lists that load no bytes, and the picture on its own page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from . import health, monitoring, showing
from .actions import PinActions
from .filters import ImageOutcomeFilter, OutcomeFilter, search
from .formats import MIME_TYPES
from .models import RequestImage, RequestLog
from .querysets import failed
from .serving import original_response, thumbnail_response

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:  # Django 6.1's ModelAdmin cannot be subscripted at run time
    AnyAdmin = admin.ModelAdmin

DETAILS = (
    "dimensions",
    "size",
    "mime_type",
    "image_hash",
    "seen",
    "source",
    "capture",
    "request",
    "endpoint",
    "status",
    "duration",
    "created_at",
)
ORIGINAL_PERMISSION = "request_images.view_image_content"
NEEDS_PERMISSION = {
    "picture": "request_images.view_requestimage",
    "request": "request_images.view_requestlog",
}


class ReadOnlyAdmin(PinActions, AnyAdmin):
    """Rows that are looked at: only recording writes them and only cleanup deletes.

    But for one thing: whether cleanup may have them.
    """

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {
            "all": ("request_images/admin.css",)
        }

    date_hierarchy = "created_at"
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes: an image's bytes may be another request's too."""
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Leave out the dates where the database cannot count them."""
        changelist = super().get_changelist_instance(request)
        if not _knows_local_days(connections[changelist.queryset.db]):
            changelist.date_hierarchy = None
        return changelist

    def url_of(self, page: str, *args: int) -> str:
        """Return the URL of one of our pages in this admin site."""
        name = f"admin:request_images_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def picture_of(self, image: RequestImage, kind: str) -> SafeString | str:
        """Return the HTML of an image by its URL; ``kind`` is a template's name."""
        if image.content_id is None or image.is_expired:
            return gettext("no picture")
        image_format = MIME_TYPES.get(image.mime_type)
        if kind == "original" and not (image_format and image_format.inline):
            kind = "thumbnail"  # a browser would not show it
        width, height = image.width, image.height
        if kind == "thumbnail":
            width, height = showing.thumbnail_size(image)
        context = {
            "width": width,
            "height": height,
            "url": self.url_of(f"requestimage_{kind}", image.pk),
            "original_url": self.url_of("requestimage_original", image.pk),
            "alternative": " ".join(
                filter(None, (showing.dimensions(image), image.mime_type))
            ),
        }
        return render_to_string(f"request_images/admin/{kind}.html", context)


@admin.register(RequestImage)
class RequestImageAdmin(ReadOnlyAdmin):
    """Images, each beside what became of its request."""

    list_display = (
        "thumbnail",
        "dimensions",
        "size",
        "mime_type",
        "status",
        "duration",
        "endpoint",
        "capture",
        "created_at",
    )
    list_display_links = ("thumbnail", "dimensions")
    log_field = "log_id"
    list_select_related = ("log",)
    list_filter = (
        ImageOutcomeFilter,
        "mime_type",
        "log__capture_status",
        "log__status_code",
        "log__endpoint",
        "log__error_type",
        "log__is_pinned",
    )
    # `get_search_results` says how; this shows the search box.
    search_fields = ("image_hash__startswith", "log__request_id__startswith")
    search_help_text = _("Request id or SHA-256, or the beginning of either")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestImage]:
        """Return the rows without what no list shows."""
        return super().get_queryset(request).defer("log__metadata")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by the beginning of a request id or of a hash."""
        return search(queryset, search_term, "log__", ""), False

    def get_urls(self) -> list[URLPattern]:
        """Add the two URLs that serve pictures."""
        view = self.admin_site.admin_view
        thumbnail = view(self.thumbnail_view)
        for alias in connections:
            # With ATOMIC_REQUESTS others would wait while it is being drawn, and what
            # a killed process began would be forgotten.
            thumbnail = transaction.non_atomic_requests(alias)(thumbnail)
        return [
            path(
                "<int:pk>/thumbnail/",
                thumbnail,
                name="request_images_requestimage_thumbnail",
            ),
            path(
                "<int:pk>/original/",
                view(self.original_view),
                name="request_images_requestimage_original",
            ),
            *super().get_urls(),
        ]

    def thumbnail_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Serve the thumbnail to whoever may see the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        image = self._image(pk)
        return _or_404(thumbnail_response(image))

    def original_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Serve the bytes as received to whoever may see originals, and log it."""
        if not (self.has_view_permission(request) and _may_see_originals(request)):
            raise PermissionDenied
        image = self._image(pk)
        response = _or_404(original_response(image))
        if response.status_code == 200:
            self.log_change(request, image, gettext("Looked at the original."))
        return response

    def _image(self, pk: int) -> RequestImage:
        images = RequestImage.objects.select_related("log")
        image: RequestImage | None = images.defer("log__metadata").filter(pk=pk).first()
        if image is None:
            raise Http404
        return image

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the original to whoever may see it, to others the thumbnail."""
        picture = "original" if _may_see_originals(request) else "thumbnail"
        return _permitted((picture, *DETAILS), request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Everything is only shown."""
        return self.get_fields(request, obj)

    @admin.display(description=_("image"))
    def thumbnail(self, image: RequestImage) -> SafeString | str:
        """Draw the thumbnail by its URL, or say why there is none."""
        return self.picture_of(image, "thumbnail")

    @admin.display(description=_("original"))
    def original(self, image: RequestImage) -> SafeString | str:
        """Draw the original by its URL, or say why there is none."""
        return self.picture_of(image, "original")

    @admin.display(description=_("dimensions"), ordering="width")
    def dimensions(self, image: RequestImage) -> str:
        """Width and height in pixels."""
        return showing.dimensions(image) or self.get_empty_value_display()

    @admin.display(description=_("size"), ordering="file_size")
    def size(self, image: RequestImage) -> str:
        """File size in readable units."""
        if image.file_size is None:
            return self.get_empty_value_display()
        return filesizeformat(image.file_size)

    @admin.display(description=_("endpoint"), ordering="log__endpoint")
    def endpoint(self, image: RequestImage) -> str:
        """The log's endpoint."""
        return image.log.endpoint

    @admin.display(description=_("status"), ordering="log__status_code")
    def status(self, image: RequestImage) -> str:
        """What became of the request."""
        return showing.status(image.log)

    @admin.display(description=_("duration"), ordering="log__duration_ms")
    def duration(self, image: RequestImage) -> str:
        """How long the view took."""
        return showing.milliseconds(image.log.duration_ms)

    @admin.display(description=_("kept"), ordering="log__capture_status")
    def capture(self, image: RequestImage) -> str:
        """What became of the image."""
        return showing.kept(image.log)

    @admin.display(description=_("request"))
    def request(self, image: RequestImage) -> SafeString:
        """Link to the log."""
        url = self.url_of("requestlog_change", image.log_id)
        return format_html('<a href="{}">{}</a>', url, image.log.request_id)

    @admin.display(description=_("the same image"))
    def seen(self, image: RequestImage) -> str:
        """How often this very image came, and how often it failed."""
        if not image.image_hash:
            return self.get_empty_value_display()
        counts = RequestImage.objects.same_image_as(image).aggregate(
            seen=Count("pk"), failed=Count("pk", filter=failed("log__"))
        )
        text = ngettext(
            "seen once, failed %(failed)d",
            "seen %(seen)d times, failed %(failed)d",
            counts["seen"],
        )
        url = self.url_of("requestimage_changelist")
        return format_html(
            '<a href="{}?q={}">{}</a>', url, image.image_hash, text % counts
        )


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """Request logs, each beside its image."""

    list_display = (
        "created_at",
        "picture",
        "endpoint",
        "method",
        "status",
        "duration",
        "capture",
        "request_id",
    )
    list_select_related = ("image",)
    change_list_template = "request_images/admin/requestlog_list.html"
    list_filter = (
        OutcomeFilter,
        "endpoint",
        "method",
        "status_code",
        "error_type",
        "capture_status",
        "is_pinned",
    )
    search_fields = ("request_id__startswith", "image__image_hash__startswith")
    search_help_text = _("Request id or SHA-256, or the beginning of either")
    fields = (
        "picture",
        "request_id",
        "created_at",
        "endpoint",
        "method",
        "path",
        "status",
        "error_type",
        "error_message",
        "duration",
        "upload",
        "username",
        "image_count",
        "capture",
        "sample_probability",
        "metadata",
        "linked",
    )
    readonly_fields = fields

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Show pictures to whoever may see images."""
        return _permitted(self.list_display, request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show the picture to whoever may see images."""
        return _permitted(self.fields, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestLog]:
        """Return the rows without what no list shows."""
        return super().get_queryset(request).defer("metadata", "error_message")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by the beginning of a request id or of a hash."""
        return search(queryset, search_term, "", "image__"), False

    def get_urls(self) -> list[URLPattern]:
        """Add the page that tells how healthy the recording is."""
        view = self.admin_site.admin_view(self.health_view)
        name = "request_images_requestlog_health"
        return [path("health/", view, name=name), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List, and link to the page of health."""
        context = {"health_url": self.url_of("requestlog_health")}
        return super().changelist_view(request, context | (extra_context or {}))

    def health_view(self, request: HttpRequest) -> HttpResponseBase:
        """Tell how healthy the recording is to whoever may see the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        vitals = monitoring.look(tries_to_write=True)
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Health"),
            "opts": self.opts,
            "vitals": vitals,
            "problems": vitals.problems(monitoring.Limits()),
            "tables": showing.health_tables(vitals, health.of_process()),
            "list_url": self.url_of("requestlog_changelist"),
        }
        return TemplateResponse(request, "request_images/admin/health.html", context)

    @admin.display(description=_("status"), ordering="status_code")
    def status(self, log: RequestLog) -> str:
        """What became of the request."""
        return showing.status(log)

    @admin.display(description=_("duration"), ordering="duration_ms")
    def duration(self, log: RequestLog) -> str:
        """How long the view took."""
        return showing.milliseconds(log.duration_ms)

    @admin.display(description=_("upload"))
    def upload(self, log: RequestLog) -> str:
        """How long the view waited for the client's bytes."""
        if log.upload_ms is None:
            return self.get_empty_value_display()
        return showing.milliseconds(log.upload_ms)

    @admin.display(description=_("kept"), ordering="capture_status")
    def capture(self, log: RequestLog) -> str:
        """What became of the image."""
        return showing.kept(log)

    @admin.display(description=_("image"))
    def picture(self, log: RequestLog) -> str:
        """Draw the thumbnail, linked to the image's page."""
        image = getattr(log, "image", None)
        if image is None:
            return self.get_empty_value_display()
        url = self.url_of("requestimage_change", image.pk)
        return format_html(
            '<a href="{}">{}</a>', url, self.picture_of(image, "thumbnail")
        )

    @admin.display(description=_("linked to"))
    def linked(self, log: RequestLog) -> str:
        """The row of the project's own that the view named."""
        if not log.link_model:
            return self.get_empty_value_display()
        return f"{log.link_model} {log.link_pk}"


def _knows_local_days(connection: BaseDatabaseWrapper) -> bool:
    # MySQL and MariaDB convert to no other time zone before their tables are loaded,
    # and then answer NULL, which Django takes for an error.
    as_stored = connection.timezone_name == timezone.get_current_timezone_name()
    return as_stored or connection.features.has_zoneinfo_database


def _permitted(names: tuple[str, ...], request: HttpRequest) -> tuple[str, ...]:
    # To others they would be a broken picture and a link that is refused.
    refused = {
        name
        for name, permission in NEEDS_PERMISSION.items()
        if not request.user.has_perm(permission)
    }
    return tuple(name for name in names if name not in refused)


def _may_see_originals(request: HttpRequest) -> bool:
    return request.user.has_perm(ORIGINAL_PERMISSION)


def _or_404(response: HttpResponseBase | None) -> HttpResponseBase:
    if response is None:
        raise Http404(gettext("This image was not kept, or is gone."))
    return response
