"""What is to be said of the numbers: figures in, sentences out.

A sentence is said only of enough requests, and of changes that chance rarely makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext, ngettext

from request_images.aggregation.facets import Facet
from request_images.aggregation.histograms import percentile
from request_images.aggregation.periods import Period
from request_images.aggregation.standouts import Share, Standout
from request_images.aggregation.tallies import Tally
from request_images.charts import Notation, Quantity
from request_images.conf import conf
from request_images.models import RequestImage
from request_images.models.job_locks import last_ended
from request_images.outcome import CaptureStatus
from request_images.query.labels import described, slower_texts
from request_images.query.links import Links
from request_images.statistics.summarize import summarize

from .forecast import since_ever, stock_of
from .overview import Newcomer, Overview
from .panels import Asked

ENOUGH = 200
"""Below so many requests, p95 is a matter of ten of them."""
CHANGE = 0.2
"""A smaller change of p95 is not told."""
MOST = 3
"""So many classes are told at the most: the others are in the table."""
DROPPED = (
    CaptureStatus.TOO_LARGE,
    CaptureStatus.UNSUPPORTED,
    CaptureStatus.UNREADABLE,
    CaptureStatus.TRUNCATED,
    CaptureStatus.OVER_BUDGET,
    CaptureStatus.STORE_FAILED,
)
_LATE = timedelta(days=2)


@dataclass(frozen=True)
class Sentence:
    """Something to know.

    Attributes:
        text: The sentence, with the number of requests that it is about.
        href: Where those are; empty for nowhere.
        is_bad: Whether it is bad news.
    """

    text: str
    href: str = ""
    is_bad: bool = True


class Writer:
    """Writes sentences in the reader's language.

    Args:
        notation: The reader's.
        links: Where requests are to be seen.
    """

    def __init__(self, notation: Notation, links: Links) -> None:
        self._notation, self._links = notation, links

    def comparing(self, overview: Overview) -> Iterator[Sentence]:
        """Say what compares some requests with others, of those that are all counted.

        What a part of them says may be the opposite, and another one in a minute.
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

    def of_failing(self, standouts: Sequence[Standout]) -> Iterator[Sentence]:
        """Say which classes fail more often than the others."""
        text = gettext("%(class)s: %(share)s fail, against %(rest)s of the others")
        yield from self._of_classes(standouts, text, {"outcome": "failed"})

    def of_slow(
        self, standouts: Sequence[Standout], slow_ms: float
    ) -> Iterator[Sentence]:
        """Say which classes are among the slowest tenth more often than the others.

        Args:
            standouts: The classes.
            slow_ms: How long each of the slowest tenth took at the least.
        """
        text = gettext(
            "%(class)s: %(share)s are among the slowest tenth, against %(rest)s of the "
            "others"
        )
        texts = slower_texts(slow_ms, self._links.texts.get("duration", ""))
        yield from self._of_classes(standouts, text, texts)

    def of_release(self, newest: Newcomer) -> Iterator[Sentence]:
        """Say how p95 changed since a release came."""
        up = gettext("p95 %(now)s, up %(change)s since release %(release)s")
        down = gettext("p95 %(now)s, down %(change)s since release %(release)s")
        texts = {"release": newest.name, "sort": "slowest"}
        yield from self._of_p95(newest.tally, newest.others, (up, down), texts)

    def of_period(self, now: Tally, before: Tally) -> Iterator[Sentence]:
        """Say how p95 and the failures changed since the period before."""
        up = gettext("p95 %(now)s, up %(change)s since the period before")
        down = gettext("p95 %(now)s, down %(change)s since the period before")
        yield from self._of_p95(now, before, (up, down), {"sort": "slowest"})
        rates = Standout("", "", _failed(now), _failed(before))
        if min(now.count, before.count) >= ENOUGH and rates.gap > 0:
            text = gettext("%(now)s of the requests fail, %(before)s did before")
            numbers = {
                "now": self._share(rates.share.rate),
                "before": self._share(rates.rest.rate),
            }
            href = self._links.to(outcome="failed")
            yield self._sentence(text % numbers, now, href, is_bad=rates.is_worse)

    def of_dropped(self, statuses: Mapping[str, Tally]) -> Iterator[Sentence]:
        """Say how many images were not kept although they were to be, and why."""
        for status in DROPPED:
            count = statuses.get(status.value, Tally()).count
            if count:
                text = ngettext(
                    "%(count)s image was not kept: %(why)s",
                    "%(count)s images were not kept: %(why)s",
                    count,
                )
                numbers = {"count": self._count(count), "why": status.label}
                href = self._links.having(Facet.CAPTURE_STATUS, status.value)
                yield Sentence(text % numbers, href)

    def of_storage(self, days: int, href: str) -> Sentence:
        """Say when there will be no room any more."""
        text = ngettext(
            "The storage is full in %(days)s day, if it goes on like this",
            "The storage is full in %(days)s days, if it goes on like this",
            days,
        )
        return Sentence(text % {"days": self._count(days)}, href)

    def of_cleanup(
        self, ran_at: datetime | None, waiting: timedelta, now: datetime, href: str
    ) -> Iterator[Sentence]:
        """Say that the cleanup has not run for long.

        Args:
            ran_at: When it last ended; None when that was never.
            waiting: For how long there has been something for it to do.
            now: The present.
            href: Where more is told of it.
        """
        if waiting < _LATE:
            return
        if ran_at is None:
            yield Sentence(gettext("cleanup_old_images has never run"), href)
        elif now - ran_at >= _LATE:
            days = (now - ran_at).days
            text = gettext("cleanup_old_images last ran %(days)s days ago")
            yield Sentence(text % {"days": self._count(days)}, href)

    def _of_classes(
        self, standouts: Sequence[Standout], text: str, texts: dict[str, str]
    ) -> Iterator[Sentence]:
        worse = [standout for standout in standouts if standout.is_worse]
        for standout in worse[:MOST]:
            facet = Facet(standout.name)
            numbers = {
                "class": described(facet, standout.key),
                "share": self._share(standout.share.rate),
                "rest": self._share(standout.rest.rate),
            }
            href = self._links.having(facet, standout.key, **texts)
            yield self._sentence(text % numbers, standout.share, href)

    def _of_p95(
        self, now: Tally, before: Tally, texts: tuple[str, str], link: dict[str, str]
    ) -> Iterator[Sentence]:
        if min(now.count, before.count) < ENOUGH:
            return
        late, early = _p95(now), _p95(before)
        change = late / early - 1
        if abs(change) >= CHANGE:
            numbers = {
                "now": self._notation.write(late, Quantity.DURATION),
                "change": self._share(abs(change)),
                "release": link.get("release", ""),
            }
            is_up = change > 0
            text = texts[0 if is_up else 1] % numbers
            yield self._sentence(text, now, self._links.to(**link), is_bad=is_up)

    def _sentence(
        self, text: str, of: Tally | Share, href: str, *, is_bad: bool = True
    ) -> Sentence:
        counted = ngettext("%(count)s request", "%(count)s requests", of.count)
        counted %= {"count": self._count(of.count)}
        return Sentence(f"{text} ({counted})", href, is_bad)

    def _share(self, share: float) -> str:
        return self._notation.write(share, Quantity.SHARE)

    def _count(self, count: int) -> str:
        return self._notation.write(count, Quantity.COUNT)


