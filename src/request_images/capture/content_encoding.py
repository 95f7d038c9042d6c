"""Bodies that a view decompresses itself, decompressed within a limit of memory."""

from __future__ import annotations

import re
import zlib
from io import BytesIO

from request_images.images.formats import sniff

_MAX_CODINGS = 3
_MAX_MEMBERS = 1000
_SLICE = 1 << 14
_PIECE = 1 << 18
_GZIP = b"\x1f\x8b\x08"
_CODINGS = ("gzip", "x-gzip", "deflate")
_TEXT = re.compile(rb"[^\x00-\x08\x0e-\x1d\x1f]+")  # RS begins a JSON sequence


def is_text(head: bytes) -> bool:
    """Tell whether these may be the first bytes of a text: no control characters."""
    return _TEXT.fullmatch(head) is not None


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompress a body; return it unchanged if it is not compressed.

    Args:
        body: The whole body.
        encoding: The header's value, such as ``gzip``; empty for none.
        limit: Bytes of the result.

    Raises:
        ValueError: It cannot be decompressed here, or is larger than the limit.
    """
    codings = [coding.strip().lower() for coding in encoding.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings and body.startswith(_GZIP):
        codings = ["gzip"]  # without a header, which the view does not need
    for number, coding in enumerate(reversed(codings)):
        # A proxy or a middleware may have decompressed it, and left the header.
        if is_text(body[:64]) or sniff(body[:64]) is not None:
            break
        if coding not in _CODINGS or number >= _MAX_CODINGS:
            raise ValueError(f"Content-Encoding {coding}, which is not decompressed")
        try:
            body = _inflated(body, limit)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"Content-Encoding {coding}: {error}") from None
    return body


def _inflated(body: bytes, limit: int) -> bytes:
    # "deflate" has a zlib header, and with some clients none.
    is_gzip = body[:3] == _GZIP
    has_header = is_gzip or (
        body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0
    )
    out = BytesIO()
    rest = _inflate_one(body, 0, 47 if has_header else -15, out, limit)
    # gzip may have several members, and zeros after them (RFC 1952, 2.2).
    members = 1
    while is_gzip and members < _MAX_MEMBERS and body[rest : rest + 3] == _GZIP:
        rest = _inflate_one(body, rest, 47, out, limit)
        members += 1
    if body[rest:].strip(b"\0" if is_gzip else b""):
        raise ValueError("more bytes follow its end")
    return out.getvalue()


def _inflate_one(body: bytes, begin: int, window: int, out: BytesIO, limit: int) -> int:
    """Decompress one stream of a body; return where it ends."""
    decoder = zlib.decompressobj(window)
    for at in range(begin, len(body), _SLICE):
        data = body[at : at + _SLICE]
        end = at + len(data)
        while data and not decoder.eof:
            out.write(decoder.decompress(data, _PIECE))
            data = decoder.unconsumed_tail
            if out.tell() > limit:
                raise ValueError(f"more than {limit} bytes when decompressed")
        if decoder.eof:
            return end - len(decoder.unused_data)
    raise ValueError("it ends early")
