"""Read the image from a request, in each encoding that a client may use."""

import base64
import binascii
import json

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError


class Refusal(Exception):
    """A refused request, with the status and the error type of the response."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


def uploaded_image(request: HttpRequest) -> bytes:
    """Return the bytes of the image in a request.

    Raises:
        Refusal: The request has no image, or the image is too large.
    """
    try:
        if request.content_type == "multipart/form-data":
            content = _from_form(request)
        elif request.content_type == "application/json":
            content = _from_json(request.body)
        elif _is_raw(request.content_type or ""):
            content = request.body
        else:
            raise Refusal(
                415,
                "unsupported_media_type",
                "Send the image as a file of a form (multipart/form-data), as the "
                'whole body (image/*), or as {"image": "<base64>"} in JSON.',
            )
    except RequestDataTooBig as error:
        raise _too_big() from error
    except (MultiPartParserError, SuspiciousOperation) as error:
        raise Refusal(400, "bad_request", str(error)) from error
    if not content:
        raise Refusal(400, "no_image", "The image is empty.")
    if len(content) > size_limit():
        raise _too_big()
    return content


def size_limit() -> int:
    """Return the size of the largest accepted image, in bytes."""
    megabytes: float = getattr(settings, "SOLVER_MAX_UPLOAD_MB", 20)
    return int(megabytes * 1024 * 1024)


def _too_big() -> Refusal:
    megabytes = size_limit() / 1024 / 1024
    return Refusal(413, "too_big", f"The image is larger than {megabytes:g} MB.")


def _is_raw(content_type: str) -> bool:
    return (
        content_type.startswith("image/") or content_type == "application/octet-stream"
    )


def _from_form(request: HttpRequest) -> bytes:
    """Return the file of the field ``image``, otherwise the first file."""
    upload = request.FILES.get("image", next(iter(request.FILES.values()), None))
    if not isinstance(upload, UploadedFile):
        raise Refusal(400, "no_image", "The form has no file.")
    if (upload.size or 0) > size_limit():
        raise _too_big()
    content: bytes = upload.read()
    return content


def _from_json(body: bytes) -> bytes:
    """Return the image of ``{"image": "<base64 or data URI>"}``."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_json", "The body is not JSON.") from error
    text = payload.get("image") if isinstance(payload, dict) else None
    if not isinstance(text, str):
        raise Refusal(
            400, "no_image", 'The JSON must be an object with a text "image".'
        )
    if text.startswith("data:"):
        text = text.partition(",")[2]
    return _from_base64(text)


def _from_base64(text: str) -> bytes:
    """Return the bytes of standard or urlsafe base64, padded or not."""
    letters = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        padded = letters + "=" * (-len(letters) % 4)
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, "bad_base64", 'The "image" is not base64.') from error
