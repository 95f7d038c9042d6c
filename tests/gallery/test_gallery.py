"""The gallery: what it shows, in which order and groups, and what it costs."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from request_images.exceptions import TooManyRequests
from request_images.gallery import gallery
from request_images.gallery.gallery import PRESETS
from request_images.models import RequestImage
from request_images.query import paging
from request_images.query.paging import SORTS
from tests.factories import (
    capture_queries,
    loading_bytes,
    make_image,
    make_images,
    make_log,
    make_superuser,
    make_user,
    questions,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db
GALLERY = reverse("admin:request_images_requestimage_gallery")


@pytest.fixture
def show(client):
    """Return a function that opens the gallery with all permissions."""
    client.force_login(make_superuser())

    def show(query: str = ""):
        response = client.get(f"{GALLERY}{query}")
        assert response.status_code == 200
        return response

    return show


def detail(image, query: str = "?") -> str:
    url = reverse("admin:request_images_requestimage_change", args=[image.pk])
    return f"{url}{query}"


def shown(page) -> list[int]:
    """Return the primary keys of the pictures, in the order of the page."""
    links = re.findall(r'class="ri-tile.*?" href=".*?/(\d+)/change/', html(page))
    return [int(pk) for pk in links]


def html(page) -> str:
    return page.content.decode()


def link(page, rel: str) -> str:
    """Return the query string of a link to the next or previous page."""
    found = re.search(rf'<a rel="{rel}" href="(.*?)"', html(page))
    return found[1].replace("&amp;", "&") if found else ""


def make(number: int, **values: object) -> list[RequestImage]:
    """Write images, each a minute older than the one before."""
    now = timezone.now()
    return [
        make_image(
            draw(seed=seed), **{"created_at": now - timedelta(minutes=seed)} | values
        )
        for seed in range(number)
    ]


class TestPictures:
    def test_pictures_link_to_their_page(self, show):
        """The link keeps the criteria."""
        image = make_image(
            draw(size=(640, 480)),
            status_code=422,
            error_type="no_barcode",
            duration_ms=1234.5,
            endpoint="solve",
        )
        text = html(show())
        thumbnail = reverse(
            "admin:request_images_requestimage_thumbnail", args=[image.pk]
        )
        assert f'src="{thumbnail}"' in text
        assert 'width="160" height="120" loading="lazy"' in text
        for part in ("422 no_barcode", "640 × 480", "solve", "ri-failed"):
            assert part in text
        assert "data:image" not in text
        assert ">1 request with an image<" in text

    def test_missing_pictures_have_a_text(self, show):
        """A picture that was not stored, or has expired, is replaced by a text."""
        make_image(kept=False, image={"width": None, "height": None, "file_size": None})
        make_image(days_old=31)
        assert html(show()).count("no picture") == 2

    def test_page_works_under_a_strict_csp(self, show):
        """The policy is ``default-src 'self'``."""
        make_image()
        for page in (show(), show("?group=outcome"), show("?width=1")):
            assert " style=" not in html(page)
            assert "<style" not in html(page)
            assert re.findall(r"<script(?![^>]* src=)[^>]*>", html(page)) == []
            assert not re.findall(r"<[^>]* on\w+=", html(page))


class TestOrder:
    def test_presets_keep_the_other_criteria(self, show):
        """Each preset is a link."""
        slow = make_image(duration_ms=900)
        bad = make_image(draw(seed=1), status_code=500)
        large = make_image(draw(seed=2), image={"file_size": 10**7})
        page = show("?days=7&outcome=failed&sort=fastest")
        presets = {
            name: preset["query"]
            for name, preset in zip(PRESETS, page.context["presets"], strict=True)
        }
        assert all(query.startswith("?days=7") for query in presets.values())
        assert shown(show(presets["newest"])) == [large.pk, bad.pk, slow.pk]
        assert shown(show(presets["slowest"]))[0] == slow.pk
        assert shown(show(presets["largest"]))[0] == large.pk
        assert shown(show(presets["failed"])) == [bad.pk]
        for query in presets.values():
            current = [p for p in show(query).context["presets"] if p["is_current"]]
            assert [preset["query"] for preset in current] == [query]

    @pytest.mark.parametrize("sort", SORTS)
    def test_pages_forward_and_backward(self, show, sort, monkeypatch):
        """Every picture is shown once in both directions."""
        monkeypatch.setattr(gallery, "PAGE_SIZE", 3)
        make(8, duration_ms=5)
        there, query, queries = [], f"?sort={sort}&days=7", []
        while query:
            page = show(query)
            assert "days=7" in query
            there.append(shown(page))
            queries.append(query)
            query = link(page, "next")
        assert [len(pks) for pks in there] == [3, 3, 2]
        assert len({pk for pks in there for pk in pks}) == 8
        assert shown(show(link(page, "prev"))) == there[1]
        page = show(link(show(queries[1]), "prev"))
        assert (shown(page), link(page, "prev")) == (there[0], "")

    def test_first_page_is_full_on_the_way_back(self, show, monkeypatch):
        """The start of the pages may be any picture."""
        monkeypatch.setattr(gallery, "PAGE_SIZE", 3)
        images = make(5)
        page = show(f"?at={images[1].pk}")
        assert shown(page) == [image.pk for image in images[1:4]]
        page = show(link(page, "prev"))
        assert shown(page) == [image.pk for image in images[:3]]

    def test_page_after_the_last_match_is_empty(self, show):
        """The start is after the last matching picture."""
        images = make(2)
        page = show(f"?at={images[1].pk}&outcome=failed")
        assert shown(page) == []
        assert "No picture matches" in html(page)

    @pytest.mark.parametrize("name", ["at", "before"])
    @pytest.mark.parametrize("value", ["999999", "x", "9" * 30, "-1", "\0"])
    def test_start_at_a_deleted_picture(self, show, client, name, value):
        """The first page is shown with a message."""
        [image] = make(1)
        page = client.get(GALLERY, {name: value})
        assert shown(page) == [image.pk]
        assert f"{name}: this picture was deleted" in html(page)

    @pytest.mark.parametrize("name", ["sort", "group"])
    def test_unknown_order_is_reported(self, show, name):
        [image] = make(1)
        page = show(f"?{name}=weird")
        assert shown(page) == [image.pk]
        assert f"{name}: not one of " in html(page)

    def test_count_has_a_limit(self, show, monkeypatch):
        """Requests beyond a limit are not counted."""
        monkeypatch.setattr(paging, "MANY", 2)
        monkeypatch.setattr("request_images.admin.gallery.MANY", 2)
        make(2)
        assert "2 requests with an image" in html(show())
        make_image(draw(seed=9))
        assert "more than 2 requests with an image" in html(show())

    def test_count_does_not_call_a_missing_picture_one(self, show):
        """A request whose image was not stored is counted as a request."""
        make_image()
        make_image(draw(seed=9), kept=False)
        page = html(show())
        assert "2 requests with an image" in page
        assert page.count("no picture") == 1


class TestGroups:
    def test_failed_and_succeeded_in_two_columns(self, show, monkeypatch):
        """Each column has the chosen order and a link to all pictures."""
        monkeypatch.setattr(gallery, "COLUMN_SIZE", 2)
        good = [make_image(draw(seed=n), duration_ms=n) for n in range(3)]
        bad = make_image(draw(seed=9), error_type="OSError")
        page = show("?group=outcome&sort=slowest&days=7")
        assert shown(page) == [bad.pk, good[2].pk, good[1].pk]
        assert "?days=7&amp;outcome=succeeded" in html(page)
        assert page.context["sections"][0]["more"] == ""
        assert detail(bad, "?days=7&amp;outcome=failed&amp;sort=slowest") in html(page)

    def test_one_column_may_be_empty(self, show):
        make(1)
        assert "None." in html(show("?group=outcome"))

    @pytest.mark.parametrize("sort", ["newest", "oldest"])
    def test_groups_by_error_type(self, show, monkeypatch, sort):
        """The most frequent type is first, with some pictures and the number."""
        monkeypatch.setattr(gallery, "GROUP_SIZE", 2)
        few = make(1, error_type="OSError")
        many = make(3, error_type="no_barcode")
        none = make(1, status_code=500)
        make(2)
        page = show(f"?group=error_type&sort={sort}&days=7")
        of_many = many if sort == "newest" else many[::-1]
        by_name = [image.pk for image in of_many[:2]]
        assert shown(page)[:2] == by_name
        assert sorted(shown(page)[2:]) == sorted([few[0].pk, none[0].pk])
        for part in ("No_barcode (3)", "OSError (1)", "Without an error type (1)"):
            assert part in html(page)
        assert "outcome=failed&amp;error_type=no_barcode" in html(page)
        more = [bool(part["more"]) for part in page.context["sections"]]
        assert more == [True, False, False]

    def test_repeated_image_is_shown_once(self, show):
        """It has the numbers of requests and of failures."""
        for number in range(3):
            newest = make_image(draw(seed=1), status_code=500 if number == 0 else 200)
        for _ in range(2):
            second = make_image(draw(seed=2))
        make_image(draw(seed=3))
        make_image(kept=False, image={"image_hash": ""})
        make_image(kept=False, image={"image_hash": ""})
        page = show("?group=image")
        assert shown(page) == [newest.pk, second.pk]
        assert "seen 3 times, failed 1" in html(page)
        assert "seen 2 times, failed 0" in html(page)

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("?group=outcome&outcome=failed", 1),
            ("?group=outcome&outcome=succeeded", 2),
            ("?group=error_type&outcome=succeeded", 0),
        ],
    )
    def test_groups_keep_the_chosen_outcome(self, show, query, count):
        """Groups do not remove a criterion."""
        make(1, status_code=500)
        make(2)
        assert html(show(query)).count('<a class="ri-tile') == count

    def test_group_without_pictures_links_to_its_requests(self, show, client):
        """The dashboard counts such requests, too."""
        make(1)
        make_log(error_type="no_file")
        logs = reverse("admin:request_images_requestlog_changelist")
        link = f'href="{logs}?error_type=no_file"'
        assert link in html(show("?error_type=no_file"))
        client.force_login(make_user("view_requestimage"))
        assert link not in html(show("?error_type=no_file"))

    @pytest.mark.parametrize("group", ["", "&group=outcome"])
    def test_groups_link_to_all_their_requests(self, show, client, group):
        """The dashboard counts requests without a picture, too."""
        make(1, error_type="no_file")
        make_log(error_type="no_file")
        pages = ("requestlog_changelist", "requestlog_dashboard", "requestlog_csv")
        links = [
            f'href="{reverse(f"admin:request_images_{page}")}?error_type=no_file"'
            for page in pages
        ]
        page = html(show(f"?error_type=no_file{group}"))
        assert [page.count(link) for link in links] == [1, 1, 1]
        client.force_login(make_user("view_requestimage"))
        page = html(show(f"?error_type=no_file{group}"))
        assert [page.count(link) for link in links] == [0, 0, 0]

    def test_group_without_an_error_type_links_to_all(self, show, monkeypatch):
        monkeypatch.setattr(gallery, "GROUP_SIZE", 2)
        make(3, status_code=500)
        make(1, status_code=500, error_type="OSError")
        page = html(show("?group=error_type"))
        [query] = re.findall(r'href="(\?[^"]*error_type=-)"', page)
        assert html(show(unescape(query))).count('<a class="ri-tile') == 3

    @pytest.mark.parametrize("group", ["error_type", "image"])
    def test_groups_read_the_newest_only(self, show, monkeypatch, group):
        """The page says so; a table is never read whole."""
        monkeypatch.setattr(paging, "MANY", 3)
        now = timezone.now()
        for number in range(6):
            make_image(
                draw(seed=number // 3),
                error_type="xyzzy" if number >= 3 else "new",
                created_at=now - timedelta(hours=number),
            )
        page = show(f"?group={group}")
        assert page.context["page"].since is not None
        assert "Only the newest pictures were searched, those since" in html(page)
        assert "xyzzy" not in html(page)

    @pytest.mark.parametrize("group", ["", "outcome", "error_type", "image"])
    def test_slow_page_offers_shorter_periods(self, show, monkeypatch, group):
        """The links keep all other criteria."""
        make(1)

        def refuse(*args, **kwargs):
            raise TooManyRequests("To look at them takes too long.")

        module = gallery if group == "image" else paging
        monkeypatch.setattr(module, "limited", refuse)
        page = show(f"?group={group}&sort=slowest&since=2020-01-01")
        assert shown(page) == []
        assert "so many requests take too long to search" in html(page)
        assert "No picture matches" not in html(page)
        query = page.context["periods"][0]["query"]
        assert "days=1&sort=slowest" in query
        assert "since" not in query


class TestFilter:
    def test_chips_remove_one_criterion(self, show):
        make(1)
        page = show("?days=7&endpoint=solve&sort=slowest")
        assert "Endpoint: solve" in html(page)
        assert 'href="?days=7&amp;sort=slowest"' in html(page)
        assert "Remove all" in html(page)
        assert "Remove all" not in html(show("?days=7"))

    def test_form_shows_the_chosen_values(self, show):
        """The form suggests values of the page, and keeps others."""
        make(1, error_type="a<b", endpoint="solve")
        page = show("?days=8&width=32&sort=largest&outcome=failed")
        text = html(page)
        assert '<option value="8" selected>8</option>' in text
        assert '<option value="largest" selected>' in text
        assert '<option value="failed" selected>' in text
        assert 'name="width" value="32"' in text
        assert '<option value="a&lt;b">' in text

    def test_form_with_blank_fields(self, show):
        """A browser sends all fields, most of them blank."""
        [image] = make(1)
        names = {field.name for field in show().context["form"]} - {"days"}
        query = "&".join(f"{name}=" for name in sorted(names))
        page = show(f"?{query}&days=7")
        assert shown(page) == [image.pk]
        assert page.context["gallery"].problems == []

    def test_links_to_the_list_and_the_csv_file(self, client, show):
        """The file needs the permission to see request logs."""
        make(1)
        csv = reverse("admin:request_images_requestlog_csv")
        listed = reverse("admin:request_images_requestimage_changelist")
        text = html(show("?days=7&sort=slowest"))
        assert f'href="{csv}?days=7"' in text
        assert f'href="{listed}?days=7"' in text
        client.force_login(make_user("view_requestimage"))
        assert csv not in html(client.get(GALLERY))


class TestEmpty:
    def test_recording_is_off(self, show, settings):
        """The page names the setting to add."""
        settings.REQUEST_IMAGES_ENABLED = False
        text = html(show())
        assert "Recording is off." in text
        assert "REQUEST_IMAGES_ENABLED = True" in text
        assert "ri-presets" not in text

    def test_no_request_yet(self, show):
        """The page has the code to paste."""
        text = html(show())
        assert "No requests have been recorded yet." in text
        code = text.split("<code>")[1].split("</code>")[0]
        names: dict[str, object] = {}
        exec(code, names)
        assert callable(names["upload"])

    def test_no_match(self, show):
        """The page lists the criteria to remove."""
        make(1)
        text = html(show("?width=1&days=7"))
        assert "No picture matches." in text
        assert '<li><a href="?days=7">Width (px): 1</a></li>' in text
        assert '<li><a href="?width=1">Days: 7</a></li>' in text

    def test_no_repeated_image(self, show):
        """No criterion is the reason."""
        make(1)
        text = html(show("?group=image"))
        assert "No picture matches." in text
        assert "Remove a filter" not in text

    def test_recording_was_switched_off(self, show, settings):
        """Stored pictures are shown with a message."""
        settings.REQUEST_IMAGES_ENABLED = False
        make(1)
        text = html(show())
        assert "New requests are not recorded" in text
        assert "1 request with an image" in text


class TestCost:
    # Session, user; then how many there are, and the pictures.
    @pytest.mark.parametrize(
        ("query", "number"),
        [
            ("?", 4),
            ("?sort=slowest&outcome=failed", 4),
            ("?endpoint=solve", 5),
            ("?group=outcome", 6),
            ("?group=error_type", 5),
            ("?group=image", 5),
            ("?at={pk}", 6),
            ("?before={pk}", 6),
        ],
    )
    def test_query_count_is_constant(self, show, query, number):
        counts = []
        for count in (3, 30):
            make_images(
                {"data": draw(seed=seed // 2), "status_code": 200 + 300 * (seed % 2)}
                for seed in range(count)
            )
            pk = RequestImage.objects.order_by("-pk")[1].pk
            with capture_queries() as queries:
                page = show(query.format(pk=pk))
            assert shown(page)
            assert loading_bytes(queries) == []
            assert not any('"metadata"' in sql for sql in queries)
            counts.append(len(questions(queries)))
        assert counts == [number, number]

    def test_query_count_of_a_middle_page(self, show, monkeypatch):
        """A page with both neighbours has no more queries."""
        monkeypatch.setattr(gallery, "PAGE_SIZE", 3)
        images = make(9)
        with capture_queries() as queries:
            page = show(f"?before={images[6].pk}")
        assert link(page, "prev")
        assert link(page, "next")
        assert len(questions(queries)) <= 10
