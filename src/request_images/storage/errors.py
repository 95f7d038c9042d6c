"""What an error of a storage's library says: does it pass, can the object be gone?

Each library has errors of its own. What they have in common is the HTTP status of the
server's answer, wherever they keep it.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation

SOON = 1.0
"""Seconds within which a storage that is there has answered."""

_LASTING = (
    ImproperlyConfigured,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    SuspiciousOperation,
    TypeError,
    ValueError,
)
_PASSING_STATUSES = (408, 429)
_GONE_STATUSES = (404, 410)
_STATUSES = range(100, 600)


def is_passing(error: Exception) -> bool:
    """Tell whether the same may go well later.

    No access, or no bucket, does not pass by itself. What is not known may: one try too
    many costs little.
    """
    status = _status_of(error)
    if status is not None:
        return status >= 500 or status in _PASSING_STATUSES
    return not isinstance(error, _LASTING)


def may_be_gone(error: Exception, seconds: float) -> bool:
    """Tell whether it is worth asking if there is such an object at all.

    Args:
        error: What came out of reading it; no ``FileNotFoundError``, which says so.
        seconds: How long that took. A server that was silent would be so again.
    """
    status = _status_of(error)
    if status is not None:
        return status in _GONE_STATUSES
    # Of a file that cannot be reached, Django says that it does not exist. And what has
    # no connection is an OSError mostly.
    return seconds < SOON and not isinstance(error, OSError)


def _status_of(error: Exception) -> int | None:
    for status in _statuses(error):
        if isinstance(status, int) and status in _STATUSES:
            return int(status)
    return None


def _statuses(error: Exception) -> Iterator[object]:
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        yield response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    yield getattr(error, "status_code", None)  # Azure
    yield getattr(error, "code", None)  # Google; others have texts or methods there
    yield getattr(response, "status_code", None)  # requests
