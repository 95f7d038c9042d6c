"""The pages in Django's admin, registered at the default site."""

from django.contrib import admin

from request_images.models import (
    Dashboard,
    Gallery,
    OriginalAccess,
    RequestImage,
    RequestLog,
)

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

admin.site.register(Dashboard, DashboardAdmin)
admin.site.register(Gallery, GalleryAdmin)
admin.site.register(OriginalAccess, OriginalAccessAdmin)
admin.site.register(RequestImage, RequestImageAdmin)
admin.site.register(RequestLog, RequestLogAdmin)
