"""A recorded request, ready to write: unsaved rows, and the bytes of its images."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from request_images.contents.place import Placed
from request_images.db.destination import Destination
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog


@dataclass
class Picture:
    """One image of a recorded request.

    Attributes:
        image: Its unsaved row.
        status_row: The row that has its capture status: the log for the first image.
        data: Its bytes; None if they are not kept.
        placed: Its unsaved content and the object this names, if the bytes are in a
            storage already.
        is_refused: Whether the last write failed because of its bytes.
        is_duplicate: Whether its bytes were stored before.
    """

    image: RequestImage | FurtherImage
    status_row: RequestLog | FurtherImage
    data: bytes | None = None
    placed: tuple[ImageContent, Placed] | None = None
    is_refused: bool = False
    is_duplicate: bool = False


@dataclass
class Record:
    """One recorded request.

    Attributes:
        log: Its unsaved log.
        destination: Where its rows go.
        pictures: Its images, in order.
        is_in_doubt: Whether a write that failed may have written it after all.
    """

    log: RequestLog
    destination: Destination
    pictures: list[Picture] = field(default_factory=list)
    is_in_doubt: bool = False

    def add(
        self, image: RequestImage | FurtherImage, data: bytes | None = None
    ) -> None:
        """Append an image: a `RequestImage` first, then `FurtherImage` rows."""
        row = image if isinstance(image, FurtherImage) else self.log
        self.pictures.append(Picture(image, row, data))

    @property
    def image(self) -> RequestImage | None:
        """The row of the first image; None if the request has no image."""
        return cast("RequestImage", self.pictures[0].image) if self.pictures else None

    @property
    def data(self) -> bytes | None:
        """The bytes of the first image; None if they are not kept."""
        return self.pictures[0].data if self.pictures else None

    @property
    def further(self) -> list[FurtherImage]:
        """The rows of the other images."""
        return [cast("FurtherImage", picture.image) for picture in self.pictures[1:]]

    @property
    def with_bytes(self) -> list[Picture]:
        """The images whose bytes are kept."""
        return [picture for picture in self.pictures if picture.data is not None]

    def copy(self) -> Record:
        """Return a record with rows of its own, and the same bytes."""
        copied = Record(copy(self.log), self.destination, is_in_doubt=self.is_in_doubt)
        for picture in self.pictures:
            copied.add(copy(picture.image), picture.data)
            copied.pictures[-1].placed = picture.placed
            copied.pictures[-1].is_refused = picture.is_refused
        return copied

    def free(self) -> None:
        """Drop the bytes."""
        for picture in self.pictures:
            picture.data = None


class Job(Protocol):
    """A request that is over, as the writer sees it.

    Attributes:
        destination: Where its rows go; None if that is unknown.
        failure: Our own fault because of which an image is not kept, if any.
        refusal: Why the spool folder did not take it; empty if it was not asked.
    """

    destination: Destination | None
    failure: Exception | None
    refusal: str

    @property
    def size(self) -> int:
        """Bytes that the job holds in memory, approximately."""

    def examine(self) -> Record:
        """Return the record to write; the first call examines the images."""

    def dump(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return all of it as a JSON document with a ``log``, and bytes.

        It is not examined for this.
        """

    def drop_images(self) -> None:
        """Drop the images' bytes; the log says that the queue was full."""

    def free(self) -> None:
        """Drop the record and everything that was seen of the request."""
