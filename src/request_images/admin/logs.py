"""The admin of request logs: the list, the detail page, health, and the CSV file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images import health
from request_images.dashboard import health as dashboard_health
from request_images.models import RequestLog
from request_images.query import labels
from request_images.query.criteria import Criteria

from . import formatting
from .actions import PinActions
from .base import IMAGES, Tool, permitted
from .export import csv_chunks
from .filters import (
    CriteriaFilter,
    ErrorTypeFilter,
    OrderedLists,
    OutcomeFilter,
    ValuesFilter,
    search,
)
from .list_criteria import list_criteria
from .responses import streamed


class RequestLogAdmin(PinActions, OrderedLists):
    """The admin of request logs, each with its image."""

    list_display = (
        "created_at",
        "picture",
        "endpoint",
        "method",
        "status",
        "duration",
        "image_count",
        "capture",
        "request_id",
    )
    list_select_related = ("image",)
    list_filter = (
        OutcomeFilter,
        ("endpoint", ValuesFilter),
        ("method", ValuesFilter),
        "status_code",
        ("error_type", ErrorTypeFilter),
        "capture_status",
        "is_pinned",
        CriteriaFilter,
    )
    search_fields = ("request_id__startswith", "image__image_hash__startswith")
    search_help_text = _(
        "Request id or SHA-256, or the beginning of either; error type; endpoint"
    )
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
        """Return the columns; pictures need the permission to see images."""
        return permitted(self.list_display, request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the fields; the picture needs the permission to see images."""
        return permitted(self.fields, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestLog]:
        """Return the rows without the fields that no list shows."""
        return super().get_queryset(request).defer("metadata", "error_message")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find rows by the first characters of a request id or a hash."""
        return search(queryset, search_term, "", "image__"), False

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the health page and of the CSV file."""
        view = self.admin_site.admin_view
        name = "request_images_requestlog"
        return [
            path("health/", view(self.health_view), name=f"{name}_health"),
            path("csv/", view(self.csv_view), name=f"{name}_csv"),
            *super().get_urls(),
        ]

    def tools(self, request: HttpRequest) -> Iterable[Tool]:
        """Return links to the dashboard, the CSV file and the health page."""
        shown = list_criteria(request.GET, own=("endpoint", "error_type"))
        return [
            shown.link(gettext("Dashboard"), self.url_of("requestlog_dashboard")),
            shown.link(gettext("CSV"), self.url_of("requestlog_csv")),
            (gettext("Health"), self.url_of("requestlog_health")),
        ]

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """Stream the requests as a CSV file to users who may see the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        criteria = Criteria.of_form(request.GET)
        if criteria.problems:
            lines = [f"{problem.name}: {problem}" for problem in criteria.problems]
            return HttpResponse(
                "\n".join(lines), status=400, content_type="text/plain; charset=utf-8"
            )
        chunks = csv_chunks(criteria, with_images=request.user.has_perm(IMAGES))
        return streamed(
            request,
            chunks,
            content_type="text/csv; charset=utf-8",
            headers={
                "Cache-Control": "private, no-store",
                "Content-Disposition": 'attachment; filename="requests.csv"',
            },
        )

    def health_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the health of the recording to users who may see the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        vitals = dashboard_health.look(tries_to_write=True)
        context = {
            **self.page_context(request, gettext("Health")),
            "vitals": vitals,
            "problems": vitals.problems(dashboard_health.Limits()),
            "tables": formatting.health_tables(vitals, health.of_process()),
        }
        return TemplateResponse(request, "request_images/admin/health.html", context)

    @admin.display(description=_("status"), ordering="status_code")
    def status(self, log: RequestLog) -> str:
        """The status and the error type."""
        return labels.status(log)

    @admin.display(description=_("duration"), ordering="duration_ms")
    def duration(self, log: RequestLog) -> str:
        """The duration of the view."""
        return labels.milliseconds(log.duration_ms)

    @admin.display(description=_("upload"))
    def upload(self, log: RequestLog) -> str:
        """The time that the view waited for the client's bytes."""
        if log.upload_ms is None:
            return self.get_empty_value_display()
        return labels.milliseconds(log.upload_ms)

    @admin.display(description=_("capture status"), ordering="capture_status")
    def capture(self, log: RequestLog) -> str:
        """The capture status in words."""
        return formatting.capture_status(log)

    @admin.display(description=_("image"))
    def picture(self, log: RequestLog) -> str:
        """The thumbnail, linked to the page of the image."""
        image = getattr(log, "image", None)
        if image is None:
            return self.get_empty_value_display()
        url = self.url_of("requestimage_change", image.pk)
        return format_html('<a href="{}">{}</a>', url, self.thumbnail_of(image))

    @admin.display(description=_("linked to"))
    def linked(self, log: RequestLog) -> str:
        """The row of the project that the view linked."""
        if not log.link_model:
            return self.get_empty_value_display()
        return f"{log.link_model} {log.link_pk}"
