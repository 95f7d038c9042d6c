"""What this app raises; each error is also the builtin that a caller expects.

Wrong settings raise Django's own ``ImproperlyConfigured`` instead, so that no
``except RequestImagesError`` swallows them.
"""

__all__ = (
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
    """The base of every error that this app raises."""


class SourceError(RequestImagesError, ValueError):
    """A ``source`` that is no source: the text says which are."""


class InspectionError(RequestImagesError, ValueError):
    """The header of an image could not be read."""


class PictureRefused(RequestImagesError, ValueError):
    """These bytes are not decoded to pixels: the text says why."""


class NotYet(RequestImagesError, RuntimeError):
    """There is no answer for now: somebody is at it, or others are before it."""


class StoreUnavailable(RequestImagesError, RuntimeError):
    """The database was not even tried, because it has just failed several times."""


class StorageError(RequestImagesError, OSError):
    """A storage failed: the text says how, and its own error is the cause.

    Attributes:
        is_passing: Whether the same may go well later, as it is.
    """

    def __init__(self, text: str, *, is_passing: bool = True) -> None:
        super().__init__(text)
        self.is_passing = is_passing


class ObjectMissing(StorageError):
    """A storage has lost the bytes of an image."""


class ObjectClaimed(StorageError):
    """The bytes that were put into a storage are being deleted again, or are gone."""


class ObjectDamaged(StorageError):
    """The bytes are others than those that were put into a store."""


class DecodingFailed(StorageError):
    """The stored form is what was stored, but the bytes do not come back from it."""


class EncodingUnavailable(StorageError):
    """What is needed to read the stored form is not installed: the text says what."""


class EncodingRefused(RequestImagesError, ValueError):
    """These bytes have no smaller form, or none that is worth it: the text says why."""


class RetentionError(RequestImagesError, ValueError):
    """A retention that cannot be meant, such as zero days."""


class TooManyRequests(RequestImagesError, RuntimeError):
    """More requests match than can be looked at one by one: narrow the period."""


class WorkTaken(RequestImagesError, RuntimeError):
    """Another process is at the work that only one may do at a time."""


class LeaseLost(RequestImagesError, RuntimeError):
    """Another process has taken over the work: this one was silent for too long."""
