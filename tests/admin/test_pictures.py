"""The page of one picture: what surrounds it, and where its request stands."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from request_images.admin import formatting
from request_images.aggregation.bins import Bin
from request_images.exceptions import TooManyRequests
from request_images.gallery import rank
from request_images.query import paging
from tests.factories import (
    add_further,
    analysed,
    capture_queries,
    loading_bytes,
    make_image,
    make_superuser,
    questions,
)
from tests.image_files import draw

pytestmark = pytest.mark.django_db


def url_of(kind: str, *args: object) -> str:
    return reverse(f"admin:request_images_requestimage_{kind}", args=args)


@pytest.fixture
def look(client):
    """Return a function that opens the page of an image as HTML."""
    client.force_login(make_superuser())

    def look(image, query: str = "") -> str:
        response = client.get(f"{url_of('change', image.pk)}{query}")
        assert response.status_code == 200
        return response.content.decode()

    return look


def make(number: int, **values: object):
    now = timezone.now()
    return [
        make_image(
            draw(seed=seed), **{"created_at": now - timedelta(minutes=seed)} | values
        )
        for seed in range(number)
    ]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 0.5, "under 0.5 MP"),
        (0.5, 1, "of 0.5 to 1 MP"),
        (20, None, "of 20 MP or more"),
    ],
)
def test_rank_names_the_range_of_megapixels(low, high, words):
    """One sentence for each kind of range."""
    among = rank.Standing(size=Bin("", low, high), count=2, faster=0.5, since=None)
    expected = f"Slower than 50 % of the 2 “solve” requests {words}."
    assert formatting.standing(among, "solve") == expected


class TestLinks:
    def test_links_to_the_neighbours(self, look):
        """The neighbours have the criteria and the order of the gallery."""
        images = make(4)
        make(1, status_code=500)
        query = "?outcome=succeeded&sort=oldest"
        kept = query.replace("&", "&amp;")
        html = look(images[1], query)
        assert f'rel="prev" href="{url_of("change", images[2].pk)}{kept}"' in html
        assert f'rel="next" href="{url_of("change", images[0].pk)}{kept}"' in html
        assert 'rel="next"' not in look(images[0], query)
        assert 'rel="prev"' not in look(images[3], query)

    def test_link_to_the_page_of_the_gallery(self, look):
        [image] = make(1)
        html = look(image, "?days=7&sort=slowest")
        back = f"{url_of('gallery')}?days=7&amp;sort=slowest&amp;at={image.pk}"
        assert f'href="{back}"' in html

    @pytest.mark.parametrize("group", ["outcome", "error_type", "image", "layout"])
    def test_link_to_the_groups_of_the_gallery(self, client, look, group):
        """The link is on the page of the picture and of its neighbours."""
        for error_type in ("OSError", "OSError", "no_barcode"):
            analysed(make_image(error_type=error_type))
        query = f"?days=7&group={group}"
        page = client.get(url_of("gallery") + query).content.decode()
        picture = unescape(re.findall(r'class="ri-tile.*?" href="(.*?)"', page)[0])
        back = f'href="{url_of("gallery")}{query}'
        html = unescape(client.get(picture).content.decode())
        assert back in html.replace("&outcome=failed", "")
        [next_one] = re.findall(r'rel="(?:next|prev)" href="(.*?)"', html)[:1]
        html = unescape(client.get(next_one).content.decode())
        assert back in html.replace("&outcome=failed", "")

    def test_wrong_parameter_is_reported(self, look):
        [image] = make(1)
        html = look(image, "?width=wide&days=7")
        assert "width: not a whole number" in html
        assert "Days: 7" in html

    def test_link_to_similar_pictures(self, look, client):
        """The same endpoint, size, type and outcome."""
        [image, *others] = make(3, status_code=500, endpoint="a")
        make(2, endpoint="a")
        make(2, status_code=500, endpoint="b")
        [query] = re.findall(r'gallery/(\?endpoint=.*?)"', look(image))
        page = client.get(url_of("gallery") + query.replace("&amp;", "&"))
        [section] = page.context["page"].sections
        assert section.images == [image, *others]

    def test_link_to_similar_pictures_of_unknown_facts(self, look):
        unknown = {"width": None, "height": None, "mime_type": "", "image_hash": ""}
        html = look(make_image(kept=False, image=unknown))
        assert "?endpoint=solve&amp;outcome=succeeded" in html
        assert "No other request sent this image." in html


class TestTheSameImage:
    def test_lists_the_other_requests(self, look):
        """The newest is first, each with its outcome."""
        first = make_image(days_old=2, error_type="OSError", endpoint="upload")
        second = make_image(days_old=1)
        third = make_image()
        make_image(draw(seed=1))
        html = look(second)
        links = re.findall(r'<td><a href=".*?/(\d+)/change/"', html)
        assert links == [str(third.pk), str(first.pk)]
        assert "200 OSError" in html

    def test_count_equals_the_list(self, client, look):
        """Each request counts once, also with a further image."""
        first = make_image()
        make_image(error_type="OSError")
        other = make_image(draw(seed=1), status_code=500)
        add_further(other)
        add_further(other)
        add_further(make_image(draw(seed=2)), draw(seed=3))
        html = look(first)
        assert len(re.findall(r'<td><a href=".*?/change/"', html)) == 2
        link = r'href="([^"]*)">seen 3 times, failed 2<'
        listed = client.get(re.findall(link, html)[0]).context["cl"]
        assert listed.result_count == 3
        assert other in listed.queryset
        lists = reverse("admin:request_images_requestlog_changelist")
        for digest in (first.image_hash, first.image_hash[:8].upper()):
            listed = client.get(lists, {"hash": digest}).context["cl"]
            assert listed.result_count == 3
        # The gallery shows of each request its first image.
        page = client.get(url_of("gallery"), {"hash": first.image_hash})
        [section] = page.context["page"].sections
        assert len(section.images) == 2


class TestPercentileRank:
    def text(self, html: str) -> str:
        found = re.search(r'class="ri-standing">(.*?)</p>', html)
        return found[1] if found else ""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch):
        monkeypatch.setattr(rank, "FEWEST", 1)

    def test_rank_within_the_size(self, look):
        """The other requests have the endpoint and the size."""
        for duration in (10, 20, 30, 40):
            make_image(duration_ms=duration)
        make_image(duration_ms=1, image={"width": 4000, "height": 3000})
        make_image(duration_ms=1, endpoint="other")
        html = look(make_image(duration_ms=35))
        expected = "Slower than 75 % of the 4 “solve” requests under 0.5 MP."
        assert self.text(html) == expected

    def test_rank_of_an_unknown_size(self, look):
        make_image(duration_ms=1)
        image = make_image(image={"width": None, "height": None})
        expected = "Slower than 100 % of the 1 “solve” request."
        assert self.text(look(image)) == expected

    def test_rank_needs_enough_requests(self, look, monkeypatch):
        """A share of one request is no rank."""
        monkeypatch.setattr(rank, "FEWEST", 3)
        first = make(3)[0]
        assert self.text(look(first)) == ""
        make(1)
        assert "of the 3 “solve” requests" in self.text(look(first))

    def test_single_request_has_no_rank(self, look):
        assert self.text(look(make_image())) == ""

    def test_rank_within_the_newest_requests(self, look, monkeypatch):
        """The text has the start of the comparison."""
        monkeypatch.setattr(rank, "AMONG", 2)
        for days in (1, 2, 3):
            make_image(days_old=days, duration_ms=1)
        text = self.text(look(make_image(days_old=4, duration_ms=5)))
        assert text.startswith("Slower than 100 % of the 2 “solve” requests")
        assert "Only requests since " in text


class TestSendAgain:
    def test_offers_a_command_and_a_file(self, look):
        image = make_image(path="/solve/it now/", image={"source": "files.photo"})
        html = look(image)
        assert f'href="{url_of("body", image.pk)}" download' in html
        assert "curl --path-as-is -X POST http://testserver/solve/it%20now/ -F" in html
        name = f"{image.image_hash[:16]}.png"
        assert f"&#x27;photo=@{name};type=image/png&#x27;" in html

    def test_offers_the_file_where_there_is_no_command(self, look):
        image = make_image(image={"source": "nonsense"})
        html = look(image)
        assert url_of("body", image.pk) in html
        assert "curl" not in html

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"image": {"source": "files.a=b"}}, "curl has no syntax"),
            ({"image": {"source": "files.\x15touch x\x0f"}}, "control or invisible"),
            ({"method": "P\x1b[1mST"}, "control or invisible"),
        ],
    )
    def test_says_why_there_is_no_command(self, look, values, reason):
        """Kind: text that the client chose, pasted into a terminal, runs nothing."""
        image = make_image(**values)
        html = look(image)
        assert url_of("body", image.pk) in html
        assert "There is no command to send it again" in html
        assert reason in html
        assert "curl --path-as-is" not in html

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            ("//evil.example/x", "http://testserver//evil.example/x"),
            ("/\\evil.example/x", "http://testserver/%5Cevil.example/x"),
            ("/a/../../b", "http://testserver/a/../../b"),
            ("/[1-9]{a,b}", "http://testserver/%5B1-9%5D%7Ba%2Cb%7D"),
            ("/\x15x", "http://testserver/%15x"),
        ],
    )
    def test_command_names_the_host_of_the_page(self, look, path, shown):
        """Kind: a path that the client chose leads to no other host."""
        html = look(make_image(path=path))
        assert f"-X POST {shown} -F" in html

    def test_unknown_source_is_sent_as_a_form_file(self, look):
        assert "image=@" in look(make_image(image={"source": ""}))

    @pytest.mark.parametrize("values", [{"kept": False}, {"days_old": 31}])
    def test_missing_bytes_cannot_be_sent(self, look, values):
        image = make_image(**values)
        html = look(image)
        assert url_of("body", image.pk) not in html
        assert url_of("original", image.pk) not in html


class TestPage:
    def test_page_has_all_facts(self, look):
        html = look(
            make_image(
                error_message="<b>none</b>",
                username="anna",
                metadata={"score": 0.5},
                method="PUT",
                path="/solve/",
            )
        )
        for part in ("&lt;b&gt;none&lt;/b&gt;", "anna", "score", "PUT /solve/"):
            assert part in html

    def test_query_count_is_constant(self, look):
        counts = []
        look(make_image(endpoint="solve"))  # what Django asks for once
        for number in (2, 28):
            for _ in range(number):
                image = make_image(endpoint="solve")
            with capture_queries() as queries:
                look(image, "?endpoint=solve&sort=slowest")
            assert loading_bytes(queries) == []
            counts.append(len(questions(queries)))
        assert counts[0] == counts[1] <= 16

    def test_is_shown_without_its_neighbours(self, look, monkeypatch):
        """The search for the neighbours exceeds its time limit."""

        def refuse(*args, **kwargs):
            raise TooManyRequests("To look at them takes too long.")

        images = [make_image(days_old=days) for days in range(3)]
        assert 'rel="next"' in look(images[1])
        monkeypatch.setattr(paging, "limited", refuse)
        assert 'rel="next"' not in look(images[1])

    def test_page_works_under_a_strict_csp(self, look):
        html = look(make_image())
        assert " style=" not in html
        assert re.findall(r"<script(?![^>]* src=)[^>]*>", html) == []
