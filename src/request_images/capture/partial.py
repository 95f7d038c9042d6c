"""Parts of an upload: what a request says about the bytes before and after its own.

Resumable uploads send one file in several requests. None of them has the whole image,
unless it says that it is the only one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.http import HttpRequest

_RANGE = re.compile(
    r"(?:bytes)?[ =]*(?P<first>\d+) *- *(?P<last>\d+)(?: */ *(?P<total>\d+|\*))?",
    re.IGNORECASE,
)
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
)


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
        # Parsing the URL may raise, so only where there is something to find.
        or ("hunk" in request.META.get("QUERY_STRING", "") and _count(_query(request)))
        or ""
    )


def _query(request: HttpRequest) -> Mapping[str, Sequence[str]]:
    return dict(request.GET.lists())


def _range(request: HttpRequest) -> str:
    for name in ("HTTP_CONTENT_RANGE", "HTTP_X_CONTENT_RANGE"):
        value = request.META.get(name, "")
        found = _RANGE.fullmatch(value.strip())
        if found is None:
            continue
        is_whole = found["first"] == "0" and (
            (found["total"] or "").isdecimal()
            and int(found["last"]) + 1 >= int(found["total"])
        )
        if not is_whole:
            return f"Content-Range: {value.strip()}"
    return ""


def _offset(request: HttpRequest, size: int) -> str:
    """Look at the headers of tus, and of the draft of the IETF that grew from it."""
    meta = request.META
    offset, total = meta.get("HTTP_UPLOAD_OFFSET"), meta.get("HTTP_UPLOAD_LENGTH")
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


def _count(fields: Mapping[str, Sequence[str]]) -> str:
    for index_name, count_name in _COUNTS:
        index, count = (
            (fields.get(name) or [""])[0] for name in (index_name, count_name)
        )
        is_counted = index.isdecimal() and count.isdecimal() and len(count) < 10
        if is_counted and int(count) > 1:
            return f"{index_name} {index[:10]} of {count}"
    return ""
