"""Stand-ins in the registry of an admin site: they load a page when it is opened.

Each process of a project loads the registry, and any ``reverse()`` asks for all URLs.
The pages, with their charts and Pillow, take ten times as long to load as the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path
from django.utils.functional import LazyObject

from request_images.db.transactions import without_transaction

if TYPE_CHECKING:
    AnyLazy = LazyObject[Any]
else:  # it cannot be subscripted at run time
    AnyLazy = LazyObject

Route = tuple[str, str | None]
"""The route of a page, and the name of its URL."""


def _routes_of_pictures() -> Iterable[Route]:
    for model, prefix in (("requestimage", ""), ("furtherimage", "further/")):
        for kind in ("thumbnail", "original", "body"):
            yield f"{prefix}<int:pk>/{kind}/", f"request_images_{model}_{kind}"


class LazyAdmin(AnyLazy):
    """A ``ModelAdmin`` that is loaded when something other than its URLs is used.

    Args:
        model: The model to register it for.
        site: The admin site.
    """

    page: ClassVar[tuple[str, str]]
    """The module of the admin, and the name of its class."""
    routes: ClassVar[tuple[Route, ...]]
    """The URLs that are ours."""
    has_django_routes: ClassVar[bool] = True
    """Whether Django's own URLs follow: the list, the page of a row and so on."""
    not_atomic: ClassVar[tuple[str, ...]] = ()
    """The ends of the names of the URLs whose views run outside of a transaction."""

    def __init__(self, model: type[Model], site: admin.AdminSite) -> None:
        super().__init__()
        # To set an attribute would load the page.
        self.__dict__["_place"] = (model, site)

    def _setup(self) -> None:
        module, name = self.page
        page = getattr(import_module(f"{__package__}.{module}"), name)
        self._wrapped = page(*self.__dict__["_place"])

    @property
    def urls(self) -> list[URLPattern]:
        """The URLs of the page, as its ``urls`` has them."""
        routes = list(self.routes)
        if self.has_django_routes:
            plain: admin.ModelAdmin[Any] = admin.ModelAdmin(*self.__dict__["_place"])
            routes += [(str(each.pattern), each.name) for each in plain.get_urls()]
        return [path(route, self._view_of(name), name=name) for route, name in routes]

    def _view_of(self, name: str | None) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            pages: Any = self
            found = next(each for each in pages.get_urls() if each.name == name)
            response: HttpResponseBase = found.callback(
                request, **kwargs, **found.default_args
            )
            return response

        is_atomic = not (name or "").endswith(self.not_atomic)
        return view if is_atomic else without_transaction(view)


class LazyDashboard(LazyAdmin):
    """The dashboard."""

    page = ("dashboard", "DashboardAdmin")
    routes = (
        ("", "request_images_dashboard_changelist"),
        ("", "request_images_requestlog_dashboard"),
        ("<slug:panel>/", "request_images_requestlog_panel"),
    )
    has_django_routes = False
    not_atomic = ("_changelist", "_dashboard", "_panel")


class LazyGallery(LazyAdmin):
    """The gallery."""

    page = ("gallery", "GalleryAdmin")
    routes = (
        ("", "request_images_gallery_changelist"),
        ("", "request_images_requestimage_gallery"),
    )
    has_django_routes = False


class LazyAccesses(LazyAdmin):
    """The access log."""

    page = ("accesses", "OriginalAccessAdmin")
    routes = ()


class LazyImages(LazyAdmin):
    """The request images."""

    page = ("images", "RequestImageAdmin")
    routes = tuple(_routes_of_pictures())
    not_atomic = ("_thumbnail",)


class LazyLogs(LazyAdmin):
    """The request logs."""

    page = ("logs", "RequestLogAdmin")
    routes = (
        ("health/", "request_images_requestlog_health"),
        ("csv/", "request_images_requestlog_csv"),
    )
