"""The pages in Django's admin, registered at the default site."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.contrib import admin

from request_images.models import (
    Dashboard,
    Gallery,
    OriginalAccess,
    RequestImage,
    RequestLog,
)

from . import registration

if TYPE_CHECKING:
    from .accesses import OriginalAccessAdmin
    from .dashboard import DashboardAdmin
    from .gallery import GalleryAdmin
    from .images import RequestImageAdmin
    from .logs import RequestLogAdmin

__all__ = (
    "DashboardAdmin",
    "GalleryAdmin",
    "OriginalAccessAdmin",
    "RequestImageAdmin",
    "RequestLogAdmin",
)

_PAGES: dict[Any, Any] = {
    Dashboard: registration.LazyDashboard,
    Gallery: registration.LazyGallery,
    OriginalAccess: registration.LazyAccesses,
    RequestImage: registration.LazyImages,
    RequestLog: registration.LazyLogs,
}


def __getattr__(name: str) -> Any:
    """Load the module of a class when it is asked for."""
    for module, class_name in (page.page for page in _PAGES.values()):
        if name == class_name:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


for model, page in _PAGES.items():
    admin.site.register(model, page)
