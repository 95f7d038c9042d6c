"""The result of a cleanup or an erasure: how much was deleted, and for which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from enum import Enum


class Reason(Enum):
    """Why something is deleted, which also decides what is deleted with it."""

    SUCCESS = "success"
    """An image of a successful request is past its retention period."""
    FAILURE = "failure"
    """An image of a failed request is past its retention period."""
    BYTES = "bytes"
    """The bytes are past their retention period; the row of the image stays."""
    BUDGET = "budget"
    """The bytes are over the budget; the row of the image stays."""
    LOG = "log"
    """A log is past its retention period, and is deleted with its image."""
    ERASURE = "erasure"
    """A log is erased with its images, pinned or not."""
    ERASED_BYTES = "erased_bytes"
    """The bytes are erased, because another model protects the rows."""


@dataclass(frozen=True)
class Cleaned:
    """The numbers of what was deleted, or would be.

    Attributes:
        images: Images of requests that were deleted, or that lost their bytes.
        contents: Distinct images whose bytes and thumbnail were deleted.
        logs: Request logs that were deleted.
        freed: Freed bytes, as stored, including thumbnails. The database can use them
            again; its files on disk do not shrink by themselves.
    """

    images: int = 0
    contents: int = 0
    logs: int = 0
    freed: int = 0

    def __add__(self, other: Cleaned) -> Cleaned:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Cleaned(*map(sum, pairs))


@dataclass(frozen=True)
class Report:
    """The result of a cleanup or an erasure.

    Attributes:
        by_reason: What was deleted, by reason; without the reasons for which nothing
            was.
        held: The number of requests whose rows a model of another app protects, by its
            label; their bytes were deleted.
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
        """What was deleted for all reasons together."""
        return sum(self.by_reason.values(), Cleaned())
