"""Bytes in a smaller form that gives the very same bytes back; nothing of Django.

An encoding belongs to certain types of image, and a type to one encoding at the most:
what is compressed already, such as PNG, belongs to none.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

from request_images.exceptions import (
    DecodingFailed,
    EncodingRefused,
    EncodingUnavailable,
    InspectionError,
    ObjectDamaged,
)
from request_images.images.headers import read_header

MIN_SAVING = 0.05
"""What a smaller form must save, as a share of the bytes; less is not worth it."""

_START_OF_SCAN = b"\xff\xda"
_LEPTON = "lepton_jpeg_python"
_NO_LEPTON = "lepton needs a package: pip install 'django-request-images[lepton]'"


class Encoding(ABC):
    """One way to keep bytes in a smaller form.

    Attributes:
        name: What `ImageContent.encoding` holds.
        suffix: Behind the name of an object that holds this form.
        mime_types: The types of image that it is for.
        blame: What it means when a form that passes its own check gives other bytes.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    mime_types: ClassVar[Collection[str]]
    blame: ClassVar[type[DecodingFailed | ObjectDamaged]]

    def why_unavailable(self) -> str:
        """Say what is missing here; an empty string when nothing is."""
        return ""

    @abstractmethod
    def encode(self, data: bytes) -> bytes:
        """Return the smaller form.

        Raises:
            EncodingRefused: These bytes have none.
            EncodingUnavailable: Not here.
        """

    @abstractmethod
    def decode(self, stored: bytes, size: int) -> bytes:
        """Return what was encoded, in memory that is bounded by its size in bytes.

        Raises:
            ObjectDamaged: The form is not what was made.
            DecodingFailed: It is, but nothing comes of it.
            EncodingUnavailable: Not here.
        """


class Deflated(Encoding):
    """zlib's format (RFC 1950), which has a checksum of its own.

    Level 3, as measured on 54 MB of pictures: as small as level 6 (27 % of the bytes),
    at 61 instead of 25 MB a second.
    """

    name = "zlib"
    suffix = ".zz"
    mime_types = (
        "image/bmp",
        "image/tiff",
        "image/vnd.adobe.photoshop",
        "image/vnd.microsoft.icon",
        "image/vnd-ms.dds",
        "image/x-portable-anymap",
    )
    blame = ObjectDamaged
    _LEVEL = 3

    def encode(self, data: bytes) -> bytes:
        """Return the smaller form."""
        return zlib.compress(data, self._LEVEL)

    def decode(self, stored: bytes, size: int) -> bytes:
        """Return what was encoded."""
        unpacker = zlib.decompressobj()
        try:
            # One more byte than there should be tells that there are too many.
            data = unpacker.decompress(stored, size + 1)
        except zlib.error as error:
            raise ObjectDamaged(f"zlib: {error}", is_passing=False) from error
        if not unpacker.eof or unpacker.unused_data or len(data) != size:
            raise ObjectDamaged(f"zlib: it is not of {size} bytes", is_passing=False)
        return data


