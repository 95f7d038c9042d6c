"""Size and metadata of an image, from one bounded walk over its header.

Pillow reads much more when it opens a file: colour profiles, texts, Exif, palettes,
whole WebP and AVIF files. A crafted file of 10 MB keeps it busy for most of a minute,
or makes it reserve a gigabyte for a canvas. A watch on its reads does not notice what
happens between them. The readers here read only what they report, copy only a few
bytes, and every loop has an end (see `segments` and `boxes`).

A reader gets the whole file and a `HeaderInfo` to fill in, first the size. When it
raises `ValueError` before the size is set, the file is unreadable, and the text
completes "its header ...". After that, the metadata that it has not set are unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from request_images.exceptions import InspectionError

from .boxes import read_heif, read_jpeg2000
from .formats import HeaderInfo
from .segments import (
    ORIENTATION,
    TiffDirectory,
    chunks,
    gif_palette_length,
    gif_pictures,
    ico_picture,
    is_frame,
    jpeg_segments,
    pnm_numbers,
    unpack,
)

_EXIF = b"Exif\0\0"
_JPEG_MODES = {b"\1": "L", b"\3": "RGB", b"\4": "CMYK"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNM_MODES = {
    b"1": "1", b"2": "L", b"3": "RGB", b"4": "1", b"5": "L", b"6": "RGB", b"f": "F",
}  # fmt: skip
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
"""The modes of each photometric interpretation: without opacity, and with it."""


def read_header(data: bytes, format_name: str) -> HeaderInfo:
    """Read what the header of an image file says.

    Args:
        data: The whole file.
        format_name: The format that its first bytes show, by its name in `formats`.

    Raises:
        InspectionError: The size cannot be read; the text says why.
    """
    header = HeaderInfo()
    try:
        _READERS[format_name](data, header)
    except ValueError as error:
        if header.size is None:
            raise InspectionError(f"its header {error}") from error
    return header


def _exif_orientation(data: bytes, start: int) -> bool | None:
    """Return whether Exif, which is a TIFF, asks for rotation; None when unreadable."""
    try:
        directory = TiffDirectory(data, (ORIENTATION,), start)
        return 2 <= directory.number(ORIENTATION, 1) <= 8
    except ValueError:
        return None


def _bmp(data: bytes, header: HeaderInfo) -> None:
    """Read a Windows bitmap; one whose palette is a grey ramp is grey, as in Pillow."""
    header.size = _dib_size(data, 14)
    (header_size,) = unpack("<I", data, 14)
    is_old = header_size == 12
    (bits,) = unpack("<H", data, 24 if is_old else 28)
    compression, colours = (0, 0) if is_old else unpack("<I12xI", data, 30)
    if bits > 8:
        # The fourth mask of bit fields is that of the opacity.
        has_mask = compression == 3 and bits == 32 and header_size >= 56
        has_alpha = has_mask and unpack("<I", data, 66)[0]
        header.describe("RGBA" if has_alpha else "RGB")
        return
    count, step = min(colours or 1 << bits, 256), 3 if is_old else 4
    ramp = (0, 255) if count == 2 else range(count)
    place = 14 + header_size
    is_grey = all(
        data[at : at + 3] == bytes([value] * 3)
        for at, value in zip(range(place, place + step * 256, step), ramp, strict=False)
    )
    header.describe("P" if not is_grey else "1" if count <= 2 else "L")


def _dib_size(data: bytes, offset: int) -> tuple[int, int]:
    """Read the size in a bitmap's BITMAPCOREHEADER, or in a later header."""
    (header_size,) = unpack("<I", data, offset)
    width, height = unpack("<HH" if header_size == 12 else "<ii", data, offset + 4)
    return width, abs(height)  # below zero when the rows go from top to bottom


def _dds(data: bytes, header: HeaderInfo) -> None:
    """Read a DirectDraw surface: DDS_HEADER, and the DDS_PIXELFORMAT in it."""
    height, width = unpack("<II", data, 12)
    header.size = width, height
    flags, code, bits = unpack("<I4sI", data, 80)
    if flags & 0x40:
        header.describe("RGBA" if flags & 1 else "RGB")
    elif flags & 0x20000:
        header.describe("LA" if flags & 1 else "L")
    elif flags & 0x20:
        header.describe("P" if bits == 8 else "")
    else:
        header.describe("RGBA" if code in (b"DXT1", b"DXT3", b"DXT5") else "")


