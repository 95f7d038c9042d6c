"""Find the image in what was seen of a request, look at it, and decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from . import policy
from .columns import clean_text
from .formats import declared_type, sniff
from .health import report
from .inspection import inspect
from .models import FurtherImage, RequestImage, RequestLog
from .outcome import CaptureStatus
from .payload import Payload
from .policy import Decision
from .records import Further, Picture, Record
from .sources import Candidate, Found, Source, find

_OVERHEAD = 4096  # bytes of the objects around an image, roughly


@dataclass
class Job:
    """A request that is over, with what was seen of it.

    Attributes:
        log: The unsaved log, complete but for its image.
        payload: What was seen of the request's body.
        sources: Where its image is looked for; empty for "wherever it fits".
        limit: How many of its images are kept at the most; None for the first alone.
        decision: Why no image is to be looked for at all; None to look for one.
        failure: What went wrong with it before.
        record: What is to be written, once that is known.
    """

    log: RequestLog
    payload: Payload
    sources: Sequence[Source] = ()
    limit: int | None = None
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
        dropped = Decision(CaptureStatus.OVER_BUDGET, "the backlog was full")
        if record.data is not None:
            self.decision = dropped
        drop(record.with_bytes, dropped)
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
            found = find(job.payload, job.sources, is_image, job.limit)
            job.log.image_count = found.count
            job.decision = _look(found, job, record)
    except Exception as exception:  # noqa: BLE001  # ours, never the request's
        report("inspection", exception)
        job.failure = exception
        job.decision = failed(exception)
        record = Record(job.log)
    describe(job.log, job.decision)
    job.record = record
    return record


def describe(teller: RequestLog | FurtherImage, decision: Decision) -> None:
    """Say on a log what became of its image, or on a further image of itself."""
    teller.capture_status = decision.status
    teller.capture_detail = clean_text(decision.detail, 200)


def drop(pictures: Sequence[Picture], decision: Decision) -> None:
    """Let go of images' bytes, and say why."""
    for picture in pictures:
        describe(picture.teller, decision)
        picture.data = picture.placed = None


def drop_refused(record: Record, failure: Exception) -> bool:
    """Let go of the one image of several that could not be written.

    Returns:
        False when it was not one of them, or the only one.
    """
    pictures = record.with_bytes
    refused = [picture for picture in pictures if picture.is_refused]
    if not refused or len(pictures) == 1:
        return False
    drop(refused, failed(failure))
    return True


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


def _look(found: Found, job: Job, record: Record) -> Decision:
    """Fill a record with the images that were found; return what becomes of it."""
    if not found.candidates:
        return policy.decide_unseen(
            was_read=job.payload.was_read, expected_size=job.payload.expected_size
        )

    def examine(
        candidate: Candidate, image: RequestImage | FurtherImage
    ) -> tuple[Decision, bytes | None]:
        try:
            return _examine(candidate, image, sample)
        except Exception as exception:  # noqa: BLE001  # it costs the others nothing
            report("inspection", exception)
            job.failure = exception
            return failed(exception), None

    # Once for each request: it counts the sample's probability down.
    sample = cache(partial(policy.decide_after_view, record.log))
    first, *others = found.candidates
    record.image = RequestImage()
    decision, record.data = examine(first, record.image)
    further = []
    for position, candidate in enumerate(others, start=1):
        image = FurtherImage(position=position)
        its_decision, data = examine(candidate, image)
        describe(image, its_decision)
        further.append(Further(image, data))
    record.further = further
    if found.left_out:
        left_out = f"{found.left_out} more than the limit of {len(found.candidates)}"
        said = "; ".join(filter(None, (left_out, decision.detail)))
        return replace(decision, detail=said)
    return decision


def _examine(
    found: Candidate,
    image: RequestImage | FurtherImage,
    sample: Callable[[], Decision],
) -> tuple[Decision, bytes | None]:
    """Say on a row what is known of an image; return its bytes if they are kept."""
    image.source = clean_text(found.source, 200)
    image.file_size = found.size
    image.declared_type = clean_text(declared_type(found.declared), 64)
    if image_format := sniff(found.head):
        image.mime_type = image_format.mime_type
    early = policy.decide_without_bytes(found)
    if found.data is None or (early is not None and not found.complete):
        # Half an image has no hash that another could share.
        return early or Decision(CaptureStatus.UNREAD), None
    info = inspect(found.data)
    image.image_hash = info.image_hash
    if info.format is not None:
        image.mime_type = info.format.mime_type
    image.file_size = info.file_size
    image.width, image.height = info.width, info.height
    image.color_mode = info.traits.color_mode
    image.is_animated = info.traits.is_animated
    image.has_orientation = info.traits.has_orientation
    decision = early or policy.decide(info)
    if decision.keeps:
        decision = sample()
    return decision, found.data if decision.keeps else None
