"""The known image formats, their signatures, and what a header says of an image."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_SIZE = 64
"""The number of first bytes that `sniff` needs."""

COLOR_MODES = (
    "1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F",
)  # fmt: skip
"""The colour modes that a header can tell, by Pillow's names."""


@dataclass(frozen=True)
class ImageFormat:
    """One image format.

    Attributes:
        name: Pillow's name of the format.
        mime_type: The registered media type.
        extension: The usual file name extension, with its dot.
        inline: Whether every current browser shows it without running anything.
    """

    name: str
    mime_type: str
    extension: str
    inline: bool = False


@dataclass
class HeaderInfo:
    """The size and the metadata that an image's header gives. Readers fill it in.

    Attributes:
        size: Width and height in pixels as the header gives them, even 0; None when
            it gives none.
        color_mode: One of `COLOR_MODES`, as Pillow has it for the first picture; empty
            when unknown.
        is_animated: Whether there are more pictures than the first: the frames of an
            animation, or the pages of a TIFF. None when unknown.
        has_orientation: Whether the picture needs rotation or mirroring before it is
            shown (an Orientation other than 1). None when unknown.
    """

    size: tuple[int, int] | None = None
    color_mode: str = ""
    is_animated: bool | None = None
    has_orientation: bool | None = None

    def describe(
        self,
        color_mode: str,
        *,
        is_animated: bool | None = False,
        has_orientation: bool | None = False,
    ) -> None:
        """Set the metadata; by default those of one picture that is shown as it is."""
        self.color_mode = color_mode
        self.is_animated = is_animated
        self.has_orientation = has_orientation


FORMATS = {
    f.name: f
    for f in (
        ImageFormat("AVIF", "image/avif", ".avif", inline=True),
        ImageFormat("BMP", "image/bmp", ".bmp", inline=True),
        ImageFormat("DDS", "image/vnd-ms.dds", ".dds"),
        ImageFormat("GIF", "image/gif", ".gif", inline=True),
        ImageFormat("HEIF", "image/heif", ".heic"),
        ImageFormat("ICO", "image/vnd.microsoft.icon", ".ico"),
        ImageFormat("JPEG", "image/jpeg", ".jpg", inline=True),
        ImageFormat("JPEG2000", "image/jp2", ".jp2"),
        ImageFormat("PNG", "image/png", ".png", inline=True),
        ImageFormat("PPM", "image/x-portable-anymap", ".pnm"),
        ImageFormat("PSD", "image/vnd.adobe.photoshop", ".psd"),
        ImageFormat("TIFF", "image/tiff", ".tif"),
        ImageFormat("WEBP", "image/webp", ".webp", inline=True),
    )
}
MIME_TYPES = {f.mime_type: f for f in FORMATS.values()}

_OTHER_NAMES = {
    "image/apng": "image/png",
    "image/avif-sequence": "image/avif",
    "image/heic": "image/heif",
    "image/heic-sequence": "image/heif",
    "image/heif-sequence": "image/heif",
    "image/icon": "image/vnd.microsoft.icon",
    "image/jpeg2000": "image/jp2",
    "image/jpg": "image/jpeg",
    "image/jpm": "image/jp2",
    "image/jpx": "image/jp2",
    "image/pjpeg": "image/jpeg",
    "image/psd": "image/vnd.adobe.photoshop",
    "image/tif": "image/tiff",
    "image/x-bmp": "image/bmp",
    "image/x-dds": "image/vnd-ms.dds",
    "image/x-icon": "image/vnd.microsoft.icon",
    "image/x-ms-bmp": "image/bmp",
    "image/x-png": "image/png",
    "image/x-portable-bitmap": "image/x-portable-anymap",
    "image/x-portable-graymap": "image/x-portable-anymap",
    "image/x-portable-pixmap": "image/x-portable-anymap",
    "image/x-psd": "image/vnd.adobe.photoshop",
    "image/x-tiff": "image/tiff",
}
"""Other names that clients use for these media types."""
_GENERIC = ("application/octet-stream", "binary/octet-stream")


def declared_type(content_type: str) -> str:
    """Return the media type of a client's Content-Type, by its name in `FORMATS`.

    The result is in lower case and without parameters; it is empty for types that name
    no format, such as ``application/octet-stream``.
    """
    name = content_type.partition(";")[0].strip().lower()
    return "" if name in _GENERIC else _OTHER_NAMES.get(name, name)


_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
)
_AVIF_BRANDS = (b"avif", b"avis")
# Of any coding; of HEVC; of AVC, VVC, EVC, JPEG and JPEG 2000.
_HEIF_BRANDS = frozenset(
    b"mif1 mif2 mif3 msf1 miaf "
    b"heic heix hevc hevx heim heis hevm hevs "
    b"avci avcs vvic vvis evbi evbs evmi evms jpeg jpgs j2ki j2is".split()
)
SEQUENCE_BRANDS = frozenset(
    b"avis msf1 hevc hevx hevm hevs avcs vvis evbs evms jpgs j2is".split()
)
"""The brands of files that hold a sequence of images."""
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)


def sniff(head: bytes) -> ImageFormat | None:
    """Recognize an image's format by its first bytes (`HEAD_SIZE` of them suffice).

    The signatures are those of the formats' specifications. HEIF and AVIF share a
    container (ISO/IEC 14496-12): the brands in its ``ftyp`` box tell them apart.
    """
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return FORMATS[name]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return FORMATS["WEBP"]
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return FORMATS["BMP"]
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    if head[:1] == b"P" and head[1:2] in b"123456fF" and head[2:3].isspace():
        return FORMATS["PPM"]
    return None


def brands_of(head: bytes) -> list[bytes]:
    """Return the brands in the ``ftyp`` box that begins a file, the major one first."""
    box = head[: min(int.from_bytes(head[:4], "big"), HEAD_SIZE)]
    # The minor version is between them; of a `mif3` it is the brand of the coding.
    first = 12 if box[8:12] == b"mif3" else 16
    return [box[8:12], *(box[i : i + 4] for i in range(first, len(box), 4))]


def _sniff_brands(head: bytes) -> ImageFormat | None:
    brands = brands_of(head)
    if any(brand in _AVIF_BRANDS for brand in brands):
        return FORMATS["AVIF"]
    if any(brand in _HEIF_BRANDS for brand in brands):
        return FORMATS["HEIF"]
    return None
