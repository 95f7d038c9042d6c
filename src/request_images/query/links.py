"""URLs from numbers and marks of charts to the requests that they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from request_images.aggregation.facets import Facet
from request_images.aggregation.periods import Period

from .criteria import DEFAULT_DAYS, Criteria
from .fields import PERIOD


@dataclass(frozen=True)
class Links:
    """URLs of a page that shows the requests of another page, or some of them.

    Attributes:
        url: The URL of the page that shows them.
        texts: The query parameters of the page with the links.
    """

    url: str
    texts: Mapping[str, str]

    @classmethod
    def of(cls, url: str, criteria: Criteria, period: Period) -> Links:
        """Return links that select the counted requests on every page.

        Args:
            url: As for the class.
            criteria: The criteria of the page with the links.
            period: The counted period in whole hours, to which other pages do not
                round, and which they do not assume.
        """
        if not criteria.has_period:
            return cls(url, {**criteria.texts, "days": str(DEFAULT_DAYS)})
        if "days" in criteria.texts:
            return cls(url, criteria.texts)
        return cls(url, criteria.within(period).texts)

    def to(self, **texts: str) -> str:
        """Return the URL with further parameters, which replace those of their name."""
        query = urlencode({**self.texts, **texts})
        return f"{self.url}?{query}" if query else self.url

    def within(self, since: datetime, until: datetime, **texts: str) -> str:
        """Return the URL for a period, with further parameters."""
        rest = {name: text for name, text in self.texts.items() if name not in PERIOD}
        times = {"since": since.isoformat(), "until": until.isoformat()}
        return f"{self.url}?{urlencode({**rest, **times, **texts})}"

    def having(self, facet: Facet, value: str, **texts: str) -> str:
        """Return the URL for a value of a facet; empty if no parameter finds it."""
        found = facet.parameters(value)
        return self.to(**{**found, **texts}) if found else ""
