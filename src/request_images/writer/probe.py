"""Probe whether the database accepts writes, and whether an error is temporary."""

from __future__ import annotations

import uuid

from django.db import Error, transaction
from django.utils import timezone

from request_images.db.deadline import write_deadline
from request_images.db.destination import database_of
from request_images.db.errors import Fault, fault_of
from request_images.db.insert import insert
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import StorageError
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.outcome import CaptureStatus

from .connection import has_lost, open_connection

# No connection, no room on the disk, no memory; read-only, or shutting down. Not among
# them: a connection that is lost during a statement, for the row may break it.
_TEMPORARY_CLASSES = ("08", "25", "53", "57", "58")
_TEMPORARY_NUMBERS = frozenset(
    {1040, 1203, 1226, 2002, 2003}
    | {3, 28, 1021, 1030, 1114}
    | {1037, 1038, 1041}
    | {1290, 1792, 1836}
    | {1028, 1053, 1077, 1079, 1317, 3024}
)
_TEMPORARY_WORDS = (
    "full",
    "readonly",
    "i/o error",
    "out of memory",
    # PostgreSQL's drivers have no state where the server has not answered.
    "connection failed",
    "connection timeout",
    "connection to server",
    "could not connect",
)


def try_write() -> Exception | None:
    """Write a row into each of our tables, and roll it back.

    It waits for locks no longer than all our writes, and leaves nothing but gaps in the
    primary keys.

    Returns:
        Why the database accepts no rows; None if it does.
    """
    using = database_of(RequestLog)
    now = timezone.now()
    log = RequestLog(
        request_id=uuid.uuid4().hex,
        created_at=now,
        duration_ms=0,
        duration_bucket=0,
        capture_status=CaptureStatus.NO_IMAGE,
    )
    content = ImageContent(image_hash=uuid.uuid4().hex, data=b"?", stored_size=1)
    try:
        has_lost(open_connection())  # if so, try a new one
        with write_deadline(using), bounded_transaction(using):
            insert([log], using)
            insert([content], using)
            image = RequestImage(log_id=log.pk, created_at=now, content_id=content.pk)
            insert([image], using)
            insert([FurtherImage(request_image_id=image.pk, position=1)], using)
            transaction.set_rollback(True, using)
    except Exception as error:  # noqa: BLE001  # it is the answer
        return error
    return None


def is_temporary(error: BaseException) -> bool:
    """Tell whether the database may accept the same row later.

    A lock or a full disk is temporary; a refused value is not. An error that is neither
    the database's nor one of values counts as temporary: a row that is tried too often
    costs less than one that is given up too early.
    """
    if isinstance(error, StorageError):
        return error.is_passing
    if not isinstance(error, Error):
        return not isinstance(error, ValueError | TypeError | ArithmeticError)
    fault = fault_of(error)
    if fault is not Fault.AWAY:
        return fault is not Fault.ROW
    cause = error.__cause__ or error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state is not None:
        return str(state).startswith(_TEMPORARY_CLASSES)
    number = next(iter(error.args), None)
    if isinstance(number, int):
        return number in _TEMPORARY_NUMBERS
    return any(word in str(error).lower() for word in _TEMPORARY_WORDS)
