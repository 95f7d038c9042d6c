"""A model of the host project's own."""

from django.db import models


class Note(models.Model):  # noqa: DJ008  # nobody looks at it
    """What a view writes, to see whether its transaction is left alone."""

    text = models.CharField(max_length=50)
