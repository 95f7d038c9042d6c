"""Rows of the database that is written to, also where reads go to a replica.

A replica that lags behind still shows references that are gone, and does not yet show
what has just been written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from .destination import database_of

if TYPE_CHECKING:
    from typing_extensions import Self


class PrimaryQuerySet(models.QuerySet[Any]):
    """A queryset that can be sent to the database that is written to."""

    def primary(self) -> Self:
        """Return these rows from the database that is written to."""
        return self.using(database_of(self.model))
