"""Measures of a picture's appearance: brightness, contrast, sharpness and others.

They decode every pixel, so no captured request computes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageFilter

from .decode import as_8_bit, is_transparent, opened, rotated
from .hashes import HASH_DIGITS, HASH_SIDE

VERSION = 1
"""The version of the measures: raised when the same bytes may give other numbers."""

TILE = 256
"""The side of a tile in which sharpness is measured, in pixels."""
_LAPLACIAN = (0, 1, 0, 1, -4, 1, 0, 1, 0)


@dataclass(frozen=True)
class Measures:
    """Measures of a picture's luminance Y' (ITU-R BT.601), from 0 to 255.

    Transparent pixels count as white. With more than 8 bits a channel, the darkest
    pixel counts as 0 and the lightest as 255. The first of several pictures counts.

    Attributes:
        brightness: The mean of all pixels; 0 is black, 255 white.
        contrast: The standard deviation of all pixels, from 0 to 127.5: the contrast of
            E. Peli, "Contrast in complex images", Journal of the Optical Society of
            America A 7 (1990), not divided by 255.
        entropy: The entropy of the histogram in bits, from 0 to 8: -Σ p log2 p (C. E.
            Shannon, "A mathematical theory of communication", 1948).
        sharpness: The variance of the Laplacian (J. L. Pech-Pacheco et al., "Diatom
            autofocusing in brightfield microscopy", 2000) in the sharpest of nine
            tiles. It is measured at full size, because a blurred picture looks sharp
            when it is scaled down, and in the sharpest tile, because an empty
            background would lower the mean.
        layout: The perceptual hash, in hexadecimal: a difference hash of 256 bits of
            the picture rotated by its Exif orientation. Each bit says whether one of 16
            x 16 places is lighter than the next to its right (N. Krawetz, "Kind of Like
            That", Hacker Factor, 2013, there 8 x 8).
    """

    brightness: float
    contrast: float
    entropy: float
    sharpness: float
    layout: str


def measure(data: bytes, *, max_pixels: int, max_bytes: float = math.inf) -> Measures:
    """Measure a picture.

    Args:
        data: The image's bytes.
        max_pixels: Refuse an image with more (width times height), before decoding.
        max_bytes: Refuse an image that needs more memory, before decoding.

    Raises:
        PictureRefused: It cannot be decoded, is too large, or takes too long.
    """
    with opened(data, max_pixels=max_pixels, max_bytes=max_bytes) as image:
        # A JPEG stores luminance separately, so its colours need not be decoded.
        image.draft("L", None)
        grey = _luminance(image)
        histogram = grey.histogram()
        mean, variance = _moments(enumerate(histogram), sum(histogram))
        return Measures(
            brightness=mean,
            contrast=math.sqrt(variance),
            entropy=_entropy(histogram),
            sharpness=max(map(_sharpness, _tiles(grey)), default=0.0),
            layout=_difference_hash(rotated(grey)),
        )


def _luminance(image: Image.Image) -> Image.Image:
    image = as_8_bit(image)
    if not is_transparent(image):
        return image if image.mode == "L" else image.convert("L")
    if image.mode not in ("RGBA", "LA"):
        image = image.convert("RGBA")
    flat = Image.new("L", image.size, 255)
    flat.paste(image.convert("L"), mask=image.getchannel("A"))
    flat.info = image.info  # the Exif orientation
    return flat


def _moments(histogram: Iterable[tuple[int, int]], count: int) -> tuple[float, float]:
    """Return the mean and the variance of values, each given with its frequency."""
    total = squares = 0
    for value, n in histogram:
        total += value * n
        squares += value * value * n
    mean = total / count
    return mean, max(0.0, squares / count - mean * mean)


def _entropy(histogram: Sequence[int]) -> float:
    count = sum(histogram)
    return sum(n / count * math.log2(count / n) for n in histogram if n)


def _tiles(grey: Image.Image) -> Iterator[Image.Image]:
    """Yield a tile in the middle of each ninth of a picture; tile a small one whole."""
    for top in _places(grey.height):
        for left in _places(grey.width):
            right, bottom = min(left + TILE, grey.width), min(top + TILE, grey.height)
            if min(right - left, bottom - top) > 2:  # a pixel has four neighbours
                yield grey.crop((left, top, right, bottom))


def _places(side: int) -> Iterable[int]:
    if side <= 3 * TILE:
        return range(0, side, TILE)
    return [(2 * ninth + 1) * side // 6 - TILE // 2 for ninth in range(3)]


def _sharpness(tile: Image.Image) -> float:
    # Pillow clips values below 0 or above 255, so each sign is filtered separately;
    # and it leaves the outermost pixels unfiltered.
    size = (tile.width - 2, tile.height - 2)
    found = []
    for sign in (1, -1):
        kernel = ImageFilter.Kernel((3, 3), [sign * w for w in _LAPLACIAN], scale=1)
        inner = tile.filter(kernel).crop((1, 1, 1 + size[0], 1 + size[1]))
        found += [(sign * value, n) for value, n in enumerate(inner.histogram())]
    _mean, variance = _moments(found, size[0] * size[1])
    return variance


def _difference_hash(grey: Image.Image) -> str:
    # The mean of each place removes noise and adds no ringing.
    size = (HASH_SIDE + 1, HASH_SIDE)
    places = list(grey.resize(size, Image.Resampling.BOX).tobytes())
    bits = 0
    for top in range(0, len(places), HASH_SIDE + 1):
        for left in range(top, top + HASH_SIDE):
            bits = bits << 1 | (places[left] > places[left + 1])
    return f"{bits:0{HASH_DIGITS}x}"
