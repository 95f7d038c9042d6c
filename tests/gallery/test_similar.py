"""Similar pictures: in groups, and from one to those like it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from request_images.gallery import gallery, similar
from request_images.models import ImageContent
from request_images.query import conditions, paging
from tests.factories import (
    add_further,
    analysed,
    capture_queries,
    loading_bytes,
    make_image,
    make_superuser,
    make_user,
)
from tests.gallery.test_gallery import GALLERY, html, shown
from tests.image_files import draw
from tests.images.test_measures import scene, written

pytestmark = pytest.mark.django_db
ONE, NEAR, OTHER = "0" * 64, "0" * 58 + "f" * 6, "f" * 64


@pytest.fixture
def show(client):
    """Return a function that opens the gallery."""
    client.force_login(make_superuser())
    return lambda query: client.get(f"{GALLERY}{query}")


def make(layout: str, number: int, *, first: int = 0, **values: object) -> list[int]:
    """Write pictures of a layout, each a minute older than the one before."""
    now = timezone.now()
    return [
        analysed(
            make_image(
                draw(seed=seed),
                **{"created_at": now - timedelta(minutes=seed)} | values,
            ),
            layout=layout,
        ).pk
        for seed in range(first, first + number)
    ]


def test_real_pictures_are_found_alike(show):
    """Captured, analysed by the command, grouped: copies of one, and another one."""
    copies = [
        make_image(written(scene(1), "PNG")),
        make_image(written(scene(1).resize((320, 240)), "JPEG"), status_code=500),
        make_image(written(scene(1), "WEBP", quality=40)),
    ]
    make_image(written(scene(2), "PNG"))
    call_command("analyze_image_contents", verbosity=0)
    page = show("?group=layout")
    assert sorted(shown(page)) == sorted(image.pk for image in copies)
    assert "3 pictures, 1 failed" in html(page)


class TestGroups:
    def test_the_largest_first(self, show):
        """Failed pictures before the others, each newest first."""
        few = make(OTHER, 2)
        many = make(ONE, 2, first=2) + make(NEAR, 1, first=4, status_code=500)
        make("3" * 64, 1, first=5)
        page = show("?group=layout&days=7")
        assert shown(page) == [many[2], *many[:2], *few]
        assert "3 pictures, 1 failed" in html(page)
        assert "2 pictures, 0 failed" in html(page)
        assert "Grouped: the newest 6 of 6 analysed pictures." in html(page)

    def test_failed_beside_succeeded(self, show, monkeypatch):
        """Half of each where there are enough, and a link to all of them."""
        monkeypatch.setattr(gallery, "GROUP_SIZE", 4)
        bad = make(ONE, 5, error_type="OSError")
        good = make(NEAR, 5, first=5)
        page = show("?group=layout&days=7")
        assert shown(page) == [*bad[:2], *good[:2]]
        assert f"?days=7&amp;layout={ONE}" in html(page)
        everything = show(f"?days=7&layout={ONE}")
        assert shown(everything) == [*bad, *good]
        assert "000000000000" in everything.context["chips"][1].text

    @pytest.mark.parametrize(("bad", "good"), [(5, 1), (1, 5)])
    def test_of_few_failed_or_few_others(self, show, monkeypatch, bad, good):
        """The row is filled up with what there is."""
        monkeypatch.setattr(gallery, "GROUP_SIZE", 4)
        failed = make(ONE, bad, error_type="OSError")
        succeeded = make(ONE, good, first=5)
        expected = [*failed[: 4 - min(good, 2)], *succeeded[: 4 - min(bad, 2)]]
        assert shown(show("?group=layout")) == expected

    def test_only_of_what_the_filter_lets_through(self, show):
        make(ONE, 2, status_code=500)
        other = make(ONE, 2, first=2)
        assert shown(show("?group=layout&outcome=succeeded")) == other

    def test_none(self, show):
        """Every picture looks another way, and that is said."""
        make(ONE, 1)
        make(OTHER, 1, first=1)
        page = show("?group=layout")
        assert shown(page) == []
        assert "No two of them are similar." in html(page)
        assert "No picture matches" not in html(page)

    def test_of_nothing(self, show):
        """No picture at all is the filter's business."""
        make(ONE, 1)
        assert "No picture matches" in html(show("?group=layout&width=1"))

    def test_what_is_not_analysed_yet_is_told(self, show):
        """With the command that does it; what is not kept never can be."""
        make_image(draw(seed=1))
        make_image(draw(seed=2), kept=False)
        page = show("?group=layout")
        text = "1 picture is not analysed yet: run manage.py analyze_image_contents."
        assert text in html(page)
        assert "Grouped" not in html(page)
        make_image(draw(seed=3))
        assert "2 pictures are not analysed yet" in html(show("?group=layout"))

    @pytest.mark.parametrize("bound", ["MANY", "NEWEST"])
    def test_look_at_the_newest_only(self, show, monkeypatch, bound):
        """And say so."""
        monkeypatch.setattr(paging if bound == "MANY" else similar, bound, 3)
        newest = make(ONE, 3)
        make(ONE, 3, first=3)
        page = show("?group=layout")
        assert shown(page) == newest
        if bound == "MANY":
            assert "Only the newest pictures were searched, those since" in html(page)
        else:
            assert "Grouped: the newest 3 of 6 analysed pictures." in html(page)

    def test_load_no_bytes(self, show):
        make(ONE, 3)
        with capture_queries() as queries:
            show("?group=layout")
        assert loading_bytes(queries) == []

    def test_a_picture_that_goes_meanwhile(self, show, monkeypatch):
        """It is left out, and nothing fails."""
        gone, *rest = make(ONE, 3)
        found = similar.likeness_of

        def and_one_goes(rows):
            answer = found(rows)
            gallery.RequestImage.objects.filter(pk=gone).delete()
            return answer

        monkeypatch.setattr(gallery, "likeness_of", and_one_goes)
        assert shown(show("?group=layout")) == rest


