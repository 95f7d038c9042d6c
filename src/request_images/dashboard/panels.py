"""The panels of a dashboard, which load one by one and are also pages."""

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
from request_images.aggregation.percentiles import BUCKET_RATIO, percentile
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
from request_images.gallery.gallery import images, times_seen
from request_images.gallery.similar import COMMAND
from request_images.models import RequestImage
from request_images.query import labels
from request_images.query.criteria import Criteria, summaries
from request_images.query.links import Links
from request_images.query.paging import MANY, SORTS, Walk
from request_images.statistics.live import limited
from request_images.statistics.summarize import summarize

from .appearance import looks_of
from .figures import Figures
from .forecast import PROJECTED_DAYS, since_ever, stock_of
from .overview import Overview
from .samples import marks_of, repeated_images

STRIP_SIZE = 8
"""The number of pictures in a strip."""


@dataclass(frozen=True)
class PanelInput:
    """The input of a panel.

    Attributes:
        criteria: The criteria of the requests.
        period: The period in whole hours.
        links: The links to the pages of requests.
        notation: The notation of numbers and times for the reader.
        picture_url: Returns the URL of the page of an image by its primary key; empty
            if the reader has no permission to see images.
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
        """The criteria with the period."""
        return self.criteria.within(self.period)


def heat(panel: PanelInput) -> Mapping[str, Any]:
    """Draw the duration distribution over time."""
    [now] = summaries(panel.criteria, [panel.period])
    figures = Figures(Overview(now, now), panel.links, panel.notation)
    return {"chart": figures.heat()}


def properties(panel: PanelInput) -> Mapping[str, Any]:
    """Draw the failures and durations of each group of each property."""
    [now] = summaries(panel.criteria, [panel.period])
    figures = Figures(Overview(now, now), panel.links, panel.notation)
    facets = [each for each in COMPARED if each not in PROMINENT]
    return {"charts": [figures.by(facet) for facet in facets]}


def pixels(panel: PanelInput) -> Mapping[str, Any]:
    """Draw durations by the megapixels of the images."""
    [now] = summaries(panel.criteria, [panel.period])
    sized = Tally()
    for value, tally in now.values(MEGAPIXELS).items():
        if value:
            sized.add(tally)
    # The start of the bucket, so that the whole slowest percent is included.
    slow_ms = (percentile(sized.histogram, 0.99) or 0.0) / BUCKET_RATIO**0.5
    marks = marks_of(panel.within, sized.count, slow_ms, panel.picture_url)
    heading = Heading("pixels", gettext("Duration by megapixels"))
    chart = scatter(
        heading,
        marks.dots,
        total=marks.total,
        is_whole=marks.is_whole,
        name=gettext("Megapixels"),
        notation=panel.notation,
    )
    return {"chart": chart}


def repeated(panel: PanelInput) -> Mapping[str, Any]:
    """List the most repeated images, and the time that a cache would have saved."""
    found, since = repeated_images(panel.within)
    first, last = since or panel.period.since, panel.period.until
    rows = [
        {
            "picture": panel.thumbnail(each.image),
            "text": times_seen({"seen": each.seen, "failed": each.failed}),
            "saved": gettext("a cache would have saved %(time)s")
            % {"time": panel.notation.write(each.saved_ms, Quantity.DURATION)},
            # Only users who may see images may see hashes.
            "url": panel.picture_url(each.image.pk)
            and panel.links.within(first, last, hash=each.image.image_hash),
        }
        for each in found
    ]
    return {"repeated": rows, "since": since}


def storage(panel: PanelInput) -> Mapping[str, Any]:
    """Draw the stored bytes over time, and their forecast."""
    return {"chart": storage_chart(panel.notation)}


def storage_chart(notation: Notation) -> Chart:
    """Draw the stored bytes of all endpoints in the last 90 days, and the forecast."""
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


def pictures(panel: PanelInput) -> Mapping[str, Any]:
    """Show the pictures of the latest failures and of the slowest requests."""
    strips = [(gettext("Slowest requests"), panel.within, "slowest", _duration)]
    if panel.criteria.texts.get("outcome") != "succeeded":
        failed = panel.within.having(outcome="failed")
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
                    _picture(panel, image, criteria.query(sort=sort), text)
                    for image in shown
                ],
            }
            for (title, criteria, sort, text), shown in zip(strips, found, strict=True)
        ]
    }


def _picture(
    panel: PanelInput,
    image: RequestImage,
    query: str,
    text: Callable[[RequestImage], str],
) -> Mapping[str, Any]:
    url = panel.picture_url(image.pk)
    return {
        "picture": panel.thumbnail(image),
        "url": url and url + query,  # "previous" and "next" stay in this order
        "text": text(image),
    }


def _duration(image: RequestImage) -> str:
    return labels.milliseconds(image.log.duration_ms)


def _failure(image: RequestImage) -> str:
    return labels.status(image.log)


def looks(panel: PanelInput) -> Mapping[str, Any]:
    """Draw the measures that set failed pictures apart."""
    found = looks_of(panel.within)
    bins = {(m.name, each.name): each for m in MEASURES.values() for each in m.bins}
    bars = [
        Bar(
            f"{MEASURES[each.name].label} {range_in_words(bins[each.name, each.key])}",
            [each.share.rate, each.rest.rate],
            [each.share.interval, each.rest.interval],
            panel.links.to(**{each.name: each.key, "outcome": "failed"}),
        )
        for each in found.comparisons
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
        notation=panel.notation,
    )
    text = gettext(
        "The newest analysed pictures were compared: %(bad)s of failed requests, and "
        "%(good)s of others. To analyse the rest, run %(command)s."
    )
    if not found.failed[1] + found.succeeded[1]:
        text = gettext("No picture is analysed yet. To analyse them, run %(command)s.")
    bad, good = (
        _sampled(*each, panel.notation) for each in (found.failed, found.succeeded)
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
    """A panel of the dashboard.

    Attributes:
        title: The title.
        draw: Returns the context of its template.
    """

    title: str | Promise
    draw: Callable[[PanelInput], Mapping[str, Any]]


PANELS: Mapping[str, Panel] = {
    "pictures": Panel(_("Latest failures and slowest requests"), pictures),
    "properties": Panel(_("Failures and durations by other properties"), properties),
    "latency": Panel(_("Duration distribution"), heat),
    "pixels": Panel(_("Duration by megapixels"), pixels),
    "repeated": Panel(_("Repeated images"), repeated),
    "looks": Panel(_("What failed pictures look like"), looks),
    "storage": Panel(_("Storage"), storage),
}
