"""Which images refer to contents, and which of them does so last.

Nothing here loads the bytes of an image, and nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Length

from request_images.db.destination import database_of
from request_images.db.walk import chunks
from request_images.models import FurtherImage, RequestImage, RequestLog
from request_images.models.content import contents
from request_images.models.querysets import (
    ImageContentQuerySet,
    RequestImageQuerySet,
    RequestLogQuerySet,
    failed,
    succeeded,
)

SIZE = F("stored_size") + Coalesce(Length("thumbnail"), 0)
"""The bytes that a content takes, including its thumbnail."""
_IMAGES_AT_ONCE = 2_000
"""Images looked up at once: a request has up to a thousand."""
_TO_IMAGE = "request_image__"
Condition = Callable[[str], Q]
"""A condition on request images, given the path that leads to them."""
Row = TypeVar("Row", bound=tuple[Any, ...])


class Last(NamedTuple):
    """The last image that refers to a content, and the bytes that it frees."""

    image: int
    size: int


def last_of(content_pks: Iterable[int], staying: Condition) -> dict[int, Last]:
    """Return which images free bytes when all that do not stay are deleted.

    Returns:
        For each content without a staying image, the last request image by time that
        refers to it, itself or by a further image.
    """
    rows = _not_referred(content_pks, staying)
    return _latest(rows, [lambda path: Q()])


def last_in_budget(content_pks: Iterable[int], counted: Condition) -> dict[int, Last]:
    """Return which images free bytes when successes are deleted before failures.

    `counted` is the condition for request images that still exist. The result is as
    that of `last_of`, without the contents of pinned requests.
    """
    rows = _not_referred(content_pks, lambda path: Q(**{f"{path}log__is_pinned": True}))
    return _latest(
        rows,
        [
            lambda path: counted(path) & failed(f"{path}log__"),
            lambda path: counted(path) & succeeded(f"{path}log__"),
        ],
    )


def referring_to(
    content_pks: Collection[int], staying: Condition
) -> tuple[RequestImageQuerySet, RequestImageQuerySet]:
    """Return the staying request images that have contents, in two querysets.

    First those that have them as their own, then those that have them by a further
    image only: no database would answer one query from two indexes.
    """
    own = Q(content__in=list(content_pks))
    by_further = further().filter(own).values("request_image")
    there = images().filter(staying(""))
    return there.filter(own), there.filter(pk__in=by_further).exclude(own)


def stored_size(beat: Callable[[], None]) -> int:
    """Return the bytes of all contents that an image refers to.

    Orphans do not count: deleting the bytes of images would not reduce them.

    Args:
        beat: Called now and then; what it raises ends the walk.
    """
    total = 0
    for chunk in chunks(contents(), SIZE, beat=beat):
        # By their keys: asked along with the walk, PostgreSQL reads all references
        # each time.
        found = contents().filter(pk__in=[pk for pk, _ in chunk])
        orphans = set(found.unreferenced().values_list("pk", flat=True))
        total += sum(size for pk, size in chunk if pk not in orphans)
    return total


def database() -> str:
    """Return the alias of the database that is cleaned: the one that is written to.

    It is also read: a replica that lags behind shows references that are gone, and a
    content that is kept because of one would be an orphan for ever.
    """
    return database_of(RequestLog)


def logs() -> RequestLogQuerySet:
    """Return the logs in the database that is cleaned."""
    return RequestLog.objects.primary()


def images() -> RequestImageQuerySet:
    """Return the request images in the database that is cleaned."""
    return RequestImage.objects.primary()


def further() -> models.QuerySet[FurtherImage]:
    """Return the further images in the database that is cleaned."""
    return FurtherImage.objects.primary()


def with_further(
    rows: Iterable[Row], image_of: Callable[[Row], int | None]
) -> Iterator[list[tuple[Row, list[int | None]]]]:
    """Yield rows with the contents of their further images (None for lost bytes).

    They come in lists of at most 2,000 images together, or of one row.
    """
    rows = list(rows)
    found = _further_of(map(image_of, rows))
    counts = dict(found.values_list("request_image").annotate(models.Count("pk")))
    part: list[Row] = []
    total = 0
    for row in rows:
        number = 1 + counts.get(image_of(row), 0)
        if part and total + number > _IMAGES_AT_ONCE:
            yield _joined(part, image_of)
            part, total = [], 0
        part.append(row)
        total += number
    yield _joined(part, image_of)


def _joined(
    rows: list[Row], image_of: Callable[[Row], int | None]
) -> list[tuple[Row, list[int | None]]]:
    contents_of: dict[int | None, list[int | None]] = defaultdict(list)
    found = _further_of(map(image_of, rows))
    for image, content in found.values_list("request_image", "content"):
        contents_of[image].append(content)
    return [(row, contents_of[image_of(row)]) for row in rows]


def _further_of(image_pks: Iterable[int | None]) -> models.QuerySet[FurtherImage]:
    known = [pk for pk in image_pks if pk is not None]
    return further().filter(request_image__in=known).order_by()


def _referring(
    condition: Condition,
) -> tuple[tuple[models.QuerySet[Any], str], ...]:
    """Return what refers to an outer content, each with the path to its image."""
    content = OuterRef("pk")
    return (
        (images().filter(condition(""), content=content), ""),
        (further().filter(condition(_TO_IMAGE), content=content), _TO_IMAGE),
    )


def _not_referred(
    content_pks: Iterable[int], condition: Condition
) -> ImageContentQuerySet:
    rows = contents().filter(pk__in=set(content_pks))
    for references, _ in _referring(condition):
        rows = rows.filter(~Exists(references))
    return rows


def _latest(
    rows: ImageContentQuerySet, conditions: Sequence[Condition]
) -> dict[int, Last]:
    """Return the last image of each content, for the first condition that has one."""
    newest = [
        Subquery(_newest_first(references, path).values(f"{path}pk")[:1])
        for condition in conditions
        for references, path in _referring(condition)
    ]
    sizes, candidates = {}, {}
    for pk, size, *ends in rows.values_list("pk", SIZE, *newest):
        pairs = ({*ends[at : at + 2]} - {None} for at in range(0, len(ends), 2))
        sizes[pk], candidates[pk] = size, next(filter(None, pairs), set())
    # Both tables may have a last one: compare their times.
    rivals = [pair for pair in candidates.values() if len(pair) > 1]
    moments = images().filter(pk__in=set(chain(*rivals)))
    when = dict(moments.values_list("pk", "created_at")) if rivals else {}
    return {
        pk: Last(max(found, key=lambda image: (when.get(image), image)), sizes[pk])
        for pk, found in candidates.items()
        if found
    }


def _newest_first(references: models.QuerySet[Any], path: str) -> models.QuerySet[Any]:
    return references.order_by(f"-{path}created_at", f"-{path}pk")
