"""The gallery: pages of pictures, and pictures in groups."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from heapq import nlargest, nsmallest
from typing import Any

from django.db.models import Count, F, Max, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.facets import UNTOLD
from request_images.db.expressions import Unindexed
from request_images.models import RequestImage
from request_images.models.querysets import failed
from request_images.query.conditions import Columns
from request_images.query.criteria import Criteria
from request_images.query.fields import OF_GALLERY, OUTCOMES
from request_images.query.paging import SORTS, Walk
from request_images.query.parameters import WrongParameter, one_of
from request_images.statistics.live import SECONDS, limited

from .similar import COMMAND, Alike, SimilarGroups, group_similar

PAGE_SIZE = 48
COLUMN_SIZE = 12
"""The largest number of pictures of each outcome, side by side."""
GROUPS = 8
GROUP_SIZE = 6

GROUPINGS: Mapping[str, str | Promise] = {
    "outcome": _("failed beside succeeded"),
    "error_type": _("by error type"),
    "image": _("each image once"),
    "layout": _("similar pictures"),
}
PRESETS: Mapping[str, tuple[str | Promise, Mapping[str, str]]] = {
    "newest": (_("Newest"), {}),
    "slowest": (_("Slowest"), {"sort": "slowest"}),
    "largest": (_("Largest"), {"sort": "largest"}),
    "failed": (_("Failed"), {"outcome": "failed"}),
    "beside": (_("Failed beside succeeded"), {"group": "outcome"}),
    "errors": (_("By error type"), {"group": "error_type"}),
    "repeated": (_("Most repeated"), {"group": "image"}),
    "layouts": (_("Similar pictures"), {"group": "layout"}),
}
_DEFAULT_SORT = "newest"
_PK = re.compile(r"[0-9]{1,18}")
LATEST = Coalesce(Max("pk", filter=Q(content__isnull=False)), Max("pk"))
"""The latest of some images; if any has its bytes, the latest of these."""


@dataclass(frozen=True)
class Section:
    """Some pictures under a heading.

    Attributes:
        images: The pictures.
        criteria: The criteria of all of them; "previous" and "next" stay within.
        title: The heading; empty for none.
        notes: A line for each picture; empty for no lines.
        more: Whether more pictures match than are shown.
    """

    images: Sequence[RequestImage]
    criteria: Criteria
    title: str = ""
    notes: Sequence[str] = ()
    more: bool = False


@dataclass(frozen=True)
class Page:
    """A page of the gallery.

    Attributes:
        sections: The pictures, in one section or in several.
        before: The first picture of this page; None if this is the first page.
        next_start: The first picture of the next page; None if this is the last page.
        since: The time of the oldest picture that was searched; None if all were.
        remarks: Sentences about the search.
    """

    sections: Sequence[Section]
    before: RequestImage | None = None
    next_start: RequestImage | None = None
    since: datetime | None = None
    remarks: Sequence[str] = ()


class Gallery:
    """The gallery that a query string selects.

    Args:
        parameters: The parameters; blank ones count as not given, since a form sends
            each of its fields.

    Attributes:
        criteria: The criteria of the pictures.
        sort: The order, a name of `SORTS`.
        group: The grouping, a name of `GROUPINGS`; empty for none.
        problems: The invalid parameters, with the reasons; the others are applied.
    """

    def __init__(self, parameters: QueryDict) -> None:
        self.criteria = Criteria.of_form(parameters, others=OF_GALLERY)
        self.problems = list(self.criteria.problems)
        self.sort = self._chosen(parameters, "sort", SORTS) or _DEFAULT_SORT
        self.group = self._chosen(parameters, "group", GROUPINGS)
        self._at = self._picture(parameters, "at")
        self._before = self._picture(parameters, "before")

    def _chosen(self, given: QueryDict, name: str, known: Mapping[str, object]) -> str:
        text = "".join(given.getlist(name))
        if not text:
            return ""
        try:
            return one_of(known)(text)
        except ValueError as error:
            self.problems.append(WrongParameter(name, str(error)))
            return ""

    def _picture(self, given: QueryDict, name: str) -> RequestImage | None:
        text = "".join(given.getlist(name))
        if not text:
            return None
        found: RequestImage | None = None
        if _PK.fullmatch(text):
            found = images().filter(pk=text).first()
        if found is None:
            reason = gettext("this picture was deleted, so this is the first page")
            self.problems.append(WrongParameter(name, reason))
        return found

    @property
    def own_sort(self) -> str:
        """The order; empty for the default."""
        return "" if self.sort == _DEFAULT_SORT else self.sort

    def query(self, criteria: Criteria | None = None, **others: object) -> str:
        """Return the query string of this gallery, with its question mark.

        Args:
            criteria: Criteria that replace its own; None for its own.
            others: Further parameters; None and empty values are left out.
        """
        own = {"sort": self.own_sort, "group": self.group} | others
        return (criteria or self.criteria).query(**own)

    @cached_property
    def walk(self) -> Walk:
        """The matching pictures, in order."""
        return self._walk(self.criteria, self.sort)

    def page(self) -> Page:
        """Return the page.

        Raises:
            TooManyRequests: A query exceeds the time limit.
        """
        grouped = {
            "outcome": self._by_outcome,
            "error_type": self._by_error_type,
            "image": self._by_image,
            "layout": self._by_layout,
        }
        return grouped.get(self.group, self._in_order)()

    def _walk(self, criteria: Criteria, sort: str) -> Walk:
        return Walk(images(), criteria, SORTS[sort], SECONDS)

    def _in_order(self) -> Page:
        if self._before is not None:
            found = self.walk.before(self._before, PAGE_SIZE)
            if len(found) == PAGE_SIZE:
                return self._one_page(found, self._before)
        at = None if self._before is not None else self._at
        found = self.walk.page(PAGE_SIZE + 1, at=at)
        next_start = found[PAGE_SIZE] if len(found) > PAGE_SIZE else None
        if at is None:
            return Page([Section(found[:PAGE_SIZE], self.criteria)], None, next_start)
        return self._one_page(found[:PAGE_SIZE], next_start)

    def _one_page(
        self, found: Sequence[RequestImage], next_start: RequestImage | None
    ) -> Page:
        before = found[0] if found and self.walk.before(found[0]) else None
        return Page([Section(found, self.criteria)], before, next_start)

    def _by_outcome(self) -> Page:
        sections = []
        asked = self.criteria.values.get("outcome")
        for outcome, label in OUTCOMES.items():
            if asked not in (None, outcome):
                continue
            criteria = self.criteria.having(outcome=outcome)
            found = self._walk(criteria, self.sort).page(COLUMN_SIZE + 1)
            shown, more = found[:COLUMN_SIZE], len(found) > COLUMN_SIZE
            sections.append(Section(shown, criteria, str(label), more=more))
        return Page(sections)

    def _by_error_type(self) -> Page:
        # All rows of the groups are read, so their number is bounded. One query reads
        # them: counting them first would walk through very many rows twice. Statistics
        # know how many requests failed, but not which of them have a picture.
        if self.criteria.values.get("outcome") == "succeeded":
            return Page([])
        criteria = self.criteria.having(outcome="failed")
        walk = self._walk(criteria, _DEFAULT_SORT)
        sort = SORTS[self.sort]
        by_type: defaultdict[str, list[tuple[Any, int]]] = defaultdict(list)
        column = sort.column(Columns(RequestImage))
        rows = walk.newest("log__error_type", column, "pk", "created_at")
        for name, key, pk, _time in rows:
            by_type[name].append((key, pk))
        ranked = sorted(by_type.items(), key=lambda item: (-len(item[1]), item[0]))
        chosen = {}
        for name, of_type in ranked[:GROUPS]:
            known = [each for each in of_type if each[0] is not None]
            first = nlargest if sort.descending else nsmallest
            chosen[name] = [pk for _, pk in first(GROUP_SIZE, known)]
        found = images().in_bulk([pk for pks in chosen.values() for pk in pks])
        untyped = gettext("without an error type")
        sections = [
            Section(
                [found[pk] for pk in pks if pk in found],
                criteria.having(error_type=name or UNTOLD),
                f"{name or untyped} ({len(by_type[name])})",
                more=len(by_type[name]) > GROUP_SIZE,
            )
            for name, pks in chosen.items()
        ]
        return Page(sections, since=rows[-1][-1] if walk.is_long else None)

    def _newest(self) -> tuple[QuerySet[Any], datetime | None]:
        # All rows of the groups are read, so their number is bounded.
        since = self._walk(self.criteria, _DEFAULT_SORT).since()
        rows = images().order_by()
        if since is None:
            return self.criteria.apply(rows), None
        rows = self.criteria.apply(rows, walked="created_at")
        return rows.filter(created_at__gte=since), since

    def _by_image(self) -> Page:
        rows, since = self._newest()
        # By the index of the hashes SQLite would read all of them.
        rows = rows.annotate(same=Unindexed(F("image_hash"))).exclude(same="")
        counted = rows.values("same").annotate(
            seen=Count("pk"),
            failed=Count("pk", filter=failed("log__")),
            latest=LATEST,
        )
        repeated = counted.filter(seen__gt=1).order_by("-seen", "same")
        with limited(rows.db):
            counts = {row["latest"]: row for row in repeated[:PAGE_SIZE]}
        found = images().in_bulk(counts)
        shown = [found[pk] for pk in counts if pk in found]
        notes = [times_seen(counts[image.pk]) for image in shown]
        return Page([Section(shown, self.criteria, notes=notes)], since=since)

    def _by_layout(self) -> Page:
        rows, since = self._newest()
        with limited(rows.db):
            found = group_similar(rows)
        shown = [_some(each) for each in found.groups[:GROUPS]]
        pictures = images().in_bulk([pk for pks in shown for pk in pks])
        sections = [
            Section(
                [pictures[pk] for pk in pks if pk in pictures],
                self.criteria.having(layout=each.layout),
                ngettext(
                    "%(count)d picture, %(failed)d failed",
                    "%(count)d pictures, %(failed)d failed",
                    len(each),
                )
                % {"count": len(each), "failed": len(each.failed)},
                more=len(each) > GROUP_SIZE,
            )
            for each, pks in zip(found.groups, shown, strict=False)
        ]
        return Page(sections, since=since, remarks=list(_remarks(found)))


def _some(alike: Alike) -> list[int]:
    """Return a group's pictures: half of them failed ones, more if others are few."""
    half = GROUP_SIZE // 2
    bad = alike.failed[: max(half, GROUP_SIZE - len(alike.succeeded))]
    return [*bad, *alike.succeeded[: GROUP_SIZE - len(bad)]]


def _remarks(found: SimilarGroups) -> Iterator[str]:
    numbers = {"some": found.grouped, "all": found.analysed}
    if found.analysed:
        text = gettext("Grouped: the newest %(some)d of %(all)d analysed pictures.")
        yield text % numbers
        if not found.groups:
            yield gettext("No two of them are similar.")
    if found.waiting:
        yield ngettext(
            "%(count)d picture is not analysed yet: run %(command)s.",
            "%(count)d pictures are not analysed yet: run %(command)s.",
            found.waiting,
        ) % {"count": found.waiting, "command": COMMAND}


def images() -> QuerySet[Any]:
    """Return the images with the columns of their logs that lists show."""
    rows = RequestImage.objects.select_related("log")
    return rows.defer("log__metadata", "log__error_message")


def times_seen(counts: Mapping[str, Any]) -> str:
    """Return in words how many requests had an image, and how many of them failed."""
    text = ngettext(
        "seen once, failed %(failed)d",
        "seen %(seen)d times, failed %(failed)d",
        counts["seen"],
    )
    return text % counts
