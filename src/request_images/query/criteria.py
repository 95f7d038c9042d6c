"""Which requests are meant: one set of GET parameters for every page that shows some.

The gallery, the lists, the statistics and the CSV file all read them here, so that the
same query string means the same requests everywhere. A parameter more is a line more in
`vocabulary.CRITERIA`.
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
from request_images.statistics.schedule import first_hour

from .conditions import Columns
from .fields import CRITERIA
from .parameters import WrongParameter

AnyQuerySet = TypeVar("AnyQuerySet", bound=QuerySet[Any])
DEFAULT_DAYS = 30


@dataclass(frozen=True)
class Chip:
    """A criterion in words, and the query string of what remains without it."""

    label: str
    text: str
    query_without: str


@dataclass(frozen=True)
class Criteria:
    """What was asked for.

    Attributes:
        values: The values of the right parameters, by their names.
        texts: The same as they were written.
        problems: What is wrong with the others.
    """

    values: Mapping[str, Any]
    texts: Mapping[str, str]
    problems: Sequence[WrongParameter] = ()

    @classmethod
    def of(cls, parameters: QueryDict, others: Iterable[str] = ()) -> Criteria:
        """Read query parameters; what is wrong is not applied, but told.

        Args:
            parameters: The query string's.
            others: Names that are the page's own business.
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
            others: Names that are the page's own business.
        """
        given = parameters.copy()
        for name in parameters:
            if not "".join(parameters.getlist(name)).strip():
                del given[name]
        return cls.of(given, others)

    def apply(self, rows: AnyQuerySet, *, walked: str | None = None) -> AnyQuerySet:
        """Return those of some request logs or request images that are meant.

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
        """Return the same with further criteria, or others in their place.

        Args:
            texts: What they say, by their names, as in a query string.
        """
        values = {name: CRITERIA[name].parse(text) for name, text in texts.items()}
        return Criteria({**self.values, **values}, {**self.texts, **texts})

    def without(self, *names: str) -> Criteria:
        """Return the same without some criteria."""
        return Criteria(
            {name: v for name, v in self.values.items() if name not in names},
            {name: t for name, t in self.texts.items() if name not in names},
        )

    def period(self) -> Period:
        """Return the whole hours of what is asked for.

        With an end alone they begin with the first that there is anything of, and with
        nothing thirty days ago.
        """
        now = timezone.now()
        until = min(self.values.get("until", now), now)
        if "since" in self.values:
            since = self.values["since"]
        elif "until" in self.values:
            since = min(first_hour(), until - timedelta.resolution)
        else:
            since = now - timedelta(days=self.values.get("days", DEFAULT_DAYS))
        # Statistics know of nothing earlier.
        return Period.of(max(since, midnight(date(1970, 1, 2))), until)

    def within(self, period: Period) -> Criteria:
        """Return the same with a period in place of what they say of the time."""
        times = {"since": period.since.isoformat(), "until": period.until.isoformat()}
        return self.without("days").having(**times)

    def as_json(self) -> dict[str, Any]:
        """Return every criterion's value, None where none was given."""
        return {
            name: value if type(value := self.values.get(name)) is int else text
            for name in CRITERIA
            for text in [self.texts.get(name)]
        }

    def query(self, **others: object) -> str:
        """Return the query string that means the same, with its question mark.

        Args:
            others: Further parameters; what is None or empty is left out.
        """
        further = {name: value for name, value in others.items() if value}
        query = urlencode({**self.texts, **further})
        return f"?{query}" if query else "?"

    def chips(self, **others: object) -> list[Chip]:
        """Return each criterion in words, with what remains without it."""
        return [
            Chip(
                str(CRITERIA[name].label),
                shown(value) if (shown := CRITERIA[name].shown) else self.texts[name],
                self.without(name).query(**others),
            )
            for name, value in self.values.items()
        ]


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
        return [WrongParameter("days", gettext("not together with since or until"))]
    if "since" in values and "until" in values and values["since"] >= values["until"]:
        return [WrongParameter("since", gettext("not before until"))]
    if "since" in values and values["since"] >= timezone.now():
        return [WrongParameter("since", gettext("in the future"))]
    return []
