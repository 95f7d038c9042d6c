"""Keep an image or skip it, and for which reason."""

from __future__ import annotations

from dataclasses import dataclass

from .conf import conf
from .inspection import ImageInfo
from .outcome import CaptureStatus
from .sources import Candidate


@dataclass(frozen=True)
class Decision:
    """What is to become of an image.

    Attributes:
        status: ``STORED`` to keep it, else why not.
        detail: The reason in words; empty when the status says it all.
    """

    status: CaptureStatus
    detail: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the bytes are to be kept."""
        return self.status == CaptureStatus.STORED


def max_size() -> int:
    """Return the size limit of an image, in bytes."""
    return int(conf.MAX_SIZE_MB * 1024 * 1024)


def decide_unseen(*, was_read: bool, expected_size: int | None) -> Decision:
    """Decide about a request in which nothing was found.

    Args:
        was_read: Whether the view read the body.
        expected_size: The client's Content-Length in bytes, or None.
    """
    if was_read or not expected_size:
        return Decision(CaptureStatus.NO_IMAGE)
    if expected_size > 2 * max_size():
        # Text may be twice as long as the image in it, but this is beyond that.
        return Decision(CaptureStatus.TOO_LARGE, f"a body of {expected_size} bytes")
    return Decision(CaptureStatus.UNREAD)


def decide_without_bytes(  # noqa: PLR0911  # one return a reason
    candidate: Candidate,
) -> Decision | None:
    """Decide what can be decided before looking into the bytes; None for the rest."""
    limit = max_size()
    if candidate.too_large or (candidate.size or 0) > limit:
        return Decision(CaptureStatus.TOO_LARGE, f"more than {limit} bytes")
    if candidate.problem:
        return Decision(CaptureStatus.UNREADABLE, candidate.problem)
    if not candidate.complete:
        if candidate.was_left:
            return Decision(CaptureStatus.UNREAD, "the view stopped before the end")
        return Decision(CaptureStatus.TRUNCATED)
    if candidate.size == 0:
        return Decision(CaptureStatus.UNSUPPORTED, "an empty file")
    if candidate.data is None:
        return Decision(CaptureStatus.UNREAD, "out of reach of the capture")
    return None


def decide(info: ImageInfo) -> Decision:
    """Decide about bytes that were inspected."""
    if info.format is None:
        return Decision(CaptureStatus.UNSUPPORTED, info.problem)
    if info.format.name not in conf.ALLOWED_FORMATS:
        return Decision(CaptureStatus.UNSUPPORTED, f"{info.format.name} is not allowed")
    if info.problem:
        return Decision(CaptureStatus.UNREADABLE, info.problem)
    return Decision(CaptureStatus.STORED)
