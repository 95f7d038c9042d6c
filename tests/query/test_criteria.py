"""One set of parameters: what each means, in every place that reads it."""

from __future__ import annotations

import datetime
import re

import pytest
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from request_images.admin.filters import CriteriaFilter
from request_images.admin.list_criteria import list_criteria
from request_images.aggregation.bins import bin_of
from request_images.aggregation.facets import Number
from request_images.aggregation.periods import Period
from request_images.aggregation.properties import (
    ASPECT,
    BITS_PER_PIXEL,
    DECLARED,
    ERROR,
    FILE_SIZE,
    IMAGE_PROPERTIES,
    MEASURES,
    MEGAPIXELS,
    RELEASE,
)
from request_images.models import RequestImage, RequestLog
from request_images.query.criteria import Criteria
from request_images.query.fields import CRITERIA, OF_GALLERY
from request_images.statistics.summarize import summarize_rows
from tests.factories import (
    analysed,
    make_content,
    make_image,
    make_images,
    make_log,
    make_superuser,
    make_user,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db
IMAGES = "admin:request_images_requestimage_changelist"
LOGS = "admin:request_images_requestlog_changelist"
GALLERY = "admin:request_images_requestimage_gallery"
CSV = "admin:request_images_requestlog_csv"
STATS = "request_images:image-performance-stats"
RIGHT = {name: criterion.sample for name, criterion in CRITERIA.items()}
WRONG = [
    *(("days", value) for value in ("0", "3651", "x", "9" * 5000)),
    *(("since", value) for value in ("yesterday", "2026-02-30", "0001-01-01", "9999")),
    *(("until", value) for value in ("2026-01-01T00:00:00 01:00", "1970-12-31")),
    *(("endpoint", value) for value in ("nowhere", "so\0lve", "\udcff")),
    *(("status", value) for value in ("600", "99", "4x", "4xxx", "-1")),
    ("outcome", "middling"),
    ("error_type", "a\0b"),
    ("release", "a\0b"),
    *(("duration", value) for value in ("fast", "500-250", "5-5", "-5", "1e3-")),
    ("capture_status", "lost"),
    ("mime_type", "text/html"),
    *(("width", value) for value in ("-1", "2147483648", "1e3", "٣")),
    ("height", "9" * 40),
    ("megapixels", "2-4"),
    ("file_size", "huge"),
    *(("aspect", value) for value in ("wide", "4:3", "0.8-2")),
    ("bits_per_pixel", "1-4"),
    *(("color_mode", value) for value in ("rgb", "I;16B")),
    *((name, "true") for name in ("animated", "orientation", "seen_before")),
    ("declared", "image/png"),
    *(("hash", value) for value in ("abc", "xyzw", "a" * 65, "ab\0cd")),
    *((name, "much") for name in ("brightness", "contrast", "entropy", "sharpness")),
    *(("layout", value) for value in ("a" * 63, "A" * 64, "x" * 64, "0" * 65, "\0")),
    ("nonsense", "1"),
]


def today() -> Period:
    return Period.last_days(1)


def asked(**texts: str) -> Criteria:
    query = QueryDict(mutable=True)
    query.update(texts)
    return Criteria.of(query)


@pytest.fixture
def pair():
    """Two images: the second matches all of `RIGHT`, the first nothing."""
    usual = {
        "data": draw(size=(24, 32)),
        "created_at": datetime.datetime(2025, 6, 1, tzinfo=datetime.timezone.utc),
    }
    special = {
        "data": draw("GIF"),
        "kept": False,
        "endpoint": "upload",
        "status_code": 422,
        "error_type": "no_barcode",
        "release": "2.4.1",
        "duration_ms": 300,
        "image": {
            "width": 2000,
            "height": 1500,
            "file_size": 2_000_000,
            "image_hash": "abcd" + "0" * 60,
            "color_mode": "CMYK",
            "is_animated": True,
            "has_orientation": True,
            "declared_type": "image/png",
            "is_repeated": True,
            "content": make_content(draw("GIF")),
        },
    }
    usual, special = make_images([usual, special])
    analysed(usual, layout="0" * 55 + "1" + "f" * 8)
    values = {"brightness": 40.4, "contrast": 99, "entropy": 3, "sharpness": 0.5}
    analysed(special, **values, layout="0" * 58 + "f" * 6)
    return usual, special


class TestEachCriterion:
    def test_each_criterion_is_tested(self):
        assert set(RIGHT) == set(CRITERIA)

    @pytest.mark.parametrize("name", [name for name in RIGHT if name != "until"])
    def test_finds_the_image_and_its_log(self, pair, name):
        """Each criterion finds the one image, and the log of this image."""
        criteria = asked(**{name: RIGHT[name]})
        assert list(criteria.apply(RequestImage.objects.all())) == [pair[1]]
        assert list(criteria.apply(RequestLog.objects.all())) == [pair[1].log]

    @pytest.mark.parametrize("name", RIGHT)
    @pytest.mark.parametrize("walked", ["created_at", "log__duration_ms", "file_size"])
    def test_walk_finds_the_same_rows(self, pair, name, walked):
        """The column of the walk changes the plan only."""
        criteria = asked(**{name: RIGHT[name]})
        rows = RequestImage.objects.all()
        assert set(criteria.apply(rows, walked=walked)) == set(criteria.apply(rows))

    @pytest.mark.parametrize("name", RIGHT)
    def test_query_string_round_trip(self, pair, name):
        """The query string of criteria has the same meaning."""
        criteria = asked(**{name: RIGHT[name]})
        assert QueryDict(criteria.query()[1:]).dict() == {name: RIGHT[name]}
        assert criteria.as_json()[name] in (RIGHT[name], int(RIGHT["days"]), 2000, 1500)
        [chip] = criteria.chips()
        assert chip.query_without == "?"
        assert chip.label
        assert chip.text

    def test_until_includes_its_day(self, pair):
        """The day ends in the project's time zone."""
        criteria = asked(until="2025-06-01")
        assert list(criteria.apply(RequestImage.objects.all())) == [pair[0]]
        assert not asked(until="2025-05-31").apply(RequestImage.objects.all()).exists()
        assert asked(since="2025-06-01").apply(RequestImage.objects.all()).count() == 2
        assert asked(since="2025-06-02").apply(RequestImage.objects.all()).count() == 1

    def test_days_begin_with_a_whole_hour(self, monkeypatch):
        """The statistics count whole hours, so the numbers are equal."""
        now = datetime.datetime(2026, 6, 10, 15, 20, tzinfo=datetime.timezone.utc)
        monkeypatch.setattr(timezone, "now", lambda: now)
        for minutes in (-1, 0, 30):
            time = now.replace(minute=0) + datetime.timedelta(days=-7, minutes=minutes)
            make_log(created_at=time)
        assert asked(days="7").apply(RequestLog.objects.all()).count() == 2
        assert asked(days="7").period().since == now.replace(day=3, minute=0)

    @pytest.mark.parametrize("name", ["endpoint", "error_type", "release"])
    def test_text_is_compared_letter_by_letter(self, name):
        """Some databases take some letters for equal, or ignore them."""
        texts = ["Straße", "straße", "strasse", "Straße "]
        for text in texts:
            make_image(**{name: text})
        for text in texts:
            criteria = asked(**{name: text})
            rows = criteria.apply(RequestLog.objects.all())
            assert [getattr(log, name) for log in rows] == [text]
            for walked in (None, "created_at"):
                images = criteria.apply(RequestImage.objects.all(), walked=walked)
                assert [getattr(image.log, name) for image in images] == [text]

    def test_declared_type_needs_an_image(self):
        """A request without an image has no other type than declared."""
        make_log()
        make_image(image={"declared_type": "image/gif"})
        make_image(image={"declared_type": ""})
        for declared, count in (("other", 1), ("same", 0)):
            criteria = asked(declared=declared)
            assert criteria.apply(RequestLog.objects.all()).count() == count

    def test_errors_find_as_many_requests_as_counted(self):
        """The error type or the status may be missing or strange."""
        for status in (200, 422, 500, None):
            for error_type in ("", "-x", "two words", "500"):
                make_log(status_code=status, error_type=error_type)
                make_log(status_code=status, error_type=error_type)
        found = summarize_rows(RequestLog.objects.all(), today()).values(ERROR)
        assert len(found) == 14
        for value, tally in found.items():
            criteria = asked(**ERROR.parameters(value))
            assert criteria.problems == []
            assert criteria.apply(RequestLog.objects.all()).count() == tally.count == 2

    def test_missing_error_type_has_a_name(self):
        chips = asked(status="-", error_type="-", release="-").chips()
        assert [chip.text for chip in chips] == ["none", "none", "none"]

    def test_releases_find_as_many_requests_as_counted(self):
        """The release may be missing; one named ``-`` has no link."""
        for release in ("", "-", "2.4.1"):
            make_log(release=release)
        assert RELEASE.parameters("-") == {}
        for release in ("", "2.4.1"):
            criteria = asked(**RELEASE.parameters(release))
            assert criteria.problems == []
            [log] = criteria.apply(RequestLog.objects.all())
            assert log.release == release

    @pytest.mark.parametrize("offset", ["+23:59", "-23:59", "+16:00"])
    def test_time_accepts_any_offset(self, offset):
        """Times become UTC, since no database knows all offsets."""
        values = asked(since=f"2026-01-31T12:00{offset}").values
        assert values["since"].utcoffset() == datetime.timedelta(0)
        assert values["since"] == datetime.datetime.fromisoformat(
            f"2026-01-31T12:00{offset}"
        )

    def test_time_without_time_zones(self, settings):
        """A project with ``USE_TZ = False`` compares naive times."""
        settings.USE_TZ = False
        assert asked(since="2026-01-31T12:00Z").values["since"].tzinfo is None
        assert asked(since="2026-01-31T12:00").values["since"].tzinfo is None

    @pytest.mark.parametrize(
        ("status", "found"), [("5xx", {500, 503}), ("503", {503}), ("1xx", set())]
    )
    def test_status_accepts_classes(self, status, found):
        for code in (200, 422, 500, 503, None):
            make_log(status_code=code)
        logs = asked(status=status).apply(RequestLog.objects.all())
        assert set(logs.values_list("status_code", flat=True)) == found

    def test_each_request_failed_or_succeeded(self, pair):
        """Every request that did not fail succeeded."""
        make_log(status_code=None)
        logs = RequestLog.objects.all()
        parts = [asked(outcome=name).apply(logs) for name in ("failed", "succeeded")]
        assert [part.count() for part in parts] == [1, 2]

    def test_pixels_do_not_overflow(self):
        """The product of the two largest sides exceeds 32 bits."""
        side = 2**31 - 1
        image = make_image(image={"width": side, "height": side})
        found = asked(megapixels="20-").apply(RequestImage.objects.all())
        assert list(found) == [image]

    def test_file_size_without_an_upper_bound(self):
        image = make_image(image={"file_size": 2**40})
        make_image(draw(seed=1))
        found = asked(file_size="10240-").apply(RequestImage.objects.all())
        assert list(found) == [image]

    @pytest.mark.parametrize(
        ("width", "height", "name"),
        [
            (499, 1000, "0-0.5"),
            (500, 1000, "0.5-0.8"),
            (799_999_999, 1_000_000_000, "0.5-0.8"),
            (4, 5, "0.8-1.25"),
            (1000, 1000, "0.8-1.25"),
            (5, 4, "1.25-2"),
            (1_999_999_999, 1_000_000_000, "1.25-2"),
            (2, 1, "2-"),
            (2**31 - 1, 1, "2-"),
            (1, 2**31 - 1, "0-0.5"),
        ],
    )
    def test_aspect_equals_the_statistics(self, width, height, name):
        """The bins agree to the pixel, for the longest sides too."""
        image = make_image(image={"width": width, "height": height})
        found = [
            c.name
            for c in ASPECT.bins
            if asked(aspect=c.name).apply(RequestImage.objects.all()).exists()
        ]
        [value] = summarize_rows(RequestLog.objects.all(), today()).values(ASPECT)
        assert found == [name] == [ASPECT.parameters(value)["aspect"]]
        assert image.pk

    @pytest.mark.parametrize(
        ("size", "name"),
        [(0, "0-0.25"), (31, "0-0.25"), (32, "0.25-0.5"), (127, "0.5-1"), (128, "1-2"),
         (1023, "4-8"), (1024, "8-"), (2**40, "8-")],
    )  # fmt: skip
    def test_bits_per_pixel_equals_the_statistics(self, size, name):
        """The bins agree to the byte."""
        make_image(image={"width": 32, "height": 32, "file_size": size})
        found = [
            c.name
            for c in BITS_PER_PIXEL.bins
            if asked(bits_per_pixel=c.name).apply(RequestImage.objects.all()).exists()
        ]
        facet = BITS_PER_PIXEL
        [value] = summarize_rows(RequestLog.objects.all(), today()).values(facet)
        assert found == [name] == [facet.parameters(value)["bits_per_pixel"]]

    @pytest.mark.parametrize(
        "image",
        [
            {"width": 0, "height": 5},
            {"width": 5, "height": 0},
            {"width": None, "height": None},
        ],
    )
    def test_image_with_an_empty_side_has_no_bin(self, image):
        """Such an image has no aspect and no bits per pixel."""
        make_image(image=image)
        summary = summarize_rows(RequestLog.objects.all(), today())
        for facet, classes in (
            (ASPECT, ASPECT.bins),
            (BITS_PER_PIXEL, BITS_PER_PIXEL.bins),
        ):
            assert list(summary.values(facet)) == [""]
            for each in classes:
                found = asked(**{facet.name: each.name})
                assert not found.apply(RequestImage.objects.all()).exists()

    def test_declared_type_may_be_unknown(self):
        """An unknown type is neither equal nor different."""
        for declared, real in (
            ("image/png", "image/png"),
            ("image/png", "image/webp"),
            ("", "image/png"),
            ("image/png", ""),
        ):
            make_image(image={"declared_type": declared, "mime_type": real})
        for name, found in (("same", "image/png"), ("other", "image/webp")):
            [image] = asked(declared=name).apply(RequestImage.objects.all())
            assert image.mime_type == found
        values = summarize_rows(RequestLog.objects.all(), today()).values(DECLARED)
        counts = {value: tally.count for value, tally in values.items()}
        assert counts == {"": 2, "same": 1, "other": 1}

    def test_whole_hash_finds_its_image(self):
        image = make_image()
        make_image(draw(seed=1))
        found = asked(hash=image.image_hash.upper()).apply(RequestImage.objects.all())
        assert list(found) == [image]


class TestBins:
    @pytest.mark.parametrize(
        "classes",
        [
            *(each.bins for each in IMAGE_PROPERTIES if isinstance(each, Number)),
            *(each.bins for each in MEASURES.values()),
        ],
    )
    def test_bins_have_no_gap(self, classes):
        """A bin begins where the one before ends; the last has no end."""
        assert [c.low for c in classes] == [0, *(c.high for c in classes[:-1])]
        assert classes[-1].high is None
        for size in classes:
            assert bin_of(size.low, classes) == size

    def test_bins_in_words(self):
        words = list(MEGAPIXELS.options().values())
        assert (words[0], words[-1]) == ("< 0.5 megapixels", "≥ 20 megapixels")
        assert words[3] == "2–5 megapixels"
        words = list(FILE_SIZE.options().values())
        assert (words[0], words[-1]) == ("< 100 KB", "≥ 10 MB")
        assert words[2] == "500 KB–1 MB"
        words = list(ASPECT.options().values())
        assert words == [
            "very tall (< 1:2)",
            "tall (1:2–4:5)",
            "nearly square (4:5–5:4)",
            "wide (5:4–2:1)",
            "very wide (≥ 2:1)",
        ]
        words = list(BITS_PER_PIXEL.options().values())
        assert words[:2] == ["< 0.25 bits per pixel", "0.25–0.5 bits per pixel"]


class TestWrongParameters:
    @pytest.mark.parametrize(("name", "value"), WRONG)
    def test_are_reported_and_the_rest_is_applied(self, client, pair, name, value):
        """The page names the parameter; it never fails."""
        client.force_login(make_superuser())
        value = value.encode("utf-8", "surrogateescape")
        page = client.get(reverse(GALLERY), {"hash": "abcd"} | {name: value})
        problems = [problem.name for problem in page.context["gallery"].problems]
        assert problems == [name]
        assert f"{name}: " in page.content.decode()
        rest = {"hash"} - {name}
        assert set(page.context["gallery"].criteria.values) == rest

    @pytest.mark.parametrize(("name", "value"), WRONG)
    def test_are_refused_by_json_and_csv(self, client, name, value):
        """A program would not notice that the query was changed."""
        client.force_login(make_superuser())
        value = value.encode("utf-8", "surrogateescape")
        response = client.get(reverse(STATS), {name: value})
        assert response.status_code == 400
        assert response.json()["parameter"] == name
        response = client.get(reverse(CSV), {name: value})
        assert response.status_code == 400
        assert response.content.decode().startswith(f"{name}: ")

    @pytest.mark.parametrize(
        ("texts", "name"),
        [
            ({"days": "7", "since": "2026-01-01"}, "days"),
            ({"days": "7", "until": "2026-01-01"}, "days"),
            ({"since": "2026-01-02", "until": "2026-01-01"}, "since"),
            ({"since": "8999-01-01", "until": "9000-01-01"}, "since"),
        ],
    )
    def test_contradictions_are_reported(self, texts, name):
        criteria = asked(**texts)
        assert [problem.name for problem in criteria.problems] == [name]
        assert set(criteria.values) == set(texts) - {name}

    def test_second_value_is_reported(self):
        criteria = Criteria.of(QueryDict("days=7&days=8&width=1"))
        assert [problem.name for problem in criteria.problems] == ["days"]
        assert criteria.values == {"width": 1}

    def test_blank_fields_of_a_form_are_ignored(self):
        criteria = Criteria.of_form(QueryDict("days=&width=+&height=3"))
        assert criteria.values == {"height": 3}
        assert criteria.problems == []


@pytest.fixture
def various():
    """Requests that the filters of the lists distinguish."""
    noon = datetime.datetime(2024, 2, 3, 12, tzinfo=datetime.timezone.utc)
    rows = [
        make_image(status_code=500),
        make_image(status_code=None, endpoint="upload"),
        make_image(error_type="a b"),
        make_image(error_type="OSError", created_at=noon),
        make_image(draw("GIF"), capture_status="too_large"),
    ]
    make_log(status_code=None, error_type="OSError")
    return rows


class TestLists:
    @pytest.mark.parametrize("page", [IMAGES, LOGS])
    @pytest.mark.parametrize("name", [name for name in RIGHT if name != "until"])
    def test_lists_accept_the_same_parameters(self, client, pair, page, name):
        """Also those that a filter of the list's own has the name of."""
        client.force_login(make_superuser())
        response = client.get(reverse(page), {name: RIGHT[name]})
        assert response.status_code == 200
        [row] = response.context["cl"].result_list
        assert row.pk in (pair[1].pk, pair[1].log_id)

    @pytest.mark.parametrize("page", [IMAGES, LOGS])
    def test_lists_show_links_that_remove_criteria(self, client, pair, page):
        client.force_login(make_superuser())
        address = reverse(page)
        response = client.get(address, {"width": "2000", "height": "1500", "p": "0"})
        html = response.content.decode()
        assert "Width (px): 2000 ×" in html
        assert 'href="?height=1500"' in html

    @pytest.mark.parametrize("page", [IMAGES, LOGS])
    def test_lists_report_wrong_parameters(self, client, pair, page):
        client.force_login(make_superuser())
        response = client.get(reverse(page), {"width": "wide"})
        assert "Width: not a whole number" in response.content.decode()
        assert len(response.context["cl"].result_list) == 2

    def test_lists_accept_the_parameters_of_all_pages(self, rf):
        """Django checks them if it makes links without a filter."""
        request = rf.get("/")
        found = CriteriaFilter(request, {}, RequestImage, None)
        assert found.expected_parameters() == [*CRITERIA, *OF_GALLERY]

    def test_invalid_date_is_reported(self, client, pair):
        client.force_login(make_superuser())
        response = client.get(reverse(GALLERY), {"since": "2026-13-45T00:00"})
        assert response.status_code == 200
        assert "not a time such as 2026-01-31" in response.content.decode()

    def test_lists_link_to_the_gallery_and_the_csv_file(self, client, pair):
        """The links have the parameters that all pages know."""
        client.force_login(make_user("view_requestimage", "view_requestlog"))
        html = client.get(f"{reverse(IMAGES)}?width=2000&o=1").content.decode()
        assert f'href="{reverse(GALLERY)}?width=2000"' in html
        html = client.get(f"{reverse(LOGS)}?width=2000&o=1").content.decode()
        assert f'href="{reverse(CSV)}?width=2000"' in html

    @pytest.mark.parametrize(
        ("page", "query", "led"),
        [
            (LOGS, "status_code=500&status_code=500&q=+&o=1", "status=500"),
            (LOGS, "status_code__isnull=True", "status=-"),
            (LOGS, "error_type=", "error_type=-"),
            (LOGS, "error_type=-", "error_type=-"),
            (LOGS, "outcome=succeeded&outcome=failed", "outcome=failed"),
            (LOGS, "capture_status__exact=too_large", "capture_status=too_large"),
            (IMAGES, "log__endpoint=solve", "endpoint=solve"),
            (IMAGES, "log__endpoint=solve&endpoint=solve", "endpoint=solve"),
            (IMAGES, "log__error_type=a+b", "error_type=a+b"),
            (IMAGES, "log__error_type=", "error_type=-"),
            (IMAGES, "log__error_type=-", "error_type=-"),
            (IMAGES, "log__status_code__isnull=True", "status=-"),
            (IMAGES, "mime_type=image/png", "mime_type=image%2Fpng"),
            (LOGS, "created_at__year=2024", "since=2024-01-01&until=2024-12-31"),
            (
                LOGS,
                "created_at__year=2024&created_at__month=2",
                "since=2024-02-01&until=2024-02-29",
            ),
            (
                IMAGES,
                "created_at__year=2024&created_at__month=2&created_at__day=3",
                "since=2024-02-03&until=2024-02-03",
            ),
        ],
    )
    def test_links_translate_the_filters_of_the_list(
        self, client, various, page, query, led
    ):
        """The file and the gallery have the requests of the list."""
        client.force_login(make_superuser())
        there, label = (GALLERY, "Gallery") if page == IMAGES else (CSV, "CSV")
        response = client.get(f"{reverse(page)}?{query}")
        assert dict(response.context["tools"])[label] == f"{reverse(there)}?{led}"
        listed = response.context["cl"]
        rows = Criteria.of(QueryDict(led)).apply(listed.model.objects.all())
        assert set(rows) == set(listed.queryset) != set(listed.model.objects.all())

    @pytest.mark.parametrize(
        ("page", "query", "led", "left_out"),
        [
            (LOGS, "q=ab&width=2000", "width=2000", "search"),
            (LOGS, "is_pinned__exact=0&method=POST", "", "pinned, method"),
            (LOGS, "endpoint=solve&endpoint=upload", "", "endpoint"),
            (LOGS, "error_type=&error_type=OSError", "", "error type"),
            (LOGS, "error_type=+", "", "error type"),
            (LOGS, "endpoint=unknown", "", "endpoint"),
            (LOGS, "endpoint=", "", "endpoint"),
            (LOGS, "status_code=600", "", "status"),
            (LOGS, "status_code__isnull=False", "", "status"),
            (LOGS, "created_at__month=2", "", "time"),
            (LOGS, "created_at__year=2024&days=7", "days=7", "time"),
            (LOGS, "created_at__year=2999", "until=2999-12-31", "since"),
            (IMAGES, "mime_type=", "", "MIME type"),
            (
                IMAGES,
                "log__endpoint=solve&endpoint=upload",
                "endpoint=upload",
                "endpoint",
            ),
        ],
    )
    def test_links_name_the_filters_left_out(self, client, page, query, led, left_out):
        """Numbers never differ without a reason."""
        for endpoint in ("solve", "upload"):
            make_image(endpoint=endpoint)
        client.force_login(make_superuser())
        label = "Gallery" if page == IMAGES else "CSV"
        response = client.get(f"{reverse(page)}?{query}")
        tools = dict(response.context["tools"])
        url = tools[f"{label} (without: {left_out})"]
        assert url.partition("?")[2] == led

    def test_links_leave_out_invalid_dates(self):
        """Django refuses the date in a list before."""
        given = QueryDict("created_at__year=2024&created_at__month=13&width=3")
        found = list_criteria(given, own=())
        assert (found.criteria.texts, found.left_out) == ({"width": "3"}, ["time"])

    def test_links_leave_out_ignored_parameters(self, client):
        client.force_login(make_superuser())
        response = client.get(f"{reverse(LOGS)}?days=many&outcome=&width=2&width=3")
        assert dict(response.context["tools"])["CSV"] == f"{reverse(CSV)}?"

    @pytest.mark.parametrize(
        ("page", "name"), [(LOGS, "error_type"), (IMAGES, "log__error_type")]
    )
    @pytest.mark.parametrize("facets", ["", "&_facets=True"])
    def test_empty_value_has_a_name(self, client, various, page, name, facets):
        """Screen readers cannot read a link without a text."""
        client.force_login(make_superuser())
        html = client.get(f"{reverse(page)}?days=3650{facets}").content.decode()
        [text] = re.findall(rf'<a href="[^"]*[?;]{name}=">\s*(.*?)\s*</a>', html)
        assert text.startswith("none")

    @pytest.mark.parametrize("page", [IMAGES, LOGS])
    def test_lists_accept_the_order_of_the_gallery(self, client, page):
        """Users without the gallery get the same order from the dashboard."""
        client.force_login(make_superuser())
        make_log(duration_ms=99)
        slow = make_image(draw(size=(9, 9)), duration_ms=3)
        large = make_image(draw(size=(300, 300)), duration_ms=2)
        unknown = make_image(kept=False, duration_ms=1, image={"file_size": None})
        make_image(draw(size=(2, 2)), duration_ms=4, error_type="OSError")

        def listed(query: str) -> list[int]:
            query = f"?{query}&outcome=succeeded&group=image&at=5&before=7"
            response = client.get(reverse(page) + query)
            assert response.status_code == 200
            found = [row.pk for row in response.context["cl"].result_list]
            assert len(found) == 3 + (page == LOGS)
            images = (slow, large, unknown)
            pks = [each.pk if page == IMAGES else each.log_id for each in images]
            return [pks.index(pk) for pk in found if pk in pks]

        assert listed("sort=slowest") == [0, 1, 2]
        assert listed("sort=fastest") == [2, 1, 0]
        assert listed("sort=largest") == [1, 0, 2]
        assert listed("sort=smallest") == [0, 1, 2]
        assert listed("sort=wrong") == [2, 1, 0]

    def test_requests_without_an_error_type(self, client):
        """The dashboard links to them for users without images."""
        for error_type in ("", "no_barcode"):
            make_log(status_code=422, error_type=error_type)
        client.force_login(make_user("view_requestlog"))
        response = client.get(reverse(LOGS), {"status": "422", "error_type": "-"})
        [log] = response.context["cl"].result_list
        assert log.error_type == ""


class TestStatistics:
    @pytest.mark.parametrize("name", [name for name in RIGHT if name != "until"])
    def test_statistics_accept_the_same_parameters(self, client, pair, name):
        client.force_login(make_superuser())
        body = client.get(reverse(STATS), {name: RIGHT[name]}).json()
        assert body["overall"]["request_count"] == 1

    def test_statistics_of_a_period(self, client, pair):
        """A start or an end replaces the days."""
        client.force_login(make_superuser())
        body = client.get(reverse(STATS), {"until": "2025-06-01"}).json()
        assert (body["since"], body["overall"]["request_count"]) == (None, 1)
        body = client.get(reverse(STATS), {"since": "2025-01-01"}).json()
        assert body["overall"]["request_count"] == 2
        assert body["filters"]["days"] is None
