"""Groups of pictures that look alike: their perceptual hashes are similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import BooleanField, Count, ExpressionWrapper, F, Q, QuerySet

from request_images.db.expressions import Unindexed
from request_images.images.hashes import group
from request_images.images.measures import VERSION
from request_images.models.querysets import failed

COMMAND = "manage.py analyze_image_contents"
"""The command that analyses new pictures."""
NEWEST = 2000
"""The largest number of pictures that are grouped; this takes half a second."""


@dataclass(frozen=True)
class Alike:
    """A group of pictures that look alike.

    Attributes:
        layout: A difference hash; those of all pictures of the group are near it.
        failed: The primary keys of the pictures of failed requests, the newest first.
        succeeded: The primary keys of the others, likewise.
    """

    layout: str
    failed: Sequence[int]
    succeeded: Sequence[int]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.failed) + len(self.succeeded)


@dataclass(frozen=True)
class SimilarGroups:
    """The groups, and the numbers of pictures they were made from.

    Attributes:
        groups: The groups of two pictures or more, the largest first.
        grouped: The number of pictures that were compared.
        analysed: The number of analysed pictures.
        waiting: The number of pictures without an analysis of the current version.
    """

    groups: Sequence[Alike]
    grouped: int
    analysed: int
    waiting: int


def group_similar(rows: QuerySet[Any]) -> SimilarGroups:
    """Group the newest of some request images by their perceptual hash.

    Args:
        rows: The request images, some thousands at most, since all are counted.
    """
    # The index of all layouts would lead to those of other pictures.
    rows = rows.alias(its_layout=Unindexed(F("content__layout")))
    is_analysed = Q(its_layout__gt="")
    due = Q(content__analysis_version__in=range(VERSION))
    counts = rows.aggregate(
        analysed=Count("pk", filter=is_analysed), waiting=Count("pk", filter=due)
    )
    is_failed = ExpressionWrapper(failed("log__"), BooleanField())
    newest = rows.filter(is_analysed).order_by("-created_at", "-pk")
    values = newest.values_list("pk", "content__layout", is_failed)[:NEWEST]
    found = list(values)
    groups = []
    for indices in group([layout for _, layout, _ in found]):
        members = [found[index] for index in indices]
        bad = [pk for pk, _, is_bad in members if is_bad]
        good = [pk for pk, _, is_bad in members if not is_bad]
        groups.append(Alike(members[0][1], bad, good))
    several = [each for each in groups if len(each) > 1]
    return SimilarGroups(several, len(found), **counts)
