"""Findings of a period: figures in, sentences out.

A finding needs enough requests, and a difference that chance rarely makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from django.utils import timezone
from django.utils.translation import gettext, ngettext

from request_images.aggregation.comparison import Comparison, Share
from request_images.aggregation.percentiles import percentile
from request_images.aggregation.periods import Period
from request_images.aggregation.properties import CAPTURE_STATUS, FACETS
from request_images.aggregation.tallies import Tally
from request_images.charts import Notation, Quantity
from request_images.conf import conf
from request_images.models import RequestImage
from request_images.models.job_locks import last_ended
from request_images.outcome import UNUSABLE, CaptureStatus
from request_images.query.labels import slower_texts
from request_images.query.links import Links
from request_images.statistics.summarize import summarize

from .forecast import since_ever, stock_of
from .overview import Newcomer, Overview
from .panels import PanelInput

ENOUGH = 200
"""The fewest requests whose p95 and failures are compared: p95 is decided by ten."""
CHANGE = 0.2
"""The smallest relative change of p95 that is a finding."""
MOST = 3
"""The most groups with a finding each; the chart's table has the others."""
DROPPED = (
    CaptureStatus.TOO_LARGE,
    CaptureStatus.UNSUPPORTED,
    CaptureStatus.UNREADABLE,
    CaptureStatus.TRUNCATED,
    CaptureStatus.PARTIAL,
    CaptureStatus.OVER_BUDGET,
    CaptureStatus.STORE_FAILED,
)
_LATE = timedelta(days=2)
_STOCK_DAYS = 30


@dataclass(frozen=True)
class Finding:
    """A sentence about a period.

    Attributes:
        text: The sentence, with the number of requests it is about.
        href: URL of those requests; empty if there is none.
        is_bad: Whether it is bad news.
    """

    text: str
    href: str = ""
    is_bad: bool = True


def findings(
    overview: Overview, asked: PanelInput, storage_url: str, health_url: str
) -> list[Finding]:
    """Return the findings of a period, bad news first."""
    writer = FindingWriter(asked.notation, asked.links)
    found = [
        *writer.of_comparisons(overview),
        *writer.of_dropped(overview.now.values(CAPTURE_STATUS)),
        *_of_storage(writer, storage_url),
        *_of_cleanup(writer, health_url),
    ]
    return sorted(found, key=lambda finding: not finding.is_bad)


