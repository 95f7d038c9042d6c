"""The base of all pages in the admin: read-only, guarded by the view permission."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_permission_codename
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from request_images.models import ReceivedImage
from request_images.query.fields import CRITERIA

from . import formatting

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:  # Django 6.1's ModelAdmin cannot be subscripted at run time
    AnyAdmin = admin.ModelAdmin

_YEAR = re.compile(r"0*[1-9][0-9]{0,3}")
ORIGINALS = "request_images.view_image_content"
IMAGES = "request_images.view_requestimage"
LOGS = "request_images.view_requestlog"
ACCESSES = "request_images.view_originalaccess"
NEEDS_PERMISSION = {"picture": IMAGES, "request": LOGS}

Tool = tuple[str, str]
"""Text and URL of a link at the top of a page."""


class ReadOnlyAdmin(AnyAdmin):
    """Read-only pages: the recording writes the rows, and cleanup deletes them."""

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {
            "all": ("request_images/admin.css",)
        }

    change_list_template = "request_images/admin/list.html"
    date_hierarchy = "created_at"
    show_full_result_count = False
    list_per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask for the permission to view; Django lets in those who may change, too."""
        # A proxy model has no permissions of its own.
        opts = (self.opts.concrete_model or self.model)._meta
        name = get_permission_codename("view", opts)
        return request.user.has_perm(f"{opts.app_label}.{name}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse everybody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse everybody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse everybody: other requests may share the bytes of an image."""
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Drop the date hierarchy if the database cannot compute local days."""
        changelist = super().get_changelist_instance(request)
        if not _knows_local_days(connections[changelist.queryset.db]):
            changelist.date_hierarchy = None
        return changelist

    def tools(self, request: HttpRequest) -> Iterable[Tool]:
        """Return the links above the list."""
        return ()

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        """Return whether a look-up is one of this list's filters or date hierarchy.

        Django allows every look-up on a field of the model. With ``__regex``, one URL
        could keep the database busy for hours.
        """
        if lookup in self._lookups(request) or lookup in CRITERIA:
            return True
        columns = {field.name for field in self.opts.get_fields()}
        columns |= {field.attname for field in self.opts.concrete_fields}
        return LOOKUP_SEP not in lookup and lookup not in {"pk", *columns}

    def _lookups(self, request: HttpRequest | None) -> set[str]:
        """Return the look-ups that are in the links of this list."""
        date = self.date_hierarchy
        found = {f"{date}__{part}" for part in ("year", "month", "day")}
        # mypy: Django's own method takes None, too.
        filters: Iterable[Any] = self.get_list_filter(request)  # type: ignore[arg-type]
        for each in filters:
            if not isinstance(each, type):
                field = each if isinstance(each, str) else each[0]
                found |= {field, f"{field}__exact", f"{field}__isnull"}
        return found

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Add links above the list; drop parameters that no filter of it has."""
        given = request.GET.copy()
        for name in list(given):
            text = self._refusal(request, name, given.getlist(name))
            if text:
                del given[name]
                messages.warning(request, f"{name}: {text}")
        request.GET = given  # type: ignore[assignment]  # mutable, but equal
        context = {"tools": self.tools(request)}
        return super().changelist_view(request, context | (extra_context or {}))

    def _refusal(self, request: HttpRequest, name: str, values: list[str]) -> str:
        """Return why a parameter is dropped; empty if it is not."""
        if "\0" in name + "".join(values):  # PostgreSQL refuses it
            return gettext("there is a NUL character in it")
        if not self.lookup_allowed(name, "", request):
            return gettext("no filter of this list")
        is_date = name.startswith(f"{self.date_hierarchy}__")
        if is_date and not all(_YEAR.fullmatch(value) for value in values):
            limits = {"low": 1, "high": 9999}
            return gettext("not a whole number from %(low)d to %(high)d") % limits
        return ""

    def page_context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """Return the context that the base template of all pages needs."""
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
        }

    def url_of(self, page: str, *args: int) -> str:
        """Return the URL of a page of this app in this admin site."""
        name = f"admin:request_images_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def thumbnail_of(self, image: ReceivedImage) -> SafeString | str:
        """Return the HTML of the thumbnail of an image, or a text if there is none."""
        if image.content_id is None or image.is_expired:
            return gettext("no picture")
        width, height = formatting.thumbnail_size(image)
        context = {
            "width": width,
            "height": height,
            "url": self.url_of(f"{image._meta.model_name}_thumbnail", image.pk),
            "alternative": formatting.alternative(image),
        }
        return render_to_string("request_images/admin/thumbnail.html", context)


def permitted(names: tuple[str, ...], request: HttpRequest) -> tuple[str, ...]:
    """Return the columns or fields that the user may see.

    The others would be a broken picture, or a link to a page that is refused.
    """
    refused = {
        name
        for name, permission in NEEDS_PERMISSION.items()
        if not request.user.has_perm(permission)
    }
    return tuple(name for name in names if name not in refused)


def _knows_local_days(connection: BaseDatabaseWrapper) -> bool:
    # Without time zone tables MySQL and MariaDB convert a time to NULL, which is an
    # error for Django.
    as_stored = connection.timezone_name == timezone.get_current_timezone_name()
    return as_stored or connection.features.has_zoneinfo_database
