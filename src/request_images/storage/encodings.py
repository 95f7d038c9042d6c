"""Lossless compression of stored bytes; without Django.

An encoding is for certain types of image, and each type has at most one encoding. Types
that are compressed already, such as PNG, have none.
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
"""The smallest saving that is worth it, as a share of the bytes."""

_START_OF_SCAN = b"\xff\xda"
_LEPTON = "lepton_jpeg_python"
_NO_LEPTON = "lepton needs a package: pip install 'django-request-images[lepton]'"


class Encoding(ABC):
    """One way to compress bytes.

    Attributes:
        name: The value of `ImageContent.encoding`.
        suffix: The end of the name of an object in this form.
        mime_types: The types of image that it is for.
        blame: The error when a form passes its own check but decodes to other bytes.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    mime_types: ClassVar[Collection[str]]
    blame: ClassVar[type[DecodingFailed | ObjectDamaged]]

    def why_unavailable(self) -> str:
        """Return what is not installed; empty if nothing is missing."""
        return ""

    @abstractmethod
    def encode(self, data: bytes) -> bytes:
        """Return the compressed form.

        Raises:
            EncodingRefused: These bytes cannot be compressed.
            EncodingUnavailable: A package is not installed.
        """

    @abstractmethod
    def decode(self, stored: bytes, size: int) -> bytes:
        """Return the original bytes, in memory that is bounded by their size.

        Raises:
            ObjectDamaged: The compressed form has changed.
            DecodingFailed: It has not, but it cannot be decoded.
            EncodingUnavailable: A package is not installed.
        """


class Deflated(Encoding):
    """The zlib format (RFC 1950), which includes a checksum.

    Level 3 was measured on 54 MB of pictures: as small as level 6 (27 % of the bytes),
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

    def encode(self, data: bytes) -> bytes:
        """Return the compressed form."""
        return zlib.compress(data, 3)

    def decode(self, stored: bytes, size: int) -> bytes:
        """Return the original bytes."""
        unpacker = zlib.decompressobj()
        try:
            # One byte more than expected shows that there are too many.
            data = unpacker.decompress(stored, size + 1)
        except zlib.error as error:
            raise ObjectDamaged(f"zlib: {error}", is_passing=False) from error
        if not unpacker.eof or unpacker.unused_data or len(data) != size:
            raise ObjectDamaged(
                f"zlib: the result does not have {size} bytes", is_passing=False
            )
        return data


class Lepton(Encoding):
    """The Lepton format for JPEG, followed by its CRC-32 in four bytes.

    The library trusts its input: a few wrong bytes make it allocate gigabytes. So the
    checksum is compared first. It needs a package.
    """

    name = "lepton"
    suffix = ".lep"
    mime_types = ("image/jpeg",)
    # Another version of the library may decode differently.
    blame = DecodingFailed
    MAX_BYTES = 32 * 1024 * 1024
    MAX_PIXELS = 25_000_000
    """Each takes 6 bytes of memory, and 12 to decode a progressive image."""
    MAX_SCANS = 32
    """Each has 40 bytes and takes up to 5 ns a pixel: 10 MB would take hours."""

    def __init__(self) -> None:
        self._process: int | None = None

    def why_unavailable(self) -> str:
        """Return what is not installed, without loading anything."""
        return "" if find_spec(_LEPTON) else _NO_LEPTON

    def encode(self, data: bytes) -> bytes:
        """Return the compressed form."""
        self._refuse_large(data)
        try:
            form = self._call("compress_bytes", data)
        except DecodingFailed as error:
            raise EncodingRefused(str(error)) from error
        return form + _checksum(form)

    def decode(self, stored: bytes, size: int) -> bytes:
        """Return the original bytes."""
        form, checksum = stored[:-4], stored[-4:]
        if checksum != _checksum(form):
            raise ObjectDamaged("lepton: the checksum is wrong", is_passing=False)
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
        # These two bytes do not occur within coded data.
        if (scans := data.count(_START_OF_SCAN)) > self.MAX_SCANS:
            raise EncodingRefused(f"lepton: too many scans: {scans}")

    def _call(self, function: str, data: bytes) -> bytes:
        try:
            library = import_module(_LEPTON)
        except ImportError as error:
            raise EncodingUnavailable(_NO_LEPTON, is_passing=False) from error
        # A fork does not copy its threads, and a call would wait for them for ever.
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
    """Return the encodings with the given names, by the type of image."""
    chosen = [ENCODINGS[name] for name in names]
    return {mime_type: each for each in chosen for mime_type in each.mime_types}


def suffix_of(name: str) -> str:
    """Return the end of an object's name; empty for bytes as received."""
    return ENCODINGS[name].suffix if name in ENCODINGS else ""


def encode(data: bytes, encoding: Encoding) -> bytes:
    """Return the compressed form, after verifying that it decodes to the same bytes.

    Raises:
        EncodingRefused: These bytes cannot be compressed, or that saves too little.
        EncodingUnavailable: A package is not installed.
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
    """Return the bytes as received, of this size and SHA-256, from their stored form.

    Raises:
        ObjectDamaged: The stored form has changed.
        DecodingFailed: It has not, but the bytes do not come back from it.
        EncodingUnavailable: The encoding is unknown, or its package not installed.
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
    # After the first line comes the place in the library's code.
    text = str(error).partition("\n")[0].rpartition(" failed: ")[2]
    return f"lepton: {text}"
