"""Models of the host project's own."""

from django.db import models

from request_images.models import FurtherImage, RequestImage, RequestLog


class Note(models.Model):  # nobody looks at it
    """What a view writes, to see whether its transaction is left alone."""

    text = models.CharField(max_length=50)


class Order(models.Model):
    """Goes with the log of the request that made it."""

    log = models.OneToOneField(RequestLog, models.CASCADE, related_name="+")


class Label(models.Model):
    """Outlives the images that it is about."""

    image = models.ForeignKey(RequestImage, models.SET_NULL, null=True)
    further = models.ForeignKey(FurtherImage, models.SET_NULL, null=True)


class Album(models.Model):
    """Outlives its images, too; what is between them does not."""

    images = models.ManyToManyField(RequestImage)


class Complaint(models.Model):
    """Holds fast what it is about."""

    log = models.ForeignKey(RequestLog, models.PROTECT, null=True)
    image = models.ForeignKey(RequestImage, models.RESTRICT, null=True)
