"""The variants' addresses."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("bare/", views.bare, name="bare"),
    path("captured/", views.captured, name="captured"),
    path("naive/", views.naive, name="naive"),
    path("rest/", views.RestView.as_view(), name="rest"),
]
