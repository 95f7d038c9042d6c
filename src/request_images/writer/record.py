"""Recorded requests, ready to be written: unsaved rows, and their images' bytes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Protocol

from request_images.contents.place import Placed
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog


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
        """Return a record of its own rows, with the same bytes."""
        further = [replace(each, image=copy(each.image)) for each in self.further]
        return replace(
            self, log=copy(self.log), image=copy(self.image), further=further
        )

    def let_go(self) -> None:
        """Hold no bytes any more."""
        for each in self.with_bytes:
            each.data = None


Picture = Record | Further
"""An image with its bytes, if these are to be kept."""


class Job(Protocol):
    """A request that is over, as the writer sees it.

    Attributes:
        failure: The fault of ours because of which an image is not kept, if any.
    """

    failure: Exception | None

    @property
    def size(self) -> int:
        """Bytes that the job holds in memory, approximately."""

    def examined(self) -> Record:
        """Return the record to write; the first call examines the images."""

    def drop_image(self) -> None:
        """Drop the images' bytes; the log says that there was no room for them."""

    def let_go(self) -> None:
        """Drop the record and everything that was seen of the request."""
