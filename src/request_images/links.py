"""From a number to the pictures behind it: the URLs of marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from .facets import Facet
from .naming import texts_of
from .vocabulary import PERIOD


@dataclass(frozen=True)
class Links:
    """Where requests are to be seen, those that a page is about and parts of them.

    Attributes:
        url: The page that shows them.
        texts: The parameters of the page that is linked from.
    """

    url: str
    texts: Mapping[str, str]

    def to(self, **texts: str) -> str:
        """Return the URL of those with further parameters, or others in their place."""
        query = urlencode({**self.texts, **texts})
        return f"{self.url}?{query}" if query else self.url

    def within(self, since: datetime, until: datetime, **texts: str) -> str:
        """Return the URL of those of a time, with further parameters."""
        rest = {name: text for name, text in self.texts.items() if name not in PERIOD}
        times = {"since": since.isoformat(), "until": until.isoformat()}
        return f"{self.url}?{urlencode({**rest, **times, **texts})}"

    def having(self, facet: Facet, value: str, **texts: str) -> str:
        """Return the URL of those with a value; empty when no parameter means it."""
        found = texts_of(facet, value)
        return self.to(**{**found, **texts}) if found else ""
