"""Which pictures look alike: groups of those that have the same layout."""

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
"""What analyses those that are not yet."""
NEWEST = 2000
"""So many pictures are grouped, at the most: it takes half a second."""


@dataclass(frozen=True)
class Alike:
    """Pictures of the same layout.

    Attributes:
        layout: The difference hash that all of theirs are near.
        failed: The primary keys of those whose request failed, the newest first.
        succeeded: Those of the others.
    """

    layout: str
    failed: Sequence[int]
    succeeded: Sequence[int]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.failed) + len(self.succeeded)


@dataclass(frozen=True)
class Likeness:
    """What there is to group, and the groups.

    Attributes:
        groups: Those of two pictures or more, the largest first.
        grouped: How many pictures were looked at.
        analysed: Of how many.
        waiting: How many could be analysed, and are not yet, or by an older version.
    """

    groups: Sequence[Alike]
    grouped: int
    analysed: int
    waiting: int


def likeness_of(rows: QuerySet[Any]) -> Likeness:
    """Group the newest of some request images by their layout.

    Args:
        rows: Some thousands of them at the most: all of them are counted.
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
    return Likeness(several, len(found), **counts)
