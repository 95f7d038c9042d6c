"""Keep the bytes of contents in a smaller form, and back; each once, and verified.

A content that cannot be made smaller is remembered with the reason, and so is one that
gets the process killed several times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from django.core.exceptions import ImproperlyConfigured
from django.db import models, router
from django.db.models import F

from request_images.db.columns import clean_text
from request_images.exceptions import EncodingRefused
from request_images.models import ImageContent
from request_images.models.querysets import ImageContentQuerySet
from request_images.storage.encodings import ENCODINGS, Encoding, encode, encodings_of

from .iterate import work_through
from .swap import Form, read_whole, swap

MAX_TRIES = 3
"""After so many that the process did not survive, nobody tries again."""

GAVE_UP = f"tried {MAX_TRIES} times, and each time the process ended meanwhile"


class Fate(Enum):
    """What became of a content."""

    CHANGED = "compressed"
    LEFT = "left"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """What became of one content.

    Attributes:
        fate: Whether it has another form now, has none, or went or was changed by
            somebody else meanwhile.
        before: Its size in bytes, as stored.
        after: Its size in bytes with the other form.
        encoding: The encoding that was tried, or undone.
        reason: Why it is left, in words.
    """

    fate: Fate
    before: int = 0
    after: int = 0
    encoding: str = ""
    reason: str = ""


@dataclass
class Compressed:
    """What a run did, or would do.

    Attributes:
        before: What the contents took that have another form now, in bytes.
        after: What they take now.
        by_encoding: How many, by the name of the encoding.
        reasons: Why how many others are left as they are.
        skipped: How many went, or were changed by somebody else meanwhile.
        failed: How many stay as they are because something went wrong.
    """

    before: int = 0
    after: int = 0
    by_encoding: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    failed: int = 0

    @property
    def seen(self) -> int:
        """How many contents were looked at."""
        left = self.reasons.total()
        return self.by_encoding.total() + left + self.skipped + self.failed

    def add(self, outcome: Outcome | None) -> None:
        """Count what became of one more content; None for a failure."""
        if outcome is None:
            self.failed += 1
        elif outcome.fate is Fate.SKIPPED:
            self.skipped += 1
        elif outcome.fate is Fate.LEFT:
            # Without what differs from image to image.
            self.reasons[": ".join(outcome.reason.split(": ")[:2])] += 1
        else:
            self.by_encoding[outcome.encoding] += 1
            self.before += outcome.before
            self.after += outcome.after


def compressible(names: Collection[str]) -> models.QuerySet[ImageContent]:
    """Return the contents that some encodings have not been tried on yet."""
    return _contents().filter(
        mime_type__in=encodings_of(names),
        encoding="",
        encoding_error="",
        encoding_tries__lt=MAX_TRIES,
    )


def compressed(name: str) -> models.QuerySet[ImageContent]:
    """Return the contents that are kept in an encoding."""
    return _contents().filter(encoding=name)


@dataclass(frozen=True)
class Run:
    """How to work through contents, and who hears of it.

    Attributes:
        batch_size: How many contents are looked up at once.
        limit: How many to look at, at the most; None for all.
        dry_run: Whether to encode, but change nothing.
        tell: Called behind each content with what was done so far.
        complain: Called with each content of which it failed, and why.
    """

    batch_size: int = 500
    limit: int | None = None
    dry_run: bool = False
    tell: Callable[[Compressed], None] = lambda done: None
    complain: Callable[[ImageContent, Exception], None] = lambda content, error: None

    def through(
        self,
        rows: models.QuerySet[ImageContent],
        work: Callable[[ImageContent], Outcome],
    ) -> Compressed:
        """Do some work for each content."""
        done = Compressed()
        rows = rows.defer("thumbnail")
        walk = work_through(rows, work, self.complain, batch_size=self.batch_size)
        for _content, outcome in islice(walk, self.limit):
            done.add(outcome)
            self.tell(done)
        return done


def compress_all(names: Collection[str], run: Run) -> Compressed:
    """Compress every content that some encodings are for.

    Args:
        names: The encodings' names.
        run: How.

    Raises:
        ImproperlyConfigured: An encoding needs what is not installed.
        StorageError: A storage failed several times in a row.
        django.db.Error: The database did.
    """
    _require(names)
    if not run.dry_run:
        _give_up()
    return run.through(
        compressible(names),
        lambda content: _compress(content, names, dry_run=run.dry_run),
    )


def decompress_all(name: str, run: Run) -> Compressed:
    """Keep every content of one encoding as it was received again.

    Args and Raises: As of `compress_all`.
    """
    _require([name])
    return run.through(
        compressed(name), lambda content: _decompress(content, dry_run=run.dry_run)
    )


def compress(pk: int, names: Collection[str]) -> Fate:
    """Compress one content, unless it is, or cannot be, or is gone.

    Raises:
        ImproperlyConfigured: An encoding needs what is not installed.
        StorageError: Its storage failed.
        django.db.Error: The database did.
    """
    _require(names)
    content = compressible(names).defer("thumbnail").filter(pk=pk).first()
    if content is None:
        return Fate.SKIPPED
    return _compress(content, names, dry_run=False).fate


def _give_up() -> None:
    rows = _contents().filter(encoding_tries__gte=MAX_TRIES, encoding_error="")
    # Not with one statement: it would hold SQLite's only place for a writer for as
    # long as it takes to look at every row.
    found = list(rows.values_list("pk", flat=True))
    if found:
        rows.filter(pk__in=found).update(encoding_error=GAVE_UP)


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
        stored = _encode(content, data, encoding, dry_run=dry_run)
    except EncodingRefused as error:
        reason = clean_text(error, 200)
        if not dry_run:
            _contents().as_it_was(content).update(encoding_error=reason)
        return Outcome(Fate.LEFT, reason=reason)
    form = Form(stored, content.storage, encoding.name, len(data))
    if not (dry_run or swap(content, form)):
        return Outcome(Fate.SKIPPED)
    return Outcome(Fate.CHANGED, len(data), len(stored), encoding.name)


def _encode(
    content: ImageContent, data: bytes, encoding: Encoding, *, dry_run: bool
) -> bytes:
    if dry_run:
        return encode(data, encoding)
    with _counted(content):
        return encode(data, encoding)


@contextmanager
def _counted(content: ImageContent) -> Iterator[None]:
    """Leave a mark on a content for as long as the process may be killed over it."""
    row = _contents().filter(pk=content.pk)
    row.update(encoding_tries=F("encoding_tries") + 1)
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


def _contents() -> ImageContentQuerySet:
    return ImageContent.objects.using(router.db_for_write(ImageContent))
