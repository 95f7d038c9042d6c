"""Bytes in, type, size, dimensions and hash out, within a budget. No Django here.

Pillow opens honest images in microseconds, but a crafted file of a few megabytes can
keep it busy for a minute. It therefore reads through a file object that counts reads,
bytes and time, and gives up. No pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass

from .exceptions import InspectionBudgetExceeded, InspectionError
from .formats import HEAD_SIZE, ImageFormat, sniff
from .pillow import find_opener

MAX_READS = 20_000
"""Reads of a header. An honest TIFF or PNG takes some hundreds."""
MAX_SECONDS = 0.05
"""CPU time of a header, in seconds."""
SPARE_BYTES = 1 << 20
"""Bytes that may be read beyond twice the file's size."""


@dataclass(frozen=True)
class ImageInfo:
    """What is known of some bytes.

    Attributes:
        image_hash: SHA-256 of the bytes, 64 lower-case hexadecimal digits.
        file_size: Number of bytes.
        format: The format their beginning shows, or None when it shows none.
        width: Pixels, or None when unknown.
        height: Pixels, or None when unknown.
        problem: What is wrong with the bytes; empty when nothing is.
    """

    image_hash: str
    file_size: int
    format: ImageFormat | None
    width: int | None = None
    height: int | None = None
    problem: str = ""


def inspect(data: bytes) -> ImageInfo:
    """Tell what some bytes are. Never raises, whatever they are."""
    image_hash = hashlib.sha256(data).hexdigest()
    image_format = sniff(data[:HEAD_SIZE])
    if image_format is None:
        return ImageInfo(image_hash, len(data), None, problem="not an image")
    try:
        width, height = _dimensions(data, image_format)
    except InspectionError as error:
        return ImageInfo(image_hash, len(data), image_format, problem=str(error))
    return ImageInfo(image_hash, len(data), image_format, width, height)


class BudgetedReader(io.BytesIO):
    """A file object over some bytes that stops a reader that takes too much.

    Raises:
        InspectionBudgetExceeded: From ``read``, when the budget is used up.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads_left = MAX_READS
        self._bytes_left = 2 * len(data) + SPARE_BYTES
        self._deadline = time.thread_time() + MAX_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file does, and pay for it."""
        self._reads_left -= 1
        if self._reads_left < 0 or time.thread_time() > self._deadline:
            raise InspectionBudgetExceeded("its header takes too long to read")
        data = super().read(size)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise InspectionBudgetExceeded("its header takes too many bytes to read")
        return data


def _dimensions(
    data: bytes, image_format: ImageFormat
) -> tuple[int, int] | tuple[None, None]:
    opener = find_opener(image_format.name)
    if opener is None:
        return None, None  # no fault of the image: it wants a plugin of Pillow
    try:
        with opener(BudgetedReader(data), "") as image:
            width, height = image.size
    except InspectionError:
        raise
    # Pillow raises nearly everything on a crafted file, KeyError and struct.error too.
    except Exception as error:
        raise InspectionError(f"{type(error).__name__}: {error}") from error
    return width, height
