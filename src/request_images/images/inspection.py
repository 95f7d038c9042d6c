"""Bytes in, type, size, dimensions and hash out, within a budget. No Django here.

Nor any Pillow, which a crafted file of a few megabytes can keep busy for a minute. The
readers of headers walk a bounded number of steps and copy nothing, so that no file
takes longer than some milliseconds; only the hash takes longer for a longer one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from request_images.exceptions import InspectionError

from . import boxes, headers
from .formats import HEAD_SIZE, ImageFormat, sniff
from .traits import UNKNOWN, Traits, traits_of

MAX_SIDE = 2**31 - 1
"""Pixels of a side; more fits into no column, and into no picture either."""

_SIZE_READERS = {**headers.SIZE_READERS, **boxes.SIZE_READERS}


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
        traits: What else the header tells; nothing when something is wrong.
    """

    image_hash: str
    file_size: int
    format: ImageFormat | None
    width: int | None = None
    height: int | None = None
    problem: str = ""
    traits: Traits = UNKNOWN


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
    traits = traits_of(data, image_format.name)
    return ImageInfo(image_hash, len(data), image_format, width, height, traits=traits)


def _dimensions(
    data: bytes, image_format: ImageFormat
) -> tuple[int, int] | tuple[None, None]:
    try:
        size = _SIZE_READERS[image_format.name](data)
    except ValueError as error:
        raise InspectionError(f"its header {error}") from error
    if size is None:
        return None, None  # no fault of the image: its container need not say
    if min(size) < 1 or max(size) > MAX_SIDE:
        raise InspectionError(f"{size[0]} x {size[1]} pixels")
    return size
