"""The test project's URLs, with every kind of view that can be decorated."""

from django.contrib import admin
from django.urls import include, path

from tests import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/usage/", include("request_images.urls")),
    path("", include("solver.urls")),
    *views.urlpatterns,
]
