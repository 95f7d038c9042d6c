"""Are the bytes of every content there, and the right ones, and is nothing left over?

Everything may go on meanwhile: what looks wrong is looked at again before it is told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from itertools import chain, islice

from django.db import DatabaseError, router
from django.db.models import F

from request_images.conf import conf
from request_images.db.columns import clean_text
from request_images.db.retry import is_retryable, retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import (
    DecodingFailed,
    ObjectDamaged,
    ObjectMissing,
    StorageError,
)
from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.pending_deletions import PendingDeletion, note_for_deletion
from request_images.models.querysets import ImageContentQuerySet
from request_images.outcome import CaptureStatus
from request_images.storage.stores import DATABASE, store_of

from .iterate import FAILURES, one_by_one

SUSPICIOUS = 10
"""So many objects that are missing or changed, or that nobody knows, may be the wrong
disk, the wrong key or the wrong database, ..."""

SUSPICIOUS_SHARE = 0.1
"""... if they are more than this share of all."""

_BATCH = 500
_ORPHANS_STAY = timedelta(hours=1)


def verify(
    *,
    repair: bool,
    tell: Callable[[Finding], None],
    force: bool = False,
    storages: Iterable[str] = (),
    beat: Callable[[], None] = lambda: None,
) -> Verified:
    """Read every content, and list every storage.

    Args:
        repair: Whether to put right what is wrong: the images of requests let go of
            bytes that are gone or damaged, and their logs say so; orphans are put onto
            the list of what is to be deleted.
        tell: Called with each finding.
        force: Whether to repair what is wrong of a storage also when that is a lot.
        storages: Aliases to list besides those that something is kept in.
        beat: Called now and then; what it raises ends the run.

    Raises:
        django.db.Error: The database does not answer.
    """
    run = _Run(Verified(), beat, repair, force)
    for finding in chain(_of_contents(run), _of_rows(run), _of_storages(run, storages)):
        run.verified.problems[finding.problem] += 1
        run.verified.unrepaired += not finding.is_repaired
        tell(finding)
    return run.verified


@dataclass(frozen=True)
class _Run:
    """One run: what was seen, what to call now and then, and what is wanted."""

    verified: Verified
    beat: Callable[[], None]
    repair: bool
    force: bool


def _of_contents(run: _Run) -> Iterator[Finding]:
    verified = run.verified
    held: list[Finding] = []
    right, wrong, in_a_row = Counter[str](), Counter[str](), Counter[str]()
    for content in one_by_one(_contents().defer("thumbnail"), _BATCH):
        run.beat()
        alias = content.storage
        if in_a_row[alias] >= FAILURES:
            verified.given_up[alias] += 1
            continue
        verified.contents += 1
        finding = _examine(content)
        is_away = finding is not None and finding.is_of_storage
        in_a_row[alias] = in_a_row[alias] + 1 if is_away else 0
        if in_a_row[alias] >= FAILURES:
            verified.given_up[alias] = 0  # also when nothing more is to be read
        right[alias] += finding is None
        if finding is None or not _contents().as_it_was(content).exists():
            continue
        if finding.problem is Problem.UNREADABLE or not run.repair:
            yield finding
        else:
            wrong[alias] += 1
            held.append(finding)
    for alias, count in verified.given_up.items():
        text = f"given up after {FAILURES} failures; {count} images not looked at"
        yield Finding(Problem.UNREADABLE, alias, "", text)
    # A disk that is not mounted has lost everything but what came since, and gets it
    # back; and with the wrong key all is damaged.
    verified.doubtful = sorted(
        alias
        for alias, count in wrong.items()
        if not run.force and _is_suspicious(alias, count, right[alias])
    )
    yield from _mended(held, run)


def _is_suspicious(alias: str, wrong: int, right: int) -> bool:
    if alias != DATABASE and not right:
        return True
    return _is_much(wrong, wrong + right)


def _is_much(wrong: int, of: int) -> bool:
    return wrong >= SUSPICIOUS and wrong > SUSPICIOUS_SHARE * of


def _mended(held: Iterable[Finding], run: _Run) -> Iterator[Finding]:
    """Yield what becomes of findings; those that are not so any more are left out."""
    for finding in held:
        run.beat()
        if finding.storage in run.verified.doubtful:
            yield finding
            continue
        # Hours may have passed, and the disk may be mounted by now.
        again = _look_again(finding)
        if again is not None and again.problem is not Problem.UNREADABLE:
            yield _repaired(again, _let_go)
        elif again is not None:
            yield again


def _look_again(finding: Finding) -> Finding | None:
    content = _row_of(finding).defer("thumbnail").first()
    return content and _examine(content)


def _row_of(finding: Finding) -> ImageContentQuerySet:
    """Return the content of a finding, if it is still kept where it was."""
    name = finding.name if finding.storage else ""
    return _contents().filter(pk=finding.content, storage=finding.storage, name=name)


def _of_rows(run: _Run) -> Iterator[Finding]:
    """Yield contents that no image refers to: somebody has deleted logs by hand."""
    last = 0
    while True:
        rows = _contents().unreferenced().filter(pk__gt=last).order_by("pk")
        values = list(rows.values_list("pk", "storage", "name", "image_hash")[:_BATCH])
        for pk, storage, name, image_hash in values:
            run.beat()
            text = "its requests are gone"
            found = Finding(Problem.ORPHAN, storage, name or image_hash, text, pk)
            yield _repaired(found, _drop) if run.repair else found
        if not values:
            return
        last = values[-1][0]


def _examine(content: ImageContent) -> Finding | None:
    problem, detail, is_of_storage = None, "", False
    try:
        data = content.read()
    except ObjectMissing as error:
        problem, detail = Problem.MISSING, str(error)
    except ObjectDamaged as error:
        problem, detail = Problem.MISMATCH, str(error)
    except StorageError as error:
        problem, detail = Problem.UNREADABLE, str(error)
        is_of_storage = not isinstance(error, DecodingFailed)
    else:
        digest = hashlib.sha256(data).hexdigest()
        if digest != content.image_hash:
            problem, detail = Problem.MISMATCH, f"its SHA-256 is {digest}"
    if problem is None:
        return None
    name = content.name or content.image_hash
    where = (content.storage, name, detail, content.pk)
    return Finding(problem, *where, is_of_storage=is_of_storage)


def _repaired(finding: Finding, mend: Callable[[Finding], None]) -> Finding:
    """Return what becomes of a finding; as it was, when others are in the way."""

    def mended() -> None:
        with bounded_transaction(_database()):
            mend(finding)

    try:
        retry(mended, retry_locks=True)
    except DatabaseError as error:
        if not is_retryable(error, retry_locks=True):
            raise
        return finding
    return replace(finding, is_repaired=True)


def _let_go(finding: Finding) -> None:
    # Locks it everywhere, and is the write that SQLite wants first.
    if not _row_of(finding).update(name=F("name")):
        return
    told = {
        "capture_status": CaptureStatus.STORE_FAILED,
        "capture_detail": clean_text(f"{finding.problem.value}: {finding.detail}", 200),
    }
    images = RequestImage.objects.using(_database()).filter(content=finding.content)
    logs = RequestLog.objects.using(_database())
    logs.filter(pk__in=images.values("log")).update(**told)
    images.update(content=None)
    further = FurtherImage.objects.using(_database())
    further.filter(content=finding.content).update(content=None, **told)
    # An object that was missing and comes back all the same belongs to no image: the
    # next run tells of it.
    is_there = finding.problem is not Problem.MISSING
    rows = _contents().filter(pk=finding.content)
    ImageContent.delete_all(rows, with_objects=is_there)


def _drop(finding: Finding) -> None:
    row = _contents().filter(pk=finding.content)
    row.update(name=F("name"))  # SQLite wants a write first
    # Whoever refers to it now waits, and finds it gone.
    list(row.select_for_update().values_list("pk"))
    if _contents().unreferenced().filter(pk=finding.content).exists():
        ImageContent.delete_all(row)


def _of_storages(run: _Run, others: Iterable[str]) -> Iterator[Finding]:
    aliases = _aliases(others)
    for alias in aliases:
        if alias not in run.verified.given_up:
            yield from _of_storage(alias, aliases, run)


def _of_storage(alias: str, aliases: Sequence[str], run: _Run) -> Iterator[Finding]:
    """Yield the objects of a storage that belong to no image."""
    held: list[str] = []
    listed, repair = 0, run.repair
    most = None if run.force or not repair else _most_orphans(aliases)
    names = store_of(alias).names()
    try:
        while batch := list(islice(names, _BATCH)):
            run.beat()
            listed += len(batch)
            run.verified.objects += len(batch)
            held += _orphans(alias, aliases, batch)
            if most is None:
                yield from _left_over(alias, held, repair=repair)
                held = []
            elif len(held) > most:
                run.verified.unknown.append(alias)
                repair, most = False, None
    except StorageError as error:
        yield Finding(Problem.UNREADABLE, alias, "", str(error))
    if most is not None and _is_much(len(held), listed):
        # What is known of other storages says nothing of this one.
        run.verified.unknown.append(alias)
        repair = False
    yield from _left_over(alias, held, repair=repair)


def _left_over(alias: str, names: Sequence[str], *, repair: bool) -> Iterator[Finding]:
    if repair:
        objects = [(alias, name) for name in names]
        note_for_deletion(objects, _database(), after=_ORPHANS_STAY)
    for name in names:
        yield Finding(Problem.ORPHAN, alias, name, is_repaired=repair)


def _most_orphans(aliases: Sequence[str]) -> int:
    """Return how many objects nobody may know without that the database is doubted.

    An empty one, or an old copy, knows none of what is kept.
    """
    if not _contents().exists():
        return 0
    known = sum(
        model._default_manager.using(_database()).filter(storage__in=aliases).count()
        for model in (ImageContent, PendingDeletion)
    )
    share = SUSPICIOUS_SHARE / (1 - SUSPICIOUS_SHARE)
    return max(SUSPICIOUS - 1, int(share * known))


def _aliases(others: Iterable[str]) -> Sequence[str]:
    pending = PendingDeletion.objects.using(_database())
    found = {conf.STORAGE or DATABASE, *others}
    for rows in (_contents(), pending):
        found |= set(rows.values_list("storage", flat=True).distinct())
    return sorted(found - {DATABASE})


def _orphans(alias: str, aliases: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return those names that neither a content nor the list knows.

    An object is on the list, has its row, and is on the list again; so the list is
    looked at twice. Two aliases may lead to the same place.
    """
    left = set(names)
    for model in (PendingDeletion, ImageContent, PendingDeletion):
        rows = model._default_manager.using(_database()).filter(
            storage__in=aliases, name__in=left
        )
        left -= set(rows.values_list("name", flat=True))
    # One that was on the list may be deleted by now.
    return sorted(name for name in left if store_of(alias).holds(name))