class Lepton(Encoding):
    """Lepton's format for JPEG, and behind it the CRC-32 of it, in four bytes.

    The library trusts what it decodes: a few wrong bytes make it take gigabytes. So
    nothing reaches it whose checksum is wrong. It needs a package of its own.
    """

    name = "lepton"
    suffix = ".lep"
    mime_types = ("image/jpeg",)
    # It is another one's library: its next version may give them.
    blame = DecodingFailed
    MAX_BYTES = 32 * 1024 * 1024
    MAX_PIXELS = 25_000_000
    """It takes 6 bytes of memory for each, and 12 to decode a progressive one."""
    MAX_SCANS = 32
    """Each takes up to 5 ns for a pixel, and 40 bytes: a file of 10 MB takes hours."""

    def __init__(self) -> None:
        self._process: int | None = None

    def why_unavailable(self) -> str:
        """Say what is missing here. Nothing is loaded for it."""
        return "" if find_spec(_LEPTON) else _NO_LEPTON

    def encode(self, data: bytes) -> bytes:
        """Return the smaller form."""
        self._refuse_large(data)
        try:
            form = self._call("compress_bytes", data)
        except DecodingFailed as error:
            raise EncodingRefused(str(error)) from error
        return form + _checksum(form)

    def decode(self, stored: bytes, size: int) -> bytes:
        """Return what was encoded."""
        form, checksum = stored[:-4], stored[-4:]
        if checksum != _checksum(form):
            raise ObjectDamaged("lepton: its checksum is wrong", is_passing=False)
        data = self._call("decompress_bytes", form)
        if len(data) != size:
            text = f"lepton: {len(data)} bytes instead of {size}"
            raise DecodingFailed(text, is_passing=False)
        return data

    def _refuse_large(self, data: bytes) -> None:
        try:
            width, height = read_header(data, "JPEG").size or (0, 0)
        except InspectionError as error:
            raise EncodingRefused(f"lepton: {error}") from error
        if width * height > self.MAX_PIXELS:
            raise EncodingRefused(f"lepton: too many pixels: {width} x {height}")
        if len(data) > self.MAX_BYTES:
            raise EncodingRefused(f"lepton: too many bytes: {len(data)}")
        # Within coded data no such two bytes follow each other.
        if (scans := data.count(_START_OF_SCAN)) > self.MAX_SCANS:
            raise EncodingRefused(f"lepton: too many scans: {scans}")

    def _call(self, function: str, data: bytes) -> bytes:
        try:
            library = import_module(_LEPTON)
        except ImportError as error:
            raise EncodingUnavailable(_NO_LEPTON, is_passing=False) from error
        # Its threads do not come along in a fork, and a call would wait for them.
        if self._process is None:
            self._process = os.getpid()
        if self._process != os.getpid():
            raise EncodingUnavailable(
                "lepton: this process was forked from one that had used it",
                is_passing=False,
            )
        try:
            return bytes(getattr(library, function)(data))
        except Exception as error:
            raise DecodingFailed(_said(error), is_passing=False) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # which is no Exception
                raise
            raise DecodingFailed(_said(error), is_passing=False) from error


ENCODINGS: Mapping[str, Encoding] = {each.name: each for each in (Deflated(), Lepton())}


def encodings_of(names: Collection[str]) -> dict[str, Encoding]:
    """Return those of some names, by the type of image that each is for."""
    chosen = [ENCODINGS[name] for name in names]
    return {mime_type: each for each in chosen for mime_type in each.mime_types}


def suffix_of(name: str) -> str:
    """Return what stands behind an object's name; nothing for bytes as received."""
    return ENCODINGS[name].suffix if name in ENCODINGS else ""


def encode(data: bytes, encoding: Encoding) -> bytes:
    """Return a smaller form that was seen to give the same bytes back.

    Raises:
        EncodingRefused: There is none, or it saves too little.
        EncodingUnavailable: Not here.
    """
    stored = encoding.encode(data)
    if len(stored) > len(data) * (1 - MIN_SAVING):
        raise EncodingRefused(f"{encoding.name}: it saves less than {MIN_SAVING:.0%}")
    try:
        is_same = encoding.decode(stored, len(data)) == data
    except (DecodingFailed, ObjectDamaged) as error:
        raise EncodingRefused(f"{encoding.name}: it does not come back") from error
    if not is_same:
        raise EncodingRefused(f"{encoding.name}: other bytes would come back")
    return stored


def decode(stored: bytes, name: str, *, size: int | None, image_hash: str) -> bytes:
    """Return the bytes as they were received.

    Args:
        stored: Their stored form.
        name: The name of its encoding.
        size: How many bytes were received.
        image_hash: Their SHA-256, in hexadecimal digits.

    Raises:
        ObjectDamaged: The stored form is not what was stored.
        DecodingFailed: It is, but the bytes do not come back.
        EncodingUnavailable: What is needed for it is not here.
    """
    encoding = ENCODINGS.get(name)
    if encoding is None or size is None:
        text = f"no encoding {name!r} is known here"
        raise EncodingUnavailable(text, is_passing=False)
    data = encoding.decode(stored, size)
    if hashlib.sha256(data).hexdigest() != image_hash:
        raise encoding.blame(f"{name}: other bytes come back", is_passing=False)
    return data


def _checksum(form: bytes) -> bytes:
    return zlib.crc32(form).to_bytes(4, "big")


def _said(error: BaseException) -> str:
    # Behind the first line stands where in its own code that is.
    text = str(error).partition("\n")[0].rpartition(" failed: ")[2]
    return f"lepton: {text}"
