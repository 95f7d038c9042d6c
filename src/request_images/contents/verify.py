"""Verify that the bytes of every content are stored and correct, and find orphans.

Requests may be recorded and deleted meanwhile: what looks wrong is checked again before
it is reported.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from itertools import chain, islice

from django.db import DatabaseError
from django.db.models import F

from request_images.conf import conf
from request_images.db import walk
from request_images.db.columns import clean_text
from request_images.db.destination import destination_of
from request_images.db.retry import is_retryable, retry
from request_images.db.transactions import bounded_transaction
from request_images.exceptions import (
    DecodingFailed,
    ObjectDamaged,
    ObjectMissing,
    StorageError,
)
from request_images.models import (
    FurtherImage,
    ImageContent,
    PendingDeletion,
    RequestImage,
    RequestLog,
)
from request_images.models.content import contents
from request_images.models.pending_deletions import schedule_deletions
from request_images.models.querysets import ImageContentQuerySet
from request_images.outcome import CaptureStatus
from request_images.storage.stores import DATABASE, store_of

from .iterate import FAILURES, one_by_one

SUSPICIOUS = 10
"""Nothing is repaired when this many objects or more are missing, damaged or unknown
(it may be the wrong disk, key or database), ..."""

SUSPICIOUS_SHARE = 0.1
"""... and when they are more than this share of all."""

_ORPHANS_STAY = timedelta(hours=1)


class Problem(Enum):
    """What can be wrong."""

    MISSING = "missing"
    MISMATCH = "mismatch"
    ORPHAN = "orphan"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One content or object that is not as it should be.

    Attributes:
        problem: What is wrong.
        storage: The storage alias; empty for the database.
        name: The object's name; in the database, the image's hash.
        detail: More about it, in words.
        content: The primary key of the content; 0 for an object that has none.
        is_repaired: Whether it was repaired.
        is_of_storage: Whether the storage failed, and may fail for the next ones.
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
    """The totals of a verification.

    Attributes:
        contents: Contents that were read.
        objects: Objects that were listed in storages.
        problems: Number of discrepancies of each kind.
        unrepaired: Discrepancies that were not repaired.
        doubtful: Storages with so many missing or damaged objects that none of them
            was repaired.
        unknown: Storages with so many orphans that none of them was deleted.
        given_up: Storages that failed several times in a row, and how many of their
            contents were not read.
    """

    contents: int = 0
    objects: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    unrepaired: int = 0
    doubtful: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    given_up: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Run:
    verified: Verified
    beat: Callable[[], None]
    repair: bool
    force: bool


def verify(
    *,
    repair: bool,
    on_found: Callable[[Discrepancy], None],
    force: bool = False,
    storages: Iterable[str] = (),
    beat: Callable[[], None] = lambda: None,
) -> Verified:
    """Read every content, and list every storage.

    Args:
        repair: Whether to repair. Images then lose the reference to bytes that are
            missing or damaged, and their logs say so; orphans are deleted later.
        on_found: Called with each discrepancy.
        force: Whether to repair a storage also when a suspicious number is wrong.
        storages: Aliases to list besides those that contents are stored in.
        beat: Called now and then; what it raises ends the run.

    Raises:
        django.db.Error: The database does not answer.
    """
    run = _Run(Verified(), beat, repair, force)
    for found in chain(
        _check_contents(run), _check_references(run), _check_storages(run, storages)
    ):
        run.verified.problems[found.problem] += 1
        run.verified.unrepaired += not found.is_repaired
        on_found(found)
    return run.verified


def _check_contents(run: _Run) -> Iterator[Discrepancy]:
    verified = run.verified
    postponed: list[Discrepancy] = []
    right, wrong, in_a_row = Counter[str](), Counter[str](), Counter[str]()
    for content in one_by_one(contents().defer("thumbnail")):
        run.beat()
        alias = content.storage
        if in_a_row[alias] >= FAILURES:
            verified.given_up[alias] += 1
            continue
        verified.contents += 1
        found = _examine(content)
        is_away = found is not None and found.is_of_storage
        in_a_row[alias] = in_a_row[alias] + 1 if is_away else 0
        if in_a_row[alias] >= FAILURES:
            verified.given_up[alias] = 0  # also when no more contents follow
        right[alias] += found is None
        if found is None or not contents().as_it_was(content).exists():
            continue
        if found.problem is Problem.UNREADABLE or not run.repair:
            yield found
        else:
            wrong[alias] += 1
            postponed.append(found)
    for alias, count in verified.given_up.items():
        text = f"given up after {FAILURES} failures; {count} images not read"
        yield Discrepancy(Problem.UNREADABLE, alias, "", text)
    # A disk that is not mounted seems to have lost everything, and gets it back; with
    # the wrong key, everything seems damaged.
    verified.doubtful = sorted(
        alias
        for alias, count in wrong.items()
        if not run.force
        and ((alias != DATABASE and not right[alias]) or _is_much(count, right[alias]))
    )
    yield from _repair_contents(postponed, run)


def _is_much(wrong: int, right: int) -> bool:
    return wrong >= SUSPICIOUS and wrong > SUSPICIOUS_SHARE * (wrong + right)


def _repair_contents(found: Iterable[Discrepancy], run: _Run) -> Iterator[Discrepancy]:
    """Repair what is still wrong, unless its storage is doubtful."""
    for each in found:
        run.beat()
        if each.storage in run.verified.doubtful:
            yield each
            continue
        # Hours may have passed, and the disk may be mounted by now.
        content = _row_of(each).defer("thumbnail").first()
        again = content and _examine(content)
        if again is not None:
            unreadable = again.problem is Problem.UNREADABLE
            yield again if unreadable else _repaired(again, _detach)


def _row_of(found: Discrepancy) -> ImageContentQuerySet:
    """Return the content of a discrepancy, if it is still stored in the same place."""
    name = found.name if found.storage else ""
    return contents().filter(pk=found.content, storage=found.storage, name=name)


def _check_references(run: _Run) -> Iterator[Discrepancy]:
    """Yield contents without images, which remain when logs are deleted by hand."""
    fields = ("storage", "name", "image_hash")
    orphans = walk.chunks(contents().unreferenced(), *fields)
    for pk, storage, name, image_hash in chain.from_iterable(orphans):
        run.beat()
        text = "its requests were deleted"
        found = Discrepancy(Problem.ORPHAN, storage, name or image_hash, text, pk)
        yield _repaired(found, _delete_orphan) if run.repair else found


def _examine(content: ImageContent) -> Discrepancy | None:
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
    return Discrepancy(problem, *where, is_of_storage=is_of_storage)


def _repaired(found: Discrepancy, repair: Callable[[Discrepancy], None]) -> Discrepancy:
    """Repair a discrepancy; return it unrepaired if other transactions interfere."""

    def work() -> None:
        with bounded_transaction(contents().db):
            repair(found)

    try:
        retry(work, retry_locks=True)
    except DatabaseError as error:
        if not is_retryable(error, retry_locks=True):
            raise
        return found
    return replace(found, is_repaired=True)


def _detach(found: Discrepancy) -> None:
    # This locks the row in every database, and is the write that SQLite wants first.
    if not _row_of(found).update(name=F("name")):
        return
    status = {
        "capture_status": CaptureStatus.STORE_FAILED,
        "capture_detail": clean_text(f"{found.problem.value}: {found.detail}", 200),
    }
    images = RequestImage.objects.primary().filter(content=found.content)
    logs = RequestLog.objects.primary()
    logs.filter(pk__in=images.values("log")).update(**status)
    images.update(content=None)
    further = FurtherImage.objects.primary().filter(content=found.content)
    further.update(content=None, **status)
    # An object that is missing and comes back later is an orphan: the next run reports
    # it.
    is_there = found.problem is not Problem.MISSING
    rows = contents().filter(pk=found.content)
    ImageContent.delete_all(rows, with_objects=is_there)


def _delete_orphan(found: Discrepancy) -> None:
    row = contents().filter(pk=found.content)
    row.update(name=F("name"))  # SQLite wants a write first
    # A request that refers to it now waits, and then finds it gone.
    list(row.select_for_update().values_list("pk"))
    if contents().unreferenced().filter(pk=found.content).exists():
        ImageContent.delete_all(row)


def _check_storages(run: _Run, others: Iterable[str]) -> Iterator[Discrepancy]:
    aliases = {conf.STORAGE or DATABASE, *others}
    for rows in (contents(), PendingDeletion.objects.primary()):
        aliases |= set(rows.values_list("storage", flat=True).distinct())
    names = sorted(aliases - {DATABASE})
    for alias in names:
        if alias not in run.verified.given_up:
            yield from _check_storage(alias, names, run)


def _check_storage(
    alias: str, aliases: Sequence[str], run: _Run
) -> Iterator[Discrepancy]:
    """Yield the objects of a storage that belong to no content."""
    postponed: list[str] = []
    listed, repair = 0, run.repair
    limit = None if run.force or not repair else _max_orphans(aliases)
    names = store_of(alias).names(destination_of(ImageContent).folder)
    try:
        while batch := list(islice(names, walk.CHUNK)):
            run.beat()
            listed += len(batch)
            run.verified.objects += len(batch)
            postponed += _orphans(alias, aliases, batch)
            if limit is None:
                yield from _report_orphans(alias, postponed, repair=repair)
                postponed = []
            elif len(postponed) > limit:
                run.verified.unknown.append(alias)
                repair, limit = False, None
    except StorageError as error:
        yield Discrepancy(Problem.UNREADABLE, alias, "", str(error))
    if limit is not None and _is_much(len(postponed), listed - len(postponed)):
        # The database may know the objects of the other storages only.
        run.verified.unknown.append(alias)
        repair = False
    yield from _report_orphans(alias, postponed, repair=repair)


def _report_orphans(
    alias: str, names: Sequence[str], *, repair: bool
) -> Iterator[Discrepancy]:
    if repair:
        objects = [(alias, name) for name in names]
        schedule_deletions(objects, contents().db, after=_ORPHANS_STAY)
    for name in names:
        yield Discrepancy(Problem.ORPHAN, alias, name, is_repaired=repair)


def _max_orphans(aliases: Sequence[str]) -> int:
    """Return the number of orphans above which the database is probably the wrong one.

    An empty database, or an old copy, knows few of the objects.
    """
    if not contents().exists():
        return 0
    known = sum(
        model.objects.primary().filter(storage__in=aliases).count()
        for model in (ImageContent, PendingDeletion)
    )
    share = SUSPICIOUS_SHARE / (1 - SUSPICIOUS_SHARE)
    return max(SUSPICIOUS - 1, int(share * known))


def _orphans(alias: str, aliases: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that neither a content nor a pending deletion has.

    An object goes from pending to a content and back, so pending ones are asked for
    twice. Two aliases may lead to the same place.
    """
    left = set(names)
    for model in (PendingDeletion, ImageContent, PendingDeletion):
        rows = model.objects.primary().filter(storage__in=aliases, name__in=left)
        left -= set(rows.values_list("name", flat=True))
    # A pending one may have been deleted by now.
    return sorted(name for name in left if store_of(alias).holds(name))
