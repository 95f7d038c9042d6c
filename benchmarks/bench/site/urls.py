"""The URLs of the variants."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("usage/", include("request_images.urls")),
    path("bare/", views.bare, name="bare"),
    path("captured/", views.captured, name="captured"),
    path("naive/", views.naive, name="naive"),
    path("rest/", views.RestView.as_view(), name="rest"),
]
