"""Charts as pages write them: templates, the stylesheet, the reader's language."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.utils import timezone as django_timezone
from django.utils import translation

from request_images.charts import (
    Dot,
    Heading,
    Marker,
    Quantity,
    Slot,
    Stack,
    line_chart,
    scatter,
    stacked_bars,
    tile,
)
from request_images.dashboard.notation import reader_notation
from request_images.query.labels import milliseconds
from tests.charts.test_charts import gallery

BEGIN = datetime(2026, 10, 3, 22, tzinfo=timezone.utc)  # midnight in Berlin
EVIL = "<script>alert(1)</script>"
CSS = Path(finders.find("request_images/charts.css")).read_text()


class Reader(HTMLParser):
    """Collects the elements of a page, and checks that each is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(chart):
    return render_to_string("request_images/charts/chart.html", {"chart": chart})


def latency(**options):
    slots = [
        Slot(
            BEGIN + day * timedelta(days=1),
            BEGIN + (day + 1) * timedelta(days=1),
            (340 * day, 1900.5),
            1200,
            12,
            f"?day={day}&a=b",
        )
        for day in range(5)
    ]
    return line_chart(
        Heading("latency", f"Duration {EVIL}"), ["p50", "p95"], slots, **options
    )


@pytest.fixture
def language(request):
    """Activate the language of the test."""
    with translation.override(getattr(request, "param", "en"), deactivate=True):
        yield


class TestChart:
    def test_chart_has_a_drawing_and_a_table(self):
        reader = Reader(page_of(latency()))
        assert len(reader.all("svg")) == 1
        assert [cell["scope"] for cell in reader.all("th")] == ["col"] * 5 + ["row"] * 5
        assert len(reader.all("caption")) == len(reader.all("summary")) == 1
        # Each slot leads to the same place from the drawing and from the table.
        links = [a["href"] for a in reader.all("a") if a["href"].startswith("?")]
        assert sorted(links) == sorted(2 * [f"?day={day}&a=b" for day in range(5)])

    def test_can_be_skipped_and_scrolled_with_the_keyboard(self):
        reader = Reader(page_of(latency()))
        ids = {attributes.get("id") for _, attributes in reader.elements}
        [skip] = [a for a in reader.all("a") if a.get("class") == "ri-skip"]
        assert skip["href"].removeprefix("#") in ids
        scrolled = [d for d in reader.all("div") if d["class"] == "ri-scroll"]
        assert all(d["tabindex"] == "0" and d["aria-label"] for d in scrolled)

    def test_references_have_targets(self):
        reader = Reader(page_of(latency()))
        ids = [a["id"] for _, a in reader.elements if "id" in a]
        assert len(ids) == len(set(ids))
        [svg] = reader.all("svg")
        assert {svg["aria-labelledby"], svg["aria-describedby"]} <= set(ids)

    def test_chart_works_under_a_strict_csp(self):
        chart = stacked_bars(
            Heading("errors", EVIL),
            [Stack(BEGIN, BEGIN + timedelta(days=1), {EVIL: 2, "b": 1})],
            link=lambda _stack, kind: "?kind" if kind == "b" else "",
        )
        for page in (page_of(latency()), page_of(chart)):
            reader = Reader(page)
            names = {name for _, a in reader.elements for name in a}
            assert not {n for n in names if n == "style" or n.startswith("on")}
            assert reader.all("script") == []

    def test_has_a_legend_with_links(self):
        chart = stacked_bars(
            Heading("errors", "Errors"),
            [Stack(BEGIN, BEGIN + timedelta(days=1), {"a": 2, "b": 1})],
            link=lambda _stack, kind: "?kind=b" if kind == "b" else "",
        )
        reader = Reader(page_of(chart))
        assert len(reader.all("li")) == 2
        links = [a["href"] for a in reader.all("a")]
        assert links == ["?kind=b", "#errors-table", "?kind=b"]

    def test_note_names_rows_left_out(self):
        chart = scatter(Heading("pixels", "Pixels"), [Dot(1, 1)] * 101)
        assert "(The first 100: those that failed, then the slowest.)" in page_of(chart)

    def test_empty_chart_is_a_sentence(self):
        page = page_of(scatter(Heading("pixels", "Pixels"), []))
        assert "No requests in this period." in page
        assert not {"<svg", "<table", "ri-skip"} & set(
            re.findall(r"<\w+|ri-skip", page)
        )


