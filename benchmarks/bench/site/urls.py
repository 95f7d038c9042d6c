"""The URLs of the variants."""

from __future__ import annotations

from django.apps import apps
from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("bare/", views.bare, name="bare"),
    path("bare/work/", views.work, name="bare-work"),
    path("bare/fault/", views.fault, name="bare-fault"),
    path("pid/", views.pid, name="pid"),
    path("naive/", views.naive, name="naive"),
]
if apps.is_installed("request_images"):
    from . import captured

    urlpatterns += [
        path("usage/", include("request_images.urls")),
        path("captured/", captured.bare, name="captured"),
        path("captured/work/", captured.work, name="captured-work"),
        path("captured/fault/", captured.fault, name="captured-fault"),
    ]
if apps.is_installed("rest_framework"):
    from .rest import RestView

    urlpatterns += [path("rest/", RestView.as_view(), name="rest")]