class FindingWriter:
    """Writes findings in the reader's language.

    Args:
        notation: How the reader writes numbers.
        links: Links to the requests of a finding.
    """

    def __init__(self, notation: Notation, links: Links) -> None:
        self._notation, self._links = notation, links

    def of_comparisons(self, overview: Overview) -> Iterator[Finding]:
        """Compare groups and periods, once all their hours are counted.

        A comparison with a part of the hours may say the opposite of one with all.
        """
        if overview.is_complete:
            yield from self.of_failing(overview.failing())
            newest = overview.newest_release()
            if newest is not None:
                yield from self.of_release(newest)
        if overview.is_comparable:
            yield from self.of_period(overview.whole, overview.earlier)
        if overview.is_complete:
            yield from self.of_slow(overview.slow(), overview.slow_ms)

    def of_failing(self, comparisons: Iterable[Comparison]) -> Iterator[Finding]:
        """Name the groups that fail more often than the other requests."""
        for comparison in _worst(comparisons):
            text = ngettext(
                "%(group)s: %(share)s of %(count)s request failed, %(rest)s of the "
                "others",
                "%(group)s: %(share)s of %(count)s requests failed, %(rest)s of the "
                "others",
                comparison.share.count,
            )
            yield self._of_group(comparison, text, {"outcome": "failed"})

    def of_slow(
        self, comparisons: Iterable[Comparison], slow_ms: float
    ) -> Iterator[Finding]:
        """Name the groups that are among the slowest tenth more often than the others.

        Args:
            comparisons: The groups.
            slow_ms: The shortest duration of the slowest tenth, in milliseconds.
        """
        link = slower_texts(slow_ms, self._links.texts.get("duration", ""))
        for comparison in _worst(comparisons):
            text = ngettext(
                "%(group)s: %(share)s of %(count)s request is among the slowest tenth, "
                "%(rest)s of the others",
                "%(group)s: %(share)s of %(count)s requests are among the slowest "
                "tenth, %(rest)s of the others",
                comparison.share.count,
            )
            yield self._of_group(comparison, text, link)

    def of_release(self, newest: Newcomer) -> Iterator[Finding]:
        """Compare p95 of the newest release with the releases before."""
        text = ngettext(
            "p95 is %(now)s, %(change)s since release %(release)s (%(count)s request)",
            "p95 is %(now)s, %(change)s since release %(release)s (%(count)s requests)",
            newest.tally.count,
        )
        link = {"release": newest.name, "sort": "slowest"}
        yield from self._of_p95(newest.tally, newest.others, text, link)

    def of_period(self, now: Tally, before: Tally) -> Iterator[Finding]:
        """Compare p95 and the failures with the previous period."""
        text = ngettext(
            "p95 is %(now)s, %(change)s since the previous period (%(count)s request)",
            "p95 is %(now)s, %(change)s since the previous period (%(count)s requests)",
            now.count,
        )
        yield from self._of_p95(now, before, text, {"sort": "slowest"})
        rates = Comparison("", "", _failed(now), _failed(before))
        if min(now.count, before.count) >= ENOUGH and rates.gap > 0:
            text = ngettext(
                "%(now)s of %(count)s request failed, %(before)s in the previous "
                "period",
                "%(now)s of %(count)s requests failed, %(before)s in the previous "
                "period",
                now.count,
            )
            numbers = {
                "now": self._share(rates.share.rate),
                "count": self._count(now.count),
                "before": self._share(rates.rest.rate),
            }
            href = self._links.to(outcome="failed")
            yield Finding(text % numbers, href, rates.is_worse)

    def of_dropped(self, statuses: Mapping[str, Tally]) -> Iterator[Finding]:
        """Count what was not stored as an image, by the reason."""
        for status in DROPPED:
            count = statuses.get(status.value, Tally()).count
            if count:
                text = _unusable(count) if status in UNUSABLE else _not_stored(count)
                numbers = {"count": self._count(count), "reason": status.label}
                href = self._links.having(CAPTURE_STATUS, status.value)
                yield Finding(text % numbers, href)

    def of_storage(self, days: int, href: str) -> Finding:
        """Say in how many days the storage limit is reached."""
        text = ngettext(
            "At the current rate, the storage limit is reached in %(days)s day",
            "At the current rate, the storage limit is reached in %(days)s days",
            days,
        )
        return Finding(text % {"days": self._count(days)}, href)

    def of_cleanup(
        self, ran_at: datetime | None, overdue: timedelta, now: datetime, href: str
    ) -> Iterator[Finding]:
        """Say that the cleanup is overdue.

        Args:
            ran_at: When it last ended; None if it never ran.
            overdue: How long ago the oldest image expired.
            now: The present.
            href: URL of the page with details.
        """
        if overdue < _LATE:
            return
        if ran_at is None:
            yield Finding(gettext("cleanup_old_images has never run"), href)
        elif now - ran_at >= _LATE:
            days = (now - ran_at).days
            text = ngettext(
                "cleanup_old_images last ran %(days)s day ago",
                "cleanup_old_images last ran %(days)s days ago",
                days,
            )
            yield Finding(text % {"days": self._count(days)}, href)

    def _of_group(self, group: Comparison, text: str, link: dict[str, str]) -> Finding:
        facet = FACETS[group.name]
        numbers = {
            "group": facet.described(group.key),
            "share": self._share(group.share.rate),
            "count": self._count(group.share.count),
            "rest": self._share(group.rest.rate),
        }
        return Finding(text % numbers, self._links.having(facet, group.key, **link))

    def _of_p95(
        self, now: Tally, before: Tally, text: str, link: dict[str, str]
    ) -> Iterator[Finding]:
        if min(now.count, before.count) < ENOUGH:
            return
        late, early = _p95(now), _p95(before)
        change = late / early - 1
        if abs(change) >= CHANGE:
            sign = "+" if change > 0 else "\N{MINUS SIGN}"
            numbers = {
                "now": self._notation.write(late, Quantity.DURATION),
                "change": sign + self._share(abs(change)),
                "release": link.get("release", ""),
                "count": self._count(now.count),
            }
            yield Finding(text % numbers, self._links.to(**link), change > 0)

    def _share(self, share: float) -> str:
        return self._notation.write(share, Quantity.SHARE)

    def _count(self, count: int) -> str:
        return self._notation.write(count, Quantity.COUNT)


def _worst(comparisons: Iterable[Comparison]) -> Iterator[Comparison]:
    return islice((each for each in comparisons if each.is_worse), MOST)


def _p95(tally: Tally) -> float:
    return percentile(tally.histogram, 0.95) or 0.0


def _failed(tally: Tally) -> Share:
    return Share(tally.failed, tally.count)


def _of_storage(writer: FindingWriter, storage_url: str) -> Iterator[Finding]:
    if conf.MAX_STORED_MB is not None:
        period = Period.last_days(_STOCK_DAYS)
        days = stock_of(summarize(since_ever(period)), period).days_left()
        if days is not None:
            yield writer.of_storage(days, storage_url)


def _of_cleanup(writer: FindingWriter, health_url: str) -> Iterator[Finding]:
    days = conf.RETENTION_DAYS
    oldest = RequestImage.objects.order_by("created_at").first()
    if days is not None and oldest is not None:
        now = timezone.now()
        overdue = now - oldest.created_at - timedelta(days=days)
        yield from writer.of_cleanup(last_ended("cleanup"), overdue, now, health_url)


def _not_stored(count: int) -> str:
    return ngettext(
        "%(count)s image was not stored: “%(reason)s”",
        "%(count)s images were not stored: “%(reason)s”",
        count,
    )


def _unusable(count: int) -> str:
    """Return the text for files that are no readable image; some may be kept."""
    return ngettext(
        "%(count)s file was no readable image: “%(reason)s”",
        "%(count)s files were no readable images: “%(reason)s”",
        count,
    )
