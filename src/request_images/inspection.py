"""Bytes in, type, size, dimensions and hash out, within a budget. No Django here.

Pillow opens honest images in microseconds, but a crafted file of a few megabytes can
keep it busy for a minute. It therefore reads through a file object that counts reads,
bytes and time, and gives up. No pixel is decoded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .exceptions import InspectionError
from .formats import HEAD_SIZE, ImageFormat, sniff
from .pillow import BudgetedReader, BudgetExceeded, find_opener

MAX_READS = 20_000
"""Reads of a header. An honest TIFF or PNG takes some hundreds."""
MAX_SECONDS = 0.05
"""CPU time of a header, in seconds."""
MAX_SIDE = 2**31 - 1
"""Pixels of a side; more fits into no column, and into no picture either."""
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


def _dimensions(
    data: bytes, image_format: ImageFormat
) -> tuple[int, int] | tuple[None, None]:
    opener = find_opener(image_format.name)
    if opener is None:
        return None, None  # no fault of the image: it wants a plugin of Pillow
    reader = BudgetedReader(
        data, seconds=MAX_SECONDS, reads=MAX_READS, size=2 * len(data) + SPARE_BYTES
    )
    try:
        with opener(reader, "") as image:
            width, height = image.size
    except BudgetExceeded as error:
        raise InspectionError(f"its header takes {error}") from error
    # Pillow raises nearly everything on a crafted file, KeyError and struct.error too.
    except Exception as error:
        raise InspectionError(f"{type(error).__name__}: {error}") from error
    if max(width, height) > MAX_SIDE:
        raise InspectionError(f"{width} x {height} pixels")
    return width, height
