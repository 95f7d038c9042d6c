"""Whose bytes are kept of a form's files: the best so many, of so many bytes in all.

What is better is told by a rank, and may turn out while a file arrives. A worse file
then makes room for a better one, the last of the worst first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .payload import Upload

Rank = Callable[[Upload], tuple[int, ...]]
"""Tells from an upload's field and head how much its bytes are worth keeping."""


@dataclass(frozen=True)
class Bounds:
    """What may be kept of one request.

    Attributes:
        size: Bytes of one file or of a raw body.
        text_size: Bytes of a body of text, where base64 makes images longer.
        count: How many files.
        total_size: Bytes of all files together.
    """

    size: int
    text_size: int
    count: int
    total_size: int


@dataclass
class _Kept:
    upload: Upload
    rank: tuple[int, ...]
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    def drop(self) -> None:
        self.chunks.clear()
        self.size = 0


class Keeper:
    """The bytes of the best files of one request.

    Args:
        rank: How much a file is worth keeping.
        bounds: How many of them, and how many bytes.
    """

    def __init__(self, rank: Rank, bounds: Bounds) -> None:
        self._rank = rank
        self._bounds = bounds
        self._kept: list[_Kept] = []  # in the order in which they were chosen
        self._size = 0

    def consider(self, upload: Upload, before: bytes = b"") -> None:
        """Choose a file whose head is new, or has grown, if it is worth it.

        Args:
            upload: The file.
            before: All of its bytes that came before.
        """
        rank = self._rank(upload)
        known = self._find(upload)
        if known is not None:
            known.rank = rank
            return
        if len(self._kept) >= self._bounds.count:
            worst = self._worst(self._kept)
            if rank <= worst.rank:
                return
            self._drop(worst)
            self._kept.remove(worst)
        self._kept.append(_Kept(upload, rank))
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
        kept.chunks.append(data)
        kept.size += len(data)
        self._size += len(data)
        while self._size > self._bounds.total_size:
            worst = self._worst([each for each in self._kept if each.size])
            worst.upload.over_budget = True
            self._drop(worst)

    def chosen(self) -> Iterator[Upload]:
        """Yield the chosen files, the best first."""
        best_first = sorted(self._kept, key=lambda kept: kept.rank, reverse=True)
        return (kept.upload for kept in best_first)

    def has_room(self, size: int) -> bool:
        """Tell whether so many more bytes may be kept."""
        return self._size + size <= self._bounds.total_size

    def take(self, upload: Upload) -> bytes | None:
        """Hand out what was kept of a file; None for nothing."""
        kept = self._find(upload)
        if kept is None or not kept.chunks:
            return None
        data = b"".join(kept.chunks)
        self._drop(kept)
        return data

    def forget(self) -> None:
        """Let go of all that was kept."""
        self._kept.clear()
        self._size = 0

    def _find(self, upload: Upload) -> _Kept | None:
        # By identity, and from the end: it is mostly the last one.
        kept = reversed(self._kept)
        return next((each for each in kept if each.upload is upload), None)

    def _worst(self, among: list[_Kept]) -> _Kept:
        lowest = min(each.rank for each in among)
        return next(each for each in reversed(among) if each.rank == lowest)

    def _drop(self, kept: _Kept) -> None:
        self._size -= kept.size
        kept.drop()
