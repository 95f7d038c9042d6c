"""The panels of a dashboard that load on their own: each a page, and a part of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from request_images.aggregation.bins import range_in_words
from request_images.aggregation.histograms import BUCKET_RATIO, percentile
from request_images.aggregation.periods import Period
from request_images.aggregation.properties import (
    COMPARED,
    MEASURES,
    MEGAPIXELS,
    PROMINENT,
)
from request_images.aggregation.tallies import Tally
from request_images.charts import (
    Bar,
    Chart,
    Heading,
    Level,
    Measure,
    Notation,
    Quantity,
    bar_chart,
    growth_chart,
    scatter,
)
from request_images.gallery.rows import images, times_seen
from request_images.gallery.similar import COMMAND
from request_images.models import RequestImage
from request_images.query import labels
from request_images.query.criteria import Criteria
from request_images.query.links import Links
from request_images.query.paging import MANY, SORTS, Walk
from request_images.query.summaries import summaries
from request_images.statistics.live import limited
from request_images.statistics.summarize import summarize

from .appearance import looks_of
from .figures import Figures
from .forecast import PROJECTED_DAYS, since_ever, stock_of
from .overview import Overview
from .samples import marks_of, repeated_images

STRIP_SIZE = 8
"""How many pictures stand beside each other."""


@dataclass(frozen=True)
class Asked:
    """What a panel is about, and how it is written.

    Attributes:
        criteria: Which requests.
        period: The whole hours of them.
        links: Where requests are to be seen.
        notation: The reader's.
        picture_url: Returns the URL of the page of an image by its primary key; empty
            for those who may not see it.
        thumbnail: Returns the HTML of an image's thumbnail; empty likewise.
    """

    criteria: Criteria
    period: Period
    links: Links
    notation: Notation
    picture_url: Callable[[int], str]
    thumbnail: Callable[[RequestImage], SafeString | str]

    @property
    def within(self) -> Criteria:
        """The criteria with the period, also where none was given."""
        return self.criteria.within(self.period)


def heat(asked: Asked) -> Mapping[str, Any]:
    """Draw how many requests took how long over time."""
    [now] = summaries(asked.criteria, [asked.period])
    figures = Figures(Overview(now, now), asked.links, asked.notation)
    return {"chart": figures.heat()}


def properties(asked: Asked) -> Mapping[str, Any]:
    """Draw the failures and durations of each class, by one property after another."""
    [now] = summaries(asked.criteria, [asked.period])
    figures = Figures(Overview(now, now), asked.links, asked.notation)
    facets = [each for each in COMPARED if each not in PROMINENT]
    return {"charts": [figures.by(facet) for facet in facets]}


def pixels(asked: Asked) -> Mapping[str, Any]:
    """Draw how long requests took by the megapixels of their images."""
    [now] = summaries(asked.criteria, [asked.period])
    sized = Tally()
    for value, tally in now.values(MEGAPIXELS).items():
        if value:
            sized.add(tally)
    # From the beginning of its bucket, so that none of the slowest percent is left out.
    slow_ms = (percentile(sized.histogram, 0.99) or 0.0) / BUCKET_RATIO**0.5
    marks = marks_of(asked.within, sized.count, slow_ms, asked.picture_url)
    heading = Heading("pixels", gettext("Duration by megapixels"))
    chart = scatter(
        heading,
        marks.dots,
        total=marks.total,
        is_whole=marks.is_whole,
        name=gettext("Megapixels"),
        notation=asked.notation,
    )
    return {"chart": chart}


def repeated(asked: Asked) -> Mapping[str, Any]:
    """List the images that came most often, and what a cache would have saved."""
    found, since = repeated_images(asked.within)
    first, last = since or asked.period.since, asked.period.until
    rows = [
        {
            "picture": asked.thumbnail(each.image),
            "text": times_seen({"seen": each.seen, "failed": each.failed}),
            "saved": gettext("a cache would have saved %(time)s")
            % {"time": asked.notation.write(each.saved_ms, Quantity.DURATION)},
            # Hashes are for those who may see images.
            "url": asked.picture_url(each.image.pk)
            and asked.links.within(first, last, hash=each.image.image_hash),
        }
        for each in found
    ]
    return {"repeated": rows, "since": since}


def storage(asked: Asked) -> Mapping[str, Any]:
    """Draw what is stored by when it came, and how much it will be."""
    return {"chart": storage_chart(asked.notation)}


def storage_chart(notation: Notation) -> Chart:
    """Draw what is stored, of all endpoints and the last ninety days."""
    period = Period.last_days(90)
    stock = stock_of(summarize(since_ever(period)), period)
    levels = [Level(end, size) for end, size in stock.levels()]
    projection = [
        Level(period.until + timedelta(days=day), stock.expected(day))
        for day in range(1, PROJECTED_DAYS + 1)
    ]
    title = gettext("Stored bytes and their forecast")
    heading = Heading("storage", title, empty=gettext("Nothing is stored."))
    if not stock.total:
        levels, projection = [], []
    return growth_chart(
        heading, levels, projection=projection, limit=stock.limit, notation=notation
    )


def pictures(asked: Asked) -> Mapping[str, Any]:
    """Show the pictures of what failed last, and of what took longest."""
    strips = [(gettext("Slowest requests"), asked.within, "slowest", _duration)]
    if asked.criteria.texts.get("outcome") != "succeeded":
        failed = asked.within.having(outcome="failed")
        strips.insert(0, (gettext("Latest failures"), failed, "newest", _failure))
    with limited(RequestImage.objects.db):
        found = [
            Walk(images(), criteria, SORTS[sort]).page(STRIP_SIZE)
            for _title, criteria, sort, _text in strips
        ]
    return {
        "strips": [
            {
                "title": title,
                "pictures": [
                    _picture(asked, image, criteria.query(sort=sort), text)
                    for image in shown
                ],
            }
            for (title, criteria, sort, text), shown in zip(strips, found, strict=True)
        ]
    }


def _picture(
    asked: Asked, image: RequestImage, query: str, text: Callable[[RequestImage], str]
) -> Mapping[str, Any]:
    url = asked.picture_url(image.pk)
    return {
        "picture": asked.thumbnail(image),
        "url": url and url + query,  # previous and next stay among these
        "text": text(image),
    }


def _duration(image: RequestImage) -> str:
    return labels.milliseconds(image.log.duration_ms)


def _failure(image: RequestImage) -> str:
    return labels.status(image.log)


def looks(asked: Asked) -> Mapping[str, Any]:
    """Draw what pictures of failed requests look like, and others do not."""
    found = looks_of(asked.within)
    bins = {(m.name, each.name): each for m in MEASURES.values() for each in m.bins}
    bars = [
        Bar(
            f"{MEASURES[each.name].label} {range_in_words(bins[each.name, each.key])}",
            [each.share.rate, each.rest.rate],
            [each.share.interval, each.rest.interval],
            asked.links.to(**{each.name: each.key, "outcome": "failed"}),
        )
        for each in found.standouts
    ]
    nothing = gettext(
        "Nothing stands out. Fewer than 30 pictures of either kind are not compared."
    )
    chart = bar_chart(
        Heading("looks", gettext("What failed pictures look like"), empty=nothing),
        gettext("Group"),
        [
            Measure(gettext("of the failed"), Quantity.SHARE, "ri-bad"),
            Measure(gettext("of the others"), Quantity.SHARE),
        ],
        bars,
        notation=asked.notation,
    )
    text = gettext(
        "The newest analysed pictures were compared: %(bad)s of failed requests, and "
        "%(good)s of others. To analyse the rest, run %(command)s."
    )
    bad, good = (
        _sampled(*each, asked.notation) for each in (found.failed, found.succeeded)
    )
    return {
        "chart": chart,
        "notes": [text % {"bad": bad, "good": good, "command": COMMAND}],
    }


def _sampled(some: int, count: int, notation: Notation) -> str:
    if count > MANY:
        text = gettext("%(some)s of more than %(count)s")
        count = MANY
    else:
        text = gettext("%(some)s of %(count)s")
    numbers = {"some": some, "count": count}
    return text % {n: notation.write(v, Quantity.COUNT) for n, v in numbers.items()}


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: What it shows.
        draw: Returns what its template needs.
    """

    title: str | Promise
    draw: Callable[[Asked], Mapping[str, Any]]


PANELS: Mapping[str, Panel] = {
    "pictures": Panel(_("Latest failures and slowest requests"), pictures),
    "properties": Panel(_("Failures and durations by other properties"), properties),
    "latency": Panel(_("Duration distribution"), heat),
    "pixels": Panel(_("Duration by megapixels"), pixels),
    "repeated": Panel(_("Repeated images"), repeated),
    "looks": Panel(_("What failed pictures look like"), looks),
    "storage": Panel(_("Storage"), storage),
}
