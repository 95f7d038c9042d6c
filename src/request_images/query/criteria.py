"""The criteria of a query string, which select requests on every page.

The gallery, the lists, the statistics and the CSV file read them here, so that a query
string selects the same requests everywhere. `fields` declares the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext

from request_images.aggregation.periods import Period, midnight
from request_images.models import RequestLog
from request_images.statistics.rollups import first_hour
from request_images.statistics.summarize import summarize_all, summarize_rows
from request_images.statistics.summary import Summary

from .conditions import Columns
from .fields import CRITERIA, PERIOD
from .parameters import WrongParameter

AnyQuerySet = TypeVar("AnyQuerySet", bound=QuerySet[Any])
DEFAULT_DAYS = 30


@dataclass(frozen=True)
class Chip:
    """A criterion in words, and the query string without it."""

    label: str
    text: str
    query_without: str


@dataclass(frozen=True)
class Criteria:
    """The criteria of one query string.

    Attributes:
        values: The values of the valid parameters by name.
        texts: The texts of the valid parameters by name.
        problems: The reasons why other parameters are invalid.
    """

    values: Mapping[str, Any]
    texts: Mapping[str, str]
    problems: Sequence[WrongParameter] = ()

    @classmethod
    def of(cls, parameters: QueryDict, others: Iterable[str] = ()) -> Criteria:
        """Read query parameters; invalid ones become problems and are not applied.

        Args:
            parameters: The query string's.
            others: Names of the page's own parameters, which are skipped.
        """
        values: dict[str, Any] = {}
        texts: dict[str, str] = {}
        problems: list[WrongParameter] = []
        for name in parameters:
            if name in others:
                continue
            try:
                values[name] = _parsed(name, parameters.getlist(name))
                [texts[name]] = parameters.getlist(name)
            except WrongParameter as error:
                problems.append(error)
        problems += _contradictions(values)
        for problem in problems:
            values.pop(problem.name, None)
            texts.pop(problem.name, None)
        return cls(values, texts, problems)

    @classmethod
    def of_form(cls, parameters: QueryDict, others: Iterable[str] = ()) -> Criteria:
        """Read query parameters, blank ones as not given: a form sends every field.

        Args:
            parameters: The query string's.
            others: Names of the page's own parameters, which are skipped.
        """
        given = parameters.copy()
        for name in parameters:
            if not "".join(parameters.getlist(name)).strip():
                del given[name]
        return cls.of(given, others)

    def apply(self, rows: AnyQuerySet, *, walked: str | None = None) -> AnyQuerySet:
        """Return the request logs or request images that meet all criteria.

        Args:
            rows: Request logs or request images.
            walked: As for `Columns`.
        """
        columns = Columns(rows.model, walked)
        condition = Q()
        for name, value in self.values.items():
            condition &= CRITERIA[name].condition(value, columns)
        return rows.alias(**columns.aliases).filter(condition)

    def having(self, **texts: str) -> Criteria:
        """Return these criteria with further ones, which replace those of their name.

        Args:
            texts: Texts as in a query string, by name.
        """
        values = {name: CRITERIA[name].parse(text) for name, text in texts.items()}
        return Criteria({**self.values, **values}, {**self.texts, **texts})

    def without(self, *names: str) -> Criteria:
        """Return these criteria without some of them."""
        return Criteria(
            {name: v for name, v in self.values.items() if name not in names},
            {name: t for name, t in self.texts.items() if name not in names},
        )

    def period(self) -> Period:
        """Return the period in whole hours.

        With `until` alone it begins with the first hour that has data; without any
        parameter it is the last thirty days.
        """
        now = timezone.now()
        until = min(self.values.get("until", now), now)
        if "since" in self.values:
            since = self.values["since"]
        elif "until" in self.values:
            since = min(first_hour(), until - timedelta.resolution)
        else:
            since = now - timedelta(days=self.values.get("days", DEFAULT_DAYS))
        # Statistics begin here.
        return Period.of(max(since, midnight(date(1970, 1, 2))), until)

    @property
    def has_period(self) -> bool:
        """Whether a parameter gives the period."""
        return any(name in self.texts for name in PERIOD)

    def within(self, period: Period) -> Criteria:
        """Return these criteria with another period."""
        times = {"since": period.since.isoformat(), "until": period.until.isoformat()}
        return self.without("days").having(**times)

    def as_json(self) -> dict[str, Any]:
        """Return the value of every parameter, None if it was not given."""
        return {
            name: value if type(value := self.values.get(name)) is int else text
            for name in CRITERIA
            for text in [self.texts.get(name)]
        }

    def query(self, **others: object) -> str:
        """Return the query string of these criteria, with its question mark.

        Args:
            others: Further parameters; empty values and None are left out.
        """
        further = {name: value for name, value in others.items() if value}
        query = urlencode({**self.texts, **further})
        return f"?{query}" if query else "?"

    def chips(self, **others: object) -> list[Chip]:
        """Return a chip for each criterion."""
        return [
            Chip(
                str(CRITERIA[name].label),
                shown(value) if (shown := CRITERIA[name].shown) else self.texts[name],
                self.without(name).query(**others),
            )
            for name, value in self.values.items()
        ]


def summaries(criteria: Criteria, periods: Sequence[Period]) -> list[Summary]:
    """Return the statistics of the matching requests, for each period.

    Args:
        criteria: The criteria; their own period is not used.
        periods: The periods.

    Raises:
        TooManyRequests: Too many requests match to read them one by one.
    """
    rest = criteria.without(*PERIOD)
    if set(rest.values) <= {"endpoint"}:
        return summarize_all(periods, rest.values.get("endpoint"))
    rows = rest.apply(RequestLog.objects.all())
    return [summarize_rows(rows, period) for period in periods]


def _parsed(name: str, texts: Sequence[str]) -> Any:
    if name not in CRITERIA:
        known = ", ".join(CRITERIA)
        text = gettext("unknown parameter; known are %(known)s")
        raise WrongParameter(name, text % {"known": known})
    if len(texts) > 1:
        raise WrongParameter(name, gettext("given more than once"))
    try:
        return CRITERIA[name].parse(texts[0])
    except ValueError as error:
        raise WrongParameter(name, str(error)) from None


def _contradictions(values: Mapping[str, Any]) -> list[WrongParameter]:
    if "days" in values and ("since" in values or "until" in values):
        text = gettext("cannot be combined with since or until")
        return [WrongParameter("days", text)]
    if "since" in values and "until" in values and values["since"] >= values["until"]:
        return [WrongParameter("since", gettext("not before until"))]
    if "since" in values and values["since"] >= timezone.now():
        return [WrongParameter("since", gettext("in the future"))]
    return []
