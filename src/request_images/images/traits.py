"""What else an image's header tells: its colours, if it moves, and if it is turned.

Told from the bytes in a bounded number of steps, as the size is by `headers`; no pixel
is decoded. What a header does not tell is unknown, and no error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .boxes import is_sequence, jpeg2000_samples, primary_item
from .segments import (
    ORIENTATION,
    PNG_SIGNATURE,
    chunks,
    gif_palette_length,
    gif_pictures,
    ico_picture,
    is_frame,
    jpeg_segments,
    pnm_numbers,
    tiff_directory,
    unpack,
)

COLOR_MODES = (
    "1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F",
)  # fmt: skip
"""Pillow's names of what pixels are made of, those that can be told."""

_EXIF = b"Exif\0\0"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PSD_MODES = {0: "L", 1: "L", 2: "P", 3: "RGB", 4: "CMYK", 7: "L", 8: "L", 9: "LAB"}
_GREY_TIFF = {1: "1", 2: "L", 4: "L", 8: "L", 12: "I;16", 16: "I;16", 32: "I"}
_TIFF_MODES = {
    0: ("L", "LA"),
    1: ("L", "LA"),
    2: ("RGB", "RGBA"),
    3: ("P", "PA"),
    5: ("CMYK", "CMYK"),
    8: ("LAB", "LAB"),
}
"""By the photometric interpretation: without opacity, and with it."""
_TIFF_TAGS = (258, 259, 262, ORIENTATION, 277, 338, 339)


@dataclass(frozen=True)
class Traits:
    """What a header tells beside the size.

    Attributes:
        color_mode: One of `COLOR_MODES`, as Pillow has it of the first picture; empty
            when unknown.
        is_animated: Whether there are more pictures than the first: the frames of an
            animation, or the pages of a TIFF. None when unknown.
        has_orientation: Whether the picture is to be turned or mirrored before it is
            shown (an Orientation other than 1). None when unknown.
    """

    color_mode: str = ""
    is_animated: bool | None = None
    has_orientation: bool | None = None


UNKNOWN = Traits()
"""Nothing is known."""


def traits_of(data: bytes, name: str) -> Traits:
    """Tell what a header tells beside the size. Never raises, whatever stands there.

    Args:
        data: The whole file.
        name: The format that its first bytes show, by its name in `formats`.
    """
    try:
        return _READERS[name](data)
    except ValueError:
        return UNKNOWN


def _still(mode_of: Callable[[bytes], str]) -> Callable[[bytes], Traits]:
    """Read a format that is one upright picture."""
    return lambda data: Traits(mode_of(data), False, False)


def _is_turned(data: bytes, start: int) -> bool | None:
    """Tell whether Exif, which is a TIFF, says that the picture is to be turned."""
    try:
        found = tiff_directory(data, (ORIENTATION,), start).numbers
    except ValueError:
        return None
    return 2 <= found.get(ORIENTATION, 1) <= 8


def _bmp_mode(data: bytes) -> str:
    """Tell the mode of a bitmap; one whose palette is a grey ramp is grey."""
    (header_size,) = unpack("<I", data, 14)
    is_old = header_size == 12
    (bits,) = unpack("<H", data, 24 if is_old else 28)
    compression, colours = (0, 0) if is_old else unpack("<I12xI", data, 30)
    if bits > 8:
        # Bit fields: their fourth mask is that of the opacity.
        has_mask = compression == 3 and bits == 32 and header_size >= 56
        return "RGBA" if has_mask and unpack("<I", data, 66)[0] else "RGB"
    count, step = min(colours or 1 << bits, 256), 3 if is_old else 4
    ramp = (0, 255) if count == 2 else range(count)
    place = 14 + header_size
    for at, value in enumerate(ramp):
        first = place + step * at
        if data[first : first + 3] != bytes([value] * 3):
            return "P"
    return "1" if count <= 2 else "L"


def _dds_mode(data: bytes) -> str:
    """Tell the mode of a surface by its DDS_PIXELFORMAT."""
    flags, code, bits = unpack("<I4sI", data, 80)
    if flags & 0x40:
        return "RGBA" if flags & 1 else "RGB"
    if flags & 0x20000:
        return "LA" if flags & 1 else "L"
    if flags & 0x20:
        return "P" if bits == 8 else ""
    return "RGBA" if code in (b"DXT1", b"DXT3", b"DXT5") else ""


