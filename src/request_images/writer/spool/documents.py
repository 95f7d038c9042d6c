"""Rows and records as JSON documents, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from django.db import models

from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.outcome import UNUSABLE, CaptureStatus
from request_images.writer.record import Record

M = TypeVar("M", bound=models.Model)
_PLAIN = (str, int, float, dict, list, type(None))


def dump_record(record: Record) -> tuple[dict[str, Any], list[bytes]]:
    """Return a record as a JSON document, and the bytes of its images."""
    for picture in record.with_bytes:
        # Instead of the status of the failed write.
        if picture.status_row.capture_status not in UNUSABLE:
            picture.status_row.capture_status = CaptureStatus.STORED
    document = {
        "log": dump_row(record.log),
        "images": [
            (dump_row(image.image), None if image.data is None else len(image.data))
            for image in record.pictures
        ],
    }
    return document, [picture.data or b"" for picture in record.pictures]


def load_record(document: Mapping[str, Any], data: bytes, record: Record) -> Record:
    """Add to a record without images those of a document.

    Raises:
        Exception: The document is malformed, or the bytes are not those of its images.
    """
    start = 0
    for values, size in document["images"]:
        model: type[RequestImage | FurtherImage]
        model = FurtherImage if record.pictures else RequestImage
        row = load_row(model, values)
        own_data = None if size is None else data[start : start + size]
        start += size or 0
        if own_data is not None and _hash(own_data) != row.image_hash:
            # Under this hash, the bytes would be taken for the image from now on.
            raise ValueError("not the bytes of the image")
        record.add(row, own_data)
    return record


def dump_row(row: models.Model) -> dict[str, Any]:
    """Return the values of a row."""
    # Not Django's serializer: it drops microseconds, which identify a row.
    values = {}
    for name in _fields(type(row)):
        value = getattr(row, name)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif not isinstance(value, _PLAIN):
            value = str(value)  # a user's UUID, say
        values[name] = value
    return values


def load_row(model: type[M], values: Mapping[str, Any]) -> M:
    """Return an unsaved row; values of fields that are gone are left out."""
    fields = _fields(model)
    known = {name: value for name, value in values.items() if name in fields}
    return model(**{name: fields[name].to_python(v) for name, v in known.items()})


def load_log(document: Mapping[str, Any]) -> RequestLog:
    """Return the unsaved log of a document."""
    return load_row(RequestLog, document["log"])


@cache
def _fields(model: type[models.Model]) -> dict[str, Any]:
    # Without its key, which a failed write may have left.
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    return {field.attname: field for field in fields}


def dump_error(error: BaseException | None) -> list[str] | None:
    """Return an exception as its class's name and its text."""
    return None if error is None else [type(error).__name__, str(error)]


def load_error(values: list[str] | None) -> Exception | None:
    """Return an exception that has the name and the text of the original."""
    if values is None:
        return None
    name, text = values
    error: Exception = type(name, (Exception,), {})(text)
    return error


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
