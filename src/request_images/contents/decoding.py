"""Decoding of contents, in the process that the settings choose."""

from __future__ import annotations

from typing import Any

from request_images.conf import conf
from request_images.images import decoder, decoder_child


def decode(work: str, data: bytes, **options: Any) -> decoder_child.Answer:
    """Decode a picture within the limits of the settings.

    Args:
        work: A name in `decoder_child.WORK`.
        data: The image's bytes.
        options: Further keyword arguments of that work.

    Returns:
        What was found, and what was made.

    Raises:
        PictureRefused: It cannot be decoded within the limits; the text says why.
        DecoderUnavailable: There is a process for it, but it does not work.
    """
    max_bytes = int(conf.THUMBNAIL_MAX_MEMORY_MB * 1024 * 1024)
    options |= {"max_pixels": conf.THUMBNAIL_MAX_PIXELS, "max_bytes": max_bytes}
    if conf.DECODER == "inline" or decoder.why_unavailable():
        return decoder_child.WORK[work](data, **options)
    return decoder.decoder.run(work, data, options, max_bytes=max_bytes)
