"""Decisions whether to keep an image, and the reason if not."""

from __future__ import annotations

import hashlib
from typing import Protocol

from request_images.conf import conf, load_function
from request_images.health import report
from request_images.images.inspection import ImageInfo
from request_images.outcome import CaptureStatus, Decision, is_opted_out

from .payload import Payload
from .search import Candidate


class Sampled(Protocol):
    """The attributes of a ``RequestLog`` for sampling."""

    request_id: str
    sample_probability: float


class Failing(Protocol):
    """The attribute of a ``RequestLog`` that tells whether the request failed."""

    @property
    def is_failed(self) -> bool:
        """Whether it failed."""


def max_size() -> int:
    """Return the size limit of an image, in bytes."""
    return int(conf.MAX_SIZE_MB * 1024 * 1024)


def max_request_size() -> int:
    """Return the size limit of all images of a request together, in bytes."""
    return max(max_size(), int(conf.MAX_REQUEST_MB * 1024 * 1024))


def max_running_size() -> int:
    """Return the size limit of what all running requests hold together, in bytes."""
    return int(conf.RUNNING_MAX_MB * 1024 * 1024)


def decide_unseen(payload: Payload) -> Decision:
    """Decide about a request in which no candidate was found."""
    size = payload.expected_size or 0
    if payload.was_read or not (size or payload.is_chunked):
        return Decision(CaptureStatus.NO_IMAGE)
    if size > 2 * max_size():
        # Base64 text may be up to twice as long as its image.
        return Decision(CaptureStatus.TOO_LARGE, f"a body of {size} bytes")
    return Decision(CaptureStatus.UNREAD, payload.missing)


def decide_without_bytes(  # noqa: PLR0911  # one return a reason
    candidate: Candidate, part: str = ""
) -> Decision | None:
    """Decide before the bytes are inspected; None for "inspect them".

    `part` tells in words which part of an upload this is; it is empty for the whole.
    """
    limit = max_size()
    if candidate.too_large or (candidate.size or 0) > limit:
        return Decision(CaptureStatus.TOO_LARGE, f"more than {limit} bytes")
    if candidate.over_budget:
        return Decision(CaptureStatus.OVER_BUDGET, candidate.over_budget)
    if candidate.problem:
        return Decision(CaptureStatus.UNREADABLE, candidate.problem)
    if not candidate.complete:
        if candidate.view_stopped:
            why = candidate.missing or "the view stopped before the end"
            return Decision(CaptureStatus.UNREAD, why)
        return Decision(CaptureStatus.TRUNCATED, candidate.missing)
    if part and candidate.size:
        return Decision(CaptureStatus.PARTIAL, part)
    if candidate.size == 0:
        return Decision(CaptureStatus.UNSUPPORTED, "an empty file")
    if candidate.data is None:
        return Decision(CaptureStatus.UNREAD, "out of reach of the capture")
    return None


def decide(info: ImageInfo) -> Decision:
    """Decide about inspected bytes."""
    if info.format is None:
        return Decision(CaptureStatus.UNSUPPORTED, info.problem)
    if info.format.name not in conf.ALLOWED_FORMATS:
        return Decision(CaptureStatus.UNSUPPORTED, f"{info.format.name} is not allowed")
    if info.problem:
        return Decision(CaptureStatus.UNREADABLE, info.problem)
    return Decision(CaptureStatus.STORED)


def keeps_unusable(info: ImageInfo, log: Failing) -> bool:
    """Return whether to keep bytes that are no readable image."""
    if info.format is None:
        return conf.KEEP_OTHER_FILES and log.is_failed
    is_allowed = info.format.name in conf.ALLOWED_FORMATS
    return conf.KEEP_UNREADABLE and is_allowed and bool(info.problem)


def sample_point(request_id: str) -> float:
    """Return the sample point of a request, from 0 to 1: the same in every process.

    It is kept with each probability above this number. So a request in a sample is in
    every larger sample, too.
    """
    # A hash, as the ids of callers may be regular. A float holds 53 bits: more would be
    # rounded, at worst up to 1.
    digest = hashlib.sha256(request_id.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def decide_before_view(request: object, log: Sampled) -> Decision | None:
    """Decide whether to capture an image; None for yes. Sets the sample probability."""
    if opted_out := decide_opted_out(request):
        return opted_out
    try:
        should_capture = load_function(conf.SHOULD_CAPTURE)
        wanted = True if should_capture is None else should_capture(request)
        if not isinstance(wanted, bool):
            raise TypeError(f"SHOULD_CAPTURE returned {wanted!r}, not True or False")
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("should_capture", exception)
        wanted = True
    if not wanted:
        return Decision(CaptureStatus.OPTED_OUT, "SHOULD_CAPTURE said no")
    log.sample_probability = float(conf.SAMPLE_RATE)
    return _sample(log)


def decide_opted_out(request: object) -> Decision | None:
    """Return the decision of a request for which `opt_out` was called, else None."""
    return Decision(CaptureStatus.OPTED_OUT) if is_opted_out(request) else None


def decide_after_view(log: Sampled) -> Decision:
    """Decide about an image that could be kept, now that the unsaved log is complete.

    The log's sample probability is multiplied by the answer of SHOULD_KEEP.
    """
    try:
        should_keep = load_function(conf.SHOULD_KEEP)
        answer = 1.0 if should_keep is None else should_keep(log)
        if not isinstance(answer, bool | int | float) or not 0 <= answer <= 1:
            raise ValueError(f"SHOULD_KEEP returned {answer!r}, no number from 0 to 1")
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("should_keep", exception)
        answer = 1.0
    log.sample_probability *= answer
    return _sample(log) or Decision(CaptureStatus.STORED)


def _sample(log: Sampled) -> Decision | None:
    # The point is the same before and after the view: a request that is kept with the
    # product of both probabilities was in the sample of the first one.
    probability = log.sample_probability
    if probability >= 1 or sample_point(log.request_id) < probability:
        return None
    detail = f"kept with a probability of {log.sample_probability:g}"
    return Decision(CaptureStatus.SAMPLED_OUT, detail)
