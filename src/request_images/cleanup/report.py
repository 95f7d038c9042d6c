"""What a cleanup deleted, or would delete: how much, and for which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Reason(Enum):
    """Why something goes; what goes with it follows from that."""

    SUCCESS = "success"
    """The image of a request that succeeded is past its retention."""
    FAILURE = "failure"
    """The image of a request that failed is past its own."""
    BYTES = "bytes"
    """The bytes are past theirs; what is known of the image stays."""
    BUDGET = "budget"
    """There are more bytes than there may be; what is known of the image stays."""
    LOG = "log"
    """The log is past its retention, and takes its image along."""
    ERASURE = "erasure"
    """Somebody demands it, and the log goes with its images, pinned or not."""
    ERASED_BYTES = "erased_bytes"
    """Somebody demands it, and another model protects the rows."""


@dataclass(frozen=True)
class Cleaned:
    """What a cleanup deleted, or would delete.

    Attributes:
        images: Images of requests that went (`RequestImage` rows), or that lost their
            bytes.
        contents: Distinct images: bytes and thumbnails that nothing refers to any more.
        logs: Request logs.
        freed: Bytes that came free, as stored, thumbnails included. The database can
            use them again; its files on disk do not shrink by themselves.
    """

    images: int = 0
    contents: int = 0
    logs: int = 0
    freed: int = 0

    def __add__(self, other: Cleaned) -> Cleaned:
        return Cleaned(
            self.images + other.images,
            self.contents + other.contents,
            self.logs + other.logs,
            self.freed + other.freed,
        )


@dataclass(frozen=True)
class Report:
    """What went, by the reason why; reasons that nothing went for are left out.

    Attributes:
        by_reason: What went.
        held: How many requests keep their rows because of a model of another app, by
            its label; their bytes went.
    """

    by_reason: Mapping[Reason, Cleaned] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Report) -> Report:
        both = {**self.by_reason, **other.by_reason}
        return Report(
            {reason: self[reason] + other[reason] for reason in both},
            Counter(self.held) + Counter(other.held),
        )

    def __getitem__(self, reason: Reason) -> Cleaned:
        return self.by_reason.get(reason, Cleaned())

    @property
    def total(self) -> Cleaned:
        """All that went."""
        return sum(self.by_reason.values(), Cleaned())
