"""URLs to include in a project under any prefix."""

from django.urls import URLPattern, path

from .views import image_performance_stats

__all__ = ("app_name", "urlpatterns")

app_name = "request_images"
urlpatterns: list[URLPattern] = [
    path(
        "image-performance-stats",
        image_performance_stats,
        name="image-performance-stats",
    ),
]
