"""A shell command that sends an image again with curl."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Sequence

from django.utils.translation import gettext

from request_images.capture.sources import Source
from request_images.exceptions import RequestImagesError

_MARK = "\0"  # in no stored name
_MAX_INDEX = 100
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that a terminal obeys or does not show."""


class NoCommand(RequestImagesError):
    """No command can send the image; the text says why, in a sentence for users."""


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
        One line for a POSIX shell, in which every word is quoted.

    Raises:
        NoCommand: A text from the request has characters that a terminal obeys when
            they are pasted, or curl has no syntax for the name of the field.
    """
    # curl would resolve dots in a path by itself.
    head = ("curl", "--path-as-is", "-X", method, url)
    command = _command(head, source, mime_type or "application/octet-stream", file_name)
    # Quotes are for the shell. A line editor reads control characters before it does.
    if any(unicodedata.category(char) in _INVISIBLE for char in command):
        raise NoCommand(
            gettext(
                "There is no command to send it again: the request has control or "
                "invisible characters in its path, its method or the name of the field."
            )
        )
    return command


def _command(
    head: Sequence[str], source: Source, mime_type: str, file_name: str
) -> str:
    name = source.path[0] if source.path else "image"
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
    if set(name) & set("=@"):
        raise NoCommand(
            gettext(
                "There is no command to send it again: curl has no syntax for a field "
                "with “=” or “@” in its name."
            )
        )
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