def _gif(data: bytes, header: HeaderInfo) -> None:
    """Read a GIF: the logical screen, or its first picture where that is larger.

    Pillow does the same; there are files with a screen of 0 x 0 (GIF89a, sections 18
    and 20). When too much stands before the first picture, only the screen is known.
    """
    width, height, flags = unpack("<HHB", data, 6)
    pictures = gif_pictures(data)
    try:
        first = next(pictures, None)
    except ValueError:
        header.size = width, height
        return
    palette = 13
    if first is not None:
        left, top, own_width, own_height = unpack("<4H", data, first + 1)
        width, height = max(width, left + own_width), max(height, top + own_height)
    header.size = width, height
    if first is not None:
        (own_flags,) = unpack("B", data, first + 9)
        if own_flags & 0x80:
            flags, palette = own_flags, first + 10
    colours = data[palette : palette + gif_palette_length(flags)]
    ramp = bytes(value for value in range(len(colours) // 3) for _ in range(3))
    header.describe("L" if colours == ramp else "P", is_animated=None)
    header.is_animated = next(pictures, None) is not None


def _ico(data: bytes, header: HeaderInfo) -> None:
    """Read an icon: its largest picture gives its own size, its mask is its opacity."""
    place = ico_picture(data)
    if data.startswith(_PNG_SIGNATURE, place):
        header.describe(_ihdr(data[place : place + 64], header))
    else:
        width, height = _dib_size(data, place)
        header.size = width, height // 2  # the picture, and its mask below it
        header.describe("RGBA")


def _jpeg(data: bytes, header: HeaderInfo) -> None:
    """Read a JPEG's frame header (ITU-T T.81, annex B), and the first Exif."""
    mode, has_exif = "", False
    has_orientation: bool | None = False
    try:
        for marker, place in jpeg_segments(data):
            if header.size is None and is_frame(marker):
                height, width = unpack(">HH", data, place + 3)
                header.size = width, height
                mode = _JPEG_MODES.get(data[place + 7 : place + 8], "")
            elif marker == 0xE1 and not has_exif and data.startswith(_EXIF, place + 2):
                has_exif = True  # there may be thousands more
                has_orientation = _exif_orientation(data, place + 2 + len(_EXIF))
    finally:
        # Further pictures after the first (MPO) are not an animation.
        header.describe(mode, has_orientation=has_orientation)
    if header.size is None:
        raise ValueError("has no frame before the picture")


def _png(data: bytes, header: HeaderInfo) -> None:
    """Read a PNG: an animation says so before its first picture, Exif is anywhere."""
    header.describe(_ihdr(data, header), has_orientation=None)
    is_before_picture = True
    for kind, place in chunks(data, 8):
        if kind == b"IDAT":
            is_before_picture = False
        elif kind == b"acTL" and is_before_picture:
            header.is_animated = unpack(">I", data, place)[0] > 1
        elif kind == b"eXIf":
            header.has_orientation = _exif_orientation(data, place)
            return
    header.has_orientation = False


def _ihdr(data: bytes, header: HeaderInfo) -> str:
    """Read the size in IHDR and return the mode. Apple's CgBI may stand before it."""
    at = data.find(b"IHDR", 8, 64)
    if at < 0:
        raise ValueError("has no IHDR")
    header.size = unpack(">II", data, at + 4)
    bits, kind = unpack("BB", data, at + 12)
    if kind == 0 and bits in (1, 16):
        return "1" if bits == 1 else "I;16"
    if kind == 4 and bits == 16:
        return "RGBA"  # Pillow has no other mode for it
    return _PNG_MODES.get(kind, "")


def _pnm(data: bytes, header: HeaderInfo) -> None:
    """Read a PBM, PGM, PPM or PFM: the second character, and up to three numbers."""
    numbers = pnm_numbers(data)
    if len(numbers) < 2:
        raise ValueError("has no width and height")
    header.size = numbers[0], numbers[1]
    mode = _PNM_MODES.get(data[1:2], "")
    is_deep = mode == "L" and max(numbers[2:], default=0) > 255
    header.describe("I" if is_deep else mode)


def _psd(data: bytes, header: HeaderInfo) -> None:
    """Read a Photoshop file, or its large sibling."""
    height, width = unpack(">II", data, 14)
    header.size = width, height
    (channels,) = unpack(">H", data, 12)
    bits, kind = unpack(">HH", data, 22)
    mode = _PSD_MODES.get(kind, "") if bits == 8 else ""
    if (kind, bits) == (0, 1):
        mode = "1"
    header.describe("RGBA" if mode == "RGB" and channels == 4 else mode)


def _tiff(data: bytes, header: HeaderInfo) -> None:
    """Read the first directory of a TIFF or BigTIFF (TIFF 6.0).

    The sides are exchanged when the Orientation says that the picture lies on its side,
    as Pillow does it.
    """
    tags = (256, 257, 258, 259, 262, ORIENTATION, 277, 338, 339)
    directory = TiffDirectory(data, tags)
    size = directory.number(256), directory.number(257)
    orientation = directory.number(ORIENTATION, 1)
    header.size = size[::-1] if 5 <= orientation <= 8 else size
    header.describe(
        _tiff_mode(directory),
        is_animated=bool(directory.following),
        has_orientation=2 <= orientation <= 8,
    )


def _tiff_mode(directory: TiffDirectory) -> str:
    """Return the mode for what a sample is, and how many there are."""
    kind, samples, bits, sample_format, compression, extra = (
        directory.number(tag, default)
        for tag, default in ((262, 0), (277, 1), (258, 1), (339, 1), (259, 1), (338, 1))
    )
    if kind in (0, 1) and samples == 1:
        if sample_format != 1 and bits > 8:  # with a sign, or a fraction
            return "F" if sample_format == 3 else "I"
        return _GREY_TIFF.get(bits, "")
    if kind == 6:
        return "RGB" if compression in (6, 7) else "YCbCr"  # JPEG within
    opaque, transparent = _TIFF_MODES.get(kind, ("", ""))
    # An extra sample of type 0 has no meaning.
    return opaque if extra == 0 or samples in (1, 3) else transparent


def _webp(data: bytes, header: HeaderInfo) -> None:
    """Read a WebP: lossy (RFC 6386, 9.1), lossless (RFC 9649, 3.4) or with a canvas."""
    kind = data[12:16]
    if kind == b"VP8X":
        flags, low_w, high_w, low_h, high_h = unpack("<B3xHBHB", data, 20)
        header.size = 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
        mode, is_animated = "RGBA" if flags & 0x10 else "RGB", bool(flags & 0x02)
        header.describe(mode, is_animated=is_animated, has_orientation=None)
        header.has_orientation = _webp_orientation(data) if flags & 0x08 else False
    elif kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = unpack("<I", data, 21)
        header.size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        header.describe("RGBA" if bits >> 28 & 1 else "RGB")
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = unpack("<HH", data, 26)
        header.size = width & 0x3FFF, height & 0x3FFF  # two bits more say how to scale
        header.describe("RGB")
    else:
        raise ValueError("begins with no picture")


def _webp_orientation(data: bytes) -> bool | None:
    for kind, place in chunks(data, 12, is_riff=True):
        if kind == b"EXIF":
            has_head = data.startswith(_EXIF, place)
            return _exif_orientation(data, place + len(_EXIF) * has_head)
    return False


_READERS: dict[str, Callable[[bytes, HeaderInfo], None]] = {
    "AVIF": partial(read_heif, is_shown=False),
    "BMP": _bmp,
    "DDS": _dds,
    "GIF": _gif,
    "HEIF": partial(read_heif, is_shown=True),
    "ICO": _ico,
    "JPEG": _jpeg,
    "JPEG2000": read_jpeg2000,
    "PNG": _png,
    "PPM": _pnm,
    "PSD": _psd,
    "TIFF": _tiff,
    "WEBP": _webp,
}
"""The reader of each format, by the names in `formats`."""
