"""Decode text to bytes: base64 in all its variants, and data URIs.

It decodes piece by piece with functions written in C. Besides the text and the result,
that takes almost no memory, and about ten milliseconds for ten megabytes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain

_PIECE = 1 << 16
_START = 512
_MAX_HEAD = 8192  # bytes before a data URI's content; its file name is the longest
_START_DIGITS = 88  # 66 bytes, enough to recognise any format
_WHITE = b" \t\r\n\f\v"
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_DATA_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*data:", re.IGNORECASE)
# Some clients leave out "data:".
_DATA = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:data:|(?=[a-z]+/[\w.+-]+\s*;))", re.IGNORECASE
)
# A comma alone does not end the head: an unescaped file name may have one.
_BASE64 = re.compile(rb";[\s+]*base64\s*(?:;[\w.=-]*\s*)?,", re.IGNORECASE)
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_URLSAFE_SPACED = bytes.maketrans(b"-_ ", b"+/+")
_QUOPRI = bytes.maketrans(b"%", b"=")


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a body that may be an image.

    It may be base64, plain or urlsafe (RFC 4648), or a data URI (RFC 2397). White space
    and missing padding are accepted. Any other character outside of the alphabet is an
    error: lenient decoding would drop it, and decode urlsafe text to garbage.

    Attributes:
        value: The text; in the raw body of a form, its bytes.
        is_escaped: Whether it is percent-escaped, as in the raw body of a form.
        has_spaces_for_plus: Whether an unescaped "+" has become a space.
    """

    value: str | bytes
    is_escaped: bool = False
    has_spaces_for_plus: bool = False

    def start(self) -> bytes:
        """Decode the first bytes, enough to recognise an image's format.

        Raises:
            ValueError: The first characters are not base64.
        """
        _, is_base64, rest = _without_head(self.beginning())
        if not is_base64:
            return b"".join(_unescaped([rest]))
        digits = self._digits(rest).partition(b"=")[0][:_START_DIGITS]
        return _decode_digits(digits[: len(digits) // 4 * 4])

    def media_type(self) -> str:
        """Return the media type of a data URI; empty for none."""
        return _without_head(self.beginning())[0].decode("ascii", "replace")

    def decode(self) -> bytes:
        """Decode all of it.

        Raises:
            ValueError: It is not base64.
        """
        pieces = self._pieces(_PIECE)
        _, is_base64, rest = _without_head(next(pieces, b""))
        if not is_base64 and not self.value.isascii():
            raise ValueError("characters outside of ASCII")
        pieces = chain([rest], pieces)
        out = BytesIO()
        for part in self._decoded(pieces) if is_base64 else _unescaped(pieces):
            out.write(part)
        return out.getvalue()

    def beginning(self) -> bytes:
        """Return its first bytes, as far as the head of a data URI may go."""
        start = next(self._pieces(_START), b"")
        if _DATA.match(start):
            start = next(self._pieces(2 * _MAX_HEAD))
        return start

    @property
    def is_data_uri(self) -> bool:
        """Whether it begins as a data URI."""
        return _DATA.match(self.beginning()) is not None

    def unescaped(self) -> bytes:
        """Return all of it, as what is no base64: there a "+" of a form is a space."""
        return b"".join(self._pieces(_PIECE, plus=b" "))

    def _pieces(self, size: int, plus: bytes = b"+") -> Iterator[bytes]:
        slices = (self.value[at : at + size] for at in range(0, len(self.value), size))
        pieces = map(_encoded, slices)
        if not self.is_escaped:
            return pieces
        return _unescaped(piece.replace(b"+", plus) for piece in pieces)

    def _digits(self, piece: bytes) -> bytes:
        if self.has_spaces_for_plus:
            return piece.translate(_URLSAFE_SPACED, _WHITE.replace(b" ", b""))
        return piece.translate(_URLSAFE, _WHITE)

    def _decoded(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        carry, is_padded = b"", False
        for piece in pieces:
            digits, pad, rest = self._digits(piece).partition(b"=")
            if (is_padded and digits) or rest.strip(b"="):
                raise ValueError("padding before its end")
            is_padded = is_padded or bool(pad)
            digits = carry + digits
            whole = len(digits) // 4 * 4
            yield _decode_digits(digits[:whole])
            carry = digits[whole:]
        yield _decode_digits(carry)


def text_of(data: bytes) -> Text:
    """Return the text that a body or a file is, if it is one."""
    if data[:2] in _WIDE_BOMS:
        data = data.translate(None, b"\0\xff\xfe")  # UTF-16, of ASCII
    # A tool may escape a text as it does the value of a form.
    return Text(data, is_escaped=_DATA_START.match(data) is None)


def _encoded(piece: str | bytes) -> bytes:
    if isinstance(piece, bytes):
        return piece
    # Any character that is not ASCII stays outside of the alphabet. Strings of JSON are
    # decoded as Latin-1 (see `body_text`), so that the mark may have been three.
    encoding = "utf-8" if piece.startswith("\ufeff") else "latin-1"
    return piece.encode(encoding, "replace")


def _without_head(first: bytes) -> tuple[bytes, bool, bytes]:
    """Split the first piece of a text.

    Returns:
        The media type of a data URI, with its parameters; whether the text is base64;
        and the piece without the URI's head.
    """
    begin = _DATA.match(first)
    if begin is None:
        return b"", True, first.removeprefix(_BOM)
    end = begin.end()
    base64 = _BASE64.search(first, end, end + _MAX_HEAD)
    comma = first.find(b",", end, end + _MAX_HEAD)
    if base64 is not None and not _holds_another(first[end : base64.start()]):
        return first[end : base64.start()].rstrip(), True, first[base64.end() :]
    if comma < 0:
        raise ValueError("a data URI without a comma")
    return first[end:comma], False, first[comma + 1 :]


def _holds_another(head: bytes) -> bool:
    # The text of an SVG may have a data URI in it.
    return b"<" in head or b"data:" in head.lower()


def _decode_digits(digits: bytes) -> bytes:
    try:
        data = binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
    except binascii.Error:
        data = b""
    # Other characters were skipped. (Python 3.10 has no strict mode.)
    if len(data) != len(digits) * 3 // 4 or len(digits) % 4 == 1:
        raise ValueError("characters outside of its alphabet, or one too few")
    return data


def unescape(data: bytes) -> bytes:
    """Resolve percent-escapes as `urllib.parse.unquote_to_bytes` does.

    That function makes an object of each escape, and takes 200 MB for ten.
    """
    return b"".join(_unescaped([data]))


def _unescaped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    carry = b""
    for piece in pieces:
        whole = carry + piece
        # An escape may be split between two pieces.
        cut = whole.find(b"%", max(0, len(whole) - 2))
        carry = b"" if cut < 0 else whole[cut:]
        yield _resolve(whole[:cut] if carry else whole)
    yield carry


def _resolve(data: bytes) -> bytes:
    if b"%" not in data:
        return data
    # Quoted-printable has the same escapes with "=", and a decoder in C.
    return binascii.a2b_qp(data.replace(b"=", b"%3D").translate(_QUOPRI))
