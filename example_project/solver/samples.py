"""Draw the demo's pictures: barcodes in many states, and typical mistakes of clients.

Equal seeds draw equal bytes.
"""

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zxingcpp
from PIL import Image, ImageFilter, ImageOps

SYMBOLOGIES = {
    "qrcode": zxingcpp.BarcodeFormat.QRCode,
    "datamatrix": zxingcpp.BarcodeFormat.DataMatrix,
    "aztec": zxingcpp.BarcodeFormat.Aztec,
    "pdf417": zxingcpp.BarcodeFormat.PDF417,
    "code128": zxingcpp.BarcodeFormat.Code128,
    "ean13": zxingcpp.BarcodeFormat.EAN13,
}
MODULE = 4
"""Width in pixels of a barcode's smallest bar."""


@dataclass(frozen=True)
class Sample:
    """One picture, or a file that is sent as one."""

    name: str
    content: bytes
    text: str | None = None
    """The text of the barcode; None if it cannot be read."""


def draw_samples(seed: int, kept_limit: int | None = None) -> Iterator[Sample]:
    """Yield every sample.

    Args:
        seed: Seed of the random texts and pixels.
        kept_limit: Size in bytes that one sample must exceed; None for no such sample.
    """
    chance = random.Random(seed)  # noqa: S311  # must be repeatable
    legible = list(_legible(chance))
    yield from legible
    yield from (
        Sample(f"again-{sample.name}", sample.content, sample.text)
        for sample in legible[:2]
    )
    yield from _illegible(chance)
    yield from _broken(legible[0].content)
    if kept_limit is not None:
        # Readers stop at the end of the picture and ignore the zeros after it.
        padding = bytes(max(kept_limit + 1 - len(legible[0].content), 0))
        yield Sample("over-limit.png", legible[0].content + padding, legible[0].text)


def _plain(symbol: Image.Image) -> Image.Image:
    return symbol


def _tilted(symbol: Image.Image) -> Image.Image:
    return symbol.rotate(
        5, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=255
    )


def _on_its_side(symbol: Image.Image) -> Image.Image:
    return symbol.transpose(Image.Transpose.ROTATE_90)


def _blurred(symbol: Image.Image) -> Image.Image:
    return symbol.filter(ImageFilter.GaussianBlur(1.2))


def _large(symbol: Image.Image) -> Image.Image:
    return ImageOps.scale(symbol, 2.5)


def _small(symbol: Image.Image) -> Image.Image:
    return ImageOps.scale(symbol, 0.5, resample=Image.Resampling.NEAREST)


def _faded(symbol: Image.Image) -> Image.Image:
    return symbol.point(lambda grey: 150 + grey // 4)


def _coloured(symbol: Image.Image) -> Image.Image:
    return ImageOps.colorize(symbol, "navy", "lightyellow")


TREATMENTS: tuple[tuple[Callable[[Image.Image], Image.Image], str], ...] = (
    (_plain, "png"),
    (_tilted, "jpeg"),
    (_on_its_side, "png"),
    (_blurred, "webp"),
    (_large, "bmp"),
    (_small, "gif"),
    (_faded, "jpeg"),
    (_coloured, "webp"),
)


def _legible(chance: random.Random) -> Iterator[Sample]:
    """Yield each kind of barcode in each readable state."""
    for name, symbology in SYMBOLOGIES.items():
        for treat, extension in TREATMENTS:
            # Twelve digits suit every kind; EAN-13 adds its check digit.
            barcode = zxingcpp.create_barcode(
                f"{chance.randrange(10**12):012}", symbology
            )
            picture = treat(_symbol(barcode))
            state = treat.__name__.strip("_").replace("_", "-")
            yield Sample(
                f"{name}-{state}.{extension}",
                _encoded(picture, extension),
                barcode.text,
            )


def _illegible(chance: random.Random) -> Iterator[Sample]:
    """Yield real pictures without a readable barcode."""
    for grey, extension in ((255, "png"), (128, "jpeg"), (0, "webp")):
        blank = Image.new("L", (320, 240), grey)
        yield Sample(f"blank-{grey}.{extension}", _encoded(blank, extension))
    for extension in ("png", "bmp"):
        noise = Image.frombytes("L", (160, 120), chance.randbytes(160 * 120))
        yield Sample(f"noise.{extension}", _encoded(noise, extension))
    for name in ("qrcode", "code128"):
        barcode = zxingcpp.create_barcode("012345678901", SYMBOLOGIES[name])
        fog = _symbol(barcode).filter(ImageFilter.GaussianBlur(4 * MODULE))
        yield Sample(f"{name}-fog.jpeg", _encoded(fog, "jpeg"))


def _broken(png: bytes) -> Iterator[Sample]:
    """Yield files that are not pictures, and truncated pictures."""
    jpeg = _encoded(Image.radial_gradient("L"), "jpeg")
    yield Sample("notes.png", b"Only text, whatever its name says.\n" * 20)
    yield Sample("empty.jpeg", b"")
    yield Sample("cut-off.png", png[: len(png) // 2])
    yield Sample("cut-off.jpeg", jpeg[: len(jpeg) // 2])


def _symbol(barcode: zxingcpp.Barcode) -> Image.Image:
    """Return the barcode on white paper."""
    pixels = memoryview(barcode.to_image(scale=MODULE))
    height, width = pixels.shape or (0, 0)  # always two dimensions
    symbol = Image.frombytes("L", (width, height), pixels.tobytes())
    return ImageOps.expand(symbol, border=5 * MODULE, fill=255)


def _encoded(picture: Image.Image, extension: str) -> bytes:
    """Return the picture as a file."""
    file = io.BytesIO()
    picture.save(file, format=extension)
    return file.getvalue()
