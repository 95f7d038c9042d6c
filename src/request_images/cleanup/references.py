"""What refers to contents, from both tables of images, and which comes last.

Nothing here loads an image's bytes, and nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from django.db import models, router
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Length

from request_images.models import FurtherImage, ImageContent, RequestImage, RequestLog
from request_images.models.querysets import (
    ImageContentQuerySet,
    RequestImageQuerySet,
    RequestLogQuerySet,
    failed,
    succeeded,
)

SIZE = F("stored_size") + Coalesce(Length("thumbnail"), 0)
"""The bytes that a content takes, thumbnail included."""
_TO_IMAGE = "request_image__"
Condition = Callable[[str], Q]
"""What must hold of request images, by the way that leads to them."""


class Last(NamedTuple):
    """The image that takes the bytes of its content along, and how many those are."""

    image: int
    size: int


def last_of(content_pks: Iterable[int], staying: Condition) -> dict[int, Last]:
    """Return which images take bytes along when all that is not staying goes.

    Args:
        content_pks: The contents to ask about.
        staying: Which request images stay.

    Returns:
        For each content that no staying image refers to, the last request image by
        time that does, itself or by one that hangs on it.
    """
    rows = _not_referred(content_pks, staying)
    return _latest(rows, [lambda path: Q()])


def last_in_budget(content_pks: Iterable[int], counted: Condition) -> dict[int, Last]:
    """Return which images take bytes along when successes go first, then failures.

    Args:
        content_pks: The contents to ask about.
        counted: Which request images there still are.

    Returns:
        As `last_of`. Contents of pinned requests are not among them.
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
    """Return the staying request images that have some contents: as their own, ...

    ... and those that have them only by an image that hangs on them. Not in one query,
    which no database would answer from two indexes.
    """
    own = Q(content__in=list(content_pks))
    hanging = further().filter(own).values("request_image")
    there = images().filter(staying(""))
    return there.filter(own), there.filter(pk__in=hanging).exclude(own)


def weights(after: int, limit: int) -> list[tuple[int, int]]:
    """Return the primary keys of the next contents, and how many bytes each takes.

    Those that nothing refers to, because somebody has deleted logs by hand, count as
    none: to take bytes of requests away would not make these fewer.
    """
    rows = contents().filter(pk__gt=after).order_by("pk")
    found = list(rows.values_list("pk", SIZE)[:limit])
    # By their keys: asked along with the walk, PostgreSQL reads all references anew
    # each time.
    those = contents().filter(pk__in=[pk for pk, _ in found])
    alone = set(those.unreferenced().values_list("pk", flat=True))
    return [(pk, 0 if pk in alone else size) for pk, size in found]


def database() -> str:
    """Return the alias of the database that is cleaned.

    For reading too: a replica that lags behind still shows references that are gone,
    and a content that is kept for one of them is an orphan for ever.
    """
    return router.db_for_write(RequestLog)


def logs() -> RequestLogQuerySet:
    """Return the logs of the database that is cleaned."""
    return RequestLog.objects.using(database())


def images() -> RequestImageQuerySet:
    """Return the images of the database that is cleaned."""
    return RequestImage.objects.using(database())


def contents() -> ImageContentQuerySet:
    """Return the contents of the database that is cleaned."""
    return ImageContent.objects.using(database())


def further_of(image_pks: Iterable[int]) -> dict[int, list[int | None]]:
    """Return the contents of the further images of some request images, None for none.

    Request images that have none are left out.
    """
    found: dict[int, list[int | None]] = defaultdict(list)
    rows = further().filter(request_image__in=list(image_pks)).order_by()
    for image, content in rows.values_list("request_image", "content"):
        found[image].append(content)
    return found


def further_counts(image_pks: Iterable[int]) -> dict[int, int]:
    """Return how many further images some request images have; none are left out."""
    rows = further().filter(request_image__in=list(image_pks)).order_by()
    return dict(rows.values_list("request_image").annotate(models.Count("pk")))


def further() -> models.QuerySet[FurtherImage]:
    """Return the further images of the database that is cleaned."""
    return FurtherImage.objects.using(database())


def _referring(
    condition: Condition,
) -> tuple[tuple[models.QuerySet[Any], str], ...]:
    """Return what refers to an outer content, and each one's way to its image."""
    content = OuterRef("pk")
    return (
        (images().filter(condition(""), content=content), ""),
        (further().filter(condition("request_image__"), content=content), _TO_IMAGE),
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
    """Return the last image of each content, of the first condition that has one."""
    newest = [
        Subquery(_newest_first(references, path).values(f"{path}pk")[:1])
        for condition in conditions
        for references, path in _referring(condition)
    ]
    sizes, candidates = {}, {}
    for pk, size, *ends in rows.values_list("pk", SIZE, *newest):
        pairs = ({*ends[at : at + 2]} - {None} for at in range(0, len(ends), 2))
        sizes[pk], candidates[pk] = size, next(filter(None, pairs), set())
    # Each table has its last one: which of the two came later?
    doubtful = {i for pair in candidates.values() if len(pair) > 1 for i in pair}
    moments = images().filter(pk__in=doubtful).values_list("pk", "created_at")
    when = dict(moments) if doubtful else {}
    return {
        pk: Last(max(found, key=lambda image: (when.get(image), image)), sizes[pk])
        for pk, found in candidates.items()
        if found
    }


def _newest_first(references: models.QuerySet[Any], path: str) -> models.QuerySet[Any]:
    return references.order_by(f"-{path}created_at", f"-{path}pk")
