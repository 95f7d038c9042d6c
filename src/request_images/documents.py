"""Requests as JSON documents, beside the bytes of their images, and back."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, TypeVar

from django.db import models

from .models import RequestImage, RequestLog
from .storing import Record

M = TypeVar("M", bound=models.Model)


def document_of(record: Record) -> dict[str, Any]:
    """Return everything of a request but the bytes of its image."""
    return {
        "log": _dump(record.log),
        "image": None if record.image is None else _dump(record.image),
        "has_data": record.data is not None,
    }


def restored(document: dict[str, Any], data: bytes) -> Record:
    """Return the request that a document was made of.

    Raises:
        Exception: It is no such document, or these are not the bytes of its image.
    """
    log, image = _load(RequestLog, document["log"]), None
    if document["image"] is not None:
        image = _load(RequestImage, document["image"])
    if not document["has_data"]:
        return Record(log, image)
    if image is None or hashlib.sha256(data).hexdigest() != image.image_hash:
        # Under this hash the bytes would be taken for the image for good.
        raise ValueError("not the bytes of the image")
    return Record(log, image, data)


def _dump(row: models.Model) -> dict[str, Any]:
    # Not Django's serializer: it cuts microseconds off, and by them a row is known.
    values = {}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif not isinstance(value, str | int | float | bool | dict | list | None):
            value = str(value)  # a user's UUID, say
        values[field.attname] = value
    return values


def _load(model: type[M], values: dict[str, Any]) -> M:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    known = {name: value for name, value in values.items() if name in fields}
    return model(**{name: fields[name].to_python(v) for name, v in known.items()})
