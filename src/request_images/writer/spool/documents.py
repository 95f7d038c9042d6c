"""Requests as JSON documents, beside the bytes of their images, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import models

from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.writer.record import Further, Record

M = TypeVar("M", bound=models.Model)


def document_of(record: Record) -> dict[str, Any]:
    """Return everything of a request but the bytes of its images."""
    return {
        "log": _dump(record.log),
        "image": None if record.image is None else _dump(record.image),
        "further": [_dump(each.image) for each in record.further],
        "sizes": [
            None if each.data is None else len(each.data) for each in record.pictures
        ],
    }


def data_of(record: Record) -> list[bytes]:
    """Return the bytes of its images, in the order of the document's sizes."""
    return [each.data for each in record.with_bytes if each.data is not None]


def restored(document: dict[str, Any], data: bytes) -> Record:
    """Return the request that a document was made of.

    Raises:
        Exception: It is no such document, or these are not the bytes of its images.
    """
    log, image = _load(RequestLog, document["log"]), None
    if document["image"] is not None:
        image = _load(RequestImage, document["image"])
    first, *others = _divided(data, document["sizes"])
    images = [_load(FurtherImage, values) for values in document["further"]]
    further = [Further(each, own) for each, own in zip(images, others, strict=True)]
    record = Record(log, image, first, further)
    for each in record.with_bytes:
        digest = hashlib.sha256(each.data or b"").hexdigest()
        if each.image is None or digest != each.image.image_hash:
            # Under this hash the bytes would be taken for the image for good.
            raise ValueError("not the bytes of the image")
    return record


def _divided(data: bytes, sizes: Sequence[int | None]) -> list[bytes | None]:
    parts: list[bytes | None] = []
    at = 0
    for size in sizes:
        parts.append(None if size is None else data[at : at + size])
        at += size or 0
    return parts


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
