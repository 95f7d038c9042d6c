"""The model of a project that stores its uploads itself."""

from __future__ import annotations

from django.db import models


class Upload(models.Model):
    """The naive solution: a row and a file, saved in the view."""

    image = models.ImageField(upload_to="uploads")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.image.name or ""
