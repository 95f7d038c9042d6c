"""Store the bytes of contents in a smaller form, verified, or undo that.

A content that cannot be made smaller is remembered with the reason, and so is one that
kills the process several times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from django.core.exceptions import ImproperlyConfigured

from request_images.exceptions import EncodingRefused
from request_images.models import ImageContent
from request_images.models.content import contents
from request_images.models.querysets import ImageContentQuerySet
from request_images.storage.encodings import ENCODINGS, encode, encodings_of

from .attempts import Attempts
from .iterate import work_through
from .swap import Form, read_whole, swap

_ATTEMPTS = Attempts("encoding")


class Fate(Enum):
    """The result of one attempt."""

    CHANGED = "compressed"
    LEFT = "left"
    SKIPPED = "skipped"
    """The content was deleted or changed by another process meanwhile."""


@dataclass(frozen=True)
class Outcome:
    """The result for one content: its sizes as stored, or why it is left as it is."""

    fate: Fate
    before: int = 0
    after: int = 0
    encoding: str = ""
    reason: str = ""


@dataclass
class Compressed:
    """The totals of a run.

    Attributes:
        before: Bytes of the contents that have another form now, before.
        after: Bytes of these contents now.
        by_encoding: Number of these contents, by the name of the encoding.
        reasons: Number of contents that are left as they are, by reason.
        skipped: Contents that were deleted or changed by another process meanwhile.
        failed: Contents that stay as they are because of an error.
    """

    before: int = 0
    after: int = 0
    by_encoding: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    failed: int = 0

    @property
    def seen(self) -> int:
        """All contents that were looked at."""
        left = self.reasons.total()
        return self.by_encoding.total() + left + self.skipped + self.failed

    def add(self, outcome: Outcome | None) -> None:
        """Count the result for one more content; None for an error."""
        if outcome is None:
            self.failed += 1
        elif outcome.fate is Fate.SKIPPED:
            self.skipped += 1
        elif outcome.fate is Fate.LEFT:
            # Without the part that differs from image to image.
            self.reasons[": ".join(outcome.reason.split(": ")[:2])] += 1
        else:
            self.by_encoding[outcome.encoding] += 1
            self.before += outcome.before
            self.after += outcome.after


def compressible(names: Collection[str]) -> ImageContentQuerySet:
    """Return the contents that some encodings may compress and have not tried yet."""
    return contents().filter(
        _ATTEMPTS.are_left,
        mime_type__in=encodings_of(names),
        encoding="",
        encoding_error="",
    )


def compressed(name: str) -> ImageContentQuerySet:
    """Return the contents that are stored in an encoding."""
    return contents().filter(encoding=name)


@dataclass(frozen=True)
class Run:
    """The options of a run.

    Attributes:
        batch_size: Contents to look up with one query.
        limit: Contents to look at; None for all.
        dry_run: Whether to encode, but change nothing.
        on_progress: Called after each content with the totals so far.
        on_error: Called with each content that failed, and the error.
    """

    batch_size: int = 500
    limit: int | None = None
    dry_run: bool = False
    on_progress: Callable[[Compressed], None] = lambda done: None
    on_error: Callable[[ImageContent, Exception], None] = lambda content, error: None

    def through(
        self, rows: ImageContentQuerySet, work: Callable[[ImageContent], Outcome]
    ) -> Compressed:
        """Do some work for each content."""
        done = Compressed()
        rows = rows.defer("thumbnail")
        walk = work_through(rows, work, self.on_error, batch_size=self.batch_size)
        for _content, outcome in islice(walk, self.limit):
            done.add(outcome)
            self.on_progress(done)
        return done


def compress_all(names: Collection[str], run: Run) -> Compressed:
    """Compress every content that the encodings of these names may compress.

    Raises:
        ImproperlyConfigured: A package that an encoding needs is not installed.
        StorageError: A storage failed several times in a row.
        django.db.Error: The database failed several times in a row.
    """
    _require(names)
    if not run.dry_run:
        _give_up()
    return run.through(
        compressible(names),
        lambda content: _compress(content, names, dry_run=run.dry_run),
    )


def decompress_all(name: str, run: Run) -> Compressed:
    """Store every content of one encoding as it was received again.

    Raises: As `compress_all`.
    """
    _require([name])
    return run.through(
        compressed(name), lambda content: _decompress(content, dry_run=run.dry_run)
    )


def compress(pk: int, names: Collection[str]) -> Fate:
    """Compress one content, unless it is compressed, cannot be, or is gone.

    Raises:
        ImproperlyConfigured: A package that an encoding needs is not installed.
        StorageError: Its storage failed.
        django.db.Error: The database failed.
    """
    _require(names)
    content = compressible(names).defer("thumbnail").filter(pk=pk).first()
    if content is None:
        return Fate.SKIPPED
    return _compress(content, names, dry_run=False).fate


def _give_up() -> None:
    rows = contents().exclude(_ATTEMPTS.are_left).filter(encoding_error="")
    # Not one statement: it would lock SQLite's only writer while it reads every row.
    found = list(rows.values_list("pk", flat=True))
    if found:
        rows.filter(pk__in=found).update(**_ATTEMPTS.refusal())


def _require(names: Collection[str]) -> None:
    for name in names:
        if why := ENCODINGS[name].why_unavailable():
            raise ImproperlyConfigured(why)


def _compress(
    content: ImageContent, names: Collection[str], *, dry_run: bool
) -> Outcome:
    encoding = encodings_of(names)[content.mime_type]
    whole = read_whole(content)
    if whole is None:
        return Outcome(Fate.SKIPPED)
    data = whole.received
    try:
        with nullcontext() if dry_run else _attempt(content):
            stored = encode(data, encoding)
    except EncodingRefused as error:
        refusal = _ATTEMPTS.refusal(error)
        if not dry_run:
            contents().as_it_was(content).update(**refusal)
        return Outcome(Fate.LEFT, reason=refusal["encoding_error"])
    form = Form(stored, content.storage, encoding.name, len(data))
    if not (dry_run or swap(content, form)):
        return Outcome(Fate.SKIPPED)
    return Outcome(Fate.CHANGED, len(data), len(stored), encoding.name)


@contextmanager
def _attempt(content: ImageContent) -> Iterator[None]:
    """Count an attempt for as long as the process may be killed by it."""
    row = contents().filter(pk=content.pk)
    _ATTEMPTS.begin(row)
    try:
        yield
    finally:
        # Another run may have given it up meanwhile.
        row.update(encoding_tries=0, encoding_error="")


def _decompress(content: ImageContent, *, dry_run: bool) -> Outcome:
    whole = read_whole(content)
    if whole is None:
        return Outcome(Fate.SKIPPED)
    form = Form(whole.received, content.storage)
    if not (dry_run or swap(content, form)):
        return Outcome(Fate.SKIPPED)
    after = len(whole.received)
    return Outcome(Fate.CHANGED, content.stored_size, after, content.encoding)
