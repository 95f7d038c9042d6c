"""The same record with less in it, for a database that refuses it whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from request_images.db.columns import clean_text
from request_images.db.errors import Fault, fault_of
from request_images.models import FurtherImage, RequestLog
from request_images.outcome import CaptureStatus, Decision

from .record import Picture, Record


def describe(teller: RequestLog | FurtherImage, decision: Decision) -> None:
    """Say on a log what became of its image, or on a further image of itself."""
    teller.capture_status = decision.status
    teller.capture_detail = clean_text(decision.detail, 200)


def drop(pictures: Sequence[Picture], decision: Decision) -> None:
    """Let go of images' bytes, and say why."""
    for picture in pictures:
        describe(picture.teller, decision)
        picture.data = picture.placed = None


def smaller(record: Record, failures: Sequence[Exception]) -> Iterator[Record]:
    """Yield a refused record again and again, each time with less in it.

    The order: plain texts, without the one image that was refused, without the bytes of
    all images, the same with plain texts, and the log alone. Each is a copy, so that
    the record stays as it was captured.

    Args:
        record: The record that could not be written.
        failures: The errors of all attempts so far, at least one. The caller appends
            the error of each record before it asks for the next.
    """
    first = failures[0]
    if fault_of(first) is Fault.ROW:
        plain = record.copy()
        make_plain(plain)
        yield plain
    if record.image is None:
        return
    less = record.copy()
    while _is_about_one_image(failures[-1]) and _drop_refused(less, failures[-1]):
        yield less
    if record.with_bytes:
        less = record.copy()
        drop(less.with_bytes, failed(first))
        yield less
    if fault_of(failures[-1]) is Fault.ROW:
        less = record.copy()
        drop(less.with_bytes, failed(first))
        make_plain(less)
        if record.with_bytes:
            yield less
    if fault_of(failures[-1]) is Fault.ROW:
        less.image, less.further = None, ()
        yield less


def _is_about_one_image(failure: Exception) -> bool:
    # A database that is away has nothing against this image.
    return fault_of(failure) in (Fault.STORAGE, Fault.ROW)


def _drop_refused(record: Record, failure: Exception) -> bool:
    """Drop the one image of several that was refused; False if there is none."""
    pictures = record.with_bytes
    refused = [picture for picture in pictures if picture.is_refused]
    if not refused or len(pictures) == 1:
        return False
    drop(refused, failed(failure))
    return True


def is_smaller(less: Record, record: Record) -> bool:
    """Tell whether one of `smaller` lacks bytes that the record has."""
    return len(less.with_bytes) < len(record.with_bytes)


def make_plain(record: Record) -> None:
    """Reduce the texts of a record's rows to what every database takes.

    There are character sets that lack an emoji, and JSON columns with limits.
    """
    record.log.metadata = {"left_out": "the database refused it"}
    further = [each.image for each in record.further]
    for row in filter(None, (record.log, record.image, *further)):
        for field in row._meta.concrete_fields:
            value = getattr(row, field.attname)
            if isinstance(value, str):
                text = value.encode("ascii", "backslashreplace").decode()
                setattr(row, field.attname, clean_text(text, field.max_length or 2000))


def failed(exception: Exception) -> Decision:
    """Return the decision that a fault of ours made."""
    detail = f"{type(exception).__name__}: {exception}"
    return Decision(CaptureStatus.STORE_FAILED, detail)
