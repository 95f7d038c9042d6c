"""The admin of django-unfold with our pages, as they are in Django's own."""

from django.contrib import admin
from django.urls import path
from unfold.sites import UnfoldAdminSite

site = UnfoldAdminSite(name="admin")
for model, model_admin in admin.site._registry.items():
    site.register(model, type(model_admin))

urlpatterns = [path("admin/", site.urls)]
