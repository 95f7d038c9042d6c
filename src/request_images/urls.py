"""URLs to include in a project, below any prefix."""

from django.urls import path

from .views import image_performance_stats

app_name = "request_images"
urlpatterns = [
    path(
        "image-performance-stats",
        image_performance_stats,
        name="image-performance-stats",
    ),
]
