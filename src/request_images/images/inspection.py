"""Inspection of an image's bytes: type, size, header metadata and hash.

It uses no Pillow, which a crafted file of a few megabytes can keep busy for a minute.
The readers of headers take a bounded number of steps, so that no file takes longer than
some milliseconds. Only the hash takes longer for a longer file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from request_images.exceptions import InspectionError

from .formats import HEAD_SIZE, HeaderInfo, ImageFormat, sniff
from .headers import read_header

MAX_SIDE = 2**31 - 1
"""The longest side in pixels; a larger number fits into no column."""


@dataclass(frozen=True)
class ImageInfo:
    """The facts about an image's bytes.

    Attributes:
        image_hash: SHA-256 of the bytes, 64 lower-case hexadecimal digits.
        file_size: Number of bytes.
        format: The format that the first bytes show; None when they show none.
        width: Pixels, or None when unknown.
        height: Pixels, or None when unknown.
        color_mode: One of `formats.COLOR_MODES`; empty when unknown.
        is_animated: Whether there are several pictures; None when unknown.
        has_orientation: Whether the picture needs rotation; None when unknown.
        problem: What is wrong with the bytes; empty when nothing is.
    """

    image_hash: str
    file_size: int
    format: ImageFormat | None
    width: int | None = None
    height: int | None = None
    color_mode: str = ""
    is_animated: bool | None = None
    has_orientation: bool | None = None
    problem: str = ""


def inspect(data: bytes) -> ImageInfo:
    """Return the facts about some bytes. Never raise, whatever they are."""
    image_hash = hashlib.sha256(data).hexdigest()
    image_format = sniff(data[:HEAD_SIZE])
    try:
        header = _read(data, image_format)
    except InspectionError as error:
        return ImageInfo(image_hash, len(data), image_format, problem=str(error))
    # The container of a HEIF need not say its size.
    width, height = header.size or (None, None)
    return ImageInfo(
        image_hash,
        len(data),
        image_format,
        width,
        height,
        header.color_mode,
        header.is_animated,
        header.has_orientation,
    )


def is_readable(data: bytes) -> bool:
    """Return whether bytes are an image whose header can be read."""
    try:
        _read(data, sniff(data[:HEAD_SIZE]))
    except InspectionError:
        return False
    return True


def _read(data: bytes, image_format: ImageFormat | None) -> HeaderInfo:
    """Read the header of an image.

    Raises:
        InspectionError: The bytes are not an image, or the header is broken or has an
            impossible size.
    """
    if image_format is None:
        raise InspectionError("not an image")
    header = read_header(data, image_format.name)
    if header.size and not all(1 <= side <= MAX_SIDE for side in header.size):
        raise InspectionError(f"{header.size[0]} x {header.size[1]} pixels")
    return header
