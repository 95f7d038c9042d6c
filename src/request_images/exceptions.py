"""The exceptions of this app; each is also a suitable built-in exception.

A wrong setting raises Django's own ``ImproperlyConfigured`` instead, so that no
``except RequestImagesError`` hides it.
"""

__all__ = (
    "DecoderKilled",
    "DecoderUnavailable",
    "DecodingFailed",
    "EncodingRefused",
    "EncodingUnavailable",
    "InspectionError",
    "LeaseLost",
    "NotYet",
    "ObjectClaimed",
    "ObjectDamaged",
    "ObjectMissing",
    "PictureRefused",
    "RequestImagesError",
    "RetentionError",
    "SourceError",
    "StorageError",
    "StoreUnavailable",
    "TooManyRequests",
    "WorkTaken",
)


class RequestImagesError(Exception):
    """Base class of the exceptions of this app."""


class SourceError(RequestImagesError, ValueError):
    """A ``source`` is not valid; the text lists the valid ones."""


class InspectionError(RequestImagesError, ValueError):
    """The header of an image cannot be read; the text says why."""


class PictureRefused(RequestImagesError, ValueError):
    """An image is not decoded to pixels; the text says why."""


class DecoderUnavailable(RequestImagesError, RuntimeError):
    """The process that decodes pictures cannot be started or was killed."""


class DecoderKilled(DecoderUnavailable):
    """The process that decodes pictures was killed, perhaps because of the picture."""


class NotYet(RequestImagesError, RuntimeError):
    """A result is not available yet: its work is in progress or waits; try later."""


class StoreUnavailable(RequestImagesError, RuntimeError):
    """The database was not tried, because it has just failed several times."""


class StorageError(RequestImagesError, OSError):
    """A storage failed; the text says how, and its own exception is the cause.

    Attributes:
        is_passing: Whether the failure is temporary, so that a retry may succeed.
    """

    def __init__(self, text: str, *, is_passing: bool = True) -> None:
        super().__init__(text)
        self.is_passing = is_passing


class ObjectMissing(StorageError):
    """The bytes of an image are missing in its storage."""


class ObjectClaimed(StorageError):
    """A stored object is being deleted, or was deleted, while it was to be used."""


class ObjectDamaged(StorageError):
    """The stored bytes differ from those that were stored."""


class DecodingFailed(StorageError):
    """The stored form is undamaged, but decoding it does not give the bytes back."""


class EncodingUnavailable(StorageError):
    """A package that the stored form needs is not installed; the text names it."""


class EncodingRefused(RequestImagesError, ValueError):
    """An image is not compressed; the text says why."""


class RetentionError(RequestImagesError, ValueError):
    """A retention is not valid, such as zero days."""


class TooManyRequests(RequestImagesError, RuntimeError):
    """Too many requests match to read them one by one; choose a shorter period."""


class WorkTaken(RequestImagesError, RuntimeError):
    """Another process does the work that only one may do at a time."""


class LeaseLost(RequestImagesError, RuntimeError):
    """Another process has taken over the work, because this one stopped reporting."""
