"""The URLs of the example project."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/usage/", include("request_images.urls")),
    path("", include("solver.urls")),
]
