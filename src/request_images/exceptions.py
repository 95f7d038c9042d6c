"""What this app raises; each error is also the builtin that a caller expects.

Wrong settings raise Django's own ``ImproperlyConfigured`` instead, so that no
``except RequestImagesError`` swallows them.
"""


class RequestImagesError(Exception):
    """The base of every error that this app raises."""


class SourceError(RequestImagesError, ValueError):
    """A ``source`` that is no source: the text says which are."""


class InspectionError(RequestImagesError, ValueError):
    """The header of an image could not be read."""


class ThumbnailError(RequestImagesError, ValueError):
    """No thumbnail can be made of these bytes: the text says why."""


class ThumbnailNotYet(RequestImagesError, RuntimeError):
    """There is no thumbnail for now: somebody draws it, or others are before it."""


class StoreUnavailable(RequestImagesError, RuntimeError):
    """The database was not even tried, because it has just failed several times."""


class RetentionError(RequestImagesError, ValueError):
    """A retention that cannot be meant, such as zero days."""