class TestTile:
    def render(self, found):
        return render_to_string("request_images/charts/tile.html", {"tile": found})

    def test_says_its_change_in_words(self):
        page = self.render(
            tile(
                "Failed",
                0.02,
                0.01,
                Quantity.SHARE,
                lower_is_better=True,
                history=[1, 2],
                href="?status=failed",
            )
        )
        reader = Reader(page)
        assert reader.all("a")[0]["href"] == "?status=failed"
        assert "▲ 1.0 points, worse" in page
        assert "before: 1\u00a0%" in page
        assert len(reader.all("svg")) == 1

    def test_unknown_values_are_left_out(self):
        page = self.render(tile(EVIL, None, None, Quantity.DURATION))
        reader = Reader(page)
        assert [name for name, _ in reader.elements] == ["a", "span", "span"]
        assert "href" not in reader.all("a")[0]

    def test_neutral_change_has_no_colour(self):
        page = self.render(tile("Requests", 2, 1, Quantity.COUNT))
        assert "▲ 100\u00a0%<" in page


class TestStylesheet:
    def test_every_drawn_class_has_a_style(self):
        drawn = set()
        for chart in gallery():
            for value in re.findall(r'class="([^"]+)"', page_of(chart)):
                drawn |= set(value.split())
        unknown = {name for name in drawn if f".{name}" not in CSS}
        assert unknown == set()

    def test_marks_have_enough_contrast(self):
        """At least 3:1 (WCAG 2.2, 1.4.11) on the backgrounds of the admin."""
        colours = re.findall(r"--ri-(?:\d|bad): (#\w{6});", CSS)
        assert len(colours) == 8
        for background in ("#ffffff", "#f8f8f8", "#121212", "#212121"):
            for colour in colours:
                assert contrast(colour, background) >= 3


def luminance(colour):
    """Return the relative luminance of a colour by WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.usefixtures("language")
class TestLanguage:
    @pytest.mark.parametrize("language", ["de"], indirect=True)
    def test_german(self):
        chart = latency(notation=reader_notation())
        page = page_of(chart)
        assert "4. Okt 2026: p50 0\u00a0ms, p95 1,9\u00a0s; 12 von 1.200 fehl" in page
        assert "Als Tabelle" in page
        assert ">5. Okt<" in page
        assert ">Anfragen<" in page

    @pytest.mark.parametrize("language", ["de"], indirect=True)
    def test_german_tile(self):
        found = tile(
            "Fehler",
            0.02,
            0.01,
            Quantity.SHARE,
            lower_is_better=True,
            notation=reader_notation(),
        )
        assert found.change == "▲ 1,0 Prozentpunkte"
        assert found.verdict_text == "schlechter"

    def test_english(self):
        page = page_of(latency(notation=reader_notation()))
        assert "Oct 4, 2026: p50 0\u00a0ms, p95 1.9\u00a0s; failed 12 of 1,200" in page
        assert ">Oct 5<" in page

    def test_writes_hours_months_and_years(self):
        notation = reader_notation()
        for span, text in (
            (timedelta(hours=9), ">2 a.m.<"),
            (timedelta(days=200), ">Jan 2027<"),
            (timedelta(days=4000), ">2028<"),
        ):
            slot = Slot(BEGIN, BEGIN + span, (1,))
            chart = line_chart(Heading("a", "a"), ["p50"], [slot], notation=notation)
            assert text in chart.svg
        at_three = Marker(BEGIN + timedelta(hours=3), "2.0")
        assert (
            "2.0, Oct 4, 2026, 3 a.m."
            in latency(markers=[at_three], notation=notation).svg
        )

    def test_numbers_are_rounded(self):
        assert reader_notation().number(99.96, 1) == "100.0"
        assert milliseconds(12.58) == "12.6 ms"

    def test_days_follow_the_current_time_zone(self):
        with django_timezone.override("America/New_York"):
            page = page_of(latency(notation=reader_notation()))
        assert "Oct 3, 2026, 6 p.m.: p50" in page

    def test_without_time_zones(self, settings):
        settings.USE_TZ = False
        assert reader_notation().zone is None