def _contents() -> ImageContentQuerySet:
    return ImageContent.objects.using(_database())


def _database() -> str:
    return router.db_for_write(ImageContent)


class Problem(Enum):
    """What can be wrong."""

    MISSING = "missing"
    MISMATCH = "mismatch"
    ORPHAN = "orphan"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        problem: What it is.
        storage: The storage alias; empty for the database.
        name: The object's name; in the database, the image's hash.
        detail: More of it, in words.
        content: The primary key of the content; 0 for an object that has none.
        is_repaired: Whether it is not wrong any more.
        is_of_storage: Whether the storage failed, and so may the next ones.
    """

    problem: Problem
    storage: str
    name: str
    detail: str = ""
    content: int = 0
    is_repaired: bool = False
    is_of_storage: bool = False


@dataclass
class Verified:
    """What was looked at.

    Attributes:
        contents: How many contents.
        objects: How many objects in storages.
        problems: How many findings of each kind.
        unrepaired: How many things are still wrong.
        doubtful: Storages of which so much is missing or changed that none of it was
            repaired.
        unknown: Storages of which so much belongs to no image that it was left alone.
        given_up: Storages that failed several times in a row, and how many contents
            of theirs were not looked at.
    """

    contents: int = 0
    objects: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    unrepaired: int = 0
    doubtful: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    given_up: Counter[str] = field(default_factory=Counter)
