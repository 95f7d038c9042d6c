"""Images in the parts of a multipart body that no parser treats as a file.

Django decodes a part without a file name as text, and replaces what is not UTF-8 in it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable

from request_images.images.formats import sniff

from .base64_text import Text
from .payload import Upload
from .search import rate_head

MAX_PARTS = 2_000
"""Maximum number of parts that are searched."""

_MAX_HEADERS = 8192  # bytes of the headers of a part
_START = 128  # bytes of a part, enough to recognise any format, in base64 as well
_WHITE = b" \t\r\n"
_MAX_NAME = 200
_FIRST_LINE = re.compile(rb"\s{0,64}--([^\r\n]{1,200})\r?\n")
_BLANK_LINE = re.compile(rb"(\r?\n)\r?\n")
_DISPOSITION = re.compile(rb"^content-disposition:.*$", re.IGNORECASE | re.MULTILINE)
_FILE_NAME = re.compile(rb'filename[*\d]*\s*=\s*(?:"([^"]*)|([^\s;"]+))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name\s*=\s*(?:"([^"]*)|([^\s;"]+))', re.IGNORECASE)
_TYPE = re.compile(rb"^content-type:\s*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_IS_BASE64 = re.compile(
    rb"^content-transfer-encoding:\s*base64\s*$", re.IGNORECASE | re.MULTILINE
)


def boundary_of(body: bytes, declared: bytes) -> bytes:
    """Return the boundary of a multipart body; empty for no such body.

    It is the one that the client declared, if it is there: text may stand before it.
    Else it is the one that the body begins with.
    """
    if declared and b"\n--" + declared in body:
        return declared
    line = _FIRST_LINE.match(body)
    return b"" if line is None else line[1].rstrip()


class FormParts:
    """A search through a multipart body, piece by piece.

    Args:
        boundary: The boundary between the parts.
        receive: Called with each image, and some of its bytes.
        takes_files: Whether parts with a file name are wanted, too.
        takes_texts: Whether parts are wanted that may be texts with an image in them.
    """

    def __init__(
        self,
        boundary: bytes,
        receive: Callable[[Upload, bytes], None],
        *,
        takes_files: bool = False,
        takes_texts: bool = False,
    ) -> None:
        self._delimiter = b"--" + boundary
        self._line_end = b"\r\n"  # of the part, as its headers end
        self._receive = receive
        self._takes_files = takes_files
        self._takes_texts = takes_texts
        self._rest = b""  # not searched yet
        self._at = 0  # where the search goes on in it
        self._is_in_file = False  # the rest begins with a file, for a parser to take
        self._was_taken = False  # and it has taken some of it
        self._upload: Upload | None = None  # the image whose bytes follow
        self._is_base64 = False
        self._digits = b""
        self._count = 0

    @property
    def has_begun(self) -> bool:
        """Whether there was a part."""
        return self._count > 0

    def feed(self, data: bytes, *, is_end: bool = False) -> None:
        """Search the next bytes; those of a file only if no parser takes them."""
        is_taken = self._was_taken and len(self._rest) - self._at < _MAX_HEADERS
        rest = self._rest[self._at :] + data
        if is_taken and not is_end:
            self._rest, self._at, self._was_taken = rest, 0, False
            return
        waits_for_parser = not self._is_in_file
        self._search(rest, 0, is_end, waits_for_parser and not is_end)

    def take_file(self, data: bytes) -> None:
        """Pass over bytes that a parser has found to be a file's.

        To search a body for its boundary takes several times as long as to copy it.
        """
        if self._is_in_file and self._rest.startswith(data, self._at):
            self._at += len(data)
            self._was_taken = True

    def end_file(self) -> None:
        """Go on behind a file that a parser has taken."""
        if self._is_in_file:
            self._search(self._rest, self._at, is_end=False, waits_for_parser=True)

    def _search(
        self, data: bytes, at: int, is_end: bool, waits_for_parser: bool
    ) -> None:
        self._is_in_file = self._was_taken = False
        is_waiting = False
        while not (is_waiting or (self._is_in_file and waits_for_parser)):
            self._is_in_file = False
            upload = self._upload
            if upload is None:
                at, is_waiting = self._find_image(data, at, is_end)
            else:
                at, is_waiting = self._take_image(upload, data, at, is_end)
        # Without a copy of what the parser takes next.
        self._rest, self._at = (data, at) if self._is_in_file else (data[at:], 0)

    def _find_image(self, data: bytes, at: int, is_end: bool) -> tuple[int, bool]:
        """Return where to go on, and whether more bytes are needed there."""
        if self._count == MAX_PARTS:
            return len(data), True
        begin = data.find(self._delimiter, at)
        if begin < 0:
            return max(at, len(data) - len(self._delimiter)), True
        blank = _BLANK_LINE.search(data, begin, begin + _MAX_HEADERS)
        need = begin + _MAX_HEADERS if blank is None else blank.end() + _START
        if len(data) < need and not is_end:
            return begin, True
        self._count += 1
        if blank is None:
            return begin + len(self._delimiter), False
        content, self._line_end = blank.end(), blank[1]
        start = data[content : content + _START].partition(self._end_of_part)[0]
        self._upload = self._image(data[begin : blank.start()], start)
        return content, False

    @property
    def _end_of_part(self) -> bytes:
        return self._line_end + self._delimiter

    def _take_image(
        self, upload: Upload, data: bytes, at: int, is_end: bool
    ) -> tuple[int, bool]:
        end = data.find(self._end_of_part, at)
        stop = end
        if end < 0:
            stop = max(at, len(data) - (0 if is_end else len(self._delimiter) + 1))
        if piece := self._decoded(data[at:stop]):
            self._receive(upload, piece)
        if end < 0:
            return stop, True
        upload.complete = True
        self._upload, self._digits = None, b""
        return end, False

    def _decoded(self, piece: bytes) -> bytes:
        if not self._is_base64:
            return piece
        digits = self._digits + piece.translate(None, _WHITE)
        whole = len(digits) // 4 * 4
        self._digits = digits[whole:]
        try:
            return binascii.a2b_base64(digits[:whole])
        except binascii.Error:
            return b""

    def _image(self, headers: bytes, start: bytes) -> Upload | None:
        disposition = _DISPOSITION.search(headers)
        name = b"" if disposition is None else disposition[0]
        if _has_file_name(name) and not self._takes_files:
            self._is_in_file = True
            return None
        self._is_base64 = _IS_BASE64.search(headers) is not None
        try:
            first = Text(start).start() if self._is_base64 else start
        except ValueError:
            return None
        if rate_head(first, _is_image) < (1 if self._takes_texts else 3):
            return None
        field, declared = _NAME.search(name), _TYPE.search(headers)
        return Upload(
            _text(field)[:_MAX_NAME] or "file",
            content_type=_text(declared)[:_MAX_NAME],
            is_text=not _has_file_name(name),
        )


def _is_image(head: bytes) -> bool:
    return sniff(head) is not None


def _has_file_name(disposition: bytes) -> bool:
    # Django drops the folders of a name, and a part whose name is nothing but folders.
    path = _text(_FILE_NAME.search(disposition)).replace("\\", "/")
    return path.rpartition("/")[2].strip() not in ("", ".", "..")


def _text(match: re.Match[bytes] | None) -> str:
    if match is None:
        return ""
    value: bytes = next(filter(None, match.groups()), b"")
    return value.decode(errors="replace")
