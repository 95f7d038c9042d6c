"""Find the image in what was seen of a request, look at it, and decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import policy
from .columns import clean_text
from .formats import sniff
from .health import report
from .inspection import inspect
from .models import RequestImage, RequestLog
from .outcome import CaptureStatus
from .payload import Payload
from .policy import Decision
from .sources import Candidate, Source, find
from .storing import Record

_OVERHEAD = 4096  # bytes of the objects around an image, roughly


@dataclass
class Job:
    """A request that is over, with what was seen of it.

    Attributes:
        log: The unsaved log, complete but for its image.
        payload: What was seen of the request's body.
        sources: Where its image is looked for; empty for "wherever it fits".
        decision: Why no image is to be looked for at all; None to look for one.
        failure: What went wrong with it before.
        record: What is to be written, once that is known.
    """

    log: RequestLog
    payload: Payload
    sources: Sequence[Source] = ()
    decision: Decision | None = None
    failure: Exception | None = None
    record: Record | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, roughly."""
        payload, metadata = self.payload, self.log.metadata
        uploads = sum(len(upload.data or b"") for upload in payload.uploads)
        fields = sum(
            len(text) for texts in (payload.fields or {}).values() for text in texts
        )
        said = len(repr(metadata)) if metadata else 0
        return _OVERHEAD + uploads + fields + said + len(payload.body or b"")

    def drop_image(self) -> None:
        """Let go of the bytes; if they were to be kept, the log will say why not."""
        record = judge(self)
        if record.data is not None:
            self.decision = Decision(CaptureStatus.OVER_BUDGET, "the backlog was full")
            describe(self.log, self.decision)
            record.data = None
        self.payload = Payload()


def is_image(head: bytes) -> bool:
    """Tell whether an image of a known format begins here."""
    return sniff(head) is not None


def judge(job: Job) -> Record:
    """Return what is to be written of a request. Never raises.

    A fault of ours is a reason on the row, and in ``job.failure``.
    """
    if job.record is not None:
        return job.record
    record = Record(job.log)
    try:
        if job.decision is None:
            found, job.log.image_count = find(job.payload, job.sources, is_image)
            job.decision = _look(found, job.payload, record)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("inspection", exception)
        job.failure = exception
        job.decision = failed(exception)
        record = Record(job.log)
    describe(job.log, job.decision)
    job.record = record
    return record


def describe(log: RequestLog, decision: Decision) -> None:
    """Say on a log what became of its image."""
    log.capture_status = decision.status
    log.capture_detail = clean_text(decision.detail, 200)


def make_plain(record: Record) -> None:
    """Reduce the texts of a record's rows to what every database takes.

    There are character sets that lack an emoji, and JSON columns with limits.
    """
    record.log.metadata = {"left_out": "the database refused it"}
    for row in filter(None, (record.log, record.image)):
        for field in row._meta.concrete_fields:
            value = getattr(row, field.attname)
            if isinstance(value, str):
                text = value.encode("ascii", "backslashreplace").decode()
                setattr(row, field.attname, clean_text(text, field.max_length or 2000))


def failed(exception: Exception) -> Decision:
    """Return the decision that a fault of ours made."""
    detail = f"{type(exception).__name__}: {exception}"
    return Decision(CaptureStatus.STORE_FAILED, detail)


def _look(found: Candidate | None, payload: Payload, record: Record) -> Decision:
    if found is None:
        return policy.decide_unseen(
            was_read=payload.was_read, expected_size=payload.expected_size
        )
    image = record.image = RequestImage(
        source=clean_text(found.source, 200), file_size=found.size
    )
    if image_format := sniff(found.head):
        image.mime_type = image_format.mime_type
    early = policy.decide_without_bytes(found)
    if found.data is None or (early is not None and not found.complete):
        # Half an image has no hash that another could share.
        return early or Decision(CaptureStatus.UNREAD)
    info = inspect(found.data)
    image.image_hash = info.image_hash
    if info.format is not None:
        image.mime_type = info.format.mime_type
    image.file_size = info.file_size
    image.width, image.height = info.width, info.height
    decision = early or policy.decide(info)
    if decision.keeps:
        decision = policy.decide_after_view(record.log)
    record.data = found.data if decision.keeps else None
    return decision
