"""The request of an image once more, as a command for a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from request_images.capture.sources import Source

_MARK = "\0"  # is in no name that a request log holds
_MAX_INDEX = 100


def curl_command(
    *, method: str, url: str, source: Source, mime_type: str, file_name: str
) -> str:
    """Return a command that sends an image as it was sent.

    Everything else of the request, such as other fields and headers, is not known and
    not in it.

    Args:
        method: The HTTP method.
        url: Where to, absolute.
        source: Where in the request the image was.
        mime_type: The image's type; empty when unknown.
        file_name: The file that has the image's bytes.

    Returns:
        One line, in which every word is quoted; empty when the field's name is one that
        curl cannot be told.
    """
    head = ("curl", "-X", method, url)
    name = source.path[0] if source.path else "image"
    mime_type = mime_type or "application/octet-stream"
    data: tuple[str, ...]
    if source.kind == "json":
        before, behind = _json_around(source.path or ("image",))
        pieces = f"printf %s {shlex.quote(before)}; {_base64(file_name)}"
        pieces += f"; printf %s {shlex.quote(behind)}"
        data = ("-H", "Content-Type: application/json", "--data-binary", "@-")
        return f"({pieces}) | {shlex.join((*head, *data))}"
    if source.kind == "body":
        data = ("-H", f"Content-Type: {mime_type}", "--data-binary", f"@{file_name}")
        return shlex.join((*head, *data))
    if set(name) & set("=@\r\n"):
        return ""
    if source.kind == "form":
        data = ("--data-urlencode", f"{name}@-")
        return f"{_base64(file_name)} | {shlex.join((*head, *data))}"
    return shlex.join((*head, "-F", f"{name}=@{file_name};type={mime_type}"))


def _base64(file_name: str) -> str:
    return f"base64 < {shlex.quote(file_name)} | tr -d '\\n'"


def _json_around(path: Sequence[str]) -> tuple[str, str]:
    document: object = _MARK
    for key in reversed(path):
        if key.isdecimal() and int(key) <= _MAX_INDEX:
            document = [*[None] * int(key), document]
        else:
            document = {key: document}
    before, _, behind = json.dumps(document).partition(json.dumps(_MARK)[1:-1])
    return before, behind
