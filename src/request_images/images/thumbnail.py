"""Bytes in, a small WebP out. Never called in a captured request: decoding is slow."""

from __future__ import annotations

import io
import math

from PIL import Image

from .decode import is_transparent, narrowed, opened, upright

MIME_TYPE = "image/webp"


def make_thumbnail(
    data: bytes, *, size: int, max_pixels: int, max_bytes: float = math.inf
) -> bytes:
    """Draw an image small.

    Args:
        data: The image's bytes.
        size: The longer side, in pixels.
        max_pixels: Refuse an image with more (width times height), before decoding.
        max_bytes: Refuse an image that takes more memory to decode, beforehand too.

    Returns:
        The bytes of a WebP, turned upright as its Exif orientation says.

    Raises:
        PictureRefused: It cannot be decoded, is too large, or takes too long.
    """
    with opened(data, max_pixels=max_pixels, max_bytes=max_bytes) as image:
        # A JPEG can be decoded at a fraction of its size; others ignore this.
        image.draft("RGB", (size * 2, size * 2))
        scale = size / max(image.size)
        # A thin line must not shrink to nothing.
        width, height = (max(1, round(side * scale)) for side in image.size)
        small = _shown(image).resize((width, height))
        out = io.BytesIO()
        upright(small).save(out, "WEBP", quality=80)
        return out.getvalue()


def _shown(image: Image.Image) -> Image.Image:
    if (grey := narrowed(image)) is not image:
        return grey
    wanted = "RGBA" if is_transparent(image) else "RGB"
    # Pillow would copy all pixels also when there is nothing to convert.
    return image if image.mode == wanted else image.convert(wanted)
