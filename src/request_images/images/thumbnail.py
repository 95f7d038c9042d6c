"""Thumbnails as WebP. Decoding is slow, so no captured request makes them."""

from __future__ import annotations

import io
import math

from PIL import Image

from .decode import as_8_bit, is_transparent, opened, rotated

MIME_TYPE = "image/webp"


def make_thumbnail(
    data: bytes, *, size: int, max_pixels: int, max_bytes: float = math.inf
) -> bytes:
    """Make the thumbnail of an image.

    Args:
        data: The image's bytes.
        size: The longer side, in pixels.
        max_pixels: Refuse an image with more (width times height), before decoding.
        max_bytes: Refuse an image that needs more memory, before decoding.

    Returns:
        The bytes of a WebP, rotated as the Exif orientation says.

    Raises:
        PictureRefused: It cannot be decoded, is too large, or takes too long.
    """
    with opened(data, max_pixels=max_pixels, max_bytes=max_bytes) as image:
        # A JPEG can be decoded at a fraction of its size; others ignore this.
        image.draft("RGB", (size * 2, size * 2))
        scale = size / max(image.size)
        # A thin line keeps one pixel.
        width, height = (max(1, round(side * scale)) for side in image.size)
        small = _shown(image).resize((width, height))
        out = io.BytesIO()
        rotated(small).save(out, "WEBP", quality=80)
        return out.getvalue()


def _shown(image: Image.Image) -> Image.Image:
    if (grey := as_8_bit(image)) is not image:
        return grey
    wanted = "RGBA" if is_transparent(image) else "RGB"
    # Pillow would copy all pixels even if there is nothing to convert.
    return image if image.mode == wanted else image.convert(wanted)
