"""Charts: valid SVG and the same numbers in the table, whatever the numbers are."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from request_images.charts import (
    Bar,
    Cell,
    Chart,
    Dot,
    Heading,
    Level,
    Marker,
    Measure,
    Notation,
    Quantity,
    Slot,
    Stack,
    Verdict,
    bar_chart,
    growth_chart,
    heatmap,
    line_chart,
    scatter,
    stacked_bars,
    tile,
)
from request_images.charts.heatmap import SHADES, shade_limits
from request_images.charts.scales import linear, logarithmic, spread
from request_images.charts.svg import cut, tag, width_of
from request_images.charts.time_axis import seconds, ticks
from tests import drawings

HEADING = Heading("name", "What it shows")
BEGIN = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
EVIL = '</title><script>alert("1")</script> onload=x ' + "x" * 200
RIGHT_TO_LEFT = "\u202eabc\u2066 \u05d0\u05d1 \x00\ud800"
MEASURES = [
    Measure("requests", Quantity.COUNT),
    Measure("failed", Quantity.SHARE, "ri-bad"),
    Measure("p95", Quantity.DURATION, "ri-slow"),
]

amounts = st.floats(0, 1e18) | st.sampled_from([0.0, 1.0, 5e-324, 1e18])
texts = st.text(max_size=300) | st.sampled_from([EVIL, RIGHT_TO_LEFT, "", "a"])


def lines(rows, **options):
    """Return a chart of one row of values for each hour."""
    slots = [
        Slot(BEGIN + i * HOUR, BEGIN + (i + 1) * HOUR, row, 40, 12, f"?hour={i}&x=1")
        for i, row in enumerate(rows)
    ]
    names = [f"p{i}" for i in range(len(rows[0]) if rows else 0)]
    return line_chart(HEADING, names, slots, **options)


def stack(hour, counts):
    return Stack(BEGIN + hour * HOUR, BEGIN + (hour + 1) * HOUR, counts)


def cell(hour, low, count, **options):
    begin = BEGIN + hour * HOUR
    return Cell(begin, begin + HOUR, low, low * 2, count, **options)


def levels(values):
    return [Level(BEGIN + i * HOUR, value) for i, value in enumerate(values)]


def gallery(text="name", href="?a=1&b=2"):
    """Return one chart of each kind, with a text wherever texts can be."""
    heading = Heading("name", text, empty=text)
    marker = Marker(BEGIN + HOUR, text, href)
    slots = [
        Slot(BEGIN + i * HOUR, BEGIN + (i + 1) * HOUR, (i,), 3, 1, href)
        for i in range(3)
    ]
    return [
        line_chart(heading, ["p50"], slots, markers=[marker]),
        heatmap(heading, [cell(0, 1, 3, href=href), cell(1, 2, 9, href=href)]),
        scatter(
            heading,
            [Dot(1, 2, True, href, text), Dot(3, 4, False, href, text)],
            name="megapixels",
        ),
        bar_chart(
            heading,
            text,
            MEASURES,
            [Bar(text, (1, 0.5, None), (None, (0.1, 0.9)), href)],
        ),
        stacked_bars(
            heading,
            [stack(0, {text: 2, "b": 1}), stack(1, {})],
            link=lambda _stack, _kind: href,
        ),
        growth_chart(
            heading,
            [Level(BEGIN, 1), Level(BEGIN + HOUR, 2)],
            projection=[Level(BEGIN + 2 * HOUR, 3)],
            limit=4,
        ),
    ]


class TestEveryChart:
    @pytest.mark.parametrize("number", range(6))
    def test_has_a_name_and_links(self, number):
        chart = gallery()[number]
        root = drawings.parse(chart)
        ids = {e.get("id"): e.text for e in root.iter() if e.get("id")}
        assert root.get("role") == "graphics-document"
        assert ids[root.get("aria-labelledby")] == "name"
        assert ids[root.get("aria-describedby")]
        # Only the levels of the growth chart have no links.
        assert set(drawings.links(chart)) == ({"?a=1&b=2"} if number < 5 else set())
        assert len(drawings.tooltips(chart)) >= len(drawings.links(chart))
        assert all(
            len(row.cells) == len(chart.table.columns) - 1 for row in chart.table.rows
        )

    @settings(max_examples=60, deadline=None)
    @given(texts)
    def test_is_valid_svg_whatever_its_texts_are(self, text):
        for chart in gallery(text, href='?"><script>'):
            assert drawings.outside(chart) == []
            tags = {
                e.tag.removeprefix(drawings.NS) for e in drawings.parse(chart).iter()
            }
            assert tags <= {
                *("svg", "title", "desc", "g", "a"),
                *("path", "rect", "circle", "text"),
            }

    @pytest.mark.parametrize("text", [EVIL, "name"])
    def test_has_neither_styles_nor_scripts(self, text):
        for chart in gallery(text):
            names = {key for e in drawings.parse(chart).iter() for key in e.attrib}
            assert not {n for n in names if n == "style" or n.startswith("on")}
            assert "<script" not in chart.svg

    def test_cut_label_is_whole_in_its_tooltip(self):
        [chart] = [bar_chart(HEADING, "", MEASURES[:1], [Bar(EVIL, (1,))])]
        [name] = drawings.with_class(chart, "ri-end")
        assert name.text.endswith("…")
        assert len(name.text) < 40
        assert drawings.tooltips(chart)[0].startswith(EVIL)

    def test_name_does_not_change_the_text_direction(self):
        chart = stacked_bars(HEADING, [stack(0, {RIGHT_TO_LEFT: 1})])
        [text] = drawings.tooltips(chart)
        assert "\u2068abc \u05d0\u05d1 \ufffd\ufffd\u2069: 1" in text
        assert "\u202e" not in chart.svg

    def test_long_title_is_cut(self):
        chart = bar_chart(HEADING, "", MEASURES[:1], [Bar("y" * 10_000, (1,))])
        assert len(chart.svg) < 3_000

    def test_without_data_is_a_sentence(self):
        charts = [
            line_chart(HEADING, ["p50"], []),
            lines([(None,)]),
            heatmap(HEADING, [cell(0, 1, 0)]),
            scatter(HEADING, []),
            bar_chart(HEADING, "", MEASURES, []),
            stacked_bars(HEADING, [stack(0, {"a": 0})]),
            growth_chart(HEADING, levels([1])),
        ]
        for chart in charts:
            assert (chart.svg, chart.table) == ("", None)
            assert chart.note == "No requests in this period."

    def test_without_data_shows_the_given_sentence(self):
        heading = Heading("name", "title", empty="Nothing yet.")
        assert scatter(heading, []).note == "Nothing yet."

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 1e19])
    @pytest.mark.parametrize(
        "draw",
        [
            lambda bad: lines([(bad,)]),
            lambda bad: heatmap(HEADING, [cell(0, 1, bad)]),
            lambda bad: heatmap(HEADING, [cell(0, bad, 1)]),
            lambda bad: scatter(HEADING, [Dot(bad, 1)]),
            lambda bad: scatter(HEADING, [Dot(1, bad)]),
            lambda bad: bar_chart(HEADING, "", MEASURES[:1], [Bar("a", (bad,))]),
            lambda bad: stacked_bars(HEADING, [stack(0, {"a": bad})]),
            lambda bad: growth_chart(HEADING, levels([1, bad])),
            lambda bad: growth_chart(HEADING, levels([1, 1]), limit=bad),
            lambda bad: tile("a", bad, None, Quantity.COUNT),
        ],
    )
    def test_refuses_numbers_that_cannot_be_drawn(self, draw, bad):
        with pytest.raises(ValueError, match=re.escape(f"{bad!r} cannot be drawn")):
            draw(bad)

    @pytest.mark.parametrize(
        "draw",
        [
            lambda: line_chart(HEADING, ["a", "b"], [Slot(BEGIN, BEGIN, (1,))]),
            lambda: line_chart(HEADING, ["a"], [Slot(BEGIN, BEGIN, (1,))]),
            lambda: heatmap(HEADING, [Cell(BEGIN, BEGIN + HOUR, 2, 2, 1)]),
            lambda: bar_chart(HEADING, "", MEASURES, [Bar("a", (1,))]),
        ],
    )
    def test_refuses_inconsistent_arguments(self, draw):
        with pytest.raises(ValueError, match=r"needs a value|a period|a class"):
            draw()

    def test_needs_no_django(self):
        code = "import sys, request_images.charts; sys.exit('django' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_accepts_naive_moments(self):
        begin = datetime(2026, 3, 1)
        slot = Slot(begin, begin + HOUR, (1,))
        berlin = Notation(zone=ZoneInfo("Europe/Berlin"))
        chart = line_chart(HEADING, ["p50"], [slot], notation=berlin)
        assert drawings.tooltips(chart) == ["01 Mar 2026: p50 1\u00a0ms"]


class TestLines:
    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(st.tuples(st.none() | amounts, st.none() | amounts), max_size=30),
        st.lists(st.tuples(st.floats(-2, 40), texts), max_size=8),
    )
    def test_stay_inside(self, rows, releases):
        markers = [Marker(BEGIN + HOUR * at, text) for at, text in releases]
        chart = lines(rows, markers=markers)
        assert not chart.svg or drawings.outside(chart) == []

    def test_have_gaps_where_values_are_missing(self):
        chart = lines([(1,), (2,), (None,), (3,), (4,)])
        [line] = drawings.with_class(chart, "ri-line")
        assert line.get("d").count("M") == 2
        assert "2 AM" not in chart.svg
        assert len(drawings.links(chart)) == 4

    def test_show_an_isolated_point(self):
        rows = [(1,) if i == 50 or i < 10 else (None,) for i in range(100)]
        dots = drawings.with_class(lines(rows), "ri-dot")
        shown = [dot for dot in dots if "ri-faint" not in dot.get("class")]
        assert (len(dots), len(shown)) == (11, 1)

    def test_tooltip_has_all_values_of_a_slot(self):
        [text] = drawings.tooltips(lines([(340, 1900)]))
        assert text == ("01 Mar 2026: p0 340\u00a0ms, p1 1.9\u00a0s; failed 12 of 40")

    def test_names_at_the_ends_do_not_overlap(self):
        names = drawings.with_class(lines([(5, 5, 5), (5, 5, None)]), "ri-name")
        places = sorted(float(name.get("y")) for name in names)
        assert len(places) == 3
        assert min(b - a for a, b in pairwise(places)) >= 13.9

    def test_line_without_points_has_no_name(self):
        [name] = drawings.with_class(lines([(5, None)]), "ri-name")
        assert name.text == "p0"

    def test_many_points_stay_inside(self):
        rows = [(i % 97, i % 89) for i in range(10_000)]
        assert drawings.outside(lines(rows)) == []

    def test_release_labels_do_not_overlap(self):
        markers = [
            Marker(BEGIN + HOUR * (i / 4), f"2.{i}.0", f"?release=2.{i}.0")
            for i in range(40)
        ]
        chart = lines([(1,)] * 12, markers=[*markers, Marker(BEGIN - HOUR, "early")])
        assert len(drawings.with_class(chart, "ri-marker")) == 40
        labels = drawings.with_class(chart, "ri-marker-text")
        assert 10 < len(labels) < 40
        rows = {}
        for text in labels:
            rows.setdefault(text.get("y"), []).append(
                (float(text.get("x")), width_of(text.text))
            )
        assert len(rows) == 2
        for row in rows.values():
            for (x, width), (following, _) in pairwise(row):
                assert x + width <= following
        assert "early" not in chart.svg
        assert any(text.startswith("2.17.0, ") for text in drawings.tooltips(chart))

    def test_table_lists_releases(self):
        markers = [Marker(BEGIN + HOUR * 1.5, "2.0"), Marker(BEGIN - HOUR, "1.0")]
        table = lines([(1,), (2,)], markers=markers).table
        assert table.columns[-1] == "Release"
        assert [row.cells[-1] for row in table.rows] == ["", "2.0"]
        assert lines([(1,)]).table.columns[-1] == "Failed"


class TestHeatmap:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 50), st.floats(0.001, 1e8), st.integers(0, 10**9)),
            max_size=40,
        )
    )
    def test_stays_inside(self, rows):
        chart = heatmap(HEADING, [cell(*row) for row in rows])
        assert not chart.svg or drawings.outside(chart) == []

    @settings(deadline=None)
    @given(st.integers(1, 10**12))
    def test_each_count_has_one_shade(self, largest):
        limits = shade_limits(largest)
        assert limits == sorted(set(limits))
        assert limits[-1] == largest
        assert limits[0] >= 1
        assert len(limits) == min(SHADES, largest)

    def test_largest_count_is_darkest(self):
        chart = heatmap(HEADING, [cell(0, 1, 1), cell(0, 2, 50), cell(1, 1, 1000)])
        rects = [
            e for e in drawings.parse(chart).iter() if "heat" in e.get("class", "")
        ]
        assert [e.get("class") for e in rects] == [
            "ri-heat-1",
            "ri-heat-4",
            "ri-heat-6",
        ]

    def test_legend_explains_the_shades(self):
        assert [key.text for key in heatmap(HEADING, [cell(0, 1, 8)]).keys] == [
            "1",
            "2",
            "3",
            "4",
            "5\u20136",
            "7\u20138 requests",
        ]
        [key] = heatmap(HEADING, [cell(0, 1, 1)]).keys
        assert key.text == "1 request"

    def test_has_a_tooltip_for_each_cell_and_a_row_for_each_period(self):
        cells = [cell(0, 1000, 40), cell(0, 2000, 2), cell(1, 1000, 1)]
        chart = heatmap(HEADING, cells)
        assert drawings.tooltips(chart) == [
            "01 Mar 2026, 1\u20132\u00a0s: 40 requests",
            "01 Mar 2026, 2\u20134\u00a0s: 2 requests",
            "01 Mar 2026 01:00, 1\u20132\u00a0s: 1 request",
        ]
        assert [row.cells for row in chart.table.rows] == [
            ["40", "2", "42"],
            ["1", "0", "1"],
        ]


class TestScatter:
    dots = st.builds(Dot, amounts, amounts, st.booleans())

    @settings(max_examples=60, deadline=None)
    @given(st.lists(dots, max_size=50))
    def test_stays_inside(self, points):
        chart = scatter(HEADING, points)
        assert not chart.svg or drawings.outside(chart) == []

    def test_table_begins_with_failed_and_slowest(self):
        points = [Dot(1, i, i % 50 == 0) for i in range(200)]
        rows = scatter(HEADING, points).table.rows
        heads = [row.head.removesuffix("\u00a0ms") for row in rows[:8]]
        assert heads == ["0", "50", "100", "150", "198", "199", "1", "2"]
        assert [row.cells[1] for row in rows[:6]] == ["yes"] * 4 + ["no"] * 2

    def test_says_that_a_sample_is_drawn(self):
        points = [Dot(i % 50, i, i % 20 == 0, f"/{i}/") for i in range(2_000)]
        chart = scatter(HEADING, points, total=1_000_000)
        assert chart.note == (
            "A sample of 2,000 of the 1,000,000 requests whose image has dimensions. "
            "It includes all that failed and the slowest percent."
        )
        crosses = drawings.with_class(chart, "ri-failed")
        circles = drawings.with_class(chart, "ri-ok")
        assert {e.tag for e in crosses} == {f"{drawings.NS}path"}
        assert {e.tag for e in circles} == {f"{drawings.NS}circle"}
        assert (len(crosses), len(circles)) == (100, 1_900)
        assert [key.text for key in chart.keys] == ["succeeded (1,900)", "failed (100)"]
        assert len(chart.table.rows) == 100
        assert chart.table.note
        assert len(chart.svg) < 400_000

    def test_tab_key_visits_only_notable_marks(self):
        chart = scatter(HEADING, [Dot(1, i, i < 5, "/") for i in range(500)])
        stops = [
            e
            for e in drawings.parse(chart).iter(f"{drawings.NS}a")
            if e.get("tabindex") is None
        ]
        assert len(stops) == 5 + 5

    def test_says_when_too_many_failed_to_draw_all(self):
        chart = scatter(HEADING, [Dot(1, 1, True)], total=2, is_whole=False)
        assert "Too many failed or were slow to draw them all." in chart.note

    def test_says_that_all_requests_are_drawn(self):
        assert scatter(HEADING, [Dot(1, 1)]).note == (
            "The one request of this period whose image has dimensions."
        )
        chart = scatter(HEADING, [Dot(2.5, 340, True, text="ValueError"), Dot(0, 0)])
        assert chart.note == "All 2 requests of this period whose image has dimensions."
        # Failed requests lie on top.
        assert drawings.tooltips(chart) == [
            "0\u00a0MP, 0\u00a0ms",
            "2.5\u00a0MP, 340\u00a0ms, failed, ValueError",
        ]
        assert chart.table.rows[0].cells == ["2.5\u00a0MP", "yes", "ValueError"]


class TestBars:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                texts,
                st.tuples(*[st.none() | amounts] * 3),
                st.none() | st.tuples(amounts, amounts).map(sorted).map(tuple),
            ),
            max_size=12,
        )
    )
    def test_stay_inside(self, rows):
        bars = [Bar(text, values, (sure,)) for text, values, sure in rows]
        chart = bar_chart(HEADING, "class", MEASURES, bars)
        assert not chart.svg or drawings.outside(chart) == []

    def test_length_is_proportional_to_the_number(self):
        bars = [Bar("a", (40, 0.3, 1900)), Bar("b", (10, 0, None))]
        chart = bar_chart(HEADING, "class", MEASURES, bars)
        wide, narrow = (
            float(e.get("width")) for e in drawings.with_class(chart, "ri-plain")
        )
        assert wide == pytest.approx(4 * narrow, abs=0.3)
        assert drawings.tooltips(chart) == [
            "a: requests 40, failed 30\u00a0%, p95 1.9\u00a0s",
            "b: requests 10, failed 0\u00a0%, p95 \u2013",
        ]
        assert chart.table.rows[1].cells == ["10", "0\u00a0%", "\u2013"]

    def test_show_the_confidence_interval(self):
        bars = [Bar("a", (0.5,), ((0.25, 1.0),)), Bar("b", (0.5,), (None,))]
        chart = bar_chart(HEADING, "class", [MEASURES[1]], bars)
        [whisker] = drawings.with_class(chart, "ri-range")
        bar = drawings.with_class(chart, "ri-bad")[0]
        xs = [x for x, _ in drawings.walk(whisker.get("d"))]
        start, width = float(bar.get("x")), float(bar.get("width"))
        assert min(xs) == pytest.approx(start + width / 2, abs=0.2)
        assert max(xs) == pytest.approx(start + width * 2, abs=0.2)


class TestStacks:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.dictionaries(texts, st.integers(0, 10**12), max_size=10), max_size=12
        )
    )
    def test_stay_inside_and_add_up(self, rows):
        chart = stacked_bars(HEADING, [stack(i, row) for i, row in enumerate(rows)])
        if chart.svg:
            assert drawings.outside(chart) == []
            shown = [
                int(cell.replace(",", ""))
                for row in chart.table.rows
                for cell in row.cells
            ]
            assert sum(shown) == sum(sum(row.values()) for row in rows)

    def test_six_kinds_have_a_colour_and_the_rest_is_others(self):
        counts = {f"Error{i}": 100 - i for i in range(9)}
        chart = stacked_bars(
            HEADING,
            [stack(0, counts)],
            link=lambda stack, kind: f"?{kind}&{stack and seconds(stack.begin)}",
        )
        assert [key.text for key in chart.keys][-2:] == ["Error5: 95", "others: 279"]
        assert chart.keys[0].href == "?Error0&None"
        assert drawings.links(chart)[-1] == f"?None&{seconds(BEGIN)}"
        assert chart.table.columns[-1] == "others"

    def test_single_other_kind_keeps_its_name(self):
        chart = stacked_bars(HEADING, [stack(0, {f"E{i}": 1 for i in range(7)})])
        assert chart.keys[-1].text == "E6: 1"

    def test_parts_stand_on_one_another(self):
        chart = stacked_bars(HEADING, [stack(0, {"a": 3, "b": 1, "": 1})])
        [low] = drawings.with_class(chart, "ri-fill-1")
        [high] = drawings.with_class(chart, "ri-fill-3")
        top = float(low.get("y"))
        assert float(high.get("y")) + float(high.get("height")) <= top
        assert "no name" in drawings.tooltips(chart)[1]

    def test_long_name_is_cut_in_the_legend(self):
        [key] = stacked_bars(HEADING, [stack(0, {EVIL: 3})]).keys
        assert key.text.endswith("…: 3")


class TestGrowth:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(amounts, min_size=2, max_size=30),
        st.lists(amounts, max_size=10),
        st.none() | amounts,
    )
    def test_stays_inside(self, values, later, limit):
        everything = levels([*values, *later])
        known, projection = everything[: len(values)], everything[len(values) :]
        chart = growth_chart(HEADING, known, projection=projection, limit=limit)
        assert drawings.outside(chart) == []
        assert len(drawings.tooltips(chart)) == len(everything)

    def test_projection_is_marked(self):
        gb = 1024.0**3
        chart = growth_chart(
            HEADING,
            levels([1 * gb, 2 * gb]),
            projection=[Level(BEGIN + 24 * HOUR, 8 * gb)],
            limit=10 * gb,
        )
        assert drawings.tooltips(chart)[-1] == ("02 Mar 2026: 8\u00a0GB (projected)")
        assert [row.cells[1] for row in chart.table.rows] == [
            *["measured"] * 2,
            "projected",
        ]
        assert ">limit 10 GB<" in chart.svg
        assert "to 8\u00a0GB on 02 Mar 2026.</desc>" in chart.svg


class TestTiles:
    @pytest.mark.parametrize(
        ("now", "before", "quantity", "change"),
        [
            (135, 100, Quantity.COUNT, "▲ 35\u00a0%"),
            (65, 100, Quantity.DURATION, "▼ 35\u00a0%"),
            (100.1, 100, Quantity.DURATION, "unchanged"),
            (0, 0, Quantity.COUNT, "unchanged"),
            (3, 0, Quantity.COUNT, "▲ from zero"),
            (2400, 100, Quantity.COUNT, "▲ 24 times as much"),
            (0.021, 0.014, Quantity.SHARE, "▲ 0.7 points"),
            (0.0214, 0.0216, Quantity.SHARE, "unchanged"),
            (3, None, Quantity.COUNT, ""),
            (None, 3, Quantity.COUNT, ""),
        ],
    )
    def test_show_their_change(self, now, before, quantity, change):
        assert tile("a", now, before, quantity).change == change

    @pytest.mark.parametrize(
        ("now", "lower_is_better", "verdict", "text"),
        [
            (2, True, Verdict.WORSE, "worse"),
            (2, False, Verdict.BETTER, "better"),
            (0.5, True, Verdict.BETTER, "better"),
            (2, None, Verdict.NEITHER, ""),
            (1, True, Verdict.NEITHER, ""),
        ],
    )
    def test_verdict_follows_the_direction(self, now, lower_is_better, verdict, text):
        found = tile("a", now, 1, Quantity.COUNT, lower_is_better=lower_is_better)
        assert (found.verdict, found.verdict_text) == (verdict, text)

    @settings(deadline=None)
    @given(st.lists(st.none() | amounts, max_size=40))
    def test_sparkline_needs_two_values(self, history):
        svg = tile("a", 1, 1, Quantity.COUNT, history=history).spark
        known = [value for value in history if value is not None]
        assert bool(svg) is (len(known) > 1)
        if svg:
            assert drawings.outside(Chart(HEADING, svg)) == []


class TestAxes:
    @settings(deadline=None)
    @given(amounts, st.sampled_from(Quantity))
    def test_linear_axis_covers_the_largest_number(self, high, quantity):
        scale = linear(high, 0, 100, quantity)
        assert scale.ticks[0] == 0
        assert 2 <= len(scale.ticks) <= 7
        assert scale.high >= high * (1 - 1e-9)
        assert 0 <= scale(high) <= 100

    @pytest.mark.parametrize(
        ("high", "quantity", "texts"),
        [
            (3600, Quantity.DURATION, "0 ms,1 s,2 s,3 s,4 s"),
            (340, Quantity.DURATION, "0 ms,100 ms,200 ms,300 ms,400 ms"),
            (150_000, Quantity.DURATION, "0 ms,30 s,1 min,1.5 min,2 min,2.5 min"),
            (3, Quantity.COUNT, "0,1,2,3"),
            (0, Quantity.COUNT, "0,1"),
            (0.12, Quantity.SHARE, "0 %,5 %,10 %,15 %"),
            (1.5 * 1024**3, Quantity.BYTES, "0 B,512 MB,1 GB,1.5 GB"),
        ],
    )
    def test_linear_axis_has_round_ticks(self, high, quantity, texts):
        written = [
            Notation().write(tick, quantity)
            for tick in linear(high, 0, 1, quantity).ticks
        ]
        assert ",".join(written).replace("\u00a0", " ") == texts

    @settings(deadline=None)
    @given(
        st.lists(amounts, min_size=1, max_size=5),
        st.sampled_from(Quantity),
        st.integers(3, 10),
    )
    def test_logarithmic_axis_keeps_the_order(self, values, quantity, limit):
        scale = logarithmic(values, 0, 100, quantity, limit)
        assert 1 <= len(scale.ticks) <= limit
        places = [scale(value) for value in sorted(values)]
        assert places == sorted(places)
        assert all(0 <= place <= 100.001 for place in places)

    @pytest.mark.parametrize(
        ("values", "quantity", "texts"),
        [
            ([30, 700], Quantity.DURATION, "20 ms,50 ms,100 ms,200 ms,500 ms,1 s"),
            ([1, 3e5], Quantity.DURATION, "1 ms,10 ms,100 ms,1 s,10 s,1 min"),
            ([0.3, 40], Quantity.MEGAPIXELS, "0.2 MP,0.5 MP,1 MP,2 MP,5 MP,10 MP"),
        ],
    )
    def test_logarithmic_axis_has_round_ticks(self, values, quantity, texts):
        scale = logarithmic(values, 0, 1, quantity, 8)
        written = ",".join(Notation().write(tick, quantity) for tick in scale.ticks)
        assert written.replace("\u00a0", " ").startswith(texts)

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 100), max_size=6))
    def test_spread_labels_keep_their_distance(self, places):
        found = sorted(spread(places, 14, 0, 100))
        gaps = [b - a for a, b in pairwise(found)]
        assert all(gap >= 13.999 for gap in gaps)
        assert all(-0.001 <= place <= 100.001 for place in found)


class TestTime:
    BERLIN = Notation(zone=ZoneInfo("Europe/Berlin"))

    @pytest.mark.parametrize(
        ("span", "texts"),
        [
            (timedelta(minutes=4), "01:00,01:01,01:02,01:03,01:04"),
            (timedelta(hours=1), "01:00,01:15,01:30,01:45,02:00"),
            (timedelta(days=1), "03:00,06:00,09:00,12:00,15:00,18:00,21:00,02 Mar"),
            (timedelta(days=7), "02 Mar,03 Mar,04 Mar,05 Mar,06 Mar,07 Mar,08 Mar"),
            (timedelta(days=30), "02 Mar,09 Mar,16 Mar,23 Mar,30 Mar"),
            (timedelta(days=200), "Apr 2026,May 2026,Jun 2026,Jul 2026,Aug 2026"),
            (timedelta(days=3000), "2027,2028,2029"),
            (timedelta(days=5000), "2028,2030,2032"),
        ],
    )
    def test_ticks_are_at_round_moments(self, span, texts):
        found = [text for _, text in ticks(BEGIN, BEGIN + span, 8, self.BERLIN)]
        assert ",".join(found).startswith(texts)

    def test_too_long_a_period_has_no_ticks(self):
        begin, end = datetime(1, 1, 1), datetime(400, 1, 1)
        assert ticks(begin, end, 2, self.BERLIN) == []

    def test_days_begin_in_the_readers_time_zone(self):
        moments = ticks(BEGIN, BEGIN + timedelta(days=40), 8, self.BERLIN)
        # Summer time began on the 29th of March 2026.
        assert {m.astimezone(timezone.utc).hour for m, _ in moments} == {22, 23}
        assert {m.weekday() for m, _ in moments} == {0}

    @settings(deadline=None)
    @given(
        st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),
        st.integers(60, 10**10),
        st.integers(2, 12),
    )
    def test_ticks_are_few_and_in_order(self, begin, span, limit):
        begin = begin.replace(tzinfo=timezone.utc)
        end = begin + timedelta(seconds=min(span, 10**9 * 3))
        moments = [seconds(m) for m, _ in ticks(begin, end, limit, self.BERLIN)]
        assert len(moments) <= limit
        assert moments == sorted(moments)
        assert all(seconds(begin) <= m <= seconds(end) for m in moments)


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "quantity", "text"),
        [
            (None, Quantity.COUNT, "\u2013"),
            (12_345, Quantity.COUNT, "12,345"),
            (1900, Quantity.DURATION, "1.9 s"),
            (340.4, Quantity.DURATION, "340 ms"),
            (999.96, Quantity.DURATION, "1 s"),
            (0.05, Quantity.DURATION, "0.05 ms"),
            (7.2e6, Quantity.DURATION, "2 h"),
            (12.5 * 1024**2, Quantity.BYTES, "12.5 MB"),
            (0.004, Quantity.SHARE, "0.4 %"),
            (1, Quantity.SHARE, "100 %"),
            (2.3, Quantity.MEGAPIXELS, "2.3 MP"),
            (1e-300, Quantity.MEGAPIXELS, "0 MP"),
        ],
    )
    def test_are_short_and_have_units(self, value, quantity, text):
        assert Notation().write(value, quantity).replace("\u00a0", " ") == text

    @pytest.mark.parametrize(
        ("low", "high", "text"),
        [
            (1000, 2000, "1\u20132 s"),
            (500, 2000, "500 ms\u20132 s"),
            (1000, None, "1 s or more"),
        ],
    )
    def test_ranges_share_their_unit(self, low, high, text):
        written = Notation().between(low, high, Quantity.DURATION)
        assert written.replace("\u00a0", " ") == text

    def test_moment_has_its_time(self):
        assert Notation().when(BEGIN + HOUR) == "01 Mar 2026 01:00"


class TestTexts:
    @settings(deadline=None)
    @given(st.text(), st.floats(20, 300))
    def test_cut_text_fits_its_room(self, text, room):
        assert width_of(cut(text, room)) <= max(room, width_of("…"))

    def test_wide_characters_take_more_room(self):
        assert width_of("图片图片") > width_of("abcd")

    def test_attributes_are_escaped(self):
        assert tag("a", href='"<&\x00', title=None) == (
            '<a href="&quot;&lt;&amp;\ufffd"/>'
        )
        assert tag("g", x=-0.01, y=1.25) == '<g x="0" y="1.2"/>'