def _p95(tally: Tally) -> float:
    return percentile(tally.histogram, 0.95) or 0.0


def _failed(tally: Tally) -> Share:
    return Share(tally.failed, tally.count)


_STOCK_DAYS = 30


def _sentences(
    overview: Overview, asked: Asked, storage_url: str, health_url: str
) -> Iterator[Sentence]:
    """Yield what is to be said, bad news first."""
    found = list(_all_sentences(overview, asked, storage_url, health_url))
    yield from sorted(found, key=lambda sentence: not sentence.is_bad)


def _all_sentences(
    overview: Overview, asked: Asked, storage_url: str, health_url: str
) -> Iterator[Sentence]:
    writer = Writer(asked.notation, asked.links)
    yield from writer.comparing(overview)
    yield from writer.of_dropped(overview.now.values(Facet.CAPTURE_STATUS))
    if conf.MAX_STORED_MB is not None:
        period = Period.last_days(_STOCK_DAYS)
        days = stock_of(summarize(since_ever(period)), period).days_left()
        if days is not None:
            yield writer.of_storage(days, storage_url)
    yield from _of_cleanup(writer, health_url)


def _of_cleanup(writer: Writer, health_url: str) -> Iterator[Sentence]:
    days = conf.RETENTION_DAYS
    oldest = RequestImage.objects.order_by("created_at").first()
    if days is not None and oldest is not None:
        now = timezone.now()
        waiting = now - oldest.created_at - timedelta(days=days)
        ran_at = last_ended("cleanup")
        yield from writer.of_cleanup(ran_at, waiting, now, health_url)
