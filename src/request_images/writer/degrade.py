"""Smaller and smaller copies of a record that the database or storage refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from request_images.db.columns import clean_text
from request_images.db.errors import Fault, fault_of
from request_images.models import FurtherImage, RequestLog
from request_images.outcome import CaptureStatus, Decision

from .record import Picture, Record


def set_status(row: RequestLog | FurtherImage, decision: Decision) -> None:
    """Write a decision about an image onto the row that has its capture status."""
    row.capture_status = decision.status
    row.capture_detail = clean_text(decision.detail, 200)


def drop_bytes(pictures: Sequence[Picture], decision: Decision) -> None:
    """Drop the bytes of images; their rows give the reason."""
    for picture in pictures:
        set_status(picture.status_row, decision)
        picture.data = picture.placed = None


def store_failed(exception: Exception) -> Decision:
    """Return the decision not to keep an image because of a fault of ours."""
    detail = f"{type(exception).__name__}: {exception}"
    return Decision(CaptureStatus.STORE_FAILED, detail)


def smaller_copies(record: Record, failures: Sequence[Exception]) -> Iterator[Record]:
    """Yield copies of a refused record, each with less in it.

    The order: without each image that is refused by itself, and with plain texts once
    something else is; without the bytes of all images; without them and with plain
    texts; the log alone. The record itself stays as it was captured.

    Args:
        record: The record that could not be written.
        failures: The errors of all attempts so far, at least one. The caller appends
            the error of each copy before it asks for the next.
    """
    first = failures[0]
    less, is_plain = record.copy(), False
    # An unavailable database has nothing against this record.
    while fault_of(failures[-1]) in (Fault.STORAGE, Fault.REFUSED, Fault.ROW):
        if not _drop_refused(less, failures[-1]):
            if is_plain or fault_of(failures[-1]) is not Fault.ROW:
                break
            _make_ascii(less)
            is_plain = True
        yield less
    if not record.pictures:
        return
    if record.with_bytes:
        less = record.copy()
        drop_bytes(less.with_bytes, store_failed(first))
        yield less
    if fault_of(failures[-1]) is Fault.ROW:
        less = record.copy()
        drop_bytes(less.with_bytes, store_failed(first))
        _make_ascii(less)
        if record.with_bytes:
            yield less
    if fault_of(failures[-1]) is Fault.ROW:
        less.pictures.clear()
        yield less


def lacks_bytes(less: Record, record: Record) -> bool:
    """Tell whether one of the `smaller_copies` lacks bytes that the record has."""
    return len(less.with_bytes) < len(record.with_bytes)


def _drop_refused(record: Record, failure: Exception) -> bool:
    # The one image of several that was refused; False if there is none.
    pictures = record.with_bytes
    refused = [picture for picture in pictures if picture.is_refused]
    if not refused or len(pictures) == 1:
        return False
    drop_bytes(refused, store_failed(failure))
    return True


def _make_ascii(record: Record) -> None:
    # Some character sets lack an emoji, and some JSON columns have limits.
    record.log.metadata = {"left_out": "the database refused it"}
    for row in (record.log, *(picture.image for picture in record.pictures)):
        for field in row._meta.concrete_fields:
            value = getattr(row, field.attname)
            if isinstance(value, str):
                # Cut last: the mark of a shortened text is not ASCII.
                text = clean_text(value, len(value))
                text = text.encode("ascii", "backslashreplace").decode()
                setattr(row, field.attname, text[: field.max_length or 2000])
