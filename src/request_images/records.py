"""Recorded requests, ready to be written: unsaved rows, and their images' bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .models import FurtherImage, ImageContent, RequestImage, RequestLog
from .placing import Placed


@dataclass
class Further:
    """A further image of a request.

    Attributes:
        image: Its unsaved row.
        data: Its bytes when they are to be kept.
        placed: As of a `Record`.
        is_refused: As of a `Record`.
    """

    image: FurtherImage
    data: bytes | None = None
    placed: tuple[ImageContent, Placed] | None = None
    is_refused: bool = False

    @property
    def teller(self) -> FurtherImage:
        """The row that says what became of the image."""
        return self.image


@dataclass
class Record:
    """One recorded request.

    Attributes:
        log: The unsaved log.
        image: Its unsaved image; None when the request brought none.
        data: The image's bytes when they are to be kept.
        further: The further images, in order; there are none without an image.
        placed: Its unsaved content, and the object that this names, when the bytes are
            in a storage already.
        is_refused: Whether it was this image's bytes that could not be written.
    """

    log: RequestLog
    image: RequestImage | None = None
    data: bytes | None = None
    further: Sequence[Further] = ()
    placed: tuple[ImageContent, Placed] | None = None
    is_refused: bool = False

    @property
    def teller(self) -> RequestLog:
        """The row that says what became of the image."""
        return self.log

    @property
    def pictures(self) -> list[Picture]:
        """Its images in order, itself standing for the first."""
        return [self, *self.further]

    @property
    def with_bytes(self) -> list[Picture]:
        """Those of its pictures whose bytes are to be kept."""
        return [each for each in self.pictures if each.data is not None]

    def copy(self) -> Record:
        """Return the same rows and bytes, to let go of bytes in it."""
        return replace(self, further=[replace(each) for each in self.further])

    def let_go(self) -> None:
        """Hold no bytes any more."""
        for each in self.with_bytes:
            each.data = None


Picture = Record | Further
"""An image with its bytes, if these are to be kept."""
