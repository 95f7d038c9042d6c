"""Our pages in Django's admin, at the default site."""

from django.contrib import admin

from .access_admin import OriginalAccessAdmin
from .image_admin import RequestImageAdmin
from .log_admin import RequestLogAdmin
from .models import OriginalAccess, RequestImage, RequestLog

admin.site.register(RequestImage, RequestImageAdmin)
admin.site.register(RequestLog, RequestLogAdmin)
admin.site.register(OriginalAccess, OriginalAccessAdmin)