class TestLayout:
    @pytest.mark.parametrize("most", [0, 4, 5, 9])
    def test_of_few_and_of_many(self, show, monkeypatch, most):
        """The same pictures, whether their contents are named or asked for."""
        monkeypatch.setattr(conditions, "MOST_ROWS", most)
        alike = make(ONE, 3) + make(NEAR, 2, first=3)
        make(OTHER, 2, first=5)
        assert shown(show(f"?layout={ONE}&sort=newest")) == alike

    def test_is_looked_up_once_for_a_page(self, show):
        """However many queries the page has: all layouts have to be compared."""
        make(ONE, 3)
        with capture_queries() as queries:
            show(f"?layout={ONE}&group=outcome")
        assert (
            len(
                [
                    sql
                    for sql in queries
                    if re.search("hamming|bit_count", sql, re.IGNORECASE)
                ]
            )
            == 1
        )


class TestPageOfAPicture:
    def page(self, client, image) -> str:
        name = "admin:request_images_requestimage_change"
        url = reverse(name, args=[image.pk])
        with capture_queries() as queries:
            response = client.get(url)
        assert loading_bytes(queries) == []
        return response.content.decode()

    @pytest.fixture(autouse=True)
    def _somebody(self, client):
        client.force_login(make_user("view_requestimage"))

    def test_tells_what_it_looks_like(self, client):
        """In numbers, with a way to the pictures alike."""
        image = analysed(make_image(), brightness=127.54, layout=ONE)
        text = self.page(client, image)
        numbers = "brightness 127.5, contrast 50.0, entropy (bits) 7.0, sharpness 200.0"
        assert numbers in text
        assert f"?layout={ONE}" in text
        assert "Similar pictures" in text

    def test_says_why_it_is_not_known(self, client):
        image = make_image()
        assert "not analysed yet" in self.page(client, image)
        call_command("analyze_image_contents", verbosity=0)
        assert "Similar pictures" in self.page(client, image)
        refused = {"layout": "", "brightness": None, "analysis_error": "not an image"}
        analysed(image, **refused)
        text = self.page(client, image)
        assert "cannot be analysed: not an image" in text
        assert "Similar pictures" not in text

    def test_of_what_was_not_kept(self, client):
        assert "analysed" not in self.page(client, make_image(kept=False))


def test_a_further_image_is_analysed_too():
    """Its content is one like any other."""
    add_further(make_image(), draw(seed=1))
    call_command("analyze_image_contents", verbosity=0)
    assert not ImageContent.objects.filter(layout="").exists()


def test_a_view_of_the_gallery_leads_there(show):
    make(ONE, 2)
    assert 'href="?group=layout"' in html(show(""))
