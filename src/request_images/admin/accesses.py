"""The admin of the access log: who opened which original."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from request_images.models.access import OriginalAccess

from .base import ReadOnlyAdmin
from .filters import ValuesFilter


class OriginalAccessAdmin(ReadOnlyAdmin):
    """The access log: who looked at which original, and who downloaded it."""

    list_display = ("created_at", "username", "action", "image", "request_id")
    list_display_links = None
    list_filter = ("action", ("username", ValuesFilter))
    search_fields = (
        "username__exact",
        "image_hash__startswith",
        "request_id__startswith",
    )
    search_help_text = _("User name, request id or SHA-256")
    fields = ("created_at", "username", "action", "image_hash", "request_id")
    readonly_fields = fields
    actions = None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by user name, or by the beginning of a request id or of a hash."""
        by_name = queryset.filter(username=search_term.strip())
        if by_name.exists():
            return by_name, False
        term = search_term.strip()
        if not term:
            return queryset, False
        keys = OriginalAccess.objects.order_by().values("pk")
        by_id = keys.filter(request_id__startswith=term)
        by_hash = keys.filter(image_hash__startswith=term.lower())
        return queryset.filter(pk__in=by_id.union(by_hash)), False

    @admin.display(description=_("SHA-256"), ordering="image_hash")
    def image(self, access: OriginalAccess) -> SafeString:
        """Link to all accesses to this original."""
        image_hash = access.image_hash
        return format_html('<a href="?q={}">{}</a>', image_hash, image_hash[:16])
