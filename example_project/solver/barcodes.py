"""Image bytes in, barcodes out; without Django."""

import io
import time
from dataclasses import dataclass
from typing import cast

import zxingcpp
from PIL import Image

MAX_PIXELS = 40_000_000
"""The limit before decoding: a file of 156 bytes can unfold to 1.3 GB of pixels."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""The formats of cameras and scanners. Pillow reads more; some start programs."""


class NotAnImage(ValueError):
    """The bytes are not a readable image."""


class TooManyPixels(ValueError):
    """The image has too many pixels to decode."""


@dataclass(frozen=True)
class Barcode:
    """One barcode and its position."""

    text: str
    format: str
    position: tuple[tuple[int, int], ...]
    """Four corners: top left, top right, bottom right, bottom left."""
    orientation: int
    """Rotation in degrees."""


@dataclass(frozen=True)
class Reading:
    """The barcodes of an image, its size, and the time to read it."""

    barcodes: tuple[Barcode, ...]
    width: int
    height: int
    elapsed_ms: float


def read_barcodes(content: bytes, max_pixels: int = MAX_PIXELS) -> Reading:
    """Return all barcodes of an image file.

    Raises:
        NotAnImage: The bytes cannot be read as an image.
        TooManyPixels: The image has more than ``max_pixels``.
    """
    start = time.perf_counter()
    image = _decoded(content, max_pixels)
    found = tuple(_barcode(result) for result in zxingcpp.read_barcodes(image))
    elapsed_ms = round((time.perf_counter() - start) * 1000, 2)
    return Reading(found, image.width, image.height, elapsed_ms)


def _decoded(content: bytes, max_pixels: int) -> Image.Image:
    """Return the first frame in a mode that zxing reads."""
    too_many = f"The image has more than {max_pixels} pixels."
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels <= max_pixels:
                return _plain(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(too_many) from error
    except Exception as error:  # Pillow raises almost any error on a bad file
        raise NotAnImage("This is not an image that can be read.") from error
    raise TooManyPixels(too_many)


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in grey or RGB, on a white background."""
    if image.mode in {"L", "RGB"}:
        image.load()
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image)
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, transparent).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale an image with more than 8 bits of grey from its own range to 8 bits."""
    deep = image if image.mode == "F" else image.convert("I").convert("F")
    # This image has one band, so the extrema are one pair.
    darkest, lightest = cast("tuple[float, float]", deep.getextrema())
    scale = 255 / ((lightest - darkest) or 1)
    return deep.point(lambda grey: grey * scale - darkest * scale).convert("L")


def _barcode(result: zxingcpp.Barcode) -> Barcode:
    """Convert zxing's result."""
    place = result.position
    corners = (
        place.top_left,
        place.top_right,
        place.bottom_right,
        place.bottom_left,
    )
    return Barcode(
        text=result.text,
        format=result.format.name,
        position=tuple((corner.x, corner.y) for corner in corners),
        orientation=result.orientation,
    )
