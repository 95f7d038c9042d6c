"""Work on a content that may kill the process: counted first, given up after 3 tries.

A hostile image can exhaust the memory or crash a C library. Each attempt is therefore
counted on the row before it begins, so that the next process knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, QuerySet

from request_images.db.columns import clean_text
from request_images.models import ImageContent

MAX_TRIES = 3
GAVE_UP = f"given up: the process ended during each of {MAX_TRIES} attempts"


@dataclass(frozen=True)
class Attempts:
    """The attempts at one kind of work, in ``<name>_tries`` and ``<name>_error``."""

    name: str

    @property
    def are_left(self) -> Q:
        """The condition that a content may be tried again."""
        return Q(**{f"{self.name}_tries__lt": MAX_TRIES})

    def begin(self, rows: QuerySet[ImageContent], **values: Any) -> bool:
        """Count an attempt, and write `values`; False if no attempt is left."""
        return self._count(rows.filter(self.are_left), 1, values)

    def withdraw(self, rows: QuerySet[ImageContent], **values: Any) -> bool:
        """Count an attempt back, and write `values`; False if the row is gone."""
        tried = rows.filter(**{f"{self.name}_tries__gt": 0})
        return self._count(tried, -1, values)

    def refusal(self, text: object = GAVE_UP) -> dict[str, str]:
        """Return the column that says why there is no result."""
        return {f"{self.name}_error": clean_text(text, 200)}

    def _count(
        self, rows: QuerySet[ImageContent], step: int, values: dict[str, Any]
    ) -> bool:
        # One statement: the database lets only one of several processes do it.
        tries = f"{self.name}_tries"
        return bool(rows.update(**{tries: F(tries) + step}, **values))
