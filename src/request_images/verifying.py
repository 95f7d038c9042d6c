"""Are the bytes of every content there, and the right ones, and is nothing left over?

Everything may go on meanwhile: what looks wrong is looked at again before it is told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import islice

from django.db import IntegrityError, models, router
from django.db.models import F

from .bookkeeping import PendingDeletion, note_for_deletion
from .columns import clean_text
from .conf import conf
from .exceptions import ObjectMissing, StorageError
from .limits import bounded_transaction
from .models import ImageContent, RequestImage, RequestLog
from .outcome import CaptureStatus
from .stores import DATABASE, store_of

SUSPICIOUS = 10
"""So many missing objects, and not one that is there: it is the wrong storage."""

_BATCH = 500
_TRIES = 5
_ORPHANS_STAY = timedelta(hours=1)


class Problem(Enum):
    """What can be wrong."""

    MISSING = "missing"
    MISMATCH = "mismatch"
    ORPHAN = "orphan"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        problem: What it is.
        storage: The storage alias; empty for the database.
        name: The object's name; in the database, the image's hash.
        detail: More of it, in words.
        content: The primary key of the content; 0 for an orphan.
        is_repaired: Whether it is not wrong any more.
    """

    problem: Problem
    storage: str
    name: str
    detail: str = ""
    content: int = 0
    is_repaired: bool = False


@dataclass
class Verified:
    """What was looked at.

    Attributes:
        contents: How many contents.
        objects: How many objects in storages.
        problems: How many findings of each kind.
        unrepaired: How many things are still wrong.
    """

    contents: int = 0
    objects: int = 0
    problems: Counter[Problem] = field(default_factory=Counter)
    unrepaired: int = 0


def verify(*, repair: bool, tell: Callable[[Finding], None]) -> Verified:
    """Read every content, and list every storage.

    Args:
        repair: Whether to put right what is wrong: the images of requests let go of
            bytes that are gone or damaged, and their logs say so; orphans are put onto
            the list of what is to be deleted.
        tell: Called with each finding.

    Raises:
        django.db.Error: The database does not answer.
    """
    verified = Verified()
    for finding in _of_contents(verified, repair=repair):
        _note(finding, verified, tell)
    for finding in _of_storages(verified, repair=repair):
        _note(finding, verified, tell)
    return verified


def _note(
    finding: Finding, verified: Verified, tell: Callable[[Finding], None]
) -> None:
    verified.problems[finding.problem] += 1
    verified.unrepaired += not finding.is_repaired
    tell(finding)


def _of_contents(verified: Verified, *, repair: bool) -> Iterator[Finding]:
    found: list[Finding] = []
    there, missing = Counter[str](), Counter[str]()
    for content in _one_by_one():
        verified.contents += 1
        finding = _examine(content)
        is_missing = finding is not None and finding.problem is Problem.MISSING
        there[content.storage] += not is_missing
        if finding is not None and _is_as_it_was(content):
            found.append(finding)
            missing[content.storage] += is_missing
    for finding in found:
        # A disk that is not mounted has lost everything, and gets it back.
        is_away = missing[finding.storage] >= SUSPICIOUS and not there[finding.storage]
        if repair and finding.problem is not Problem.UNREADABLE and not is_away:
            yield _repaired(finding)
        else:
            yield finding


def _one_by_one() -> Iterator[ImageContent]:
    last = 0
    while True:
        rows = _contents().filter(pk__gt=last).order_by("pk")
        pks = list(rows.values_list("pk", flat=True)[:_BATCH])
        for pk in pks:
            content = _contents().defer("thumbnail").filter(pk=pk).first()
            if content is not None:
                yield content
        if not pks:
            return
        last = pks[-1]


def _examine(content: ImageContent) -> Finding | None:
    problem, detail = None, ""
    try:
        data = content.read()
    except ObjectMissing as error:
        problem, detail = Problem.MISSING, str(error)
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


def _is_as_it_was(content: ImageContent) -> bool:
    rows = _contents().filter(pk=content.pk, storage=content.storage, name=content.name)
    return rows.exists()


def _repaired(finding: Finding) -> Finding:
    for _ in range(_TRIES):
        try:
            _let_go(finding)
        except IntegrityError as error:  # somebody has just referred to it
            disturbed = error
        else:
            return _as_repaired(finding)
    raise disturbed


def _let_go(finding: Finding) -> None:
    name = finding.name if finding.storage else ""
    row = _contents().filter(pk=finding.content, storage=finding.storage, name=name)
    with bounded_transaction(_database()):
        # Locks it everywhere, and is the write that SQLite wants first.
        if not row.update(name=F("name")):
            return
        images = RequestImage.objects.using(_database()).filter(content=finding.content)
        logs = RequestLog.objects.using(_database())
        logs.filter(pk__in=images.values("log")).update(
            capture_status=CaptureStatus.STORE_FAILED,
            capture_detail=clean_text(
                f"{finding.problem.value}: {finding.detail}", 200
            ),
        )
        images.update(content=None)
        ImageContent.delete_all(_contents().filter(pk=finding.content))


def _as_repaired(finding: Finding) -> Finding:
    return Finding(
        finding.problem,
        finding.storage,
        finding.name,
        finding.detail,
        finding.content,
        is_repaired=True,
    )


def _of_storages(verified: Verified, *, repair: bool) -> Iterator[Finding]:
    aliases = _aliases()
    for alias in aliases:
        names = store_of(alias).names()
        try:
            while batch := list(islice(names, _BATCH)):
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


def _contents() -> models.QuerySet[ImageContent]:
    return ImageContent.objects.using(_database())


def _database() -> str:
    return router.db_for_write(ImageContent)
