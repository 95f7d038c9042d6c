"""The dashboard and its panels, as somebody sees them in the admin."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from itertools import pairwise

import pytest
from django.db import connection
from django.urls import reverse, reverse_lazy
from django.utils import timezone, translation

from request_images.aggregation.periods import Period
from request_images.aggregation.properties import CAPTURE_STATUS, IMAGE_PROPERTIES
from request_images.cleanup.retention import clean
from request_images.dashboard import overview, panels, samples
from request_images.dashboard.panels import PANELS
from request_images.exceptions import TooManyRequests
from request_images.models import Lease, RequestImage, StaleHour
from request_images.models.cutoffs import Retention
from request_images.models.job_locks import lease
from request_images.query.criteria import Criteria
from request_images.statistics import live, rollups
from tests.factories import (
    capture_queries,
    loading_bytes,
    make_image,
    make_images,
    make_log,
    make_logs,
    make_superuser,
    make_user,
    questions,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db
PAGE = "/admin/request_images/dashboard/"
GALLERY = "/admin/request_images/gallery/"
FAILED = {"status_code": 422, "error_type": "no_barcode"}


def panel(name):
    return reverse("admin:request_images_requestlog_panel", args=[name])


@pytest.fixture
def show(client):
    """Return a function that gets a page as an administrator."""
    client.force_login(make_superuser())

    def show(url=PAGE, **parameters):
        response = client.get(url, parameters)
        assert response.status_code == 200
        return unescape(response.content.decode()).replace("\u00a0", " ")

    return show


@pytest.fixture
def busy():
    """Three weeks of requests; every ninth failed."""
    return make_images(
        {
            "data": draw(seed=number % 7),
            "days_old": number % 20,
            **(FAILED if number % 9 == 0 else {}),
        }
        for number in range(45)
    )


def sentences(page):
    found = re.search(r'<section class="ri-findings.*?</section>', page, re.DOTALL)
    return [
        re.sub(r"<[^>]+>", "", line).strip()
        for line in re.findall(r"<li.*?</li>", found[0], re.DOTALL)
    ]


def tiles(page):
    names = re.findall(r'ri-tile-name">(.*?)<', page)
    return dict(zip(names, re.findall(r'ri-tile-value">(.*?)<', page), strict=True))


class TestThePage:
    def test_tiles_have_the_numbers_of_the_period(self, show, busy):
        page = show()
        told = tiles(page)
        assert told.pop("Newly stored")
        assert told == {
            "Requests": "45",
            "Failed": "11.1 %",
            "Median duration": "12.5 ms",
            "p95 duration": "12.5 ms",
        }
        for name in ("durations", "errors", "separating", "megapixels", "mime-type"):
            assert f'id="{name}"' in page
        assert "no_barcode (422)" in page

    def test_tiles_compare_with_the_period_before(self, show, busy):
        """In each tile of which there is something to compare."""
        assert show(days=7).count("before:") == 5
        assert "before:" not in show(days=90)

    def test_dashboard_of_one_endpoint(self, show, busy):
        """Stored bytes are unknown by endpoint, so it shows received bytes."""
        make_log(endpoint="read")
        assert "?endpoint=read" in show()
        page = show(endpoint="read")
        assert tiles(page)["Requests"] == "1"
        assert "Received" in page

    def test_dashboard_accepts_all_criteria(self, show, busy):
        """Every parameter of the gallery is one of the dashboard."""
        make_image(draw("GIF"))
        assert tiles(show(mime_type="image/gif"))["Requests"] == "1"

    def test_bytes_received_outlive_the_images(self, show):
        """The period before has logs whose images are deleted."""
        for days_old in (1, 2, 9, 10):
            make_image(draw(seed=days_old), days_old=days_old, endpoint="solve")
        page = show(days=7, endpoint="solve")
        found = re.compile(r"Received<.*?</a>", re.DOTALL)
        before = found.search(page)[0]
        clean(Retention.of_days(5, 90), batch_size=100)
        assert RequestImage.objects.count() == 2
        assert found.search(show(days=7, endpoint="solve"))[0] == before

    def test_errors_link_to_as_many_pictures(self, show):
        """Only the status, or only the error type, may be known."""
        for status_code in (422, 500, None):
            for error_type in ("", "no_barcode"):
                failure = {"status_code": status_code, "error_type": error_type}
                make_image(draw(seed=status_code or 0), **failure)
        urls = re.findall(rf'href="({GALLERY}\?[^"]*error_type=[^"]*)"', show())
        assert len({url.partition("since=")[0] for url in urls}) > 5
        assert {show(url).count('<a class="ri-tile') for url in urls} == {1}

    def test_chart_links_to_as_many_pictures(self, show, busy):
        """The gallery has as many failed pictures as the chart."""
        page = show()
        [url] = set(re.findall(rf'href="({GALLERY}\?[^"]*error_type=[^"]*)"', page)[:1])
        assert "outcome=failed" in url
        assert show(url).count('class="ri-tile ri-failed"') == 5

    def test_groups_link_to_as_many_pictures(self, show):
        """The gallery has as many pictures as each group of each property."""
        for number in range(12):
            make_image(
                draw(("PNG", "GIF", "JPEG")[number % 3], (40, 20 + 30 * (number % 3))),
                days_old=number,
                image={
                    "declared_type": ["image/png", "", "image/webp"][number % 3],
                    "has_orientation": number % 4 == 0,
                    "is_animated": number % 5 == 0,
                },
            )
        page = show() + show(panel("properties"))
        rows = re.findall(
            rf'<th scope="row"><a href="({GALLERY}\?days=30&[^"]*)".*?</th>\s*'
            r"<td><bdi>([\d,]+)<",
            page,
            re.DOTALL,
        )
        for facet in [each.name for each in IMAGE_PROPERTIES if each.options()]:
            found = [(url, int(n)) for url, n in rows if f"&{facet}=" in url]
            known = 8 if facet == "declared" else 12
            assert sum(count for _, count in found) == known
            for url, count in found:
                assert show(url).count('<a class="ri-tile') == count

    def test_comparisons_are_ranked_lists(self, show):
        """Failed and slow requests, with confidence intervals."""
        turned = {"has_orientation": True, "color_mode": "CMYK"}
        make_images(
            {"data": draw(seed=number % 3), "days_old": 1} | each
            for number in range(40)
            for each in (
                {"duration_ms": 10 + number},
                {"image": turned, "duration_ms": 500 * (number + 1), **FAILED},
            )
        )
        page = show()
        failing, slow = (
            re.search(rf'<figure[^>]*id="{name}".*?</figure>', page, re.DOTALL)[0]
            for name in ("separating", "slow")
        )
        for part in ("colour mode CMYK", "needs rotation", "100 % (91.2 %–100 %)"):
            assert part in failing
        assert "200 %" in failing
        assert "orientation=yes&outcome=failed" in failing
        assert "20 % (" in slow
        assert "sort=slowest" in slow

    @pytest.mark.parametrize("duration", [None, "1-900", "50-"])
    def test_what_is_slow_leads_to_as_many_pictures(self, show, duration):
        """To the slow ones of each class, in the list as in the sentence.

        Some lie in the bucket of the limit, and some closely above it.
        """
        fast = make_images(
            {
                "data": draw(("PNG", "GIF")[number % 2]),
                "duration_ms": 60 * 1.001**number,
                "image": {"color_mode": "CMYK" if number > 250 else "RGB"},
            }
            for number in range(360)
        )
        assert all(image.log.duration_ms < 100 for image in fast)
        make_image(duration_ms=1000)
        page = show(**{"duration": duration} if duration else {})
        figure = re.search(r'<figure[^>]*id="slow".*?</figure>', page, re.DOTALL)[0]
        rows = re.findall(
            rf'<th scope="row"><a href="({GALLERY}[^"]*)".*?</th>\s*(.*?)</tr>',
            figure,
            re.DOTALL,
        )
        told = []
        for url, cells in rows:
            share, *_, count = re.findall(r"<bdi>([\d.,]+)[^<]*<", cells)[:4]
            told.append((url, float(share) / 100 * int(count)))
        sentence = r"[^<]*: ([\d.]+) % of (\d+) requests are among"
        found = re.findall(rf'<a href="({GALLERY}[^"]*)">{sentence}', page)
        told += [(url, float(share) / 100 * int(n)) for url, share, n in found]
        assert len(rows) >= 2
        assert found
        counts = []
        for url, hits in told:
            counts.append(show(url).count('<a class="ri-tile'))
            assert counts[-1] == pytest.approx(hits, abs=0.1)
        assert 10 < max(counts) < 48

    def test_nothing_stands_out_in_either_list(self, show, busy):
        """Both lists have a sentence instead."""
        page = show()
        assert page.count("Groups of fewer than 30 requests are not compared.") == 2

    def test_points_link_to_their_day(self, show, busy):
        page = show(days=7)
        urls = re.findall(rf'href="({GALLERY}\?since=[^"]*sort=slowest)"', page)
        assert len(set(urls)) == 7 + 1
        counts = [show(url).count('<a class="ri-tile') for url in sorted(set(urls))]
        assert sum(counts) == int(tiles(page)["Requests"])

    def test_page_works_under_a_strict_csp(self, show, busy):
        page = show()
        assert " style=" not in page
        assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []

    @pytest.mark.parametrize(("budget", "count"), [(None, 15), (50, 26)])
    def test_few_queries_and_none_loads_bytes(
        self, show, busy, settings, budget, count
    ):
        """The documentation has their number."""
        settings.REQUEST_IMAGES_MAX_STORED_MB = budget
        rollups.update()
        show()
        with capture_queries() as queries:
            show()
        assert loading_bytes(queries) == []
        assert len(questions(queries)) == count

    def test_links_from_the_lists_and_the_index(self, show, busy):
        assert f"{PAGE}?" in show("/admin/request_images/requestlog/")
        assert PAGE in show("/admin/request_images/")

    def test_in_german(self, show, busy):
        with translation.override("de"):
            page = show()
        for part in ("Befunde", "Fehler im Lauf der Zeit", "11,1 %"):
            assert part in page


class TestSentences:
    def test_nothing_stands_out(self, show, busy):
        [sentence] = sentences(show())
        assert sentence.startswith("Nothing stands out")

    def test_findings_are_bad_news_first(self, show, settings):
        """Failures, images not stored and the limit, each with a link."""
        settings.REQUEST_IMAGES_MAX_STORED_MB = 0.0001
        make_images(
            {"days_old": 1} | each
            for number in range(40)
            for each in (
                {"data": draw(seed=number % 3)},
                {"data": draw("GIF"), **FAILED},
            )
        )
        make_image(kept=False)
        found = sentences(show())
        assert found[0] == ("image/gif: 100 % of 40 requests failed, 0 % of the others")
        assert "1 image was not stored: “Too large”" in found
        assert "At the current rate, the storage limit is reached in 0 days" in found

    def test_no_finding_without_growth(self, show, settings):
        """Nothing new is stored, so the limit is never reached."""
        settings.REQUEST_IMAGES_MAX_STORED_MB = 1000
        make_log(days_old=1)
        assert not any("limit is reached" in sentence for sentence in sentences(show()))

    def test_slower_since_a_release(self, show):
        make_logs(
            {"days_old": days_old, "release": release, "duration_ms": ms + number % 3}
            for number in range(200)
            for days_old, release, ms in ((5, "2.3", 10), (1, "2.4", 50))
        )
        found = sentences(show())
        assert re.fullmatch(
            r"p95 is 5\d(\.\d)? ms, \+3\d\d % since release 2\.4 \(200 requests\)",
            found[0],
        )

    def test_cleanup(self, show, busy):
        """When images are over, and nobody has cleaned up."""
        make_image(days_old=40)
        page = show()
        assert "cleanup_old_images has never run" in sentences(page)
        [url] = re.findall(r'<a href="([^"]*)">cleanup_old_images has never run', page)
        assert "Requests of the last" in show(url)
        with lease("cleanup"):
            pass
        assert "cleanup_old_images has never run" not in sentences(show())
        Lease.objects.update(until=timezone.now() - timedelta(days=3))
        assert "cleanup_old_images last ran 3 days ago" in sentences(show())


class TestEmpty:
    def test_recording_is_off(self, show, settings):
        """The page names the setting to add."""
        settings.REQUEST_IMAGES_ENABLED = False
        assert "REQUEST_IMAGES_ENABLED = True" in show()

    def test_no_request_yet(self, show):
        """The page has the code to paste."""
        assert "@capture_images" in show()

    def test_recording_was_switched_off(self, show, busy, settings):
        settings.REQUEST_IMAGES_ENABLED = False
        page = show()
        assert "New requests are not recorded" in page
        assert tiles(page)["Requests"] == "45"

    def test_no_match(self, show, busy):
        """The page lists the criteria to remove."""
        page = show(since="2001-01-01", until="2001-01-31")
        assert "No request matches." in page
        assert '<a href="?until=2001-01-31">Since: 2001-01-01</a>' in page

    def test_none_in_the_last_days(self, show):
        make_log(days_old=100)
        page = show()
        assert "No request matches." in page
        assert "Remove a filter" not in page

    @pytest.mark.parametrize("name", PANELS)
    def test_in_a_panel(self, show, name):
        assert 'id="ri-panel-content"' in show(panel(name))


class TestTrouble:
    @pytest.mark.parametrize("url", [PAGE, *map(panel, ["latency", "pixels"])])
    def test_wrong_parameters_are_reported(self, show, busy, url):
        page = show(url, days="many", colour="red", endpoint="solve")
        assert "days: not a whole number" in page
        assert "colour: unknown parameter" in page

    @pytest.mark.parametrize("url", [PAGE, panel("latency")])
    def test_too_many_requests_to_read(self, show, busy, monkeypatch, url):
        monkeypatch.setattr(live, "MOST_ROWS", 3)
        page = show(url, mime_type="image/png")
        assert "Choose a shorter period" in page
        assert '<a href="?mime_type=image%2Fpng&days=1">1 day</a>' in page

    def test_missing_hours_are_reported(self, show, busy, monkeypatch):
        """The page names the command to run."""
        monkeypatch.setattr("request_images.statistics.summarize.BUILD_SECONDS", -1)
        page = show()
        assert re.search(r"\d+ hours are not counted yet", page)
        assert "update_image_statistics" in page

    def test_missing_hours_prevent_comparisons(self, show, monkeypatch):
        """A part of the hours may suggest the opposite."""
        old = {"days_old": 5, "release": "2.3", "endpoint": "read", "duration_ms": 10}
        new = {"release": "2.4", "duration_ms": 50}
        make_logs(each for _ in range(100) for each in (new, old, new | FAILED, old))
        make_image(kept=False)
        make_image(days_old=31)
        with monkeypatch.context() as patch:
            patch.setattr("request_images.statistics.summarize.BUILD_SECONDS", -1)
            page = show()
        assert sentences(page) == ["1 image was not stored: “Too large”"]
        assert "so nothing is compared" in page
        assert "before:" not in page
        assert (
            page.count("Findings appear when all hours are counted") == 2
        )  # instead of two lists
        assert len(sentences(show())) > 3
        assert "before:" in show()

    def test_missing_hours_before_prevent_comparisons(self, show, monkeypatch):
        """Findings within the period are still shown."""
        old = ({"days_old": 2, "endpoint": "read"}, {"days_old": 8})
        new = {"days_old": 3}
        make_logs(each for _ in range(100) for each in (new, *old, new | FAILED, *old))
        make_log(days_old=9)
        show(days=5)
        day = timezone.now() - timedelta(days=9)
        StaleHour.objects.create(hour=day.replace(minute=0, second=0, microsecond=0))
        with monkeypatch.context() as patch:
            patch.setattr("request_images.statistics.summarize.BUILD_SECONDS", -1)
            page = show(days=5)
        assert "1 hour is not counted yet, so" in page
        assert "endpoint solve: 50 % of 200 requests failed" in page
        assert "in the previous period" not in page
        assert "before:" not in page
        assert "in the previous period" in show(days=5)

    def test_missing_hours_prevent_the_all_clear(self, show, monkeypatch):
        """Whether anything stands out is unknown."""
        make_log()
        make_log(days_old=1)
        monkeypatch.setattr("request_images.statistics.summarize.BUILD_SECONDS", -1)
        assert sentences(show()) == ["Findings appear when all hours are counted."]

    def test_no_hour_is_counted_yet(self, show, monkeypatch):
        """Whether there are requests is unknown."""
        make_log(days_old=1)
        monkeypatch.setattr("request_images.statistics.summarize.BUILD_SECONDS", -1)
        page = show()
        assert "No request matches." in page
        assert "hours are not counted yet" in page

    def test_an_unknown_panel(self, client):
        client.force_login(make_superuser())
        assert client.get(f"{PAGE}nothing/").status_code == 404


class TestWhoMaySee:
    @pytest.mark.parametrize("url", [PAGE, *map(panel, PANELS)])
    def test_needs_the_permission(self, client, busy, url):
        client.force_login(make_user("view_requestimage"))
        assert client.get(url).status_code == 403

    @pytest.mark.parametrize("url", [PAGE, *map(panel, PANELS)])
    def test_nobody_else(self, client, busy, url):
        assert client.get(url).status_code == 302

    def test_links_without_the_permission_for_images(self, client, busy):
        """The links lead to the list of requests."""
        client.force_login(make_user("view_requestlog"))
        pages = [
            client.get(url).content.decode() for url in [PAGE, *map(panel, PANELS)]
        ]
        for page in pages:
            assert "/requestimage/" not in page
            assert busy[0].image_hash not in page
        assert "/requestlog/?days=30" in pages[0]

    def test_the_index_leads_nobody_else_there(self, client):
        client.force_login(make_user("view_requestimage"))
        assert PAGE not in client.get("/admin/request_images/").content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "url",
    [PAGE, panel("latency"), reverse_lazy("request_images:image-performance-stats")],
)
def test_statistics_are_updated_outside_transactions(client, monkeypatch, url):
    """Under `ATOMIC_REQUESTS` other processes do not wait for the page."""
    make_log(days_old=1)
    client.force_login(make_superuser())
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    update, found = rollups.update, []

    def watched(*args, **options):
        found.append(connection.in_atomic_block)
        return update(*args, **options)

    monkeypatch.setattr(rollups, "update", watched)
    assert client.get(url).status_code == 200
    assert found == [False]


class TestPanels:
    def test_pictures_of_failures_and_slow_requests(self, show, busy):
        """The links keep the order for the neighbours."""
        slow = make_image(draw(seed=9), duration_ms=900)
        page = show(panel("pictures"))
        failed, slowest = page.split("<h3>")[1:]
        links = re.compile(r'/requestimage/(\d+)/change/(\?[^"]*)"><img')
        pks = [int(pk) for pk, _query in links.findall(failed)]
        newest_first = sorted(busy[::9], key=lambda image: image.created_at)[::-1]
        assert pks == [image.pk for image in newest_first]
        pk, query = links.findall(slowest)[0]
        assert (int(pk), "900 ms" in slowest) == (slow.pk, True)
        assert "sort=slowest" in query
        assert len(links.findall(slowest)) == 8

    def test_pictures_that_succeeded(self, show, busy):
        page = show(panel("pictures"), outcome="succeeded")
        assert "<h3>Slowest" in page
        assert "<h3>Latest failures" not in page

    def test_pictures_that_take_too_long_to_find(self, show, busy, monkeypatch):
        def limited(using):
            raise TooManyRequests("It takes too long.")

        monkeypatch.setattr(panels, "limited", limited)
        assert "Choose a shorter period" in show(panel("pictures"))

    def test_latency_links_to_pictures(self, show, busy):
        """From a class of durations to its pictures."""
        page = show(panel("latency"))
        urls = set(re.findall(rf'href="({GALLERY}\?[^"]*duration=8\.[^"]*)"', page))
        assert sum(show(url).count('<a class="ri-tile') for url in urls) == 45

    def test_latency_links_to_as_many_pictures(self, show):
        """Buckets may cross the bounds of cells."""
        for number, duration_ms in enumerate((31.9, 33, 63.99, 64.5, 65, 100, 128.5)):
            make_image(draw(seed=number), duration_ms=duration_ms)
        page = show(panel("latency"))
        found = re.findall(rf'<a href="({GALLERY}\?[^"]*duration=[^"]*)"', page)
        urls = set(found)
        assert sum(show(url).count('<a class="ri-tile') for url in urls) == 7
        assert len(urls) == 3

    def test_properties_with_many_groups(self, show, busy):
        """A note says that more groups exist."""
        assert "The 12 largest groups" not in show(panel("properties"))
        for number in range(13):
            make_log(endpoint=f"endpoint-{number}", days_old=1)
        page = show(panel("properties"))
        assert "The 12 largest groups, of 14 or more." in page

    def test_pixels(self, show, busy):
        page = show(panel("pixels"))
        assert "All 45 requests of this period whose image has dimensions." in page
        for image in busy:
            assert f"/requestimage/{image.pk}/change/" in page

    def test_pixels_of_missing_hours(self, show, busy, monkeypatch):
        """The panel does not claim to be complete."""
        monkeypatch.setattr(samples, "MOST", 20)
        monkeypatch.setattr(samples, "MOST_FAILED", 3)
        monkeypatch.setattr(samples, "MOST_SLOW", 3)
        marked = samples.marks_of(Criteria({}, {}), 0, 0.0, str)
        assert (len(marked.dots) <= 20, marked.is_whole) == (True, False)
        assert marked.total > 20

    def test_pixels_have_the_slowest_images(self, show, monkeypatch):
        """Slow requests without an image do not count."""
        monkeypatch.setattr(samples, "MOST", 10)
        monkeypatch.setattr(samples, "MOST_SLOW", 5)
        slow = make_image(draw(seed=99), duration_ms=99)
        make_images(
            {"data": draw(seed=number % 5), "duration_ms": 10} for number in range(60)
        )
        make_logs({"duration_ms": 60_000} for _ in range(60))
        assert f"/requestimage/{slow.pk}/change/" in show(panel("pixels"))

    def test_unknown_pixels_are_not_counted(self, show, busy):
        """Neither are requests without an image."""
        make_log(days_old=1)
        image = make_image(draw(seed=99))
        RequestImage.objects.filter(pk=image.pk).update(width=None, height=None)
        page = show(panel("pixels"))
        assert "All 45 requests of this period whose image has dimensions." in page
        assert f"/requestimage/{image.pk}/change/" not in page

    def test_pixels_are_sampled(self, show, busy, monkeypatch):
        """All failed requests, the slowest, and some others are drawn."""
        slow = make_image(draw(seed=9), duration_ms=900)
        monkeypatch.setattr(samples, "MOST", 20)
        page = show(panel("pixels"))
        text = r"of \d+ of the 46 requests whose image has dimensions\. It includes all"
        assert re.search(f"A sample {text}", page)
        for image in [slow, *busy[::9]]:
            assert f"/requestimage/{image.pk}/change/" in page

    def test_pixels_of_too_many_failures(self, show, busy, monkeypatch):
        monkeypatch.setattr(samples, "MOST", 20)
        monkeypatch.setattr(samples, "MOST_FAILED", 3)
        monkeypatch.setattr(samples, "MOST_SLOW", 2)
        assert "Too many failed or were slow to draw them all." in show(panel("pixels"))

    def test_repeated(self, show, busy):
        make_image(draw(seed=99))
        page = show(panel("repeated"))
        assert page.count("a cache would have saved") == 7
        text = r"seen 7 times, failed 1\s*<[^>]*>a cache would have saved 75 ms"
        assert re.search(text, page)
        [url, *_] = re.findall(r'href="([^"]*hash=[^"]*)"', page)
        assert show(url).count('<a class="ri-tile') == 7

    def test_repeated_images_are_sampled(self, show, busy, monkeypatch):
        """The panel has the start of the sample; links have no older requests."""
        monkeypatch.setattr("request_images.query.paging.MANY", 20)
        page = show(panel("repeated"))
        assert "Only the newest pictures were searched" in page
        found = re.findall(
            r'href="([^"]*hash=[^"]*)".*?seen (\d+) times', page, re.DOTALL
        )
        assert found
        for url, seen in found:
            assert show(url).count('<a class="ri-tile') == int(seen) < 6

    def test_repeated_images_begin_with_a_whole_hour(self, show):
        """All numbers of the page count whole hours."""
        hour = (timezone.now() - timedelta(days=1)).replace(minute=0, second=0)
        for minute in (10, 40):
            make_image(created_at=hour + timedelta(minutes=minute))
        since = (hour + timedelta(minutes=30)).isoformat()
        page = show(panel("repeated"), since=since)
        assert "seen 2 times" in page
        [url] = re.findall(r'href="([^"]*hash=[^"]*)"', page)
        assert show(url).count('<a class="ri-tile') == 2

    @pytest.mark.parametrize(
        ("url", "parameters"),
        [(panel("repeated"), {}), (GALLERY, {"group": "image"})],
    )
    def test_repeated_image_has_a_stored_picture(self, show, url, parameters):
        """The bytes of the latest request may be missing."""
        first, second, _ = (make_image(kept=kept) for kept in (True, True, False))
        page = show(url, **parameters)
        assert f"/requestimage/{second.pk}/thumbnail/" in page
        RequestImage.objects.filter(pk=second.pk).update(content=None)
        page = show(url, **parameters)
        assert f"/requestimage/{first.pk}/thumbnail/" in page
        RequestImage.objects.update(content=None)
        assert "seen 3 times" in show(url, **parameters)

    def test_storage(self, show, busy, settings):
        settings.REQUEST_IMAGES_MAX_STORED_MB = 5
        page = show(panel("storage"))
        assert "projected" in page
        assert "limit 5 MB" in page


def test_many_errors_share_a_colour(show):
    """The most frequent errors have colours of their own."""
    for number in range(9):
        make_log(days_old=1, error_type=f"error {number}", status_code=422)
    page = show()
    assert "error 0" in page
    assert "error_type=error+0" in page


def test_rows_deleted_during_the_request():
    """Nothing is left to draw."""
    assert samples._some(RequestImage.objects.none(), 10, 5) == []


def test_capture_status_in_words():
    assert CAPTURE_STATUS.words("too_large") == "Too large"


class TestSlots:
    @pytest.mark.parametrize(
        ("days", "count"), [(1, 25), (7, 8), (92, 93), (365, 53), (3650, 122)]
    )
    def test_number_of_slots_is_limited(self, days, count):
        found = overview.slots_of(Period.last_days(days))
        assert abs(len(found) - count) <= 1
        assert all(a[1] == b[0] for a, b in pairwise(found))
