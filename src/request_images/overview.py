"""The numbers of a dashboard: a period, the one before it, and their course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from django.utils import timezone

from .criteria import Criteria
from .facets import Facet
from .histograms import bucket_value, percentile
from .live import Slot
from .models import RequestLog
from .periods import HOUR, Period
from .separation import Share, Standout, separate
from .summary import Summary, summarize_all, summarize_rows
from .tallies import Tally
from .vocabulary import PERIOD

DEFAULT_DAYS = 30
SEPARATED = (
    Facet.MIME_TYPE,
    Facet.MEGAPIXELS,
    Facet.FILE_SIZE,
    Facet.ASPECT,
    Facet.BITS_PER_PIXEL,
    Facet.COLOR_MODE,
    Facet.ANIMATED,
    Facet.ORIENTATION,
    Facet.DECLARED,
    Facet.SEEN_BEFORE,
    Facet.ENDPOINT,
    Facet.RELEASE,
)
"""By what it is looked for what separates requests."""
SLOW_SHARE = 0.9
"""Slower than so many are the slow ones."""
_COURSES = (Facet.ALL, Facet.RELEASE, Facet.ERROR)
_STORED = (Facet.CONTENT, Facet.CONTENT_GONE)
_MOST_HOURS, _MOST_DAYS, _MOST_WEEKS = 72, 100, 100


def period_of(criteria: Criteria) -> Period:
    """Return the whole hours that are asked for; thirty days without a beginning."""
    since, until = criteria.period(timezone.now())
    return Period.of(since or until - timedelta(days=DEFAULT_DAYS), until)


def summaries(criteria: Criteria, periods: Sequence[Period]) -> list[Summary]:
    """Sum up the requests that are asked for, in each of some periods.

    Args:
        criteria: Which requests; its own period does not matter.
        periods: The periods.

    Raises:
        TooManyRequests: They have to be looked at one by one, and are too many.
    """
    rest = criteria.without(*PERIOD)
    if set(rest.values) <= {"endpoint"}:
        return summarize_all(periods, rest.values.get("endpoint"))
    rows = rest.apply(RequestLog.objects.all())
    return [summarize_rows(rows, period) for period in periods]


def slots_of(period: Period) -> list[Slot]:
    """Return what a course is made of: hours, days, weeks or months.

    Days are those of the current time zone; a week has seven of them, a month thirty.
    """
    hours = (period.until - period.since) // HOUR
    if hours <= _MOST_HOURS:
        starts = [period.since + number * HOUR for number in range(hours)]
        return [(start, start + HOUR) for start in starts]
    days = [(since, until) for _, since, until in period.days()]
    step = 1 if len(days) <= _MOST_DAYS else 7
    if len(days) > _MOST_WEEKS * 7:
        step = 30
    chunks = [days[at : at + step] for at in range(0, len(days), step)]
    return [(chunk[0][0], chunk[-1][1]) for chunk in chunks]


@dataclass(frozen=True)
class Newcomer:
    """A release that came within the period.

    Attributes:
        name: Its name.
        since: When its first requests came, as the beginning of a slot.
        tally: Its requests.
        others: Those of the other releases.
    """

    name: str
    since: datetime
    tally: Tally
    others: Tally


class Overview:
    """What a dashboard shows, read when it is asked for.

    Args:
        now: The period.
        before: The period before it, of the same length.
    """

    def __init__(self, now: Summary, before: Summary) -> None:
        self.now, self.before = now, before
        self.period = now.period

    def read(self) -> None:
        """Read what a dashboard shows in a few queries, and not each by itself."""
        self.now.read(Facet.ALL, Facet.CAPTURE_STATUS, *SEPARATED, *_STORED)
        self.before.read(Facet.ALL, Facet.FILE_SIZE, *_STORED)

    @cached_property
    def whole(self) -> Tally:
        """All requests of the period."""
        return self.now.values(Facet.ALL).get("", Tally())

    @cached_property
    def earlier(self) -> Tally:
        """All requests of the period before."""
        return self.before.values(Facet.ALL).get("", Tally())

    @cached_property
    def slots(self) -> list[Slot]:
        """What the course is made of."""
        return slots_of(self.period)

    @cached_property
    def _courses(self) -> dict[Facet, list[dict[str, Tally]]]:
        return self.now.courses(self.slots, _COURSES)

    @cached_property
    def course(self) -> list[Tally]:
        """All requests of each slot."""
        return [cells.get("", Tally()) for cells in self._courses[Facet.ALL]]

    @property
    def releases(self) -> list[dict[str, Tally]]:
        """The requests of each slot by their release."""
        return self._courses[Facet.RELEASE]

    @property
    def errors(self) -> list[dict[str, Tally]]:
        """The failed requests of each slot by what failed."""
        return self._courses[Facet.ERROR]

    def new_releases(self) -> list[tuple[datetime, str]]:
        """Return when each release came, but those that were there from the start."""
        known: set[str] = set()
        found = []
        for (since, _), cells in zip(self.slots, self.releases, strict=True):
            fresh = sorted(set(cells) - known - {""})
            found += [(since, name) for name in fresh if known]
            known |= set(cells)
        return found

    def newest_release(self) -> Newcomer | None:
        """Return the release that came last; None if none did."""
        came = self.new_releases()
        if not came:
            return None
        since, name = came[-1]
        tally, others = Tally(), Tally()
        for value, each in self.now.values(Facet.RELEASE).items():
            (tally if value == name else others).add(each)
        return Newcomer(name, since, tally, others)

    def failing(self) -> list[Standout]:
        """Return what separates failed requests from the others."""
        return separate(
            {
                facet.value: [
                    (value, Share(tally.failed, tally.count))
                    for value, tally in self.now.values(facet).items()
                ]
                for facet in SEPARATED
            }
        )

    def slow(self) -> list[Standout]:
        """Return what separates the slowest tenth from the others."""
        limit = percentile(self.whole.histogram, SLOW_SHARE) or 0.0
        return separate(
            {
                facet.value: [
                    (value, Share(_slower(tally, limit), tally.count))
                    for value, tally in self.now.values(facet).items()
                ]
                for facet in SEPARATED
            }
        )


def newly_stored(summary: Summary) -> int:
    """Return how many bytes of new contents came, those that are gone by now included.

    Args:
        summary: Of all endpoints.
    """
    tallies = [tally for each in _STORED for tally in summary.values(each).values()]
    return sum(tally.total_bytes for tally in tallies)


def _slower(tally: Tally, milliseconds: float) -> int:
    return sum(
        count
        for bucket, count in tally.histogram.items()
        if bucket_value(bucket) > milliseconds
    )
