"""The buffer of a form's files: the bytes of the best-ranked ones, within limits.

A file's rank may change while it arrives. If there is no room for a file, files of a
lower rank are dropped, the lowest first, and of equal ones the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .chunks import Chunks
from .held import Held
from .payload import Upload

Rank = Callable[[Upload], tuple[int, ...]]
"""Rates from an upload's field and head how much its bytes are worth keeping."""


@dataclass(frozen=True)
class Limits:
    """Limits on what is kept of one request.

    Attributes:
        size: Bytes of one file or of a raw body.
        text_size: Bytes of a body of text, where base64 makes images longer.
        count: Number of files.
        total_size: Bytes of all files together.
        running_size: Bytes that all running requests of the process hold together.
    """

    size: int
    text_size: int
    count: int
    total_size: int
    running_size: int

    @property
    def too_many(self) -> str:
        """Why a file is dropped that does not fit among the others of its request."""
        return f"more than {self.total_size} bytes in one request"

    @property
    def too_busy(self) -> str:
        """Why bytes are dropped that do not fit among those of the other requests."""
        return f"more than {self.running_size} bytes in the requests that were running"


@dataclass
class _Buffered:
    upload: Upload
    rank: tuple[int, ...]
    chunks: Chunks = field(default_factory=Chunks)


class UploadBuffer:
    """The bytes of the best files of one request."""

    def __init__(self, rank: Rank, limits: Limits, held: Held) -> None:
        self._rank = rank
        self._held = held
        self._limits = limits
        self._kept: list[_Buffered] = []  # in the order in which they were chosen
        self._size = 0

    def offer(self, upload: Upload, before: bytes = b"") -> None:
        """Choose a file, if it is among the best; call again when its head has grown.

        `before` are all of its bytes that came before.
        """
        rank = self._rank(upload)
        known = self._find(upload)
        if known is not None:
            known.rank = rank
            return
        if len(self._kept) >= self._limits.count:
            worst = self._worst(self._kept)
            if rank <= worst.rank:
                return
            self._drop(worst)
            self._kept.remove(worst)
        self._kept.append(_Buffered(upload, rank))
        if before:
            self.add(upload, before)

    def add(self, upload: Upload, data: bytes) -> None:
        """Keep more bytes of a file, if it was chosen and there is room for them."""
        kept = self._find(upload)
        if kept is None or upload.over_budget:
            return
        if upload.too_large:
            self._drop(kept)
            return
        if not self._held.take(len(data)):
            upload.over_budget = self._limits.too_busy
            self._drop(kept)
            return
        kept.chunks.append(data)
        self._size += len(data)
        while self._size > self._limits.total_size:
            worst = self._worst([each for each in self._kept if each.chunks.size])
            worst.upload.over_budget = self._limits.too_many
            self._drop(worst)

    def best_first(self) -> Iterator[Upload]:
        """Yield the chosen files, the best first."""
        best_first = sorted(self._kept, key=lambda kept: kept.rank, reverse=True)
        return (kept.upload for kept in best_first)

    def has_room(self, size: int) -> bool:
        """Tell whether `size` more bytes may be kept."""
        return self._size + size <= self._limits.total_size

    def take(self, upload: Upload) -> bytes | None:
        """Return the bytes of a file and drop them; None if none were kept."""
        kept = self._find(upload)
        if kept is None or not kept.chunks.size:
            return None
        data = kept.chunks.join()
        self._drop(kept)
        return data

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self._size = 0

    def _find(self, upload: Upload) -> _Buffered | None:
        # By identity, and from the end: it is mostly the last one.
        kept = reversed(self._kept)
        return next((each for each in kept if each.upload is upload), None)

    def _worst(self, among: list[_Buffered]) -> _Buffered:
        lowest = min(each.rank for each in among)
        return next(each for each in reversed(among) if each.rank == lowest)

    def _drop(self, kept: _Buffered) -> None:
        self._size -= kept.chunks.size
        self._held.give_back(kept.chunks.size)
        kept.chunks.clear()
