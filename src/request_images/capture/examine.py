"""From the bytes seen of a request to the record that is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cache, partial
from itertools import chain
from typing import Any

from request_images.db.columns import clean_text
from request_images.db.destination import Destination
from request_images.db.insert import new_row
from request_images.health import report
from request_images.images.formats import declared_type, sniff
from request_images.images.inspection import inspect
from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.outcome import CaptureStatus, Decision
from request_images.writer.degrade import drop_bytes, set_status, store_failed
from request_images.writer.record import Record
from request_images.writer.spool.documents import (
    dump_error,
    dump_record,
    dump_row,
    load_error,
    load_log,
    load_record,
)
from request_images.writer.spool.drain import set_loader

from . import policy
from .payload import Payload
from .sources import Candidate, Found, Source, find

_OVERHEAD = 4096  # bytes of the objects around an image, roughly

_NOTHING_FOUND = (
    CaptureStatus.NO_IMAGE,
    CaptureStatus.UNREAD,
    CaptureStatus.UNSUPPORTED,
)

Sample = Callable[[], Decision]


@dataclass
class CapturedRequest:
    """A request that is over, with the bytes seen of its body: a `Job` of the writer.

    Attributes:
        log: The unsaved log, complete except for the image.
        sources: Places to look for its image; empty for "wherever it fits".
        limit: How many of its images to keep at most; None for the first alone.
        decision: Why no image is looked for; None to look for one.
        destination: Where its rows go; None if that is unknown.
        payload: The bytes seen of the request's body.
        failure: Our own fault because of which an image is not kept, if any.
        refusal: Why the spool folder did not take it; empty if it was not asked.
        record: The record to write, once the images are examined.
    """

    log: RequestLog
    sources: Sequence[Source] = ()
    limit: int | None = None
    decision: Decision | None = None
    destination: Destination | None = None
    payload: Payload = field(default_factory=Payload)
    failure: Exception | None = None
    refusal: str = ""
    record: Record | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, approximately."""
        payload, metadata = self.payload, self.log.metadata
        uploads = sum(len(upload.data or b"") for upload in payload.uploads)
        texts = chain.from_iterable((payload.fields or {}).values())
        fields = sum(map(len, texts))
        annotated = len(repr(metadata)) if metadata else 0
        return _OVERHEAD + uploads + fields + annotated + len(payload.body or b"")

    def examine(self) -> Record:
        """Return the record to write; the first call examines the images.

        Never raises: a fault of ours is a reason on the row, and in ``failure``.
        """
        if self.record is not None:
            return self.record
        self.record, decision = self._new_record(), self.decision
        try:
            if decision is None:
                found = find(self.payload, self.sources, is_image, self.limit)
                self.log.image_count = found.count
                decision = self._add_images(found, self.record)
                decision = self._decide_unread_part(decision) or decision
                decision = self._name_places(decision, found)
        except Exception as exception:  # noqa: BLE001  # ours, never the request's
            report("inspection", exception)
            self.failure, decision = exception, store_failed(exception)
            self.record = self._new_record()
        set_status(self.log, decision)
        return self.record

    def _new_record(self) -> Record:
        # The writer does not write a record whose destination is unknown.
        return Record(self.log, self.destination or Destination())

    def dump(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return all of it as a JSON document with a ``log``, and bytes."""
        if self.record is not None:
            document, data = dump_record(self.record)
        else:
            payload, data = self.payload.dump()
            document = {
                "log": dump_row(self.log),
                "sources": [(source.kind, source.path) for source in self.sources],
                "limit": self.limit,
                "decision": self.decision and astuple(self.decision),
                "payload": payload,
            }
        document["destination"] = self.destination or Destination()
        document["failure"] = dump_error(self.failure)
        return document, data

    @classmethod
    def load(cls, document: Mapping[str, Any], data: bytes) -> CapturedRequest:
        """Return the request of a document that `dump` returned.

        Raises:
            Exception: The document is malformed, or the bytes are others.
        """
        loaded = cls(
            load_log(document),
            destination=Destination(*document["destination"]),
            failure=load_error(document["failure"]),
        )
        if "payload" not in document:
            loaded.record = load_record(document, data, loaded._new_record())
            return loaded
        loaded.sources = [Source(kind, tuple(p)) for kind, p in document["sources"]]
        loaded.limit = document["limit"]
        if document["decision"] is not None:
            status, detail = document["decision"]
            loaded.decision = Decision(CaptureStatus(status), detail)
        loaded.payload = Payload.load(document["payload"], data)
        return loaded

    def drop_images(self) -> None:
        """Drop the images' bytes; the log says that the queue was full."""
        dropped = Decision(CaptureStatus.OVER_BUDGET, "the queue was full")
        drop_bytes(self.examine().with_bytes, dropped)
        self.payload = Payload()

    def free(self) -> None:
        """Drop the record and everything that was seen of the request."""
        self.payload, self.record = Payload(), None

    def _add_images(self, found: Found, record: Record) -> Decision:
        """Add the images that were found to a record; decide about the first."""
        if not found.candidates:
            return policy.decide_unseen(self.payload)
        # Once for each request: it multiplies the sample's probability.
        sample = cache(partial(policy.decide_after_view, record.log))
        decisions = []
        for position, candidate in enumerate(found.candidates):
            image: RequestImage | FurtherImage = (
                new_row(FurtherImage, position=position)
                if position
                else new_row(RequestImage)
            )
            decision, data = self._examine_one(candidate, image, sample)
            decisions.append(decision)
            record.add(image, data)
        for picture, decision in zip(record.pictures, decisions, strict=True):
            set_status(picture.status_row, decision)
        decision = decisions[0]
        if not found.left_out:
            return decision
        left_out = f"{found.left_out} more than the limit of {len(found.candidates)}"
        detail = "; ".join(filter(None, (left_out, decision.detail)))
        return replace(decision, detail=detail)

    def _decide_unread_part(self, decision: Decision) -> Decision | None:
        """Return why a part of the request was not seen, in which an image may be."""
        payload = self.payload
        if decision.status not in _NOTHING_FOUND:
            return None
        if payload.failure is not None:
            self.failure = payload.failure
            return store_failed(payload.failure)
        if payload.is_cut_off:
            return Decision(CaptureStatus.TRUNCATED, payload.missing)
        return None

    def _name_places(self, decision: Decision, found: Found) -> Decision:
        """Add the sources that had nothing, and the places that have something."""
        if not self.sources or decision.keeps:
            return decision
        parts = [decision.detail]
        if decision.status == CaptureStatus.NO_IMAGE:
            parts = [f"nothing at {' or '.join(map(str, self.sources))}"]
        if found.elsewhere:
            parts.append(f"the request had {', '.join(found.elsewhere)}")
        return replace(decision, detail="; ".join(filter(None, parts)))

    def _examine_one(
        self, candidate: Candidate, image: RequestImage | FurtherImage, sample: Sample
    ) -> tuple[Decision, bytes | None]:
        try:
            return _examine(candidate, image, self.payload.part, sample, self.log)
        except Exception as exception:  # noqa: BLE001  # it costs the others nothing
            report("inspection", exception)
            self.failure = exception
            return store_failed(exception), None


def is_image(head: bytes) -> bool:
    """Tell whether these are the first bytes of an image of a known format."""
    return sniff(head) is not None


def _examine(
    found: Candidate,
    image: RequestImage | FurtherImage,
    part: str,
    sample: Sample,
    log: RequestLog,
) -> tuple[Decision, bytes | None]:
    """Fill a row with an image's properties; return its bytes if they are kept."""
    image.source = clean_text(found.source, 200)
    image.file_size = found.size
    image.declared_type = clean_text(declared_type(found.declared), 64)
    if image_format := sniff(found.head):
        image.mime_type = image_format.mime_type
    early = policy.decide_without_bytes(found, part)
    if found.data is None or (early is not None and not found.complete):
        # Half an image has no hash that another could share.
        return early or Decision(CaptureStatus.UNREAD), None
    info = inspect(found.data)
    if not part:  # its hash is not that of the image
        image.image_hash = info.image_hash
    if info.format is not None:
        image.mime_type = info.format.mime_type
    image.file_size = info.file_size
    image.width, image.height = info.width, info.height
    image.color_mode = info.color_mode
    image.is_animated = info.is_animated
    image.has_orientation = info.has_orientation
    decision = early or policy.decide(info)
    if decision.keeps:
        decision = sample()
        return decision, found.data if decision.keeps else None
    # Bytes that make a view fail are worth keeping; the status says what they are.
    is_kept = early is None and policy.keeps_unusable(info, log) and sample().keeps
    return decision, found.data if is_kept else None


set_loader(CapturedRequest.load)
