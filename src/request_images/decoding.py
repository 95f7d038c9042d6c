"""Text to bytes: base64 in all its spellings, and data URIs."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

_DATA_URI = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_URLSAFE = str.maketrans("-_", "+/")


def decode_text(text: str, *, partial: bool = False) -> bytes:
    """Decode base64 text: plain (RFC 4648), urlsafe, or as a data URI (RFC 2397).

    White space and missing padding are forgiven. Anything else that is not of the
    alphabet is an error: lenient decoding turns urlsafe text into nothing at all.

    Args:
        text: The text.
        partial: The text may end anywhere; decode what is whole.

    Raises:
        ValueError: It is not base64.
    """
    if text[:5].lower() == "data:":
        match = _DATA_URI.match(text)
        if match is None:
            raise ValueError("a data URI without a comma")
        head, text = match.group().lower(), text[match.end() :]
        if not head.endswith(";base64,"):
            return unquote_to_bytes(text)
    text = "".join(text.split()).translate(_URLSAFE).rstrip("=")
    if partial:
        text = text[: len(text) // 4 * 4]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
