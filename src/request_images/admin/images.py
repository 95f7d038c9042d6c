"""The admin of request images: the list and the detail page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import flatten
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.properties import COLUMNS, MEASURES
from request_images.gallery.gallery import times_seen
from request_images.models import FurtherImage, ImageContent, RequestImage
from request_images.models.querysets import failed
from request_images.outcome import UNUSABLE
from request_images.query import labels

from . import formatting
from .actions import PinActions
from .base import LOGS, ORIGINALS, Tool
from .filters import (
    CriteriaFilter,
    ErrorTypeFilter,
    ImageOutcomeFilter,
    OrderedLists,
    ValuesFilter,
    search,
)
from .gallery import PicturePage
from .list_criteria import list_criteria
from .pictures import PictureFiles

_SIZE = ("dimensions", "size", "mime_type")
_SEEN = ("seen", "is_repeated", "source", "capture")
_SHOWN = {*_SIZE, *_SEEN, "width", "height", "file_size"}
_OF_IMAGE = (
    "thumbnail",
    _SIZE,
    tuple(name for name in COLUMNS if name not in _SHOWN),
    "image_hash",
    "looks",
    _SEEN,
)
_OF_REQUEST = (("endpoint", "status", "duration"), "created_at")
_OF_LOG = ("request", "method", "error_message", "username", "metadata")
_FURTHER = ("further", "further_with_originals")


class RequestImageAdmin(PinActions, OrderedLists, PicturePage, PictureFiles):
    """The admin of images, each with the outcome of its request."""

    list_display = (
        "thumbnail",
        "dimensions",
        "size",
        "mime_type",
        "images",
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
        ("mime_type", ValuesFilter),
        "log__capture_status",
        "log__status_code",
        ("log__endpoint", ValuesFilter),
        ("log__error_type", ErrorTypeFilter),
        "log__is_pinned",
        CriteriaFilter,
    )
    # Only shows the search box; `get_search_results` searches.
    search_fields = ("image_hash__startswith", "log__request_id__startswith")
    search_help_text = _(
        "Request id or SHA-256, or the beginning of either; error type; endpoint"
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestImage]:
        """Return the rows without the fields that no list shows."""
        return super().get_queryset(request).defer("log__metadata")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find rows by the first characters of a request id or a hash."""
        return search(queryset, search_term, "log__", ""), False

    def tools(self, request: HttpRequest) -> Iterable[Tool]:
        """Return a link to the gallery of these pictures."""
        shown = list_criteria(request.GET, own=("mime_type",))
        return [shown.link(gettext("Gallery"), self.url_of("requestimage_gallery"))]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields; those of the log need the permission to see logs."""
        of_log = _OF_LOG if request.user.has_perm(LOGS) else ()
        sets = [
            (None, {"fields": _OF_IMAGE}),
            (_("request"), {"fields": (*_OF_REQUEST, *of_log)}),
        ]
        if obj is None or not obj.further.exists():
            return sets
        sees = request.user.has_perm(ORIGINALS)
        further = "further_with_originals" if sees else "further"
        return [*sets, (_("further images"), {"fields": (further,)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return all fields: none can be edited."""
        return flatten((*_OF_IMAGE, *_OF_REQUEST, *_OF_LOG, *_FURTHER))

    @admin.display(description=_("image"))
    def thumbnail(self, image: RequestImage) -> SafeString | str:
        """The thumbnail, or the reason why there is none."""
        return self.thumbnail_of(image)

    @admin.display(description=_("images"), ordering="log__image_count")
    def images(self, image: RequestImage) -> int:
        """The number of images in the request."""
        return image.log.image_count

    @admin.display(description=_("further images"))
    def further(self, image: RequestImage) -> str:
        """The further images of the request, in order."""
        return self._further(image, has_links=False)

    @admin.display(description=_("further images"))
    def further_with_originals(self, image: RequestImage) -> str:
        """The further images of the request, each linked to its original."""
        return self._further(image, has_links=True)

    def _further(self, image: RequestImage, *, has_links: bool) -> str:
        rows = [
            {
                "image": each,
                "picture": self.thumbnail_of(each),
                "capture_status": formatting.capture_status(each),
                "dimensions": formatting.dimensions(each),
                "url": has_links
                and each.content_id
                and not each.is_expired
                and self.url_of(_view_of(each), each.pk),
            }
            for each in image.further.all()
        ]
        return render_to_string("request_images/admin/further.html", {"rows": rows})

    @admin.display(description=_("dimensions"), ordering="width")
    def dimensions(self, image: RequestImage) -> str:
        """The width and height in pixels."""
        return formatting.dimensions(image) or self.get_empty_value_display()

    @admin.display(description=_("size"), ordering="file_size")
    def size(self, image: RequestImage) -> str:
        """The file size in readable units."""
        if image.file_size is None:
            return self.get_empty_value_display()
        return filesizeformat(image.file_size)

    @admin.display(description=_("endpoint"), ordering="log__endpoint")
    def endpoint(self, image: RequestImage) -> str:
        """The log's endpoint."""
        return image.log.endpoint

    @admin.display(description=_("status"), ordering="log__status_code")
    def status(self, image: RequestImage) -> str:
        """The status and the error type of the request."""
        return labels.status(image.log)

    @admin.display(description=_("duration"), ordering="log__duration_ms")
    def duration(self, image: RequestImage) -> str:
        """The duration of the view."""
        return labels.milliseconds(image.log.duration_ms)

    @admin.display(description=_("capture status"), ordering="log__capture_status")
    def capture(self, image: RequestImage) -> str:
        """The capture status in words."""
        return formatting.capture_status(image.log)

    @admin.display(description=_("request"))
    def request(self, image: RequestImage) -> SafeString:
        """The request id, linked to the log."""
        url = self.url_of("requestlog_change", image.log_id)
        return format_html('<a href="{}">{}</a>', url, image.log.request_id)

    @admin.display(description=_("same image"))
    def seen(self, image: RequestImage) -> str:
        """The number of requests with the same image, and of failed ones among them."""
        if not image.image_hash:
            return self.get_empty_value_display()
        counts = self.same_image(image).aggregate(
            seen=Count("pk"), failed=Count("pk", filter=failed())
        )
        return format_html(
            '<a href="{}">{}</a>', self.same_url(image), times_seen(counts)
        )

    @admin.display(description=_("appearance"))
    def looks(self, image: RequestImage) -> SafeString | str:
        """The measures of the picture, and a link to similar pictures."""
        contents = ImageContent.objects.only(
            "analysis_error", "analysis_version", "layout", *MEASURES
        )
        content = contents.filter(pk=image.content_id).first()
        if content is None:
            return self.get_empty_value_display()
        text = formatting.measures(content)
        if not content.layout:
            return text
        url = f"{self.url_of('requestimage_gallery')}?layout={content.layout}"
        link = gettext("Similar pictures")
        return format_html('{}; <a href="{}">{}</a>', text, url, link)

    @admin.display(description=_("method"))
    def method(self, image: RequestImage) -> str:
        """The method and the path of the request."""
        return f"{image.log.method} {image.log.path}"

    @admin.display(description=_("error message"))
    def error_message(self, image: RequestImage) -> str:
        """The error message of the request."""
        return image.log.error_message or self.get_empty_value_display()

    @admin.display(description=_("user name"))
    def username(self, image: RequestImage) -> str:
        """The user name of the request."""
        return image.log.username or self.get_empty_value_display()

    @admin.display(description=_("metadata"))
    def metadata(self, image: RequestImage) -> str:
        """The metadata that the view annotated, as JSON."""
        text = json.dumps(image.log.metadata, ensure_ascii=False, indent=2)
        return format_html("<pre>{}</pre>", text)


def _view_of(image: FurtherImage) -> str:
    is_usable = image.capture_status not in UNUSABLE
    return "furtherimage_original" if is_usable else "furtherimage_body"
