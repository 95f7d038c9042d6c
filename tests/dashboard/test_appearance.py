"""What failed pictures look like: the panel, from a class to its pictures."""

from __future__ import annotations

import re
from dataclasses import fields
from html import unescape

import pytest
from django.urls import reverse

from request_images.aggregation.bins import bin_of, range_in_words
from request_images.aggregation.properties import MEASURES
from request_images.dashboard import appearance
from request_images.exceptions import TooManyRequests
from request_images.images.measures import Measures
from request_images.query.fields import CRITERIA
from tests.factories import analysed, make_image, make_images, make_superuser, make_user
from tests.image_files import draw

pytestmark = pytest.mark.django_db
PANEL = reverse("admin:request_images_requestlog_panel", args=["looks"])


@pytest.fixture
def show(client):
    """Return a function that opens a page."""
    client.force_login(make_superuser())

    def show(url: str = PANEL) -> str:
        page = client.get(url)
        assert page.status_code == 200
        return unescape(page.content.decode()).replace("\u00a0", " ")

    return show


def make(number: int, *, first: int = 0, is_failed: bool = False, **measures) -> None:
    """Write analysed pictures of requests that failed, or did not."""
    values = {"status_code": 500} if is_failed else {}
    for image in make_images(
        {"data": draw(seed=seed), **values} for seed in range(first, first + number)
    ):
        analysed(image, **measures)


class TestPanel:
    def test_dark_failed_pictures_stand_out(self, show):
        """The bar has both shares and a link to the failed pictures."""
        make(20, is_failed=True, brightness=30)
        make(15, first=20, is_failed=True)
        make(40, first=40)
        page = show()
        assert "brightness < 40" in page
        assert re.search(r"57\.1 ?%", page)
        assert "compared: 35 of 35 of failed requests" in page
        assert "40 of 40 of others" in page
        [url, *_] = re.findall(r'href="([^"]*brightness=0-40[^"]*)"', page)
        assert "outcome=failed" in url
        assert show(url).count('<a class="ri-tile') == 20

    def test_few_pictures_are_not_compared(self, show):
        """29 pictures of one kind are too few."""
        make(29, is_failed=True, brightness=30)
        make(40, first=40)
        assert "Fewer than 30 pictures of either kind" in show()
        make(1, first=29, is_failed=True, brightness=30)
        assert "Nothing" not in show()

    def test_no_analysed_pictures(self, show):
        """The panel names the command that analyses pictures."""
        make_image()
        page = show()
        assert "No picture is analysed yet. To analyse them, run" in page
        assert "0 of 0" not in page
        assert "manage.py analyze_image_contents" in page

    def test_many_pictures_are_sampled(self, show, monkeypatch):
        """The panel has the sizes of the sample and of the whole."""
        monkeypatch.setattr(appearance, "MOST", 30)
        monkeypatch.setattr("request_images.query.paging.MANY", 34)
        monkeypatch.setattr("request_images.dashboard.panels.MANY", 34)
        make(33, is_failed=True, sharpness=5)
        make(36, first=40)
        page = show()
        assert "compared: 30 of 33 of failed requests" in page
        assert "30 of more than 34 of others" in page
        assert "sharpness < 10" in page

    def test_pictures_match_the_criteria(self, show):
        """A criterion may be one of these measures."""
        make(35, is_failed=True, brightness=30, contrast=10)
        make(35, first=40, brightness=30)
        make(35, first=80, brightness=90)
        page = show(f"{PANEL}?brightness=0-40&endpoint=solve")
        assert "contrast < 20" in page
        assert "35 of 35 of others" in page
        links = re.findall(r'href="([^"]*contrast=0-20[^"]*)"', page)
        assert all("brightness=0-40" in link for link in links)

    def test_slow_panel_asks_for_a_shorter_period(self, show, monkeypatch):
        """The query exceeds its time limit."""

        def limited(*arguments):
            raise TooManyRequests

        monkeypatch.setattr(appearance, "limited", limited)
        assert "Choose a shorter period" in show()

    def test_links_without_the_permission_for_images(self, client):
        """The links lead to the list of requests."""
        make(30, is_failed=True, brightness=30)
        make(30, first=40)
        client.force_login(make_user("view_requestlog"))
        page = client.get(PANEL).content.decode()
        assert "/requestlog/?" in page
        assert "/requestimage/" not in page


class TestClasses:
    def test_are_of_what_is_measured(self):
        measured = {field.name for field in fields(Measures)} - {"layout"}
        assert set(MEASURES) == measured <= set(CRITERIA)

    @pytest.mark.parametrize("name", MEASURES)
    def test_are_parameters(self, name):
        """Each value is in the one class that finds it."""
        for size in MEASURES[name].bins:
            low, high = CRITERIA[name].parse(size.name)
            assert (low, high) == (size.low, size.high)
            assert bin_of(low, MEASURES[name].bins) is size
            if high is not None:
                assert bin_of(high - 0.001, MEASURES[name].bins) is size

    def test_in_words(self):
        words = [range_in_words(size) for size in MEASURES["contrast"].bins]
        assert words == ["< 20", "20–40", "40–60", "60–80", "≥ 80"]
