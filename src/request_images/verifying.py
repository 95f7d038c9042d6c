"""Are the bytes of every content there, and the right ones, and is nothing left over?

Everything may go on meanwhile: what looks wrong is looked at again before it is told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from django.db import DatabaseError, router
from django.db.models import F

from .bookkeeping import PendingDeletion, note_for_deletion
from .columns import clean_text
from .conf import conf
from .exceptions import ObjectDamaged, ObjectMissing, StorageError
from .findings import Finding, Problem, Verified
from .limits import bounded_transaction
from .models import FurtherImage, ImageContent, RequestImage, RequestLog
from .outcome import CaptureStatus
from .querysets import ImageContentQuerySet
from .retrying import is_disturbance, undisturbed
from .stores import DATABASE, store_of
from .walking import one_by_one

SUSPICIOUS = 10
"""So many missing objects of a storage may be a disk that is not mounted, ..."""

SUSPICIOUS_SHARE = 0.1
"""... if they are more than this share of what should be there."""

_BATCH = 500
_ORPHANS_STAY = timedelta(hours=1)


def verify(
    *,
    repair: bool,
    tell: Callable[[Finding], None],
    force: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> Verified:
    """Read every content, and list every storage.

    Args:
        repair: Whether to put right what is wrong: the images of requests let go of
            bytes that are gone or damaged, and their logs say so; orphans are put onto
            the list of what is to be deleted.
        tell: Called with each finding.
        force: Whether to repair what is missing of a storage also when that is a lot.
        beat: Called now and then; what it raises ends the run.

    Raises:
        django.db.Error: The database does not answer.
    """
    verified = Verified()
    for finding in _of_contents(verified, beat, repair=repair, force=force):
        _note(finding, verified, tell)
    for finding in _of_rows(beat, repair=repair):
        _note(finding, verified, tell)
    for finding in _of_storages(verified, beat, repair=repair):
        _note(finding, verified, tell)
    return verified


def _note(
    finding: Finding, verified: Verified, tell: Callable[[Finding], None]
) -> None:
    verified.problems[finding.problem] += 1
    verified.unrepaired += not finding.is_repaired
    tell(finding)


def _of_contents(
    verified: Verified, beat: Callable[[], None], *, repair: bool, force: bool
) -> Iterator[Finding]:
    held: list[Finding] = []
    there, missing = Counter[str](), Counter[str]()
    for content in one_by_one(_contents().defer("thumbnail"), _BATCH):
        beat()
        verified.contents += 1
        finding = _examine(content)
        problem = finding and finding.problem
        there[content.storage] += problem in {None, Problem.MISMATCH}
        if finding is None or not _contents().as_it_was(content).exists():
            continue
        missing[content.storage] += problem is Problem.MISSING
        if repair and problem is Problem.MISSING:
            held.append(finding)
        elif repair and problem is Problem.MISMATCH:
            yield _repaired(finding, _let_go)
        else:
            yield finding
    # A disk that is not mounted has lost everything but what came since, and gets it
    # back.
    verified.doubtful = sorted(
        storage
        for storage, count in missing.items()
        if repair and not force and _is_suspicious(count, there[storage])
    )
    for finding in held:
        beat()
        is_doubtful = finding.storage in verified.doubtful
        yield finding if is_doubtful else _repaired(finding, _let_go)


def _is_suspicious(missing: int, there: int) -> bool:
    is_much = missing > SUSPICIOUS_SHARE * (missing + there)
    return is_much and missing >= SUSPICIOUS


def _of_rows(beat: Callable[[], None], *, repair: bool) -> Iterator[Finding]:
    """Yield contents that no image refers to: somebody has deleted logs by hand."""
    last = 0
    while True:
        rows = _contents().unreferenced().filter(pk__gt=last).order_by("pk")
        values = list(rows.values_list("pk", "storage", "name", "image_hash")[:_BATCH])
        for pk, storage, name, image_hash in values:
            beat()
            text = "its requests are gone"
            found = Finding(Problem.ORPHAN, storage, name or image_hash, text, pk)
            yield _repaired(found, _drop) if repair else found
        if not values:
            return
        last = values[-1][0]


def _examine(content: ImageContent) -> Finding | None:
    problem, detail = None, ""
    try:
        data = content.read()
    except ObjectMissing as error:
        problem, detail = Problem.MISSING, str(error)
    except ObjectDamaged as error:
        problem, detail = Problem.MISMATCH, str(error)
    except StorageError as error:
        problem, detail = Problem.UNREADABLE, str(error)
    else:
        digest = hashlib.sha256(data).hexdigest()
        if digest != content.image_hash:
            problem, detail = Problem.MISMATCH, f"its SHA-256 is {digest}"
    if problem is None:
        return None
    name = content.name or content.image_hash
    return Finding(problem, content.storage, name, detail, content.pk)


def _repaired(finding: Finding, mend: Callable[[Finding], None]) -> Finding:
    """Return what becomes of a finding; as it was, when others are in the way."""

    def mended() -> None:
        with bounded_transaction(_database()):
            mend(finding)

    try:
        undisturbed(mended, through_locks=True)
    except DatabaseError as error:
        if not is_disturbance(error, through_locks=True):
            raise
        return finding
    return replace(finding, is_repaired=True)


def _let_go(finding: Finding) -> None:
    name = finding.name if finding.storage else ""
    row = _contents().filter(pk=finding.content, storage=finding.storage, name=name)
    # Locks it everywhere, and is the write that SQLite wants first.
    if not row.update(name=F("name")):
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
    ImageContent.delete_all(_contents().filter(pk=finding.content))


def _drop(finding: Finding) -> None:
    row = _contents().filter(pk=finding.content)
    row.update(name=F("name"))  # SQLite wants a write first
    # Whoever refers to it now waits, and finds it gone.
    list(row.select_for_update().values_list("pk"))
    if _contents().unreferenced().filter(pk=finding.content).exists():
        ImageContent.delete_all(row)


def _of_storages(
    verified: Verified, beat: Callable[[], None], *, repair: bool
) -> Iterator[Finding]:
    aliases = _aliases()
    for alias in aliases:
        names = store_of(alias).names()
        try:
            while batch := list(islice(names, _BATCH)):
                beat()
                verified.objects += len(batch)
                orphans = _orphans(alias, aliases, batch)
                if repair:
                    note_for_deletion(
                        [(alias, name) for name in orphans],
                        _database(),
                        after=_ORPHANS_STAY,
                    )
                for name in orphans:
                    yield Finding(Problem.ORPHAN, alias, name, is_repaired=repair)
        except StorageError as error:
            yield Finding(Problem.UNREADABLE, alias, "", str(error))


def _aliases() -> Sequence[str]:
    pending = PendingDeletion.objects.using(_database())
    found = set(_contents().values_list("storage", flat=True).distinct())
    found |= set(pending.values_list("storage", flat=True).distinct())
    found.add(conf.STORAGE or DATABASE)
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
