"""A shell command that sends an image again with curl."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from request_images.capture.sources import Source

_MARK = "\0"  # in no stored name
_MAX_INDEX = 100


def curl_command(
    *, method: str, url: str, source: Source, mime_type: str, file_name: str
) -> str:
    """Return a command that sends an image as the client did.

    The other fields and the headers of the request are not stored, so they are missing.

    Args:
        method: HTTP method.
        url: Absolute URL.
        source: Place of the image in the request.
        mime_type: Type of the image; empty if it is unknown.
        file_name: Name of the file with the bytes of the image.

    Returns:
        One line in which every word is quoted; empty if curl has no syntax for the name
        of the field.
    """
    head = ("curl", "-X", method, url)
    name = source.path[0] if source.path else "image"
    mime_type = mime_type or "application/octet-stream"
    data: tuple[str, ...]
    if source.kind == "json":
        before, after = _json_around(source.path or ("image",))
        pieces = f"printf %s {shlex.quote(before)}; {_base64(file_name)}"
        pieces += f"; printf %s {shlex.quote(after)}"
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
    before, _, after = json.dumps(document).partition(json.dumps(_MARK)[1:-1])
    return before, after