def _gif(data: bytes) -> Traits:
    pictures = gif_pictures(data)
    first = next(pictures, None)
    (flags,) = unpack("B", data, 10)
    palette = 13
    if first is not None:
        (own,) = unpack("B", data, first + 9)
        if own & 0x80:
            flags, palette = own, first + 10
    colours = data[palette : palette + gif_palette_length(flags)]
    ramp = bytes(value for value in range(len(colours) // 3) for _ in range(3))
    is_animated = None
    with suppress(ValueError):
        is_animated = next(pictures, None) is not None
    return Traits("L" if colours == ramp else "P", is_animated, False)


def _ico_mode(data: bytes) -> str:
    """Tell the mode of an icon's largest picture, which has its mask as opacity."""
    place = ico_picture(data)
    is_png = data[place : place + 8] == PNG_SIGNATURE
    return _png_mode(data[place : place + 64]) if is_png else "RGBA"


def _jpeg(data: bytes) -> Traits:
    """Read a JPEG; further pictures behind it (MPO) are no part of it."""
    mode, has_exif = "", False
    turned: bool | None = False
    # What is cut off behind the frame header does not matter.
    with suppress(ValueError):
        for marker, place in jpeg_segments(data):
            if is_frame(marker):
                (count,) = unpack("B", data, place + 7)
                mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(count, "")
            elif marker == 0xE1 and not has_exif and data.startswith(_EXIF, place + 2):
                has_exif = True  # the first one counts, or there might be thousands
                turned = _is_turned(data, place + 2 + len(_EXIF))
    return Traits(mode, False, turned)


def _jpeg2000_mode(data: bytes) -> str:
    """Tell the mode by how many samples a pixel has."""
    samples = jpeg2000_samples(data)
    if samples.has_palette:
        return {1: "P", 2: "PA"}.get(samples.channels, "")
    if samples.is_cmyk and samples.channels == 4:
        return "CMYK"
    one = "I;16" if samples.bits > 8 else "L"
    return {1: one, 2: "LA", 3: "RGB", 4: "RGBA"}.get(samples.channels, "")


def _png(data: bytes) -> Traits:
    """Read a PNG: an animation says so before its first picture, Exif is anywhere."""
    is_animated = is_behind = False
    turned: bool | None = False
    try:
        for kind, place in chunks(data, 8):
            is_behind = is_behind or kind == b"IDAT"
            if kind == b"acTL" and not is_behind:
                is_animated = unpack(">I", data, place)[0] > 1
            elif kind == b"eXIf":
                turned = _is_turned(data, place)
                break
    except ValueError:
        turned = None
    return Traits(_png_mode(data), is_animated, turned)


def _png_mode(data: bytes) -> str:
    at = data.find(b"IHDR", 8, 64)
    bits, kind = unpack("BB", data, at + 12)
    if kind == 0 and bits in (1, 16):
        return "1" if bits == 1 else "I;16"
    if kind == 4 and bits == 16:
        return "RGBA"  # Pillow has no other mode for it
    return _PNG_MODES.get(kind, "")


def _pnm_mode(data: bytes) -> str:
    """Tell the mode by the second character, and by the largest value."""
    mode = {
        b"1": "1", b"2": "L", b"3": "RGB", b"4": "1", b"5": "L", b"6": "RGB", b"f": "F",
    }.get(data[1:2], "")  # fmt: skip
    is_deep = mode == "L" and max(pnm_numbers(data)[2:], default=0) > 255
    return "I" if is_deep else mode


def _psd_mode(data: bytes) -> str:
    channels, _height, _width, bits, kind = unpack(">HIIHH", data, 12)
    if (kind, bits) == (0, 1):
        return "1"
    mode = _PSD_MODES.get(kind, "") if bits == 8 else ""
    return "RGBA" if mode == "RGB" and channels == 4 else mode


def _tiff(data: bytes) -> Traits:
    numbers, following = tiff_directory(data, _TIFF_TAGS)
    turned = 2 <= numbers.get(ORIENTATION, 1) <= 8
    return Traits(_tiff_mode(numbers), bool(following), turned)


def _tiff_mode(numbers: dict[int, int]) -> str:
    """Tell the mode by what a sample is, and how many there are (TIFF 6.0)."""
    kind, samples = numbers.get(262, 0), numbers.get(277, 1)
    is_opaque = numbers.get(338) == 0  # an extra sample of no meaning
    if kind in (0, 1) and samples == 1:
        bits, number = numbers.get(258, 1), numbers.get(339, 1)
        if number != 1 and bits > 8:  # with a sign, or a fraction
            return "F" if number == 3 else "I"
        return _GREY_TIFF.get(bits, "")
    if kind == 6:
        return "RGB" if numbers.get(259) in (6, 7) else "YCbCr"  # JPEG within
    opaque, other = _TIFF_MODES.get(kind, ("", ""))
    return opaque if is_opaque or samples in (1, 3) else other


def _webp(data: bytes) -> Traits:
    kind = data[12:16]
    if kind == b"VP8X":
        (flags,) = unpack("B", data, 20)
        mode = "RGBA" if flags & 0x10 else "RGB"
        turned = _webp_turned(data) if flags & 0x08 else False
        return Traits(mode, bool(flags & 0x02), turned)
    # The last of the bits of a lossless header before its version: is there opacity?
    has_alpha = kind == b"VP8L" and unpack("<I", data, 21)[0] >> 28 & 1
    return Traits("RGBA" if has_alpha else "RGB", False, False)


def _webp_turned(data: bytes) -> bool | None:
    for kind, place in chunks(data, 12, is_riff=True):
        if kind == b"EXIF":
            has_head = data.startswith(_EXIF, place)
            return _is_turned(data, place + len(_EXIF) * has_head)
    return False


def _boxes(data: bytes) -> Traits:
    """Read an AVIF or HEIF; Pillow makes colours of what is grey and transparent."""
    item = None
    with suppress(ValueError):
        item = primary_item(data)
    if item is None:
        return Traits("", is_sequence(data), None)
    mode = "RGBA" if item.has_alpha else "L" if item.is_grey else "RGB"
    return Traits(mode, is_sequence(data), item.is_turned)


_READERS: dict[str, Callable[[bytes], Traits]] = {
    "AVIF": _boxes,
    "BMP": _still(_bmp_mode),
    "DDS": _still(_dds_mode),
    "GIF": _gif,
    "HEIF": _boxes,
    "ICO": _still(_ico_mode),
    "JPEG": _jpeg,
    "JPEG2000": _still(_jpeg2000_mode),
    "PNG": _png,
    "PPM": _still(_pnm_mode),
    "PSD": _still(_psd_mode),
    "TIFF": _tiff,
    "WEBP": _webp,
}
"""What reads each format, by the names in `formats`."""
