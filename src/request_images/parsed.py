"""What Django has parsed of a request already, read without the view's noticing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest


def is_parsed(request: HttpRequest) -> bool:
    """Tell whether somebody has had the form parsed."""
    return "_files" in request.__dict__


def parsed_files(request: HttpRequest) -> Iterator[tuple[str, UploadedFile[Any]]]:
    """Return the files of a form that is parsed, each with its field's name."""
    # Straight from the attribute: ``request.FILES`` would parse if nobody had yet.
    for field, files in request.__dict__["_files"].lists():
        for file in files:
            yield field, file


def parsed_fields(request: HttpRequest) -> Mapping[str, Sequence[str]] | None:
    """Return the text fields of a form, or None when it is not parsed."""
    post = request.__dict__.get("_post")
    return None if post is None else dict(post.lists())


def read_body(request: HttpRequest) -> bytes | None:
    """Return the body, when somebody has had Django read it whole."""
    body: bytes | None = request.__dict__.get("_body")
    return body


def first_bytes(file: UploadedFile[Any], size: int) -> bytes:
    """Read the beginning of a file, and put it back to where it was.

    Returns:
        Nothing of a file that is closed, or went where nobody can fetch it from.
    """
    if file.closed:
        return b""
    try:
        position = file.tell()
        file.seek(0)
        try:
            return bytes(file.read(size))
        finally:
            file.seek(position)
    except (OSError, ValueError):
        return b""
