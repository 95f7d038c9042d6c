"""Parts of an upload: what a request says about the bytes before and after its own.

Resumable uploads send one file in several requests. None of them has the whole image,
unless it says that it is the only one.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence

from django.http import HttpRequest

_RANGE = re.compile(
    r"(?:bytes)?[ =]*(?P<first>\d+) *- *(?P<last>\d+)(?: */ *(?P<total>\d+|\*))?",
    re.IGNORECASE,
)
_DIGITS = 20  # of a number of bytes
_OFFSET_TYPES = ("application/offset+octet-stream", "application/partial-upload")

# The fields of Dropzone, Resumable.js, flow.js, Fine Uploader, Plupload and others.
_COUNTS = (
    ("dzchunkindex", "dztotalchunkcount"),
    ("resumableChunkNumber", "resumableTotalChunks"),
    ("flowChunkNumber", "flowTotalChunks"),
    ("qqpartindex", "qqtotalparts"),
    ("chunk", "chunks"),
    ("chunkNumber", "totalChunks"),
    ("chunkIndex", "totalChunks"),
    ("chunk-index", "total-chunk"),
)
# The fields of DevExtreme and Kendo, which hold JSON.
_COUNTS_IN_JSON = (
    ("chunkMetadata", "Index", "TotalCount"),
    ("metadata", "chunkIndex", "totalChunks"),
)
_MAX_JSON = 4096  # characters


def part_of_upload(
    request: HttpRequest, fields: Mapping[str, Sequence[str]], size: int
) -> str:
    """Return which part of an upload a request has, in words; empty for all of it.

    Args:
        request: The request.
        fields: The text fields of its form.
        size: The size of its body, in bytes.
    """
    return (
        _range(request)
        or _offset(request, size)
        or _command(request)
        or _count(fields)
        or _count_in_json(fields)
        or _number_at_s3(request)
        # Parsing the URL may raise, so only where there is something to find.
        or ("hunk" in request.META.get("QUERY_STRING", "") and _count(_query(request)))
        or ""
    )


def _count_in_json(fields: Mapping[str, Sequence[str]]) -> str:
    for field, index_name, count_name in _COUNTS_IN_JSON:
        text = (fields.get(field) or [""])[0]
        if not (text.startswith("{") and len(text) <= _MAX_JSON):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text, parse_int=str)
            names = (index_name, count_name)
            pair = {name: [str(found.get(name, ""))] for name in names}
            if part := _count(pair, [names]):
                return f"{field}.{part}"
    return ""


def _number_at_s3(request: HttpRequest) -> str:
    """Look at the parameters of the parts of S3's multipart uploads."""
    text = request.META.get("QUERY_STRING", "")
    if "partNumber" not in text or "uploadId" not in text:
        return ""
    number = (_query(request).get("partNumber") or [""])[0]
    return f"partNumber {number[:10]}" if number.isdecimal() else ""


def _query(request: HttpRequest) -> Mapping[str, Sequence[str]]:
    return dict(request.GET.lists())


def _range(request: HttpRequest) -> str:
    for name in ("HTTP_CONTENT_RANGE", "HTTP_X_CONTENT_RANGE"):
        value = request.META.get(name, "")
        found = _RANGE.fullmatch(value.strip())
        if found is None:
            continue
        total = found["total"] or ""
        is_whole = (
            found["first"] == "0"
            and total.isdecimal()
            # A number may be longer than Python converts.
            and max(len(total), len(found["last"])) < _DIGITS
            and int(found["last"]) + 1 >= int(total)
        )
        if not is_whole:
            return f"Content-Range: {value.strip()[:100]}"
    return ""


def _offset(request: HttpRequest, size: int) -> str:
    """Look at the headers of tus, and of the draft of the IETF that grew from it."""
    meta = request.META
    offset, total = (
        value if value.isdecimal() and len(value) < _DIGITS else ""
        for value in (
            meta.get(f"HTTP_UPLOAD_{name}", "").strip() for name in ("OFFSET", "LENGTH")
        )
    )
    end = meta.get("HTTP_UPLOAD_COMPLETE", meta.get("HTTP_UPLOAD_INCOMPLETE", ""))
    is_last = end == ("?1" if "HTTP_UPLOAD_COMPLETE" in meta else "?0")
    is_resumable = request.content_type in _OFFSET_TYPES
    if not (is_resumable or offset or total or end):
        return ""
    is_whole = not (offset or "0").strip("0") and (is_last or total == str(size))
    if is_whole and meta.get("HTTP_UPLOAD_CONCAT") != "partial":
        return ""
    return f"{size} bytes from offset {offset or 0} of {total or 'an unknown size'}"


def _command(request: HttpRequest) -> str:
    """Look at the headers of Google's resumable uploads."""
    command = request.META.get("HTTP_X_GOOG_UPLOAD_COMMAND", "")
    offset = request.META.get("HTTP_X_GOOG_UPLOAD_OFFSET", "0")
    is_whole = "finalize" in command and not offset.strip("0")
    return "" if "upload" not in command or is_whole else f"{command} from {offset}"


def _count(
    fields: Mapping[str, Sequence[str]],
    names: Sequence[tuple[str, str]] = _COUNTS,
) -> str:
    # Most forms with an image have no other field.
    for index_name, count_name in names if fields else ():
        index, count = (
            (fields.get(name) or [""])[0] for name in (index_name, count_name)
        )
        is_counted = index.isdecimal() and count.isdecimal() and len(count) < 10
        if is_counted and int(count) > 1:
            return f"{index_name} {index[:10]} of {count}"
    return ""
