"""Our pages in Django's admin, at the default site."""

from django.contrib import admin

from request_images.models import OriginalAccess, RequestImage, RequestLog

from .accesses import OriginalAccessAdmin
from .images import RequestImageAdmin
from .logs import RequestLogAdmin

admin.site.register(RequestImage, RequestImageAdmin)
admin.site.register(RequestLog, RequestLogAdmin)
admin.site.register(OriginalAccess, OriginalAccessAdmin)
